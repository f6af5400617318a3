"""Actors with `async def` methods: what runs at the same time, what it may await, how it ends."""

import asyncio
import contextvars
import os
import time

import numpy as np
import pytest

import rsim
from rsim.exceptions import (
    ActorDiedError,
    ActorUnavailableError,
    RsimTaskError,
    TaskCancelledError,
)
from rsim.runtime import current
from tests.conformance import marks


@rsim.remote
def later(value):
    time.sleep(0.01)  # user program
    return value


@rsim.remote
def fail():
    raise KeyError("no such thing")


@rsim.remote
class Meeting:
    """Calls that wait for each other."""

    def __init__(self):
        self.here = 0
        self.most = 0
        self.loop = asyncio.get_running_loop()
        self.door = asyncio.Event()

    async def wait(self):
        """Returns when somebody calls `open`."""
        self.here += 1
        self.most = max(self.most, self.here)
        await self.door.wait()
        self.here -= 1
        return self.most

    async def open(self, expected=0):
        while self.here < expected:
            await asyncio.sleep(0.001)
        self.door.set()

    def present(self):
        """A plain method."""
        return self.here

    def on_its_loop(self):
        return asyncio.get_running_loop() is self.loop

    async def linger(self, folder):
        """Until it is cancelled."""
        marks.leave(folder, "begun")
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            marks.leave(folder, "cancelled")
            raise

    async def stubborn(self, folder):
        marks.leave(folder, "begun")
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            return "not at all"

    async def die(self, folder):
        os._exit(3)


@rsim.remote
class Caller:
    """Uses refs."""

    def __init__(self):
        self.flavour = contextvars.ContextVar("flavour", default="plain")

    async def one(self):
        return await later.remote(1)

    async def many(self):
        return await asyncio.gather(*[later.remote(number) for number in range(5)])

    async def wait(self):
        done, pending = await asyncio.wait([later.remote(number) for number in range(3)])
        return len(done), len(pending)

    async def failing(self):
        await fail.remote()

    async def blocking(self):
        return rsim.get(later.remote("got")), len(rsim.wait([later.remote(0)])[0])

    async def put(self):
        return await rsim.put("put")

    async def large(self):
        return np.zeros(100_000), await later.remote(np.ones(100_000))

    async def given(self, value):
        return value

    async def task(self):
        await asyncio.sleep(0)
        mine = current.client.context.task.task_id
        await later.remote(0)
        inner = await asyncio.create_task(self.inner())
        return mine == inner == current.client.context.task.task_id, mine

    async def inner(self):
        await asyncio.sleep(0)
        return current.client.context.task.task_id

    async def paint(self, colour):
        before = self.flavour.get()
        self.flavour.set(colour)
        await asyncio.sleep(0)
        return before, self.flavour.get()

    async def raising(self, error):
        await asyncio.sleep(0)
        raise error

    async def pair(self):
        return 1, 2


# -- what runs at the same time --------------------------------------------------------------------


def test_calls_run_while_others_wait(rt):
    meeting = Meeting.remote()
    waiting = [meeting.wait.remote() for _ in range(20)]
    rsim.get(meeting.open.remote(20))
    assert set(rsim.get(waiting)) == {20}


def test_plain_methods_run_on_the_loop_too(rt):
    meeting = Meeting.remote()
    waiting = meeting.wait.remote()
    assert rsim.get(meeting.on_its_loop.remote())
    assert rsim.get(meeting.present.remote()) == 1
    rsim.get(meeting.open.remote())
    assert rsim.get(waiting) == 1


def test_no_more_than_max_concurrency(rt):
    meeting = Meeting.options(max_concurrency=2).remote()
    rsim.get(meeting.open.remote())
    assert max(rsim.get([meeting.wait.remote() for _ in range(10)])) <= 2
    meeting = Meeting.options(max_concurrency=1).remote()
    rsim.get(meeting.open.remote())
    assert max(rsim.get([meeting.wait.remote() for _ in range(10)])) == 1


def test_more_calls_than_are_sent_ahead(rt):
    meeting = Meeting.remote()
    waiting = [meeting.wait.remote() for _ in range(999)]
    rsim.get(meeting.open.remote(999))
    assert rsim.get(waiting)[0] == 999


def test_results_are_sent_as_soon_as_each_call_ends(rt):
    meeting = Meeting.remote()
    waiting = meeting.wait.remote()
    present = meeting.present.remote()
    assert rsim.wait([waiting, present], num_returns=1)[0] == [present]


