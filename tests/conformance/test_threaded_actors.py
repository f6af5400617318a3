"""Actors with `max_concurrency` and plain methods: each call in a thread of its own."""

import os
import time

import pytest

import rsim
from rsim.exceptions import ActorDiedError, ActorUnavailableError, TaskCancelledError
from rsim.runtime import current
from tests.conformance import marks


@rsim.remote
def later(value):
    time.sleep(0.01)  # user program
    return value


@rsim.remote(max_concurrency=3)
class Crew:
    """Calls that meet each other, by marks in a folder."""

    def __init__(self):
        self.running = 0

    def meet(self, folder, name, others):
        """Returns when the others are here, too."""
        marks.leave(folder, name)
        marks.await_marks(folder, *others)
        return name

    def most(self):
        self.running += 1
        most = self.running
        time.sleep(0.001)  # user program
        self.running -= 1
        return most

    def ask(self, value):
        return rsim.get(later.remote(value))

    def ask_in_turn(self, values):
        return [rsim.get(later.remote(value)) for value in values]

    def wait(self, refs):
        return len(rsim.wait(refs, num_returns=len(refs))[0])

    def given(self, value):
        return value

    def whose(self):
        first = current.client.context.task.task_id
        time.sleep(0.001)  # user program
        return first == current.client.context.task.task_id, first

    def until_cancelled(self, folder):
        marks.leave(folder, "begun")
        marks.await_that(lambda: current.client.context.cancelled)
        return "too late"

    def fail(self):
        raise KeyError("no such thing")

    def die(self):
        os._exit(3)

    def leave(self):
        rsim.actor.exit_actor()


def test_calls_run_at_the_same_time(rt, tmp_path):
    crew = Crew.remote()
    names = ["a", "b", "c"]
    assert rsim.get([crew.meet.remote(tmp_path, name, names) for name in names]) == names


def test_no_more_than_max_concurrency(rt):
    crew = Crew.remote()
    assert max(rsim.get([crew.most.remote() for _ in range(20)])) <= 3


def test_many_calls_block_at_the_same_time(rt):
    crew = Crew.remote()
    assert rsim.get([crew.ask.remote(number) for number in range(10)]) == list(range(10))
    in_turn = [crew.ask_in_turn.remote([number] * 5) for number in range(3)]
    assert rsim.get(in_turn) == [[number] * 5 for number in range(3)]
    assert rsim.get(crew.wait.remote([later.remote(0), later.remote(1)])) == 2


def test_a_blocked_call_does_not_look_like_a_deadlock(rt, tmp_path):
    crew = Crew.remote()
    first = crew.meet.remote(tmp_path, "a", ["b"])
    second = crew.wait.remote([first])
    marks.await_marks(tmp_path, "a")
    time.sleep(0.5)  # user program: longer than it takes to suspect one
    third = crew.meet.remote(tmp_path, "b", [])
    assert rsim.get([first, second, third]) == ["a", 1, "b"]


def test_a_call_that_waits_for_its_arguments_holds_up_no_other(rt, tmp_path):
    crew = Crew.remote()
    blocked = crew.given.remote(crew.meet.remote(tmp_path, "a", ["b"]))
    assert rsim.get(crew.given.remote("first")) == "first"
    marks.leave(tmp_path, "b")
    assert rsim.get(blocked) == "a"


@rsim.remote(allow_out_of_order_execution=True)
class Log:
    def __init__(self):
        self.seen = []

    def add(self, value):
        self.seen.append(value)
        return list(self.seen)


def test_one_call_at_a_time_may_be_out_of_order_too(rt, tmp_path):
    crew, log = Crew.remote(), Log.remote()
    late = log.add.remote(crew.meet.remote(tmp_path, "a", ["b"]))
    assert rsim.get(log.add.remote("first")) == ["first"]
    marks.leave(tmp_path, "b")
    assert rsim.get(late) == ["first", "a"]


