"""Actors: state, order, failures, and how they end."""

import os
import time
from abc import ABC, abstractmethod

import numpy as np
import pytest

import rsim
from rsim.exceptions import (
    ActorDiedError,
    ActorUnavailableError,
    DeadlockError,
    PendingCallsLimitExceeded,
    RsimTaskError,
    TaskCancelledError,
)
from rsim.runtime import current
from tests.conformance import marks

LARGE = 200_000


@rsim.remote
class Counter:
    """Counts."""

    def __init__(self, start=0):
        self.total = start

    def add(self, amount=1):
        self.total += amount
        return self.total

    def pair(self):
        return self.total, -self.total

    def fail(self):
        raise KeyError("no such thing")

    def die(self):
        os._exit(3)

    def die_once(self, folder):
        """Dies in its first run."""
        marks.leave(folder, "ran")
        if marks.count(folder, "ran") == 1:
            os._exit(3)
        return self.add()

    def work(self, folder, seconds):
        marks.leave(folder, "begun")
        time.sleep(seconds)  # user program
        return "worked"

    def work_until_cancelled(self, folder, error=None):
        marks.leave(folder, "begun")
        marks.await_that(lambda: current.client.context.cancelled)
        if error is not None:
            raise error

    def work_until_told(self, folder):
        marks.leave(folder, "begun")
        marks.await_marks(folder, "told")
        marks.await_that(lambda: current.client.context.cancelled)
        return self.add()


@rsim.remote
class Recorder:
    """Remembers what it was called with."""

    def __init__(self):
        self.seen = []

    def see(self, value, delayed=None):
        self.seen.append(value)

    def all_seen(self):
        return self.seen


@rsim.remote
def add_to(counter, amount):
    return rsim.get(counter.add.remote(amount))


@rsim.remote
def identity(value):
    return value


@rsim.remote
def fail():
    raise ZeroDivisionError("no value")


def is_dead(handle):
    """Whether a call says so."""
    try:
        rsim.get(handle.__ray_ready__.remote())
    except ActorDiedError:
        return True
    except ActorUnavailableError:
        pass
    return False


# -- state and calls -------------------------------------------------------------------------------


def test_it_keeps_its_state(rt):
    first, second = Counter.remote(), Counter.remote(start=100)
    assert rsim.get([first.add.remote(), first.add.remote(5), second.add.remote(amount=2)]) == [
        1,
        6,
        102,
    ]
    assert rsim.get(first.add.remote()) == 7


def test_calls_of_one_caller_run_in_order(rt):
    recorder = Recorder.remote()
    for number in range(100):
        recorder.see.remote(number)
    assert rsim.get(recorder.all_seen.remote()) == list(range(100))


def test_a_call_that_waits_for_its_arguments_holds_up_the_next(rt):
    @rsim.remote
    def late():
        time.sleep(0.05)  # user program

    recorder = Recorder.remote()
    recorder.see.remote(1, late.remote())
    recorder.see.remote(2)
    recorder.see.remote(3, late.remote())
    recorder.see.remote(4)
    assert rsim.get(recorder.all_seen.remote()) == [1, 2, 3, 4]


def test_two_callers_each_have_their_order(rt):
    @rsim.remote
    def call_many(recorder, name):
        rsim.get([recorder.see.remote((name, number)) for number in range(30)])

    recorder = Recorder.remote()
    rsim.get([call_many.remote(recorder, name) for name in "ab"])
    seen = rsim.get(recorder.all_seen.remote())
    assert [number for name, number in seen if name == "a"] == list(range(30))
    assert [number for name, number in seen if name == "b"] == list(range(30))
    assert len(seen) == 60


def test_several_results_and_none(rt):
    counter = Counter.remote(3)
    positive, negative = counter.pair.options(num_returns=2).remote()
    assert rsim.get([positive, negative]) == [3, -3]
    assert counter.add.options(num_returns=0).remote(4) is None
    assert rsim.get(counter.add.remote(0)) == 7


def test_options_of_methods_in_the_class(rt):
    @rsim.remote
    class Pairs:
        @rsim.method(num_returns=2)
        def pair(self):
            return "a", "b"

    assert rsim.get(Pairs.remote().pair.remote()) == ["a", "b"]


