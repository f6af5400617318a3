"""Streaming generators: refs as values come, backpressure, errors, deaths, and what is freed."""

import asyncio
import os
import pickle
import time

import numpy as np
import pytest

import rsim
from rsim.exceptions import (
    ActorDiedError,
    DeadlockError,
    RsimTaskError,
    TaskCancelledError,
    UnserializableError,
    WorkerCrashedError,
)
from tests.conformance import inspecting, marks
from tests.conformance.programs import marked

MIB = 1 << 20


@rsim.remote
def count(number):
    yield from range(number)
    return "dropped"


@rsim.remote
def fail_after(number):
    yield from range(number)
    raise ValueError("broken")


@rsim.remote
def blocks(number, mebibytes=2):
    for index in range(number):
        yield np.full(mebibytes * MIB, index, dtype=np.uint8)


@rsim.remote
def gated(folder, number):
    """Waits for a mark before each value."""
    for index in range(number):
        marks.await_marks(folder, f"gate-{index}")
        yield index


@rsim.remote
def endless(folder):
    marks.leave(folder, "began")
    while True:
        yield 0
        time.sleep(0.001)


@rsim.remote
def identity(value):
    return value


def outcomes(generator):
    """The values of all its refs; of errors, their types."""
    found = []
    for ref in generator:
        try:
            found.append(rsim.get(ref))
        except Exception as error:
            found.append(type(error))
    return found


# -- iteration -------------------------------------------------------------------------------------


def test_a_generator_of_refs(rt):
    generator = count.remote(3)
    assert isinstance(generator, rsim.ObjectRefGenerator)
    refs = list(generator)
    assert all(type(ref) is rsim.ObjectRef for ref in refs)
    assert rsim.get(refs) == [0, 1, 2]
    with pytest.raises(StopIteration):
        next(generator)
    assert rsim.get(generator.completed()) is None


def test_no_values_at_all(rt):
    assert list(count.remote(0)) == []


def test_refs_come_as_soon_as_their_values_are_there(rt, tmp_path):
    generator = gated.remote(tmp_path, 2)
    assert not generator.next_ready()
    marks.leave(tmp_path, "gate-0")
    assert rsim.get(next(generator)) == 0
    assert not generator.next_ready() and not generator.is_finished()
    marks.leave(tmp_path, "gate-1")
    assert rsim.get(next(generator)) == 1
    rsim.wait([generator.completed()])
    assert generator.is_finished() and not generator.next_ready()


def test_it_runs_ahead_of_its_consumer(rt, tmp_path):
    generator = marked.remote(tmp_path, 20)
    rsim.wait([generator.completed()])
    assert marks.count(tmp_path, "made") == 20
    assert generator.next_ready() and not generator.is_finished()
    assert outcomes(generator) == list(range(20))
    assert generator.is_finished()


def test_many_values(rt):
    assert sum(rsim.get(ref) for ref in count.remote(2000)) == 1999000


def test_refs_are_refs_like_any_other(rt):
    generator = count.options(num_returns="streaming").remote(2)
    first, second = generator
    assert first != second
    assert rsim.get(identity.remote(second)) == 1
    assert rsim.get(rsim.get(identity.remote([first]))[0]) == 0
    assert first.task_id() == second.task_id() == generator.task_id()


@pytest.mark.parametrize("mebibytes", [0, 1])
def test_consumed_in_a_task(rt, mebibytes):
    @rsim.remote
    def consume(number):
        return [int(rsim.get(ref).sum()) for ref in blocks.remote(number, mebibytes)]

    assert rsim.get(consume.remote(4)) == [mebibytes * MIB * index for index in range(4)]


def test_async_for(rt):
    async def consume():
        return [await ref async for ref in count.remote(5)]

    assert asyncio.run(consume()) == [0, 1, 2, 3, 4]


def test_awaiting_the_next_ref_can_be_given_up(rt, tmp_path):
    async def consume():
        generator = gated.remote(tmp_path, 2)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(generator), 0.01)
        marks.leave(tmp_path, "gate-0")
        marks.leave(tmp_path, "gate-1")
        return [await ref async for ref in generator]

    assert asyncio.run(consume()) == [0, 1]


# -- what else there is to a generator ------------------------------------------------------------


def test_it_is_not_picklable(rt):
    generator = count.remote(1)
    with pytest.raises(TypeError, match="ObjectRefGenerator"):
        pickle.dumps(generator)
    for use in (identity.remote, rsim.put):
        with pytest.raises(UnserializableError, match="ObjectRefGenerator"):
            use(generator)
    with pytest.raises(UnserializableError, match="ObjectRefGenerator"):
        rsim.get(rsim.remote(lambda: count.remote(1)).remote())
    assert outcomes(generator) == [0]


