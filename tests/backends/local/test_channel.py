"""What the driver's channel holds back, and when the node gets it."""

from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from rsim.backends.local.channel import DriverChannel
from rsim.backends.local.interrupts import Interrupts
from rsim.backends.local.patience import Patience
from rsim.backends.local.reactor import Reactor
from rsim.core.events import CancelRequested, Event, ObjectsRequested, TaskSubmitted
from rsim.core.ids import child_task_id
from rsim.core.records import DRIVER, TaskOptions
from rsim.exceptions import RsimError
from tests.core.specs import task_spec

F, G = TaskOptions(), TaskOptions(function="g")
ASKED = ObjectsRequested(DRIVER, 1, ())


def submitted(index: int, options: TaskOptions = F, actor: bytes = b"") -> TaskSubmitted:
    task_id = child_task_id(b"driver", index)
    spec = task_spec(task_id, b"driver", index, options=options, actor=actor)
    return TaskSubmitted(DRIVER, spec)


class Rig:
    """A channel to a node that notes what it gets; ``full``: as many tasks run as can."""

    def __init__(self) -> None:
        self.got: list[list[Event]] = []
        self.full = True
        self.on_receive: Callable[[], object] = lambda: None
        host: Any = SimpleNamespace(
            receive=lambda event: self.receive_all([event]),
            receive_all=self.receive_all,
            machine=SimpleNamespace(would_queue=lambda spec: self.full),
            values={},
        )
        patience = Patience(lambda: False, lambda: False, lambda: [])
        self.reactor = Reactor(lambda: None, Interrupts(), patience)
        segment: Any = None
        self.channel = DriverChannel(self.reactor, segment, host, lambda: None)
        self.reactor.begin = self.channel.take_in

    def receive_all(self, together: Sequence[Event]) -> None:
        self.got.append(list(together))
        self.on_receive()

    def submit(self, count: int, first: int = 0) -> list[TaskSubmitted]:
        events = [submitted(index) for index in range(first, first + count)]
        for event in events:
            self.channel.send(event)
        return events


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    yield made
    made.reactor.close()


def test_what_would_only_queue_comes_with_the_next_event_in_order(rig: Rig) -> None:
    first, *others = rig.submit(4)
    assert rig.got == [[first]]
    rig.channel.send(ASKED)
    assert rig.got == [[first], others, [ASKED]]


def test_what_can_start_is_not_held_back(rig: Rig) -> None:
    rig.full = False
    assert [[event] for event in rig.submit(4)] == rig.got


def test_whatever_happens_may_have_made_room(rig: Rig) -> None:
    first, second = rig.submit(2)
    rig.channel.send(ASKED)
    rig.full = False
    third, fourth = rig.submit(2, 2)
    assert rig.got == [[first], [second], [ASKED], [third], [fourth]]


@pytest.mark.parametrize("other", [submitted(9, G), submitted(9, F, b"actor")])
def test_another_kind_of_task_may_be_able_to_start(rig: Rig, other: TaskSubmitted) -> None:
    first, second = rig.submit(2)
    rig.channel.send(other)
    assert rig.got == [[first], [second], [other]]


def test_a_turn_of_the_loop_begins_with_what_is_held(rig: Rig) -> None:
    first, second = rig.submit(2)
    order: list[object] = []
    rig.on_receive = lambda: order.append("taken in")
    rig.reactor.post(lambda: order.append("posted"))
    rig.reactor.turn(0)
    assert rig.got == [[first], [second]] and order == ["taken in", "posted"]


def test_not_many_are_held(rig: Rig) -> None:
    events = rig.submit(200)
    taken = [event for together in rig.got for event in together]
    assert taken == events[: len(taken)] and len(events) - len(taken) < 64


def test_a_cancel_comes_after_what_it_may_be_about(rig: Rig) -> None:
    first, second = rig.submit(2)
    cancel = CancelRequested(DRIVER, second.spec.task_id, False, True)
    rig.channel.send(cancel)
    assert rig.got == [[first], [second], [cancel]]


def test_what_a_finaliser_sends_during_a_step_comes_after_it(rig: Rig) -> None:
    first, second = rig.submit(2)
    late = submitted(7)

    def finalise() -> None:
        rig.on_receive = lambda: None
        rig.channel.send(late)

    rig.on_receive = finalise
    rig.channel.send(ASKED)
    assert rig.got == [[first], [second], [late], [ASKED]]


def test_what_a_finaliser_sends_during_a_turn_comes_with_the_next(rig: Rig) -> None:
    late = submitted(7)
    rig.reactor.post(lambda: rig.channel.send(late))
    rig.reactor.turn(0)
    assert rig.got == []
    rig.reactor.post(lambda: None)
    rig.reactor.turn(0)
    assert rig.got == [[late]]


def test_what_is_held_when_the_session_ends_is_dropped(rig: Rig) -> None:
    (first, _) = rig.submit(2)
    rig.channel.close("it has ended")
    with pytest.raises(RsimError, match="it has ended"):
        rig.submit(1)
    with rig.reactor.lock:
        rig.channel.take_in()
    assert rig.got == [[first]]


def test_nothing_stays_behind_that_is_added_while_others_take_in(rig: Rig) -> None:
    class Slow(list[Event]):
        def append(self, event: Event) -> None:
            rig.channel.take_in()  # another thread, just after this one has looked
            super().append(event)

    sent = rig.submit(3)
    rig.channel._held = Slow(rig.channel._held)
    sent += rig.submit(1, first=3)
    assert [event for together in rig.got for event in together] == sent