def test_static_class_and_inherited_methods(rt):
    class Base:
        kind = "base"

        def greet(self):
            return f"hello {self.name}"

    class Derived(Base):
        kind = "derived"

        def __init__(self, name):
            super().__init__()
            self.name = name

        @staticmethod
        def double(number):
            return 2 * number

        @classmethod
        def which(cls):
            return cls.kind

        def greet(self):
            return super().greet() + "!"

    actor = rsim.remote(Derived).remote("world")
    calls = [actor.greet.remote(), actor.double.remote(4), actor.which.remote()]
    assert rsim.get(calls) == ["hello world!", 8, "derived"]


def test_class_attributes_are_the_actors_own(rt):
    @rsim.remote
    class Shared:
        count = 0

        def grow(self):
            type(self).count += 1
            return self.count

    first, second = Shared.remote(), Shared.remote()
    assert rsim.get([first.grow.remote(), first.grow.remote(), second.grow.remote()]) == [1, 2, 1]
    assert Shared._cls.count == 0


def test_handles_travel(rt):
    counter = Counter.remote()
    assert rsim.get(add_to.remote(counter, 2)) == 2
    (back,) = rsim.get(identity.remote([counter]))
    assert back == counter
    assert {back: 1}[counter] == 1
    assert repr(back) == repr(counter)
    assert rsim.get(back.add.remote()) == 3
    stored = rsim.get(rsim.put({"handle": counter}))["handle"]
    assert rsim.get(stored.add.remote()) == 4
    assert counter != Counter.remote()


def test_an_actor_calls_another_and_creates_more(rt):
    @rsim.remote
    class Manager:
        def __init__(self, counter):
            self.counter = counter
            self.own = Counter.remote(10)

        def add(self, amount):
            mine, other = self.own.add.remote(amount), self.counter.add.remote(amount)
            return rsim.get([mine, other, identity.remote("task")])

        def hand_out(self):
            return self.own

    counter = Counter.remote()
    manager = Manager.remote(counter)
    assert rsim.get(manager.add.remote(5)) == [15, 5, "task"]
    own = rsim.get(manager.hand_out.remote())
    assert rsim.get(own.add.remote()) == 16


def test_an_actor_can_be_handed_itself(rt):
    @rsim.remote
    class Narcissus:
        def take(self, handle):
            self.handle = handle

        def call_oneself(self):
            return self.handle.answer.remote()

        def answer(self):
            return 42

    actor = Narcissus.remote()
    actor.take.remote(actor)
    assert rsim.get(rsim.get(actor.call_oneself.remote())) == 42


def test_arguments_by_ref_and_large_ones(rt):
    recorder = Recorder.remote()
    array = np.arange(LARGE)
    recorder.see.remote(rsim.put(array))
    recorder.see.remote(identity.remote("small"))
    recorder.see.remote(array)
    first, small, second = rsim.get(recorder.all_seen.remote())
    assert small == "small"
    assert (first == array).all()
    assert (second == array).all()


def test_an_argument_that_is_an_error_fails_its_call_only(rt):
    recorder = Recorder.remote()
    rsim.get(recorder.see.remote(1))
    failed = recorder.see.remote(fail.remote())
    recorder.see.remote(2)
    seen = recorder.all_seen.remote()
    with pytest.raises(ZeroDivisionError):
        rsim.get(failed)
    assert rsim.get(seen) == [1, 2]


def test_a_constructor_argument_that_is_an_error(rt):
    counter = Counter.remote(fail.remote())
    text = "Counter is dead: an argument of its constructor is an error: ZeroDivisionError"
    with pytest.raises(ActorDiedError, match=text) as caught:
        rsim.get(counter.add.remote())
    assert caught.value.actor_id == counter._rsim_ref.hex()
    cancelled = rsim.remote(resources={"never": 1})(abs).remote(1)
    counter = Counter.remote(cancelled)
    rsim.cancel(cancelled)
    with pytest.raises(ActorDiedError, match="is an error: TaskCancelledError"):
        rsim.get(counter.add.remote())


def test_special_methods_that_a_class_has(rt):
    @rsim.remote
    class Table:
        async def __aenter__(self):
            return "entered"

        def __len__(self):
            return 3

        def __getitem__(self, key):
            return key

        def __repr__(self):
            return "its own"

        def __eq__(self, other):
            return False

        __hash__ = None

    table = Table.remote()
    assert table == table and {table: 1}
    refs = table.__len__.remote(), table.__getitem__.remote("a"), table.__aenter__.remote()
    assert rsim.get(list(refs)) == [3, "a", "entered"]
    assert repr(table).startswith("Actor(Table")
    for name in ("__setitem__", "__contains__"):
        with pytest.raises(AttributeError, match=f"no method '{name}'"):
            getattr(table, name)