def test_it_cannot_be_sent_to_or_closed(rt):
    generator = count.remote(1)
    for name, arguments in (("send", (1,)), ("throw", (ValueError(),)), ("close", ())):
        with pytest.raises(NotImplementedError, match=name):
            getattr(generator, name)(*arguments)
    for name, arguments in (("asend", (1,)), ("athrow", (ValueError(),)), ("aclose", ())):
        with pytest.raises(NotImplementedError, match=name):
            asyncio.run(getattr(generator, name)(*arguments))


def test_get_returns_it_as_it_is(rt):
    generator = count.remote(1)
    assert rsim.get(generator) is generator
    with pytest.raises(TypeError, match="ObjectRefGenerator"):
        rsim.get([generator])


def test_wait_for_generators_and_refs(rt, tmp_path):
    generator, other = gated.remote(tmp_path, 1), count.remote(0)
    ref = identity.remote(1)
    assert rsim.wait([generator, ref]) == ([ref], [generator])
    assert rsim.wait([generator, other, ref], num_returns=2) == ([other, ref], [generator])
    assert rsim.wait([generator], timeout=0) == ([], [generator])
    assert rsim.wait([generator], timeout=0.01) == ([], [generator])
    marks.leave(tmp_path, "gate-0")
    assert rsim.wait([generator]) == ([generator], [])
    assert rsim.get(next(generator)) == 0
    assert rsim.wait([generator], timeout=60) == ([generator], [])
    assert list(generator) == []
    with pytest.raises(ValueError, match="twice"):
        rsim.wait([generator, generator])


# -- backpressure ----------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 3])
def test_backpressure(rt, tmp_path, limit):
    task = marked.options(_generator_backpressure_num_objects=limit)
    generator = task.remote(tmp_path, 8)
    for consumed in range(4):
        marks.await_that(lambda: marks.count(tmp_path, "made") == limit + consumed)  # noqa: B023
        rsim.get([identity.remote(index) for index in range(20)])
        assert marks.count(tmp_path, "made") == limit + consumed
        assert rsim.get(next(generator)) == consumed
    assert outcomes(generator) == [4, 5, 6, 7]


def test_a_paused_generator_holds_no_cpu(init, tmp_path):
    init(num_cpus=1)
    generator = marked.options(_generator_backpressure_num_objects=1).remote(tmp_path, 3)
    assert rsim.get(identity.remote(1)) == 1
    assert outcomes(generator) == [0, 1, 2]


def test_a_paused_generator_goes_on_when_nobody_will_consume(rt, tmp_path):
    generator = marked.options(_generator_backpressure_num_objects=1).remote(tmp_path, 5)
    next(generator)
    del generator
    rt.client.flush()
    marks.await_that(lambda: marks.count(tmp_path, "made") == 5)


def test_no_limit(rt, tmp_path):
    generator = marked.options(_generator_backpressure_num_objects=-1).remote(tmp_path, 30)
    rsim.wait([generator.completed()])
    assert outcomes(generator) == list(range(30))


@pytest.mark.parametrize("backend", ["sim"])
def test_waiting_for_a_paused_generator_is_a_deadlock(rt, tmp_path):
    generator = marked.options(_generator_backpressure_num_objects=1).remote(tmp_path, 2)
    with pytest.raises(DeadlockError, match=r"marked.*waits for its items to be consumed"):
        rsim.get(generator.completed())


# -- errors ----------------------------------------------------------------------------------------


def test_what_it_raises_is_the_last_ref(rt):
    generator = fail_after.remote(2)
    first, second, last = generator
    assert rsim.get([first, second]) == [0, 1]
    with pytest.raises(ValueError, match="broken") as caught:
        rsim.get(last)
    assert isinstance(caught.value, RsimTaskError)
    assert rsim.get(generator.completed()) is None


def test_an_error_at_once(rt):
    assert len(list(fail_after.remote(0))) == 1


def test_a_value_that_cannot_be_pickled(rt):
    @rsim.remote
    def generate():
        yield 1
        yield (number for number in range(3))
        yield 2

    first, last = generate.remote()
    assert rsim.get(first) == 1
    with pytest.raises(UnserializableError, match="generate"):
        rsim.get(last)


def test_an_input_that_fails(rt):
    ref = fail_after.options(num_returns=1).remote(0)
    generator = identity_of.remote(ref)
    (only,) = generator
    with pytest.raises(ValueError, match="broken"):
        rsim.get(only)
    with pytest.raises(ValueError, match="broken"):
        rsim.get(generator.completed())


