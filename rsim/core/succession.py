"""The death of an owner: its objects are orphans, and find an heir among the nodes that hold them.

Decides what this node reports of a dead one's objects, and takes over those that the global
scheduler gives it, with their lineage. Must never let an orphan's holders fall out of the books.
Owns the loans that were made to dead nodes, until nobody can need them any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rsim.core import messages as m
from rsim.core.effects import SetTimer
from rsim.core.ids import creator
from rsim.core.objects import INLINE, LOST, REMOTE, STORED, Entry
from rsim.core.records import TaskSpec
from rsim.core.work import DONE, Task

if TYPE_CHECKING:
    from rsim.core.node import Node

BURIAL_NS = 5_000_000_000
"""How long loans to a dead node are kept: those it lent on may still be registered, and heirs
found.
"""


class Succession:
    """Orphans and heirs, as one node sees them."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._burials: dict[int, str] = {}

    def node_died(self, dead: str) -> None:
        """Report what the dead node owned; keep what was lent to it for a while."""
        node = self._node
        orphans = []
        for entry in node.objects.owned_by(dead):
            if entry.cached and not entry.holds:  # nobody here wants it
                entry.cached = False
                node.objects.touch(entry)
            else:
                orphans.append(entry)
        self.report_orphans(dead, orphans)
        timer = node.step.next_op()
        self._burials[timer] = dead
        node.step.out.append(SetTimer(timer, node.step.now_ns + BURIAL_NS))

    def report_orphans(self, dead: str, orphans: list[Entry]) -> None:
        """Tell the global scheduler which objects of a dead node are wanted here."""
        copies = tuple(entry.object_id for entry in orphans if entry.is_local)
        report = m.OrphanReport(dead, tuple(entry.object_id for entry in orphans), copies)
        self._node.peers.borrowing.send(m.GLOBAL, report)

    def timer_fired(self, op: int) -> bool:
        """Whether the timer was ours; then a dead node's loans end."""
        dead = self._burials.pop(op, None)
        if dead is None:
            return False
        self._node.objects.close_account(dead)
        return True

    def adopted(self, _source: str, message: m.Adoption) -> None:
        """Orphaned objects have a new owner, perhaps this node."""
        node = self._node
        if message.owner == node.name:
            self._adopt(message)
            return
        if message.owner not in self._node.peers.others:
            self.report_orphans(
                message.owner, list(filter(None, map(node.objects.get, message.object_ids)))
            )
            return
        for object_id in message.object_ids:
            entry = node.objects.get(object_id)
            if entry is None or not entry.owner or entry.owner in self._node.peers.others:
                self._node.peers.borrowing.send(message.owner, m.RefReturn((object_id,), (1,)))
                continue
            entry.owner = message.owner
            entry.received = 1
            node.objects.forget_loans(object_id, self._node.peers.others)
            if not entry.exists and entry.waiters is not None:
                node.peers.query(entry)

    def _adopt(self, message: m.Adoption) -> None:
        node = self._node
        heirs = []
        for object_id, holders, copies in zip(
            message.object_ids, message.holders, message.copies, strict=True
        ):
            entry = node.objects.declare(object_id)
            if not entry.owner and entry.received == 0 and entry.exists:
                continue
            entry.owner = ""
            entry.received = 0
            entry.primary = entry.cached = False
            for holder in holders:
                if holder in self._node.peers.others:
                    node.objects.lend_once(holder, object_id)
            entry.locations = [each for each in copies if each in self._node.peers.others] or None
            if entry.actor_at:
                self._bury(entry)
            if entry.state == STORED:
                node.requests.let_stay(object_id)
                node.shelf.set_evictable(object_id, False)
            elif entry.state != INLINE:
                entry.state = REMOTE if entry.locations else LOST
            heirs.append(entry)
        for spec in message.specs:
            self._inherit(spec)
        for entry in heirs:
            if entry.exists:
                node.announce(entry)
            elif entry.waiters is not None:
                node.need(entry, local=False)

    def _bury(self, entry: Entry) -> None:
        """An actor dies with its owner."""
        if entry.state == INLINE:
            self._node.forget_values((entry.object_id,))
        entry.state = LOST
        entry.actor_at = ""

    def _inherit(self, spec: TaskSpec) -> None:
        """Take over the lineage of an orphan, as a task that has finished."""
        node = self._node
        live = sum(
            1
            for entry in node.objects.entries.values()
            if not entry.owner and creator(entry.object_id) == spec.task_id
        )
        known = node.tasks.table.get(spec.task_id)
        if known is not None and not known.owner:
            known.live = live
            return
        task = node.tasks.table[spec.task_id] = Task(
            spec=spec, retries_left=spec.options.max_retries
        )
        task.state = DONE
        task.recorded = True
        task.live = live
        for object_id in (*spec.deps, *spec.borrows):
            if node.objects.get(object_id) is None:
                node.objects.declare(object_id).state = LOST
        node.objects.hold_lineage(spec.deps + spec.borrows)