@rsim.remote(concurrency_groups={"io": 2})
class Grouped:
    @rsim.method(concurrency_group="io")
    def meet(self, folder, name, others):
        marks.leave(folder, name)
        marks.await_marks(folder, *others)
        return name

    def open(self, folder):
        marks.leave(folder, "open")


def test_concurrency_groups(rt, tmp_path):
    grouped = Grouped.remote()
    waiting = [grouped.meet.remote(tmp_path, name, ["a", "b", "open"]) for name in "ab"]
    waiting += [grouped.meet.remote(tmp_path, "c", ["open"]) for _ in range(300)]
    rsim.get(grouped.open.remote(tmp_path))
    assert rsim.get(waiting)[:3] == ["a", "b", "c"]


def test_each_call_has_its_own_context(rt):
    crew = Crew.remote()
    answers = rsim.get([crew.whose.remote() for _ in range(9)])
    assert all(own for own, _ in answers)
    assert len({task_id for _, task_id in answers}) == 9


# -- cancellation ----------------------------------------------------------------------------------


def test_cancelling_a_running_call_only_tells_it(rt, tmp_path):
    ref = Crew.remote().until_cancelled.remote(tmp_path)
    marks.await_marks(tmp_path, "begun")
    rsim.cancel(ref)
    with pytest.raises(TaskCancelledError):
        rsim.get(ref)


def test_cancelling_a_call_that_waits_for_its_turn(rt, tmp_path):
    crew = Crew.remote()
    running = [crew.meet.remote(tmp_path, name, ["end"]) for name in "abc"]
    waiting = crew.meet.remote(tmp_path, "d", [])
    marks.await_marks(tmp_path, "a", "b", "c")
    rsim.cancel(waiting)
    with pytest.raises(TaskCancelledError):
        rsim.get(waiting)
    marks.leave(tmp_path, "end")
    assert rsim.get(running) == ["a", "b", "c"]
    assert not marks.count(tmp_path, "d")


# -- ends ------------------------------------------------------------------------------------------


def test_an_error_ends_one_call_only(rt):
    crew = Crew.remote()
    failing, fine = crew.fail.remote(), crew.given.remote(1)
    with pytest.raises(KeyError):
        rsim.get(failing)
    assert rsim.get(fine) == 1


def test_a_dead_worker_ends_all_its_calls(rt, tmp_path):
    crew = Crew.options(max_restarts=1).remote()
    running = [crew.meet.remote(tmp_path, name, ["never"]) for name in "ab"]
    marks.await_marks(tmp_path, "a", "b")
    for ref in (*running, crew.die.remote()):
        with pytest.raises(ActorUnavailableError):
            rsim.get(ref)
    assert rsim.get(crew.given.options(max_task_retries=1).remote("again")) == "again"


def test_killing_it_ends_all_its_calls(rt, tmp_path):
    crew = Crew.remote()
    running = [crew.meet.remote(tmp_path, name, ["never"]) for name in "abcd"]
    marks.await_marks(tmp_path, "a", "b", "c")
    rsim.kill(crew)
    for ref in running:
        with pytest.raises(ActorDiedError):
            rsim.get(ref)


@pytest.mark.parametrize("method", ["leave", "__ray_terminate__"])
def test_an_actor_that_exits_ends_what_it_has_begun(rt, tmp_path, method):
    crew = Crew.remote()
    begun = crew.meet.remote(tmp_path, "a", ["b"])
    marks.await_marks(tmp_path, "a")
    exiting = getattr(crew, method).remote()
    marks.leave(tmp_path, "b")
    assert rsim.get(begun) == "a"
    with pytest.raises(ActorDiedError):
        rsim.get(exiting)
    with pytest.raises(ActorDiedError):
        rsim.get(crew.given.remote(1))


def test_it_ends_when_its_calls_are_done(rt, tmp_path):
    crew = Crew.remote()
    refs = [crew.meet.remote(tmp_path, name, ["end"]) for name in "abcde"]
    marks.await_marks(tmp_path, "a", "b", "c")
    del crew
    marks.leave(tmp_path, "end")
    assert rsim.get(refs) == list("abcde")