@rsim.remote
def identity_of(*values):
    yield from values


def test_errors_can_be_retried(rt, tmp_path):
    @rsim.remote(retry_exceptions=[KeyError], max_retries=2)
    def generate(folder, times):
        marks.leave(folder, "ran")
        yield 0
        if marks.count(folder, "ran") <= times:
            raise KeyError(times)
        yield 1

    (tmp_path / "more").mkdir()
    assert outcomes(generate.remote(tmp_path, 2)) == [0, 1]
    assert marks.count(tmp_path, "ran") == 3
    first, last = generate.remote(tmp_path / "more", 99)
    assert rsim.get(first) == 0
    with pytest.raises(KeyError):
        rsim.get(last)
    assert marks.count(tmp_path / "more", "ran") == 3


# -- cancellation and deaths -----------------------------------------------------------------------


@pytest.mark.parametrize("force", [False, True])
def test_cancel(rt, tmp_path, force):
    generator = endless.remote(tmp_path)
    assert rsim.get(next(generator)) == 0
    rsim.cancel(generator, force=force)
    error = WorkerCrashedError if force else TaskCancelledError
    found = outcomes(generator)
    assert found[-1] is error and set(found[:-1]) <= {0}
    with pytest.raises(error):
        rsim.get(generator.completed())


def test_cancel_one_that_is_paused(rt, tmp_path):
    generator = endless.options(_generator_backpressure_num_objects=1).remote(tmp_path)
    next(generator)
    rsim.cancel(generator)
    assert outcomes(generator)[-1] is TaskCancelledError
    assert rsim.get(identity.remote(1)) == 1


def test_cancel_one_that_has_not_begun(init, tmp_path):
    init(num_cpus=1)
    blocker = endless.remote(tmp_path)
    next(blocker)
    generator = count.remote(3)
    rsim.cancel(generator)
    assert outcomes(generator) == [TaskCancelledError]
    rsim.cancel(blocker)


def test_cancel_by_a_ref_of_an_item(rt, tmp_path):
    generator = endless.remote(tmp_path)
    rsim.cancel(next(generator))
    assert outcomes(generator)[-1] is TaskCancelledError


@rsim.remote
def die_after(folder, number, times, large=False):
    """Dies after its second value in its first executions."""
    marks.leave(folder, "ran")
    for index in range(number):
        if index == 2 and marks.count(folder, "ran") <= times:
            marks.await_marks(folder, "taken")
            os._exit(1)
        yield np.full(MIB, index, dtype=np.uint8) if large else index


@pytest.mark.parametrize("large", [False, True])
def test_a_worker_dies_in_the_middle(rt, tmp_path, large):
    generator = die_after.remote(tmp_path, 5, 2, large)
    refs = [next(generator), next(generator)]
    marks.leave(tmp_path, "taken")
    refs += generator
    assert [int(np.max(value)) for value in rsim.get(refs)] == [0, 1, 2, 3, 4]
    assert marks.count(tmp_path, "ran") == 3
    inspecting.check(rt)


def test_no_retries_left(rt, tmp_path):
    marks.leave(tmp_path, "taken")
    generator = die_after.options(max_retries=0).remote(tmp_path, 5, 9)
    assert outcomes(generator) == [0, 1, WorkerCrashedError]
    with pytest.raises(WorkerCrashedError):
        rsim.get(generator.completed())


def test_a_parent_that_dies_calls_its_generator_again(rt, tmp_path):
    @rsim.remote
    def parent(folder):
        generator = count.remote(6)
        refs = [next(generator) for _ in range(3)]
        marks.leave(folder, "ran")
        if marks.count(folder, "ran") == 1:
            os._exit(1)
        return rsim.get([*refs, *generator])

    assert rsim.get(parent.remote(tmp_path)) == [0, 1, 2, 3, 4, 5]


# -- memory ----------------------------------------------------------------------------------------


def test_large_values_go_through_the_store(rt):
    values = rsim.get(list(blocks.remote(3)))
    assert [int(value[-1]) for value in values] == [0, 1, 2]
    assert inspecting.used_bytes(rt) >= 6 * MIB
    del values
    inspecting.await_used_bytes(rt)


def test_values_go_one_by_one(rt):
    generator = blocks.options(_generator_backpressure_num_objects=1).remote(20)
    for index, ref in enumerate(generator):
        assert rsim.get(ref)[0] == index
        assert inspecting.used_bytes(rt) <= 10 * MIB
    del ref
    inspecting.await_used_bytes(rt)


