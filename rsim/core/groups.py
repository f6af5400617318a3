"""Placement groups, as the global scheduler knows them.

Decides when the bundles of a group are reserved, and where: all of them, or none. Must never let a
group be used before every node involved has said that its bundles are set apart. Owns the groups,
removed ones too, so that whoever still asks for one learns what became of it.

A plan (``core.bundles``) is carried out in two phases: the nodes reserve, then all are told that
the bundles may be used. When one refuses, as its resources went to a task that we do not know of
yet, the others give back what they have, and there is a new plan without it until it has reported
again. When a node dies, its bundles alone are placed anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from heapq import heapify, heappop, heappush

from rsim.core.bundles import Bundle, Plan, plan, reservation_key, resources_of, sum_of
from rsim.core.effects import Effect, Send, WarnDriver
from rsim.core.fleet import Fleet
from rsim.core.messages import (
    BundleCommit,
    BundleReply,
    BundleReservation,
    BundleReturn,
    GroupAnswer,
    GroupQuestion,
)
from rsim.core.records import Demand, GroupQuery, GroupRemoval, GroupSpec, GroupState, GroupStats
from rsim.core.resources import format_demand

PENDING, CREATED, RESCHEDULING, REMOVED = "PENDING", "CREATED", "RESCHEDULING", "REMOVED"

ASKED, RESERVED, COMMITTED = range(3)
"""States of a share."""


class _Share:
    """Bundles of one group on one node, reserved together."""

    __slots__ = ("indices", "node", "state")

    def __init__(self, node: str, indices: tuple[int, ...]) -> None:
        self.node = node
        self.indices = indices
        self.state = ASKED


class _Group:
    __slots__ = (
        "attempts",
        "began_ns",
        "created_after_ns",
        "line",
        "number",
        "placed_after_ns",
        "refused",
        "shares",
        "since_ns",
        "spec",
        "state",
        "warned",
    )

    def __init__(self, spec: GroupSpec, number: int, now_ns: int) -> None:
        self.spec = spec
        self.number = number
        """In the order of creation."""
        self.line: object = None
        """Where it waits."""
        self.since_ns = now_ns
        self.attempts = 0
        self.began_ns = now_ns
        """The last attempt."""
        self.created_after_ns = 0
        self.placed_after_ns = 0
        self.state = PENDING
        self.shares: dict[int, _Share] = {}
        """By the number of the reservation."""
        self.refused: dict[str, int] = {}
        """Nodes that had less free than thought, and the number of their last report then."""
        self.warned = False
        """The user knows that no node is large enough."""

    @property
    def waits(self) -> bool:
        """Whether bundles are looking for nodes."""
        return self.line is not None

    def nodes(self) -> tuple[str, ...]:
        """The node of each bundle that may be used; empty: none yet."""
        found = [""] * len(self.spec.bundles)
        for share in self.shares.values():
            if share.state == COMMITTED:
                for index in share.indices:
                    found[index] = share.node
        return tuple(found)

    def left(self) -> list[Bundle]:
        """The bundles that have no node."""
        spec, nodes = self.spec, self.nodes()
        selectors = spec.selectors or ((),) * len(spec.bundles)
        return [
            Bundle(index, demand, selector)
            for index, (demand, selector) in enumerate(zip(spec.bundles, selectors, strict=True))
            if not nodes[index]
        ]

    def attempt(self, now_ns: int) -> None:
        """There is room for its bundles."""
        self.attempts += 1
        self.began_ns = now_ns

    def created(self, now_ns: int) -> None:
        """All bundles may be used."""
        self.state = CREATED
        self.placed_after_ns = max(1, now_ns - self.began_ns)
        self.created_after_ns = self.created_after_ns or max(1, now_ns - self.since_ns)
        self.refused.clear()

    def resources(self, share: _Share) -> Demand:
        """What the bundles of a share give their node."""
        spec = self.spec
        named = (resources_of(spec.bundles[i], spec.group_id, i) for i in share.indices)
        return sum_of(named)


class _Line:
    """Groups that wait for the same, in order of creation: as long as there is no room for the
    first, there is none for any. One that has been refused something, or has lost a node, waits
    alone.
    """

    __slots__ = ("alone", "groups", "wants")

    def __init__(self, bundles: Iterable[Demand], alone: bool) -> None:
        self.wants = [name for name, _ in sum_of(bundles)]
        self.alone = alone
        self.groups: dict[int, _Group] = {}

    @property
    def first(self) -> int:
        """The number of the group that is next."""
        return next(iter(self.groups))

    def hopes(self, names: Mapping[str, None]) -> bool:
        """Whether its first group may be placed when these resources have become free."""
        return self.alone or any(name in names for name in self.wants)


class Groups:
    """All placement groups of the cluster."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._groups: dict[bytes, _Group] = {}
        self._by_name: dict[str, _Group] = {}
        self._lines: dict[object, _Line] = {}
        """Of the groups that wait for room."""
        self._ops = 0
        self.now_ns = 0
        """When the step is taken."""
        self._out: list[Effect] = []

    def take(self) -> list[Effect]:
        """What has been decided since the last time."""
        out, self._out = self._out, []
        return out

    # -- questions ---------------------------------------------------------------------------------

    def asked(self, source: str, message: GroupQuestion) -> bytes:
        """A client creates, removes or asks about groups: answer. The group that is no more."""
        request = message.request
        found: list[_Group] = []
        error = ""
        ended = b""
        if isinstance(request, GroupSpec):
            group, error = self._create(request)
            found = [group] if group is not None else []
        elif isinstance(request, GroupRemoval):
            ended = self._remove(request.group_id)
        else:
            found, error = self._find(request)
        answer = GroupAnswer(message.client, message.op, tuple(map(self._view, found)), error)
        self._out.append(Send(source, answer))
        return ended

    def _create(self, spec: GroupSpec) -> tuple[_Group | None, str]:
        group = self._groups.get(spec.group_id)
        if group is not None:
            return group, ""
        if spec.name in self._by_name:
            return None, f"there is a placement group called {spec.name!r} already"
        group = self._groups[spec.group_id] = _Group(spec, len(self._groups), self.now_ns)
        if spec.name:
            self._by_name[spec.name] = group
        if not self._place(group):
            kind = (spec.bundles, spec.strategy, spec.selectors, spec.node)
            self._line_up(group, kind, alone=False)
        group.attempts = 1  # also if there is no room
        return group, ""

    def _find(self, query: GroupQuery) -> tuple[list[_Group], str]:
        if query.name:
            named = self._by_name.get(query.name)
            if named is None:
                return [], f"there is no placement group called {query.name!r}"
            return [named], ""
        if query.group_id:
            known = self._groups.get(query.group_id)
            if known is None:
                return [], f"there is no placement group {query.group_id.hex()}"
            return [known], ""
        return list(self._groups.values()), ""

    def exists(self, group_id: bytes) -> bool:
        """Whether the group was created and not removed."""
        group = self._groups.get(group_id)
        return group is not None and group.state != REMOVED

    def _remove(self, group_id: bytes) -> bytes:
        group = self._groups.get(group_id)
        if group is None or group.state == REMOVED:
            return b""
        group.state = REMOVED
        self._leave(group)
        self._by_name.pop(group.spec.name, None)
        for op, share in group.shares.items():
            if share.state == COMMITTED:
                self._fleet.change_total(share.node, group.resources(share), -1)
            else:
                self._fleet.release(share.node, reservation_key(group_id, op))
        for node in dict.fromkeys(share.node for share in group.shares.values()):
            self._out.append(Send(node, BundleReturn(group_id)))
        group.shares.clear()
        return group_id

    # -- reservations ------------------------------------------------------------------------------

    def retry(self, news: Mapping[str, Mapping[str, None]]) -> None:
        """These resources may be free that were not, by node: place the groups that wait for them,
        in order of creation.
        """
        if not self._lines:
            return
        names = {name: None for freed in news.values() for name in freed}
        heads = [(line.first, line) for line in self._lines.values() if line.hopes(names)]
        heapify(heads)
        while heads:
            number, line = heappop(heads)
            if self._place(line.groups[number]) and line.groups:
                heappush(heads, (line.first, line))

    def _line_up(self, group: _Group, kind: object, *, alone: bool) -> None:
        """The group waits until there is room."""
        line = self._lines.get(kind)
        if line is None:
            line = self._lines[kind] = _Line(group.spec.bundles, alone)
        line.groups[group.number] = group
        group.line = kind

    def _leave(self, group: _Group) -> None:
        """The group waits no more, if it did."""
        if group.line is not None:
            line = self._lines[group.line]
            del line.groups[group.number]
            if not line.groups:
                del self._lines[group.line]
            group.line = None

    def _place(self, group: _Group) -> bool:
        """Reserve all bundles that have no node, if there is room for all of them."""
        found = self._plan(group)
        if found is None:
            self._warn(group)
            return False
        self._leave(group)
        group.attempt(self.now_ns)
        by_node: dict[str, list[int]] = {}
        for index in sorted(found):
            by_node.setdefault(found[index], []).append(index)
        spec = group.spec
        for node, indices in sorted(by_node.items()):
            self._ops += 1
            group.shares[self._ops] = _Share(node, tuple(indices))
            bundles = tuple((index, spec.bundles[index]) for index in indices)
            demand = sum_of(bundle for _, bundle in bundles)
            self._fleet.reserve(node, reservation_key(spec.group_id, self._ops), demand)
            self._out.append(Send(node, BundleReservation(spec.group_id, bundles, self._ops)))
        return True

    def _plan(self, group: _Group, idle: bool = False) -> Plan | None:
        members, spec, refused = self._fleet.members, group.spec, group.refused
        views = [
            view
            for view in self._fleet.views
            if idle or refused.get(view.name) != members[view.name].seq
        ]
        left, placed = group.left(), tuple(filter(None, group.nodes()))
        return plan(left, spec.strategy, views, placed=placed, preferred=spec.node, idle=idle)

    def _infeasible(self, group: _Group) -> bool:
        """Whether no idle node could hold one of its bundles, or what is to be together, or apart.
        A group that only asks for too much in all waits for resources, as Ray calls it.
        """
        strategy, left = group.spec.strategy, group.left()
        if strategy.startswith("STRICT"):
            return self._plan(group, idle=True) is None
        views = self._fleet.views
        return any(plan([bundle], strategy, views, idle=True) is None for bundle in left)

    def _warn(self, group: _Group) -> None:
        """Tell the user, once, of a group that no idle cluster of this size could hold."""
        if not group.warned and self._plan(group, idle=True) is None:
            group.warned = True
            self._out.append(WarnDriver(f"{_describe(group)}: {_TOO_SMALL}"))

    def answered(self, source: str, message: BundleReply) -> None:
        """A node has reserved bundles, or refused to."""
        group = self._groups.get(message.group_id)
        share = None if group is None else group.shares.get(message.op)
        if group is None or share is None or share.node != source or share.state != ASKED:
            return
        if not message.reserved:
            group.refused[source] = self._fleet.members[source].seq
            self._fleet.release(source, reservation_key(message.group_id, message.op))
            del group.shares[message.op]
            self._give_back(group)
            return
        share.state = RESERVED
        if all(each.state != ASKED for each in group.shares.values()):
            self._commit(group)

    def _commit(self, group: _Group) -> None:
        for op, share in group.shares.items():
            if share.state == RESERVED:
                share.state = COMMITTED
                self._fleet.change_total(share.node, group.resources(share), 1)
                self._out.append(Send(share.node, BundleCommit(group.spec.group_id, op)))
        group.created(self.now_ns)

    def _give_back(self, group: _Group) -> None:
        """Bundles cannot be reserved as planned: those that are, neither."""
        group_id = group.spec.group_id
        for op, share in list(group.shares.items()):
            if share.state != COMMITTED:
                del group.shares[op]
                self._fleet.release(share.node, reservation_key(group_id, op))
                self._out.append(Send(share.node, BundleReturn(group_id, op)))
        self._leave(group)
        self._line_up(group, group_id, alone=True)

    def node_died(self, dead: str) -> None:
        """The bundles on a node that has left the fleet need other nodes."""
        for group in self._groups.values():
            lost = {op: share for op, share in group.shares.items() if share.node == dead}
            if not lost:
                continue
            for op in lost:
                del group.shares[op]
            if any(share.state == COMMITTED for share in lost.values()):
                group.state = RESCHEDULING
            self._give_back(group)
        for line in self._lines.values():
            for group in line.groups.values():
                self._warn(group)

    # -- reports and checks ------------------------------------------------------------------------

    def _view(self, group: _Group) -> GroupState:
        """A group as users see it."""
        stage = "STARTED"
        if group.state in (CREATED, REMOVED):
            stage = "FINISHED" if group.state == CREATED else REMOVED
        elif group.waits:
            never = group.warned and self._infeasible(group)
            stage = "INFEASIBLE" if never else "NO_RESOURCES"
        stats = GroupStats(stage, group.attempts, group.created_after_ns, group.placed_after_ns)
        return GroupState(group.spec, group.state, group.nodes(), stats)

    def waiting_report(self) -> list[str]:
        """A line for each group that waits for room."""
        lines = []
        for group in self._groups.values():
            if group.waits:
                why = "they do not fit now"
                if self._plan(group, idle=True) is None:
                    why = _TOO_SMALL
                lines.append(f"{_describe(group)}: {why}")
        return lines

    def quiescent(self) -> bool:
        """Whether no node is being asked for bundles."""
        shares = (share for group in self._groups.values() for share in group.shares.values())
        return not any(share.state == ASKED for share in shares)

    def check(self) -> None:
        """Assert that bundles have at most one node, and that the fleet knows of all of them."""
        expected: dict[str, list[Demand]] = {}
        for kind, line in self._lines.items():
            assert line.groups and list(line.groups) == sorted(line.groups)
            assert all(group.line == kind for group in line.groups.values())
        for group in self._groups.values():
            asked = any(share.state != COMMITTED for share in group.shares.values())
            assert group.waits == (group.state in (PENDING, RESCHEDULING) and not asked)
            indices = [index for share in group.shares.values() for index in share.indices]
            assert len(indices) == len(dict.fromkeys(indices))
            assert group.state != REMOVED or not group.shares
            complete = len(indices) == len(group.spec.bundles)
            assert group.state != CREATED or complete
            for share in group.shares.values():
                assert share.node in self._fleet.members
                if share.state == COMMITTED:
                    expected.setdefault(share.node, []).append(group.resources(share))
        for name, member in self._fleet.members.items():
            named = sum_of(expected.get(name, ()))
            shown = {each: n for each, n in member.view.total.items() if "_group_" in each}
            assert dict(named) == shown, name

    def state(self) -> object:
        """Plain data with a stable ``repr``, for a fingerprint."""
        return [
            (
                group.spec,
                group.state,
                [(op, each.node, each.indices, each.state) for op, each in group.shares.items()],
                group.refused,
            )
            for group in self._groups.values()
        ]


_TOO_SMALL = "no nodes of the cluster could hold its bundles, were they idle"


def _describe(group: _Group) -> str:
    spec = group.spec
    name = spec.name or spec.group_id.hex()
    return f"placement group {name} waits for {spec.strategy} of {_listed(spec.bundles)}"


def _listed(bundles: Sequence[Demand]) -> str:
    """The bundles in words, equal neighbours counted."""
    runs: list[tuple[Demand, int]] = []
    for bundle in bundles:
        if runs and runs[-1][0] == bundle:
            runs[-1] = bundle, runs[-1][1] + 1
        else:
            runs.append((bundle, 1))
    words: Iterable[str] = (f"{count} x {format_demand(bundle)}" for bundle, count in runs)
    return ", ".join(words)
