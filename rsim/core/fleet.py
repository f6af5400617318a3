"""The fleet: all living nodes as the global scheduler sees them.

Decides nothing. Must never show more of a node free than its last report said, less what has been
reserved since. Owns the views of the nodes and the reservations.

A reservation lasts from the decision until the node reports its key as accepted (its own
``available`` accounts for it from then on), or until it is released.
"""

from __future__ import annotations

from rsim.core.labels import labels_of
from rsim.core.messages import ResourceReport
from rsim.core.policies import ClusterView, NodeView
from rsim.core.records import Demand


class Member:
    """A living node: its last report, and what is reserved on top of that."""

    __slots__ = ("index", "reported", "reservations", "seq", "view")

    def __init__(self, name: str, total: Demand, labels: tuple[tuple[str, str], ...]) -> None:
        self.reported = dict(total)
        self.reservations: dict[bytes, Demand] = {}
        self.seq = -1
        self.view = NodeView(name, dict(total), dict(total), labels=labels_of(name, labels))
        self.index = 0
        """Where its view is among all."""


class Fleet:
    """The living nodes, by name, in order of joining."""

    def __init__(self) -> None:
        self.members: dict[str, Member] = {}
        self.dead: dict[str, None] = {}
        """Their names do not come back."""
        self.views: list[NodeView] = []
        """Sorted by name."""
        self.cluster = ClusterView(self.views)

    def join(self, name: str, total: Demand, labels: tuple[tuple[str, str], ...]) -> bool:
        """Whether the node is new."""
        if name in self.members or name in self.dead:
            return False
        self.members[name] = Member(name, total, labels)
        self._arrange()
        return True

    def die(self, name: str) -> bool:
        """Whether the death is news."""
        if name in self.dead:
            return False
        self.dead[name] = None
        self.members.pop(name, None)
        self._arrange()
        return True

    def _arrange(self) -> None:
        """Nodes came or went: sort the views by name."""
        views = (member.view for member in self.members.values())
        self.views[:] = sorted(views, key=lambda view: view.name)
        for index, view in enumerate(self.views):
            self.members[view.name].index = index

    def reserve(self, name: str, key: bytes, demand: Demand) -> None:
        """Keep so much of a node for what ``key`` stands for."""
        member = self.members[name]
        member.reservations[key] = demand
        self._adjust(member, demand, -1)

    def release(self, name: str, key: bytes) -> bool:
        """A reservation is not needed after all. Whether there was one."""
        member = self.members.get(name)
        demand = None if member is None else member.reservations.pop(key, None)
        if member is None or demand is None:
            return False
        self._adjust(member, demand, 1)
        return True

    def report(self, source: str, report: ResourceReport) -> tuple[bytes, ...] | None:
        """Take a node's report: the keys of the reservations that it ends. None: it is no news."""
        member = self.members.get(source)
        if member is None or report.seq <= member.seq:
            return None
        member.seq = report.seq
        member.reported = dict(report.available)
        held = member.reservations
        ended = tuple(key for key in report.accepted if held.pop(key, None) is not None)
        available = dict(report.available)
        for demand in held.values():
            for name, units in demand:
                available[name] = available.get(name, 0) - units
        self._show(member, member.view.total, available, report.queued)
        return ended

    def _adjust(self, member: Member, demand: Demand, sign: int) -> None:
        available = dict(member.view.available)
        for name, units in demand:
            available[name] = available.get(name, 0) + sign * units
        self._show(member, member.view.total, available, member.view.queued)

    def change_total(self, name: str, more: Demand, sign: int) -> None:
        """A node has more resources in all than it had, or (``sign`` -1) less; its next report says
        what of them is free.
        """
        member = self.members[name]
        total = dict(member.view.total)
        for resource, units in more:
            total[resource] = total.get(resource, 0) + sign * units
            if not total[resource]:
                del total[resource]
        self._show(member, total, member.view.available, member.view.queued)

    def _show(
        self, member: Member, total: dict[str, int], available: dict[str, int], queued: int
    ) -> None:
        """Let policies see this of a node; the old view stays as it was."""
        old = member.view
        view = NodeView(old.name, total, available, queued, labels=old.labels)
        member.view = self.views[member.index] = view

    def check(self) -> None:
        """Derive the views again, and compare."""
        assert [view.name for view in self.views] == sorted(self.members)
        for name, member in self.members.items():
            assert name not in self.dead and self.views[member.index] is member.view
            free = dict(member.reported)
            for demand in member.reservations.values():
                for resource, units in demand:
                    free[resource] = free.get(resource, 0) - units
            shown = member.view.available
            for resource in (*free, *shown):
                assert free.get(resource, 0) == shown.get(resource, 0), (name, resource)

    def state(self) -> object:
        """Plain data with a stable ``repr``, for a fingerprint."""
        members = [
            (name, each.seq, each.view.queued, sorted(each.reported.items()), each.reservations)
            for name, each in self.members.items()
        ]
        return members, list(self.dead)