@pytest.mark.parametrize("taken", [0, 2])
def test_values_that_nobody_asked_for_go_with_the_generator(rt, taken):
    generator = blocks.remote(5)
    refs = [next(generator) for _ in range(taken)]
    rsim.wait([generator.completed()])
    assert inspecting.used_bytes(rt) >= 10 * MIB
    del generator
    inspecting.await_used_bytes(rt, 2 * taken * MIB + MIB)
    assert [int(value[0]) for value in rsim.get(refs)] == list(range(taken))
    inspecting.check(rt)


def test_a_generator_dropped_while_it_runs(rt, tmp_path):
    @rsim.remote
    def generate(folder):
        for index in range(4):
            yield np.full(MIB, index, dtype=np.uint8)
            marks.await_marks(folder, "go on")
        marks.leave(folder, "done")

    next(generate.remote(tmp_path))
    marks.leave(tmp_path, "go on")
    marks.await_marks(tmp_path, "done")
    inspecting.await_used_bytes(rt)


def test_refs_in_values(rt):
    @rsim.remote
    def generate():
        for index in range(3):
            yield {
                "put": rsim.put(np.full(MIB, index, dtype=np.uint8)),
                "made": identity.remote(index),
            }

    refs = list(generate.remote())
    rsim.get(identity.remote(0))
    for index, value in enumerate(rsim.get(refs)):
        assert rsim.get(value["put"])[0] == index
        assert rsim.get(value["made"]) == index
    del refs, value
    inspecting.await_used_bytes(rt)


def test_small_values_are_forgotten(rt):
    before = inspecting.known_objects(rt)
    for _ in range(3):
        assert len(outcomes(count.remote(50))) == 50
    marks.await_that(lambda: rt.client.flush() or inspecting.known_objects(rt) <= before + 5)


# -- options ---------------------------------------------------------------------------------------


def test_a_fixed_number_of_values(rt, tmp_path):
    assert rsim.get(count.options(num_returns=3).remote(3)) == [0, 1, 2]
    assert rsim.get(count.options(num_returns=1).remote(3)) == 0
    assert count.options(num_returns=0).remote(3) is None
    assert rsim.get(endless.options(num_returns=2).remote(tmp_path)) == [0, 0]
    with pytest.raises(ValueError, match=r"num_returns=4.*3 value"):
        rsim.get(count.options(num_returns=4).remote(3))


# -- functions that return generators --------------------------------------------------------------


def returned(number):
    return (2 * index for index in range(number)) if number else None


def test_a_function_that_returns_a_generator(rt):
    stream = rsim.remote(num_returns="streaming")(returned)
    assert [rsim.get(ref) for ref in stream.remote(3)] == [0, 2, 4]
    with pytest.warns(DeprecationWarning, match="streaming"):
        dynamic = rsim.remote(num_returns="dynamic")(returned)
    assert rsim.get(list(rsim.get(dynamic.remote(2)))) == [0, 2]


def test_a_function_that_does_not_return_the_generator_that_it_was_declared_with(rt):
    stream = rsim.remote(num_returns="streaming")(returned).remote(0)
    with pytest.raises(RsimTaskError, match="'streaming', but returned NoneType") as raised:
        rsim.get(next(stream))
    assert isinstance(raised.value, TypeError)
    with pytest.raises(StopIteration):
        next(stream)
    with pytest.warns(DeprecationWarning, match="streaming"):
        dynamic = rsim.remote(num_returns="dynamic")(returned)
    with pytest.raises(RsimTaskError, match="'dynamic', but returned NoneType"):
        rsim.get(dynamic.remote(0))


@rsim.remote
class Returning:
    async def nothing(self):
        return None

    def returned(self, number):
        return returned(number)


@pytest.mark.parametrize("method", ["nothing", "returned"])
def test_a_method_of_an_async_actor_declared_to_stream(rt, method):
    call = getattr(Returning.remote(), method).options(num_returns="streaming")
    items = list(call.remote() if method == "nothing" else call.remote(0))
    with pytest.raises(TypeError, match="not a generator"):
        rsim.get(items)
    if method == "returned":
        assert [rsim.get(ref) for ref in call.remote(2)] == [0, 2]


# -- actors ----------------------------------------------------------------------------------------


@rsim.remote
class Counter:
    def __init__(self):
        self.total = 0

    def count(self, number):
        for _ in range(number):
            self.total += 1
            yield self.total

    def endless(self, folder):
        marks.leave(folder, "began")
        while True:
            yield 0
            time.sleep(0.001)

    def value(self):
        return self.total

    @rsim.method(_generator_backpressure_num_objects=2)
    def slowly(self, folder, number):
        for index in range(number):
            marks.leave(folder, "made")
            yield index


