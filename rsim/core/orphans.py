"""Orphans: who owns an object after the node that owned it has died.

Decides on one new owner for all orphans of one creating task: the first node, in the order in which
nodes joined, that still holds a ref to one of them. For that it collects one report from every node
that was alive at the death. Must never name an owner that is dead, nor a second one while the first
lives. Owns the open rounds of reports and the record of who adopted what.

A report may come before the death is known here (it is kept), or late, for a ref that was on its
way (it is answered from the record, or assigned then). An adoption thus adds to what its receiver
knows: holders and copies named in a later one come on top. The other holders hear of their owner
from it, or else, when it dies first, report once more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from rsim.core.effects import Effect, Send
from rsim.core.ids import creator
from rsim.core.messages import Adoption, OrphanReport
from rsim.core.records import TaskSpec


class LineageView(Protocol):
    """The lineage on record in the control store, to be read only."""

    def spec(self, task_id: bytes) -> TaskSpec | None:
        """The spec of a task, or None when it is not on record."""


class NoLineage:
    """Nothing is on record."""

    def spec(self, task_id: bytes) -> TaskSpec | None:
        """None."""
        return None


class _Round:
    """The reports about one dead node; ``held`` says by node and object whether it has a copy."""

    __slots__ = ("awaited", "held", "opened", "reported")

    def __init__(self) -> None:
        self.opened = False
        """The death is known here; until then reports are only kept."""
        self.awaited: dict[str, None] = {}
        self.reported: dict[str, None] = {}
        self.held: dict[str, dict[bytes, bool]] = {}

    @property
    def complete(self) -> bool:
        return self.opened and not self.awaited


class Orphans:
    """The new owners of orphans. ``alive``: a view of the living nodes, in order of joining."""

    def __init__(self, alive: Mapping[str, object], lineage: LineageView) -> None:
        self._alive = alive
        self._lineage = lineage
        self._rounds: dict[str, _Round] = {}
        self._closed: dict[str, None] = {}
        self._adopters: dict[bytes, str] = {}
        """The new owner by creating task; overwritten when it dies in turn and leaves orphans."""

    def node_died(self, dead: str) -> list[Effect]:
        """Wait for the reports about ``dead``, gone from ``alive``, and no longer for its own."""
        for each in self._rounds.values():
            each.awaited.pop(dead, None)
            each.held.pop(dead, None)
        opened = self._rounds.setdefault(dead, _Round())
        opened.opened = True
        opened.awaited = {name: None for name in self._alive if name not in opened.reported}
        return self._close()

    def report(self, source: str, report: OrphanReport) -> list[Effect]:
        """Take a node's report; when it was the last one, or late, the adoptions."""
        if source not in self._alive:
            return []
        copies = dict.fromkeys(report.copies)
        late: dict[bytes, bool] = {}
        if report.dead not in self._closed:
            current = self._rounds.setdefault(report.dead, _Round())
            current.reported[source] = None
            current.awaited.pop(source, None)
        for object_id in report.object_ids:
            # An adopter may have died since: then the object is that one's orphan by now.
            dead = report.dead
            if dead in self._closed:
                dead = self._adopters.get(creator(object_id), dead)
            pending = self._rounds.get(dead)
            held = late if pending is None else pending.held.setdefault(source, {})
            held[object_id] = object_id in copies
        return self._assign({source: late}) + self._close()

    def waiting_report(self) -> list[str]:
        """A line for each node whose orphans are not assigned yet."""
        return [
            f"the orphans of {dead} wait for a report from {', '.join(each.awaited)}"
            for dead, each in self._rounds.items()
            if each.opened
        ]

    def quiescent(self) -> bool:
        """Whether no report is awaited."""
        return not any(each.opened for each in self._rounds.values())

    def check(self) -> None:
        """Assert that only living nodes are waited for, and each until it reports."""
        for dead, each in self._rounds.items():
            assert dead not in self._closed and not each.complete, dead
            assert each.opened == (dead not in self._alive) or not each.opened, dead
            for name in (*each.awaited, *each.held):
                assert name in self._alive, f"{name} is dead, but counts for the orphans of {dead}"
            assert not any(name in each.reported for name in each.awaited), dead

    def state(self) -> object:
        """Plain data with a stable ``repr``, for a fingerprint."""
        rounds = [
            (dead, each.opened, each.awaited, each.reported, each.held)
            for dead, each in self._rounds.items()
        ]
        return rounds, self._closed, self._adopters

    def _close(self) -> list[Effect]:
        """Assign the orphans of every round that is complete."""
        effects: list[Effect] = []
        for dead in [name for name, each in self._rounds.items() if each.complete]:
            held = self._rounds.pop(dead).held
            self._closed[dead] = None
            effects += self._assign(held)
        return effects

    def _assign(self, held: Mapping[str, Mapping[bytes, bool]]) -> list[Effect]:
        """Find an owner for all objects held, and tell it."""
        holders: dict[bytes, list[str]] = {}
        copies: dict[bytes, list[str]] = {}
        for name in self._alive:
            for object_id, has_copy in held.get(name, {}).items():
                holders.setdefault(object_id, []).append(name)
                copies.setdefault(object_id, []).extend([name] if has_copy else [])
        by_owner: dict[str, list[bytes]] = {}
        for object_id, names in holders.items():
            owner = self._adopters.get(creator(object_id), "")
            if owner not in self._alive:
                owner = self._adopters[creator(object_id)] = names[0]
            by_owner.setdefault(owner, []).append(object_id)
        effects: list[Effect] = []
        for owner, objects in by_owner.items():
            adoption = Adoption(
                object_ids=tuple(objects),
                holders=tuple(tuple(holders[each]) for each in objects),
                copies=tuple(tuple(copies[each]) for each in objects),
                specs=self._specs(objects),
            )
            effects.append(Send(owner, adoption))
        return effects

    def _specs(self, objects: Sequence[bytes]) -> tuple[TaskSpec, ...]:
        """What computes the objects again, inputs included, as far as it is on record."""
        specs: dict[bytes, TaskSpec | None] = {}
        wanted = [creator(each) for each in objects]
        while wanted:
            task_id = wanted.pop()
            if task_id not in specs:
                spec = specs[task_id] = self._lineage.spec(task_id)
                if spec is not None:
                    wanted.extend(creator(each) for each in (*spec.deps, *spec.borrows))
        return tuple(spec for spec in specs.values() if spec is not None)