def test_an_abstract_class_is_refused_when_it_is_called(rt):
    class Shape(ABC):
        @abstractmethod
        def area(self): ...

    class Square(Shape):
        def area(self):
            return 4

    with pytest.raises(TypeError, match="Shape is an abstract class"):
        rsim.remote(Shape).remote()
    assert rsim.get(rsim.remote(Square).remote().area.remote()) == 4


def test_wait_and_many_actors(rt):
    actors = [Counter.remote(number) for number in range(30)]
    refs = [actor.add.remote() for actor in actors]
    ready, rest = rsim.wait(refs, num_returns=30)
    assert rest == []
    assert rsim.get(ready) == list(range(1, 31))


def test_hidden_methods(rt):
    counter = Counter.remote(1)
    assert rsim.get(counter.__ray_ready__.remote()) is True
    assert rsim.get(counter.__ray_call__.remote(lambda self, by: self.total + by, 4)) == 5
    last = counter.add.remote()
    with pytest.raises(ActorDiedError):
        rsim.get(counter.__ray_terminate__.remote())
    assert rsim.get(last) == 2
    assert is_dead(counter)


# -- mistakes --------------------------------------------------------------------------------------


def test_wrong_calls_are_told_where_they_are_made(rt):
    with pytest.raises(TypeError, match=r"Counter\(start=\.\.\.\): too many positional"):
        Counter.remote(1, 2)
    counter = Counter.remote()
    with pytest.raises(TypeError, match=r"Counter\.add\(amount=\.\.\.\): got an unexpected"):
        counter.add.remote(by=1)
    with pytest.raises(AttributeError, match=r"Counter has no method 'sub'; it has add, "):
        counter.sub  # noqa: B018
    with pytest.raises(TypeError, match=r"use add\.remote\(\)"):
        counter.add()
    with pytest.raises(TypeError, match=r"use Counter\.remote\(\)"):
        Counter()
    with pytest.raises(TypeError, match="Inheriting"):

        class Derived(Counter):
            pass

    with pytest.raises(ValueError, match="handle of an actor"):
        rsim.kill(counter.add.remote())
    with pytest.raises(TypeError, match="methods of an actor"):
        rsim.actor.exit_actor()


def test_pending_calls_have_a_limit(rt, tmp_path):
    counter = Counter.options(max_pending_calls=2).remote()
    refs = [counter.work.remote(tmp_path, 0.2), counter.add.remote()]
    with pytest.raises(PendingCallsLimitExceeded, match="max_pending_calls is 2"):
        counter.add.remote()
    rsim.get(refs)
    assert rsim.get(counter.add.remote()) == 2


# -- errors and death ------------------------------------------------------------------------------


def test_an_exception_leaves_the_actor_alive(rt):
    counter = Counter.remote()
    failed = counter.fail.remote()
    with pytest.raises(KeyError) as caught:
        rsim.get(failed)
    assert isinstance(caught.value, RsimTaskError)
    assert "Counter.fail" in str(caught.value)
    assert rsim.get(counter.add.remote()) == 1


def test_exceptions_are_retried_if_asked(rt, tmp_path):
    @rsim.remote
    class Flaky:
        @rsim.method(max_task_retries=2, retry_exceptions=[KeyError])
        def run(self, folder):
            marks.leave(folder, "ran")
            if marks.count(folder, "ran") < 3:
                raise KeyError
            return marks.count(folder, "ran")

    assert rsim.get(Flaky.remote().run.remote(tmp_path)) == 3


def test_a_constructor_that_raises(rt):
    @rsim.remote
    class Broken:
        def __init__(self):
            raise ValueError("no way")

        def run(self):
            pass

    with pytest.raises(ActorDiedError, match=r"Broken is dead: .*ValueError: no way"):
        rsim.get(Broken.remote().run.remote())


@pytest.mark.parametrize("max_restarts", [0, 2])
def test_a_constructor_that_kills_its_worker(rt, tmp_path, max_restarts):
    @rsim.remote(max_restarts=max_restarts)
    class Fatal:
        def __init__(self, folder):
            marks.leave(folder, "made")
            os._exit(3)

        def run(self):
            pass

    with pytest.raises(ActorDiedError, match="Fatal is dead"):
        rsim.get(Fatal.remote(tmp_path).run.remote())
    assert marks.count(tmp_path, "made") == max_restarts + 1


