"""Placement groups at the global scheduler: two phases, refusals, repetitions, deaths."""

import pytest

from rsim.core.bundles import demand_in, plan, reservation_key, resources_of
from rsim.core.effects import WarnDriver
from rsim.core.events import MessageArrived, NodeDied, NodeJoined
from rsim.core.messages import (
    BundleCommit,
    BundleReply,
    BundleReservation,
    BundleReturn,
    GroupAnswer,
    GroupQuestion,
    PlacementFailure,
    PlacementRequest,
    ResourceReport,
    TaskPlacement,
)
from rsim.core.records import GroupQuery, GroupRemoval, GroupSpec, Strategy
from rsim.core.resources import demand_of
from tests.core.desk import Desk, task_id

G = b"g" * 16
ONE = demand_of(1)
IN_G = Strategy("GROUP", group=G)


class GroupDesk(Desk):
    """A desk that keeps what is sent about groups."""

    def ask_about(self, request: object) -> list[object]:
        """(node, message) for what follows; the answer itself is kept."""
        sent = self.tell("a", GroupQuestion(0, 1, request))  # type: ignore[arg-type]
        self.answer = next(each for _, each in sent if isinstance(each, GroupAnswer))
        return [each for each in sent if not isinstance(each[1], GroupAnswer)]

    def create(self, bundles: int = 2, strategy: str = "STRICT_SPREAD") -> list[object]:
        return self.ask_about(GroupSpec(G, (ONE,) * bundles, strategy))

    def tell(self, source: str, message: object) -> list[object]:
        effects = self.step(MessageArrived(source, message))  # type: ignore[arg-type]
        self.warnings = [each for each in effects if isinstance(each, WarnDriver)]
        return [(each.node, each.message) for each in effects if not isinstance(each, WarnDriver)]  # type: ignore[attr-defined]

    def replied(self, node: str, op: int, reserved: bool = True) -> list[object]:
        return self.tell(node, BundleReply(G, op, reserved))

    def state(self) -> tuple[str, tuple[str, ...]]:
        self.ask_about(GroupQuery(G))
        (group,) = self.answer.groups
        return group.state, group.nodes

    def report_free(self, node: str, free: object, *accepted: bytes) -> list[object]:
        self.seq += 1
        return self.tell(node, ResourceReport(self.seq, free, 0, accepted))  # type: ignore[arg-type]


def reservation(index: int, op: int) -> BundleReservation:
    return BundleReservation(G, ((index, ONE),), op)


def test_nobody_may_use_a_bundle_before_all_are_reserved() -> None:
    desk = GroupDesk("a", "b", cpus=1)
    assert desk.create() == [("a", reservation(0, 1)), ("b", reservation(1, 2))]
    assert desk.answer.groups[0].state == "PENDING"
    assert desk.free("a") == desk.free("b") == 0
    assert not desk.machine.quiescent()
    request = PlacementRequest(task_id(1), demand_in(ONE, G, 1), IN_G, ())
    assert desk.tell("a", request) == []
    assert desk.replied("a", 1) == []
    assert desk.state() == ("PENDING", ("", ""))
    assert desk.replied("b", 2) == [("a", BundleCommit(G, 1)), ("b", BundleCommit(G, 2))]
    assert desk.state() == ("CREATED", ("a", "b"))
    assert desk.machine.quiescent()
    placed = desk.report_free("b", resources_of(ONE, G, 1), reservation_key(G, 2))
    assert placed == [("a", TaskPlacement(task_id(1), "b"))]


def test_a_refusal_gives_the_others_back_and_asks_elsewhere() -> None:
    desk = GroupDesk("a", "b", "c", cpus=1)
    assert desk.create() == [("a", reservation(0, 1)), ("b", reservation(1, 2))]
    desk.replied("a", 1)
    assert desk.replied("b", 2, False) == [
        ("a", BundleReturn(G, 1)),
        ("a", reservation(0, 3)),
        ("c", reservation(1, 4)),
    ]
    assert desk.replied("a", 1) == [], "that reservation is no more"
    assert desk.replied("a", 3) == desk.replied("a", 3) == []
    assert len(desk.replied("c", 4)) == 2
    assert desk.state() == ("CREATED", ("a", "c"))
    assert desk.free("b") == 1