def test_a_call_that_waits_for_its_arguments_holds_up_no_other(rt):
    caller, meeting = Caller.remote(), Meeting.remote()
    blocked = caller.given.remote(meeting.wait.remote())
    assert rsim.get(caller.given.remote("first")) == "first"
    rsim.get(meeting.open.remote())
    assert rsim.get(blocked) == 1


@rsim.remote(concurrency_groups={"io": 2})
class Grouped:
    """Counts how many calls of a group run at a time."""

    def __init__(self):
        self.running = 0
        self.gate = asyncio.Event()

    @rsim.method(concurrency_group="io")
    async def io(self):
        self.running += 1
        most = self.running
        await asyncio.sleep(0.001)
        self.running -= 1
        return most

    @rsim.method(concurrency_group="io")
    async def hold(self):
        await self.gate.wait()

    async def release(self):
        self.gate.set()


def test_concurrency_groups(rt):
    grouped = Grouped.remote()
    assert max(rsim.get([grouped.io.remote() for _ in range(10)])) == 2
    held = [grouped.hold.remote() for _ in range(600)]
    rsim.get(grouped.release.remote())  # of the default group, which has room
    rsim.get(held)
    by_call = grouped.release.options(concurrency_group="io").remote()
    assert rsim.get(by_call) is None


# -- what it may do --------------------------------------------------------------------------------


def test_awaiting_refs(rt):
    caller = Caller.remote()
    assert rsim.get(caller.one.remote()) == 1
    assert rsim.get(caller.many.remote()) == list(range(5))
    assert rsim.get(caller.wait.remote()) == (3, 0)
    assert rsim.get(caller.put.remote()) == "put"
    with pytest.raises(KeyError):
        rsim.get(caller.failing.remote())
    large, awaited = rsim.get(caller.large.remote())
    assert large.sum() == 0
    assert awaited.sum() == 100_000


def test_blocking_calls_work(rt):
    assert rsim.get(Caller.remote().blocking.remote()) == ("got", 1)


def test_blocking_calls_are_warned_of_once(rt, capfd):
    caller = Caller.remote()
    rsim.get([caller.blocking.remote() for _ in range(3)])
    rsim.shutdown()
    shown = "".join(capfd.readouterr())
    assert shown.count("get() in an asynchronous actor blocks all its calls") == 1


def test_each_call_has_its_own_context(rt):
    caller = Caller.remote()
    answers = rsim.get([caller.task.remote() for _ in range(5)])
    assert all(own for own, _ in answers)
    assert len({task_id for _, task_id in answers}) == 5
    colours = rsim.get([caller.paint.remote(colour) for colour in ("red", "green")])
    assert colours == [("plain", "red"), ("plain", "green")]


def test_num_returns(rt):
    assert rsim.get(Caller.remote().pair.options(num_returns=2).remote()) == [1, 2]


def test_errors(rt):
    caller = Caller.remote()
    for error, kind in ((KeyError("x"), KeyError), (KeyboardInterrupt(), TaskCancelledError)):
        with pytest.raises(RsimTaskError) as caught:
            rsim.get(caller.raising.remote(error))
        assert isinstance(caught.value.cause, kind)
    assert rsim.get(caller.one.remote()) == 1


def test_a_call_that_exits_with_an_error_crashes_the_actor(rt):
    caller = Caller.remote()
    with pytest.raises(ActorDiedError, match="exit code 3"):
        rsim.get(caller.raising.remote(SystemExit(3)))
    with pytest.raises(ActorDiedError):
        rsim.get(caller.one.remote())


@rsim.remote
class Broken:
    def __init__(self):
        raise ValueError("not today")

    async def method(self):
        pass


def test_a_constructor_that_raises(rt):
    with pytest.raises(ActorDiedError, match="not today"):
        rsim.get(Broken.remote().method.remote())
    assert rsim.get(later.remote(1)) == 1  # its worker is of use again


# -- cancellation ----------------------------------------------------------------------------------


def test_cancelling_a_running_call(rt, tmp_path):
    meeting = Meeting.remote()
    ref = meeting.linger.remote(tmp_path)
    marks.await_marks(tmp_path, "begun")
    rsim.cancel(ref)
    with pytest.raises(TaskCancelledError) as caught:
        rsim.get(ref)
    assert isinstance(caught.value, RsimTaskError)
    assert caught.value.task_id == ref.task_id()
    marks.await_marks(tmp_path, "cancelled")
    assert rsim.get(meeting.present.remote()) == 0