def test_restarts_that_fail_count(rt, tmp_path):
    @rsim.remote(max_restarts=2, max_task_retries=-1)
    class Fragile:
        def __init__(self, folder):
            marks.leave(folder, "made")
            if marks.count(folder, "made") > 1:
                os._exit(3)

        def die(self):
            os._exit(3)

    with pytest.raises(ActorDiedError, match="Fragile is dead"):
        rsim.get(Fragile.remote(tmp_path).die.remote())
    assert marks.count(tmp_path, "made") == 3


def test_death_ends_all_calls(rt):
    counter = Counter.remote()
    refs = [counter.add.remote(), counter.die.remote(), *(counter.add.remote() for _ in range(5))]
    assert rsim.get(refs[0]) == 1
    for ref in refs[1:]:
        with pytest.raises(ActorDiedError, match="Counter is dead: its worker died"):
            rsim.get(ref)
    assert is_dead(counter)


def test_a_restarted_actor_begins_anew(rt):
    counter = Counter.options(max_restarts=1).remote(10)
    assert rsim.get(counter.add.remote()) == 11
    with pytest.raises(ActorUnavailableError, match=r"Counter\.die"):
        rsim.get(counter.die.remote())
    assert rsim.get(counter.add.options(max_task_retries=1).remote()) == 11
    with pytest.raises(ActorDiedError):
        rsim.get(counter.die.remote())
    assert is_dead(counter)


def test_interrupted_calls_are_made_again(rt, tmp_path):
    counter = Counter.options(max_restarts=-1, max_task_retries=-1).remote(10)
    refs = [counter.die_once.remote(tmp_path), *(counter.add.remote() for _ in range(5))]
    assert rsim.get(refs) == [11, 12, 13, 14, 15, 16]
    assert marks.count(tmp_path, "ran") == 2


def test_retries_by_call(rt, tmp_path):
    counter = Counter.options(max_restarts=-1).remote()
    assert rsim.get(counter.die_once.options(max_task_retries=1).remote(tmp_path)) == 1


def test_kill(rt, tmp_path):
    counter = Counter.options(max_restarts=-1, max_task_retries=-1).remote()
    refs = [counter.work.remote(tmp_path, 1000), counter.add.remote()]
    marks.await_marks(tmp_path, "begun")
    rsim.kill(counter)
    for ref in refs:
        with pytest.raises(ActorDiedError, match=r"killed by rsim\.kill\(\)"):
            rsim.get(ref)
    assert is_dead(counter)
    rsim.kill(counter)


@pytest.mark.parametrize("no_restart", [True, False])
def test_kill_before_it_is_created(rt, no_restart):
    counter = Counter.options(resources={"nowhere": 1}).remote()
    ref = counter.add.remote()
    rsim.kill(counter, no_restart=no_restart)
    with pytest.raises(ActorDiedError, match=r"Counter is dead: it was killed by rsim\.kill\(\)"):
        rsim.get(ref)


def test_kill_and_restart(rt):
    counter = Counter.options(max_restarts=1, max_task_retries=-1).remote()
    assert rsim.get(counter.add.remote(5)) == 5
    rsim.kill(counter, no_restart=False)
    marks.await_that(lambda: rsim.get(counter.add.remote(0)) == 0, "the restart")


def test_exit_actor(rt):
    @rsim.remote(max_restarts=-1, max_task_retries=-1)
    class Leaver:
        def leave(self):
            rsim.actor.exit_actor()

        def run(self):
            return "ran"

    actor = Leaver.remote()
    before, leaving, after = actor.run.remote(), actor.leave.remote(), actor.run.remote()
    assert rsim.get(before) == "ran"
    for ref in (leaving, after):
        with pytest.raises(ActorDiedError, match="exit_actor"):
            rsim.get(ref)


def test_cancel(rt, tmp_path):
    counter = Counter.remote()
    running, queued = counter.work_until_cancelled.remote(tmp_path), counter.add.remote()
    last = counter.add.remote()
    marks.await_marks(tmp_path, "begun")
    with pytest.raises(ValueError, match="force"):
        rsim.cancel(running, force=True)
    for ref in (queued, running):
        rsim.cancel(ref)
        with pytest.raises(TaskCancelledError):
            rsim.get(ref)
    assert rsim.get(last) == 1


def test_a_running_call_is_not_interrupted_but_has_no_result(rt, tmp_path):
    counter = Counter.remote()
    running = counter.work_until_told.remote(tmp_path)
    marks.await_marks(tmp_path, "begun")
    rsim.cancel(running)
    marks.leave(tmp_path, "told")
    with pytest.raises(TaskCancelledError):
        rsim.get(running)
    assert rsim.get(counter.add.remote()) == 2  # it did run


