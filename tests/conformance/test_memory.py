"""Memory: objects go with their last ref; a full store evicts, then spills, then says so."""

import gc
import os
import threading

import numpy as np
import pytest

import rsim
from rsim.exceptions import (
    ObjectStoreFullError,
    UnserializableError,
    WorkerCrashedError,
)
from tests.conformance import inspecting, marks

MIB = 1 << 20


def block(number, mebibytes=10):
    return np.full(mebibytes * MIB, number, dtype=np.uint8)


@rsim.remote
def make(number, mebibytes=10):
    return block(number, mebibytes)


@rsim.remote
def total(array):
    return int(array[::MIB].sum())


@rsim.remote
def identity(value):
    return value


def is_block(array, number, mebibytes=10):
    return array.shape == (mebibytes * MIB,) and bool(array[0] == array[-1] == number)


def blocks(number, mebibytes=20):
    return [block(index, mebibytes) for index in range(number)]


def yields_blocks(number):
    yield from blocks(number)


# -- reference counting ----------------------------------------------------------------------------


def test_an_object_goes_with_its_last_ref(rt):
    ref = rsim.put(block(1))
    other = ref
    del ref
    assert is_block(rsim.get(other), 1)
    assert inspecting.used_bytes(rt) >= 10 * MIB
    del other
    inspecting.await_used_bytes(rt)


def test_results_and_arguments_go_too(rt):
    assert rsim.get([total.remote(make.remote(number)) for number in range(4)]) == [0, 10, 20, 30]
    assert rsim.get(total.remote(block(2))) == 20
    inspecting.await_used_bytes(rt)


def test_a_result_that_nobody_wanted(rt):
    for number in range(4):
        make.remote(number)
    rsim.get(identity.remote(0))
    inspecting.await_used_bytes(rt)


@rsim.remote(num_returns=2)
def half():
    return block(1), threading.Lock()


def test_a_result_that_was_written_before_the_next_one_failed(rt):
    for ref in half.remote():
        with pytest.raises(UnserializableError):
            rsim.get(ref)
        del ref
    inspecting.await_used_bytes(rt)


def entangle(refs):
    """Leave a cycle that only the garbage collector can resolve."""
    cycle = [refs]
    cycle.append(cycle)


@rsim.remote
def entangled(refs):
    entangle(refs)


@rsim.remote
class Entangled:
    def call(self, refs):
        entangle(refs)


@rsim.remote
class AsyncEntangled:
    async def call(self, refs):
        entangle(refs)


KINDS = [Entangled, Entangled.options(max_concurrency=2), AsyncEntangled]


@pytest.mark.parametrize("kind", [None, *KINDS], ids=["task", "actor", "threaded", "async"])
def test_garbage_of_a_worker_at_rest(rt, kind):
    actor = None if kind is None else kind.remote()
    call = entangled if actor is None else actor.call
    ref = rsim.put(block(1))
    rsim.get(call.remote([ref]))
    del ref
    inspecting.await_used_bytes(rt)


@rsim.remote
class Keeper:
    """Lets go of what it was given when no call runs any more."""

    def keep(self, refs, folder):
        threading.Thread(target=self.hold, args=(refs, folder), daemon=True).start()

    def hold(self, refs, folder):
        marks.await_marks(folder, "let go")


@pytest.mark.parametrize("backend", ["local"])
def test_refs_that_a_thread_drops_while_its_worker_rests(rt, tmp_path):
    keeper = Keeper.remote()
    ref = rsim.put(block(1))
    rsim.get(keeper.keep.remote([ref], tmp_path))
    del ref
    marks.leave(tmp_path, "let go")
    inspecting.await_used_bytes(rt)


def test_an_array_keeps_its_object(rt):
    array = rsim.get(rsim.put(block(3)))
    rsim.get([identity.remote(number) for number in range(20)])
    assert inspecting.used_bytes(rt) >= 10 * MIB
    assert is_block(array, 3)
    del array
    inspecting.await_used_bytes(rt)


def test_refs_in_objects_in_objects(rt):
    outer = rsim.put([rsim.put([rsim.put(block(4)), make.remote(5)])])
    rsim.get(identity.remote(outer))
    assert is_block(rsim.get(rsim.get(rsim.get(outer)[0])[0]), 4)
    del outer
    inspecting.await_used_bytes(rt)