def test_who_refused_is_asked_again_when_it_has_reported() -> None:
    desk = GroupDesk("a", cpus=1)
    desk.create(1)
    assert desk.replied("a", 1, False) == []
    assert desk.machine.waiting_report() == [
        f"placement group {G.hex()} waits for STRICT_SPREAD of 1 x {{'CPU': 1}}: "
        "they do not fit now"
    ]
    assert desk.report_free("a", ONE) == [("a", reservation(0, 2))]


def test_a_death_during_the_reservation() -> None:
    desk = GroupDesk("a", "b", "c", cpus=1)
    desk.create()
    desk.replied("a", 1)
    sent = [(each.node, each.message) for each in desk.step(NodeDied("b"))]  # type: ignore[attr-defined]
    assert sent == [("a", BundleReturn(G, 1)), ("a", reservation(0, 3)), ("c", reservation(1, 4))]
    assert desk.state() == ("PENDING", ("", ""))


def test_a_death_after_it_moves_the_lost_bundles_only() -> None:
    desk = GroupDesk("a", "b", "c", cpus=1)
    desk.create()
    desk.replied("a", 1)
    desk.replied("b", 2)
    sent = [(each.node, each.message) for each in desk.step(NodeDied("b"))]  # type: ignore[attr-defined]
    assert sent == [("c", reservation(1, 3))]
    assert desk.state() == ("RESCHEDULING", ("a", ""))
    assert desk.replied("c", 3) == [("c", BundleCommit(G, 3))]
    assert desk.state() == ("CREATED", ("a", "c"))


def test_removal_returns_all_and_fails_who_waits() -> None:
    desk = GroupDesk("a", "b", cpus=1)
    desk.create()
    request = PlacementRequest(task_id(1), demand_in(ONE, G, 1), IN_G, ())
    desk.tell("b", request)
    desk.replied("a", 1)
    returned_a, returned_b, failed = desk.ask_about(GroupRemoval(G))
    assert (returned_a, returned_b) == (("a", BundleReturn(G)), ("b", BundleReturn(G)))
    node, failure = failed  # type: ignore[misc]
    assert node == "b" and isinstance(failure, PlacementFailure)
    assert failure.final and failure.removed
    assert desk.free("a") == desk.free("b") == 1
    assert desk.ask_about(GroupRemoval(G)) == []
    assert desk.replied("b", 2) == []
    assert desk.state()[0] == "REMOVED"
    ((_, late),) = desk.tell("a", request)  # type: ignore[misc]
    assert isinstance(late, PlacementFailure) and late.final and late.removed


def test_room_kept_for_a_group_that_is_removed_serves_those_who_wait() -> None:
    desk = GroupDesk("a", "b", cpus=1)
    desk.create()
    assert desk.tell("a", PlacementRequest(task_id(1), ONE, Strategy("SPREAD"), ())) == []
    *returned, placed = desk.ask_about(GroupRemoval(G))
    assert returned == [("a", BundleReturn(G)), ("b", BundleReturn(G))]
    assert placed == ("a", TaskPlacement(task_id(1), "a"))


def test_room_kept_for_a_group_that_is_refused_serves_those_who_wait() -> None:
    desk = GroupDesk("a", "b", cpus=1)
    desk.create()
    assert desk.tell("a", PlacementRequest(task_id(1), ONE, Strategy("SPREAD"), ())) == []
    desk.replied("a", 1)
    returned, placed = desk.replied("b", 2, False)
    assert returned == ("a", BundleReturn(G, 1))
    assert placed == ("a", TaskPlacement(task_id(1), "a"))