def test_an_error_of_a_cancelled_call_stands(rt, tmp_path):
    running = Counter.remote().work_until_cancelled.remote(tmp_path, KeyError("gave up"))
    marks.await_marks(tmp_path, "begun")
    rsim.cancel(running)
    with pytest.raises(KeyError):
        rsim.get(running)


# -- lifetime and resources ------------------------------------------------------------------------


def test_without_num_cpus_it_holds_none(init):
    init(num_cpus=1)
    actors = [Counter.remote(number) for number in range(3)]
    assert rsim.get([actor.add.remote() for actor in actors]) == [1, 2, 3]
    assert rsim.get(identity.remote("room")) == "room"


def test_num_cpus_are_held_until_the_last_handle_is_gone(init):
    init(num_cpus=1)
    counter = Counter.options(num_cpus=1).remote()
    assert rsim.get(counter.add.remote()) == 1
    ref = identity.remote("room")
    assert rsim.wait([ref], timeout=0.1) == ([], [ref])
    last = counter.add.remote()
    del counter
    assert rsim.get([ref, last]) == ["room", 2]


def test_killing_frees_its_resources(init):
    init(num_cpus=1, resources={"slot": 1})
    first = Counter.options(num_cpus=1, resources={"slot": 1}).remote()
    second = Counter.options(num_cpus=1, resources={"slot": 1}).remote(10)
    assert rsim.get(first.add.remote()) == 1
    rsim.kill(first)
    assert rsim.get(second.add.remote()) == 11


@rsim.remote
class Waiter:
    def wait_for(self, value):
        return rsim.get(identity.remote(value))


def test_an_actor_that_asked_for_no_cpu_takes_none(init):
    init(num_cpus=1)
    assert rsim.get(Waiter.remote().wait_for.remote(3)) == 3


def test_an_actor_that_holds_the_last_cpu_waits_for_others_in_vain(init):
    init(num_cpus=1)
    with pytest.raises(DeadlockError, match="identity"):
        rsim.get(Waiter.options(num_cpus=1).remote().wait_for.remote(3))


def test_an_actor_outlives_the_task_that_created_it(rt):
    @rsim.remote
    def create():
        return Counter.remote(7)

    counter = rsim.get(create.remote())
    assert rsim.get(counter.add.remote()) == 8


# -- in a simulation -------------------------------------------------------------------------------


def simulate(seed, faults):
    """Tasks and actors that call actors, under faults; the results and the digest."""
    cluster = rsim.sim.Cluster(nodes=3, num_cpus=2, jitter_s=1e-3)
    with rsim.init("sim", cluster=cluster, seed=seed, faults=faults) as session:
        immortal = Counter.options(max_restarts=-1, max_task_retries=-1)
        counters = [immortal.remote(100 * number) for number in range(4)]
        task = add_to.options(max_retries=-1)
        refs = [task.remote(counters[number % 4], 1) for number in range(12)]
        refs += [counter.add.remote(2) for counter in counters for _ in range(5)]
        return rsim.get(refs), session.digest()


@pytest.mark.parametrize("seed", range(30))
def test_every_call_is_answered_whatever_dies(seed):
    faults = rsim.sim.Faults(kill_worker=0.2, kill_node=0.03, max_faults=6)
    results, digest = simulate(seed, faults)
    assert len(results) == 32
    assert simulate(seed, faults) == (results, digest)


def test_without_faults_nothing_is_lost_or_done_twice():
    for seed in range(5):
        results, _ = simulate(seed, rsim.sim.Faults())
        highest = [max(each for each in results if each // 100 == number) for number in range(4)]
        assert highest == [13, 113, 213, 313]


def test_an_actor_of_a_dead_node_is_created_elsewhere():
    slotted = {"num_cpus": 1, "resources": {"slot": 1}}
    nodes = [rsim.sim.Node(num_cpus=1), rsim.sim.Node(**slotted), rsim.sim.Node(**slotted)]
    with rsim.init("sim", cluster=rsim.sim.Cluster(nodes)) as session:
        options = {"resources": {"slot": 1}, "max_restarts": 1, "max_task_retries": -1}
        counter = Counter.options(**options).remote()
        assert rsim.get(counter.add.remote(5)) == 5
        (home,) = {span.node for span in session.trace.spans if span.name == "Counter.add"}
        session.kill_node(home)
        assert rsim.get(counter.add.remote()) == 1