def test_generator_methods(rt):
    counter = Counter.remote()
    assert outcomes(counter.count.remote(3)) == [1, 2, 3]
    assert outcomes(counter.count.remote(2)) == [4, 5]
    assert rsim.get(counter.count.options(num_returns=2).remote(5)) == [6, 7]
    assert rsim.get(counter.value.remote()) == 8  # it runs on to what it yields next


def test_backpressure_of_a_method(rt, tmp_path):
    counter = Counter.remote()
    generator = counter.slowly.remote(tmp_path, 5)
    marks.await_that(lambda: marks.count(tmp_path, "made") == 2)
    rsim.get([identity.remote(index) for index in range(20)])
    assert marks.count(tmp_path, "made") == 2
    assert outcomes(generator) == list(range(5))


def test_an_actor_is_killed_in_the_middle(rt, tmp_path):
    counter = Counter.remote()
    generator = counter.endless.remote(tmp_path)
    next(generator)
    rsim.kill(counter)
    found = outcomes(generator)
    assert found[-1] is ActorDiedError
    with pytest.raises(ActorDiedError):
        rsim.get(generator.completed())
    assert outcomes(counter.count.remote(1)) == [ActorDiedError]


def test_an_actor_that_is_restarted(rt, tmp_path):
    @rsim.remote(max_restarts=1, max_task_retries=1)
    class Fragile:
        def count(self, folder, number):
            marks.leave(folder, "ran")
            for index in range(number):
                if index == 2 and marks.count(folder, "ran") == 1:
                    os._exit(1)
                yield index

    assert outcomes(Fragile.remote().count.remote(tmp_path, 4)) == [0, 1, 2, 3]
    assert marks.count(tmp_path, "ran") == 2


@rsim.remote
class Source:
    """Its calls run on an event loop."""

    async def stream(self, number):
        for index in range(number):
            await asyncio.sleep(0.001)
            yield index

    def plainly(self, number):
        yield from range(number)

    async def endless(self):
        while True:
            yield 0

    async def broken(self):
        yield 0
        raise ValueError("broken")

    async def answer(self):
        return "answer"


def test_asynchronous_generators(rt):
    source = Source.remote()
    streams = [source.stream.remote(5), source.plainly.remote(5)]
    assert [outcomes(stream) for stream in streams] == [[0, 1, 2, 3, 4]] * 2
    value, error = outcomes(source.broken.remote())
    assert value == 0 and issubclass(error, ValueError)
    assert rsim.get(source.stream.options(num_returns=2).remote(9)) == [0, 1]
    with pytest.raises(ValueError, match="num_returns=3"):
        rsim.get(source.stream.options(num_returns=3).remote(1))


@pytest.mark.parametrize("method", ["stream", "plainly"])
def test_a_paused_asynchronous_generator_lets_others_run(rt, method):
    source = Source.remote()
    task = getattr(source, method).options(_generator_backpressure_num_objects=1)
    streams = [task.remote(4) for _ in range(3)]
    assert rsim.get(source.answer.remote()) == "answer"
    assert [outcomes(stream) for stream in streams] == [[0, 1, 2, 3]] * 3


@pytest.mark.parametrize("limit", [-1, 1])
def test_cancel_an_asynchronous_generator(rt, limit):
    source = Source.remote()
    stream = source.endless.options(_generator_backpressure_num_objects=limit).remote()
    next(stream)
    rsim.cancel(stream)
    assert outcomes(stream)[-1] is TaskCancelledError
    assert rsim.get(source.answer.remote()) == "answer"


@pytest.mark.parametrize("limit", [-1, 1])
def test_cancel_a_generator_method(rt, tmp_path, limit):
    counter = Counter.remote()
    method = counter.endless.options(_generator_backpressure_num_objects=limit)
    stream = method.remote(tmp_path)
    next(stream)
    rsim.cancel(stream)
    with pytest.raises(TaskCancelledError):
        rsim.get(stream.completed())
    assert outcomes(stream)[-1] is TaskCancelledError
    assert rsim.get(counter.value.remote()) == 0


def test_generators_of_a_threaded_actor(rt, tmp_path):
    counter = Counter.options(max_concurrency=3).remote()
    slow = [counter.slowly.remote(tmp_path, 4) for _ in range(2)]
    assert rsim.get(counter.value.remote()) == 0
    assert [outcomes(stream) for stream in slow] == [[0, 1, 2, 3]] * 2
