"""The fleet: all living nodes as the global scheduler sees them.

Decides nothing. Must never show more of a node free than its reports said, less what has been
reserved since. Owns the views of the nodes and the reservations, and remembers where something may
have become free, so that nobody has to look everywhere.

A reservation lasts from the decision until the node reports its key as accepted (its own
``available`` accounts for it from then on), or until it is released.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

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
        self._news: dict[str, dict[str, None]] | None = None

    def take_news(self) -> dict[str, dict[str, None]] | None:
        """Of which nodes something may be free that was not, and of which resources, since the last
        time; None: nobody has reported, released, come or gone.
        """
        news, self._news = self._news, None
        return news

    def _note(self, node: str | None = None, names: Iterable[str] = ()) -> None:
        news = self._news = {} if self._news is None else self._news
        if node is not None:
            news.setdefault(node, {}).update(dict.fromkeys(names))

    def join(self, name: str, total: Demand, labels: tuple[tuple[str, str], ...]) -> bool:
        """Whether the node is new."""
        if name in self.members or name in self.dead:
            return False
        self.members[name] = Member(name, total, labels)
        self._arrange()
        self._note(name, (each for each, _ in total))
        return True

    def die(self, name: str) -> bool:
        """Whether the death is news."""
        if name in self.dead:
            return False
        self.dead[name] = None
        self.members.pop(name, None)
        self._arrange()
        self._note()
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
        for resource, units in demand:
            _add(member.view, resource, -units)

    def release(self, name: str, key: bytes) -> bool:
        """A reservation is not needed after all. Whether there was one."""
        member = self.members.get(name)
        demand = None if member is None else member.reservations.pop(key, None)
        if member is None or demand is None:
            return False
        self._free(member, demand)
        return True

    def _free(self, member: Member, demand: Demand) -> None:
        for resource, units in demand:
            _add(member.view, resource, units)
        self._note(member.view.name, (resource for resource, _ in demand))

    def report(self, source: str, report: ResourceReport) -> tuple[bytes, ...] | None:
        """Take a node's report: the keys of the reservations that it ends. None: it is no news."""
        member = self.members.get(source)
        if member is None or report.seq <= member.seq:
            return None
        member.seq = report.seq
        view, known = member.view, member.reported
        for resource, units in report.changes:
            _add(view, resource, units - known.get(resource, 0))
            if units:
                known[resource] = units
            else:
                known.pop(resource, None)
        self._note(source, (resource for resource, _ in report.changes))
        accepted = dict.fromkeys(report.accepted)  # one may have been accepted, and have ended
        ended = tuple(key for key in accepted if key in member.reservations)
        for key in ended:
            self._free(member, member.reservations.pop(key))
        if report.queued != view.queued:
            view = msgspec.structs.replace(view, queued=report.queued)
            member.view = self.views[member.index] = view
        return ended

    def change_total(self, name: str, more: Demand, sign: int) -> None:
        """A node has more resources in all than it had, or (``sign`` -1) less; its next report says
        what of them is free.
        """
        total = self.members[name].view.total
        for resource, units in more:
            total[resource] = total.get(resource, 0) + sign * units
            if not total[resource]:
                del total[resource]

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


def _add(view: NodeView, resource: str, units: int) -> None:
    """So much more is free."""
    left = view.available.get(resource, 0) + units
    if left or resource in view.total:
        view.available[resource] = left
    else:
        view.available.pop(resource, None)