def test_a_call_that_was_cancelled_is_not_made_again(rt, tmp_path):
    @rsim.remote(max_task_retries=-1)
    class Keen:
        @rsim.method(retry_exceptions=True)
        async def linger(self, folder):
            marks.leave(folder, "begun")
            await asyncio.sleep(3600)

        @rsim.method(retry_exceptions=True, num_returns=2)
        async def two(self, folder):
            await self.linger(folder)

    keen = Keen.remote()
    refs = [keen.linger.remote(tmp_path), *keen.two.remote(tmp_path)]
    marks.await_that(lambda: marks.count(tmp_path, "begun") == 2)
    for ref in refs[:2]:
        rsim.cancel(ref)
    for ref in refs:
        with pytest.raises(TaskCancelledError):
            rsim.get(ref)
    assert marks.count(tmp_path, "begun") == 2


def test_a_cancelled_call_has_no_result_whatever_it_returns(rt, tmp_path):
    ref = Meeting.remote().stubborn.remote(tmp_path)
    marks.await_marks(tmp_path, "begun")
    rsim.cancel(ref)
    with pytest.raises(TaskCancelledError):
        rsim.get(ref)


def test_cancelling_a_call_that_waits_for_its_turn(rt, tmp_path):
    meeting = Meeting.options(max_concurrency=1).remote()
    running, waiting = meeting.linger.remote(tmp_path), meeting.open.remote()
    marks.await_marks(tmp_path, "begun")
    rsim.cancel(waiting)
    with pytest.raises(TaskCancelledError) as caught:
        rsim.get(waiting)
    assert not isinstance(caught.value, RsimTaskError)
    rsim.cancel(running)
    with pytest.raises(TaskCancelledError):
        rsim.get(running)
    assert rsim.get(meeting.present.remote()) == 0


@rsim.remote
class Parent:
    async def go(self, child, folder):
        return await child.linger.remote(folder)


def test_cancelling_reaches_what_the_call_has_submitted(rt, tmp_path):
    meeting, parent = Meeting.remote(), Parent.remote()
    ref = parent.go.remote(meeting, tmp_path)
    marks.await_marks(tmp_path, "begun")
    rsim.cancel(ref)
    with pytest.raises(TaskCancelledError):
        rsim.get(ref)
    marks.await_marks(tmp_path, "cancelled")


# -- ends ------------------------------------------------------------------------------------------


def test_a_dead_worker_ends_all_its_calls(rt, tmp_path):
    meeting = Meeting.options(max_restarts=1).remote()
    waiting = [meeting.wait.remote() for _ in range(5)]
    rsim.get(meeting.present.remote())
    dying = meeting.die.remote(tmp_path)
    for ref in (*waiting, dying):
        with pytest.raises(ActorUnavailableError):
            rsim.get(ref)
    assert rsim.get(meeting.present.options(max_task_retries=-1).remote()) == 0


def test_killing_it_ends_all_its_calls(rt):
    meeting = Meeting.remote()
    waiting = [meeting.wait.remote() for _ in range(5)]
    rsim.get(meeting.present.remote())
    rsim.kill(meeting)
    for ref in waiting:
        with pytest.raises(ActorDiedError):
            rsim.get(ref)


@rsim.remote
class Server:
    """Ends its calls one after the other."""

    async def nap(self, folder, seconds):
        marks.leave(folder, "begun")
        await asyncio.sleep(seconds)
        return "rested"

    async def leave(self):
        rsim.actor.exit_actor()

    async def start(self, folder):
        """Something that goes on when the call is over."""
        self.background = asyncio.create_task(self.watch(folder))

    async def watch(self, folder):
        marks.leave(folder, "watching")
        try:
            await asyncio.sleep(1000)
        finally:
            marks.leave(folder, "over")


@rsim.remote
class Leaver:
    """Ends by an asyncio task of its own."""

    def __init__(self, at_once=False):
        if at_once:
            self.background = asyncio.create_task(self.leave())

    async def leave(self):
        rsim.actor.exit_actor()

    async def start(self):
        self.background = asyncio.create_task(self.leave())
        await asyncio.sleep(0)
        return "started"

    async def leave_within(self):
        await asyncio.gather(asyncio.create_task(self.leave()))