def test_refs_held_by_other_processes(rt, tmp_path):
    @rsim.remote
    def hold(refs, folder):
        marks.leave(folder, "holds")
        marks.await_marks(folder, "gate")
        return is_block(rsim.get(refs[0]), 6)

    ref = rsim.put(block(6))
    held = hold.remote([ref], tmp_path)
    del ref
    marks.await_marks(tmp_path, "holds")
    rsim.get([identity.remote(number) for number in range(20)])
    assert inspecting.used_bytes(rt) >= 10 * MIB
    marks.leave(tmp_path, "gate")
    assert rsim.get(held) is True
    del held  # as long as the result may have to be computed again, the argument may stay
    inspecting.await_used_bytes(rt)


def test_refs_made_by_tasks_that_are_gone(rt):
    @rsim.remote
    def nest(depth):
        inner = [rsim.put(block(depth, 1)), make.remote(depth, 1)]
        return inner if depth == 0 else [*inner, nest.remote(depth - 1)]

    refs = rsim.get(nest.remote(3))
    for depth in (3, 2, 1):
        assert [is_block(rsim.get(ref), depth, 1) for ref in refs[:2]] == [True, True]
        refs = rsim.get(refs[2])
    del refs
    inspecting.await_used_bytes(rt)


def test_what_errors_and_dead_workers_held(rt, tmp_path):
    @rsim.remote(max_retries=1)
    def crash(array, refs, folder):
        import os

        made = rsim.put(block(1))
        marks.leave(folder, "ran")
        if marks.count(folder, "ran") == 1:
            os._exit(1)
        raise ValueError(len(rsim.get([made, *refs])))

    with pytest.raises(ValueError) as caught:
        rsim.get(crash.remote(block(2), [rsim.put(block(3))], tmp_path))
    assert caught.value.args == (2,)
    del caught
    gc.collect()
    inspecting.await_used_bytes(rt)


def test_small_objects_are_forgotten_as_well(rt):
    before = inspecting.known_objects(rt)
    for _ in range(3):
        rsim.get([identity.remote([rsim.put(number)]) for number in range(50)])
    rt.client.flush()
    marks.await_that(lambda: inspecting.known_objects(rt) <= before + 5, "the objects to go")


# -- a full store ----------------------------------------------------------------------------------


def test_more_objects_than_fit_are_all_readable(init):
    session = init(num_cpus=2, object_store_memory=50 * MIB)
    refs = [rsim.put(block(number)) for number in range(6)]
    refs += [make.remote(number) for number in range(6, 12)]
    assert all(is_block(rsim.get(ref), number) for number, ref in enumerate(refs))
    assert inspecting.spilled_bytes(session) >= 60 * MIB
    assert rsim.get([total.remote(ref) for ref in refs]) == [10 * number for number in range(12)]
    inspecting.check(session)
    del refs
    inspecting.await_used_bytes(session)
    marks.await_that(lambda: inspecting.spilled_bytes(session) == 0, "the files to go")


def test_what_nobody_holds_is_not_spilled(init):
    session = init(num_cpus=2, object_store_memory=50 * MIB)
    for number in range(12):
        assert is_block(rsim.get(make.remote(number)), number)
    assert inspecting.spilled_bytes(session) == 0


@pytest.mark.parametrize("function", [blocks, yields_blocks])
def test_results_of_one_task_that_together_are_larger_than_the_store(init, function):
    session = init(num_cpus=1, object_store_memory=50 * MIB)
    refs = rsim.remote(num_returns=5)(function).remote(5)
    assert all(is_block(rsim.get(ref), number, 20) for number, ref in enumerate(refs))
    inspecting.check(session)
    del refs
    inspecting.await_used_bytes(session)
    marks.await_that(lambda: inspecting.spilled_bytes(session) == 0, "the files to go")


def test_results_larger_than_the_store_on_another_node(init):
    session = init(num_cpus=1, object_store_memory=50 * MIB)
    session.add_node(num_cpus=1, resources={"there": 1}, object_store_memory=50 * MIB)
    refs = rsim.remote(num_returns=5, resources={"there": 1})(blocks).remote(5)
    assert all(is_block(rsim.get(ref), number, 20) for number, ref in enumerate(refs))
    inspecting.check(session)