def test_a_group_is_made_once_and_named_once() -> None:
    desk = GroupDesk("a", cpus=4)
    spec = GroupSpec(G, (ONE,), name="mine")
    assert len(desk.ask_about(spec)) == 1
    assert desk.ask_about(spec) == [] and desk.answer.groups[0].spec == spec
    desk.ask_about(GroupSpec(b"h" * 16, (ONE,), name="mine"))
    assert desk.answer.error == "there is a placement group called 'mine' already"
    desk.ask_about(GroupQuery(name="mine"))
    assert desk.answer.groups[0].spec == spec
    desk.ask_about(GroupQuery(b"h" * 16))
    assert desk.answer.error.startswith("there is no placement group 68")
    desk.ask_about(GroupQuery())
    assert len(desk.answer.groups) == 1


def test_what_no_node_could_hold_is_told_of_once_and_waits_for_one_that_can() -> None:
    desk = GroupDesk("a", cpus=1)
    assert desk.create(1, "PACK") != []
    desk.ask_about(GroupRemoval(G))
    other = GroupSpec(b"h" * 16, (demand_of(4),))
    assert desk.ask_about(other) == []
    (warning,) = desk.warnings
    assert "of 1 x {'CPU': 4}: no nodes of the cluster could hold its bundles" in warning.message
    desk.report_free("a", ONE)
    assert not desk.warnings
    joined = desk.step(NodeJoined("b", demand_of(4)))
    sent = [each.message for each in joined]  # type: ignore[attr-defined]
    assert sent == [BundleReservation(b"h" * 16, ((0, demand_of(4)),), 2)]


def test_groups_wait_in_order_and_small_ones_pass() -> None:
    desk = GroupDesk("a", cpus=2)
    desk.report_free("a", (("CPU", 0),))
    desk.create(2, "STRICT_PACK")
    desk.ask_about(GroupSpec(b"h" * 16, (ONE,)))
    assert desk.report_free("a", ONE) == [("a", BundleReservation(b"h" * 16, ((0, ONE),), 1))]


def test_many_waiting_groups_are_looked_at_only_when_it_may_help(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    planned: list[object] = []

    def counted(bundles: object, *rest: object, **named: object) -> object:
        planned.append(bundles)
        return plan(bundles, *rest, **named)  # type: ignore[arg-type]

    desk = GroupDesk("a", cpus=2)
    desk.report_free("a", (("CPU", 0),))
    for number in range(300):
        spec = GroupSpec(number.to_bytes(16, "big"), (ONE,), "PACK")
        assert desk.ask_about(spec) == []
    monkeypatch.setattr("rsim.core.groups.plan", counted)
    for units in range(50):
        assert desk.report_free("a", (("disk", units),)) == []
    assert not planned
    first, second = desk.report_free("a", (("CPU", 20_000),))
    assert [first[1].group_id[-1], second[1].group_id[-1]] == [0, 1]  # type: ignore[index]
    assert len(planned) <= 4
    desk.tell("a", BundleReply((0).to_bytes(16, "big"), first[1].op, False))  # type: ignore[index]
    assert len(planned) < 10


def test_a_group_that_was_refused_goes_first_again() -> None:
    desk = GroupDesk("a", cpus=1)
    assert desk.create(1) == [("a", reservation(0, 1))]
    desk.ask_about(GroupSpec(b"h" * 16, (ONE,)))
    desk.ask_about(GroupSpec(b"i" * 16, (ONE,)))
    assert desk.replied("a", 1, reserved=False) == [
        ("a", BundleReservation(b"h" * 16, ((0, ONE),), 2))
    ]
    desk.ask_about(GroupRemoval(b"h" * 16))
    desk.tell("a", BundleReply(b"i" * 16, 3, False))
    assert desk.report_free("a", (("CPU", 0),)) == []
    assert desk.report_free("a", (("CPU", 10_000),)) == [("a", reservation(0, 4))]