@pytest.mark.parametrize("way", ["start", "leave_within", "at_once"])
def test_an_actor_exits_by_a_task_of_its_own(rt, way):
    leaver = Leaver.remote(way == "at_once")
    if way == "start":
        assert rsim.get(leaver.start.remote()) == "started"
    if way == "leave_within":
        with pytest.raises(ActorDiedError, match=r"exit_actor\(\)"):
            rsim.get(leaver.leave_within.remote())
    marks.await_that(lambda: has_exited(leaver), "the actor's end")


def has_exited(actor):
    """A call that comes at the same moment may still be run."""
    try:
        return not rsim.get(actor.__ray_ready__.remote())
    except ActorDiedError as error:
        return "exit_actor()" in str(error)


@pytest.mark.parametrize("method", ["leave", "__ray_terminate__"])
def test_an_actor_that_exits_ends_what_it_has_begun(rt, tmp_path, method):
    server = Server.remote()
    begun = server.nap.remote(tmp_path, 0.05)
    marks.await_marks(tmp_path, "begun")
    exiting = getattr(server, method).remote()
    assert rsim.get(begun) == "rested"
    with pytest.raises(ActorDiedError):
        rsim.get(exiting)
    with pytest.raises(ActorDiedError):
        rsim.get(server.nap.remote(tmp_path, 0))


def test_it_ends_when_its_calls_are_done(rt, tmp_path):
    server = Server.remote()
    ref = server.nap.remote(tmp_path, 0.05)
    del server
    assert rsim.get(ref) == "rested"


def test_what_still_runs_in_the_background_is_cancelled_at_the_end(rt, tmp_path):
    server = Server.remote()
    rsim.get(server.start.remote(tmp_path))
    marks.await_marks(tmp_path, "watching")
    del server
    marks.await_that(lambda: rsim.get(later.remote(1)) and marks.count(tmp_path, "over"))


def test_calls_are_made_again_when_the_worker_dies(rt, tmp_path):
    @rsim.remote(max_restarts=1, max_task_retries=1)
    class Frail:
        async def work(self, folder):
            marks.leave(folder, "ran")
            if marks.count(folder, "ran") == 5:
                os._exit(3)
            while marks.count(folder, "ran") < 5:
                await asyncio.sleep(0.001)
            return "worked"

    frail = Frail.remote()
    assert rsim.get([frail.work.remote(tmp_path) for _ in range(5)]) == ["worked"] * 5


def test_what_a_call_submits_before_it_is_told_of_its_cancellation_goes_with_it(rt):
    @rsim.remote
    class Parent:
        def __init__(self):
            self.children = []

        async def work(self, child):
            self.children = [child.work.remote() for _ in range(3)]
            await asyncio.Event().wait()

        def told(self):
            return self.children

    @rsim.remote
    class Child:
        async def work(self):
            await asyncio.Event().wait()

    parent, child = Parent.remote(), Child.remote()
    rsim.get([parent.told.remote(), child.__ray_ready__.remote()])
    for _ in range(5):
        call = parent.work.remote(child)
        assert rsim.wait([call], timeout=0) == ([], [call])  # it may have begun, or not
        rsim.cancel(call)
        for ref in (call, *rsim.get(parent.told.remote())):
            with pytest.raises(TaskCancelledError):
                rsim.get(ref, timeout=60)


@rsim.remote
class Reckless:
    """Lays hands on its event loop."""

    async def cancel_all(self):
        for task in asyncio.all_tasks():
            task.cancel()
        await asyncio.sleep(0)

    async def stop(self):
        asyncio.get_running_loop().stop()
        await asyncio.Event().wait()

    async def answer(self):
        return 42


def test_an_actor_that_cancels_all_tasks_of_its_loop_lives_on(rt):
    actor = Reckless.remote()
    with pytest.raises(TaskCancelledError):
        rsim.get(actor.cancel_all.remote())
    assert rsim.get(actor.answer.remote()) == 42


def test_one_that_stops_its_loop_dies(rt):
    actor = Reckless.remote()
    with pytest.raises((ActorDiedError, RsimTaskError)):
        rsim.get(actor.stop.remote())
    with pytest.raises(ActorDiedError):
        rsim.get(actor.answer.remote())
    assert rsim.get(Reckless.remote().answer.remote()) == 42