def test_results_of_a_task_that_fails_late_leave_nothing(init):
    session = init(num_cpus=1, object_store_memory=50 * MIB)

    @rsim.remote(num_returns=5)
    def too_large():
        return [*blocks(4), block(4, 60)]

    for ref in too_large.remote():
        with pytest.raises(ObjectStoreFullError):
            rsim.get(ref)
    inspecting.await_used_bytes(session)
    assert inspecting.spilled_bytes(session) == 0


def test_results_of_a_worker_that_dies_leave_nothing(init, tmp_path):
    session = init(num_cpus=1, object_store_memory=50 * MIB)

    @rsim.remote(num_returns=5, max_retries=0)
    def dies():
        yield from blocks(4)
        os._exit(1)

    for ref in dies.remote():
        with pytest.raises(WorkerCrashedError):
            rsim.get(ref)
    inspecting.await_used_bytes(session)
    marks.await_that(lambda: inspecting.spilled_bytes(session) == 0, "the files to go")


def test_an_object_larger_than_the_store(init):
    init(num_cpus=2, object_store_memory=50 * MIB)
    with pytest.raises(ObjectStoreFullError) as caught:
        rsim.put(block(1, 60))
    assert str(50 * MIB) in str(caught.value)
    assert str(60 * MIB)[:5] in str(caught.value)
    with pytest.raises(ObjectStoreFullError):
        identity.remote(block(1, 60))
    with pytest.raises(ObjectStoreFullError):
        rsim.get(make.remote(1, 60))
    assert is_block(rsim.get(make.remote(2)), 2)


def test_arrays_in_use_cannot_be_moved(init):
    init(num_cpus=2, object_store_memory=50 * MIB)
    arrays = [rsim.get(rsim.put(block(number))) for number in range(4)]
    with pytest.raises(ObjectStoreFullError, match="pinned 4 objects"):
        rsim.put(block(5, 20))
    assert all(is_block(array, number) for number, array in enumerate(arrays))
    del arrays[0]
    assert is_block(rsim.get(rsim.put(block(6))), 6)


def test_the_spill_limit_bounds_the_disk(init):
    session = init(num_cpus=2, object_store_memory=50 * MIB, spill_limit_bytes=25 * MIB)
    refs = []
    with pytest.raises(ObjectStoreFullError, match=f"limit {25 * MIB}"):
        for number in range(10):
            refs.append(rsim.put(block(number)))
    assert 6 <= len(refs) <= 7
    assert inspecting.spilled_bytes(session) <= 25 * MIB
    del refs[3:]  # to read one of the others back, there must be room in memory or on disk
    assert all(is_block(rsim.get(ref), number) for number, ref in enumerate(refs))
    del refs
    inspecting.await_used_bytes(session)
    assert is_block(rsim.get(rsim.put(block(9))), 9)


def test_no_spilling_at_all(init):
    init(num_cpus=2, object_store_memory=50 * MIB, spill_limit_bytes=0)
    refs = [rsim.put(block(number)) for number in range(4)]
    with pytest.raises(ObjectStoreFullError):
        refs.append(rsim.put(block(5, 20)))
    assert len(refs) == 4


def test_tasks_work_through_more_than_fits(init):
    session = init(num_cpus=2, object_store_memory=40 * MIB)

    @rsim.remote
    def larger(first, second):
        return np.maximum(first, second)

    refs = [make.remote(number, 5) for number in range(16)]
    while len(refs) > 1:
        refs = [larger.remote(*pair) for pair in zip(refs[::2], refs[1::2], strict=True)]
    assert is_block(rsim.get(refs[0]), 15, 5)
    inspecting.check(session)


def test_inputs_that_come_while_others_are_missing_stay(init):
    """Results fill the node that a task's inputs must come to: they go to disk, and not in turn
    the inputs that have come already.
    """
    session = init(num_cpus=0, object_store_memory=60 * MIB)
    session.add_node(num_cpus=1, object_store_memory=12 * MIB)

    @rsim.remote
    def zeros():
        return bytes(MIB)

    results = [zeros.remote() for _ in range(8)]
    assert rsim.wait(results, num_returns=8, fetch_local=False) == (results, [])

    @rsim.remote
    def total(*parts):
        return sum(map(len, parts))

    def inputs():
        return [rsim.put(bytes(MIB)) for _ in range(8)]

    assert rsim.get([total.remote(*inputs()) for _ in range(3)], timeout=120) == [8 * MIB] * 3
    assert rsim.get(results) == [bytes(MIB)] * 8
