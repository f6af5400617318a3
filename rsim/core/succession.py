"""The death of an owner: its objects are orphans, and find an heir among the nodes that hold them.

Decides what this node reports of a dead one's objects, and takes over those that the global
scheduler gives it, with their lineage. Must never let an orphan's holders fall out of the books.
Owns the loans that were made to dead nodes, until nobody can need them any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rsim.core import messages as m
from rsim.core.effects import SetTimer
from rsim.core.objects import INLINE, LOST, REMOTE, STORED, Entry
from rsim.core.records import OwnedRef, TaskSpec
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
        """Report what the dead node owned, and what it may have adopted without having told; keep
        what was lent to it for a while.
        """
        node = self._node
        orphans = []
        for entry in node.objects.entries.values():
            if not entry.owner or entry.owner in node.peers.others:
                continue
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
        """This node owns orphans from now on: their other holders hear of it from here, so that
        nothing they say of it can come before.
        """
        node, others = self._node, self._node.peers.others
        heirs = []
        for object_id, holders, copies in zip(
            message.object_ids, message.holders, message.copies, strict=True
        ):
            rest = [each for each in holders if each in others]
            known = node.objects.get(object_id)
            if known is not None and known.owner in others and not rest:
                continue  # its task has been run again meanwhile
            heirs.append(self._adopt(object_id, [each for each in copies if each in others]))
            for holder in rest:
                if node.objects.lend_once(holder, object_id):
                    node.peers.borrowing.send(holder, m.Inheritance(object_id))
        for spec in message.specs:
            for object_id in (*spec.deps, *spec.borrows):
                if node.objects.get(object_id) is None:
                    node.objects.declare(object_id).state = LOST
        live = node.lineage.live()
        for spec in message.specs:
            if spec.task_id in live:  # else it is an input that another node owns
                self._inherit(spec)
        for task_id in live:
            task = node.tasks.table.get(task_id)
            if task is not None and not task.owner:
                task.live = live[task_id]
        for entry in heirs:
            if entry.exists:
                node.announce(entry)
            elif entry.waiters is not None:
                node.need(entry, local=False)

    def _adopt(self, object_id: bytes, copies: list[str]) -> Entry:
        """An orphan is this node's own; ``copies``: other nodes that have it."""
        node = self._node
        known = node.objects.get(object_id)
        entry = node.objects.declare(object_id)
        if known is not None and not known.owner and known.state != LOST:
            for where in copies:
                node.peers.directory.copy_changed(where, m.ObjectCopy(object_id, True))
            return entry
        self.take(entry)
        entry.locations = copies or None
        if not entry.is_local:
            entry.state = REMOTE if entry.locations else LOST
        node.objects.touch(entry)  # perhaps a copy was all that this node had
        return entry

    def take(self, entry: Entry) -> None:
        """An object is this node's own, if it was not before. Whoever was lent it from here is to
        count that as a loan by its owner; the former one may never have heard of it.
        """
        node = self._node
        if not entry.owner:
            return
        node.peers.borrowing.return_ref(entry)
        entry.owner = ""
        entry.primary = entry.cached = False
        if entry.actor_at:
            self._bury(entry)
        if entry.state == STORED:
            node.requests.let_stay(entry.object_id)
            node.shelf.set_evictable(entry.object_id, False)
        for borrower in node.objects.settle_loans(entry.object_id, node.peers.others):
            node.peers.borrowing.send(borrower, m.Inheritance(entry.object_id))

    def inherited(self, heir: str, message: m.Inheritance) -> None:
        """Another node owns an orphan from now on, and has lent it to this one."""
        node, object_id = self._node, message.object_id
        entry = node.objects.get(object_id)
        if entry is not None and entry.owner and entry.owner not in node.peers.others:
            entry.owner = heir
            entry.received = 0
            node.objects.forget_loans(object_id, node.peers.others)
            if not entry.exists and entry.waiters is not None:
                node.peers.query(entry)
        node.peers.borrowing.receive(heir, (OwnedRef(object_id, heir),))

    def _bury(self, entry: Entry) -> None:
        """An actor dies with its owner."""
        if entry.state == INLINE:
            self._node.disposal.forget((entry.object_id,))
        entry.state = LOST
        entry.actor_at = ""

    def _inherit(self, spec: TaskSpec) -> None:
        """Take over the lineage of an orphan, as a task that has finished."""
        node = self._node
        known = node.tasks.table.get(spec.task_id)
        if known is not None and not known.owner:
            return
        if known is not None:
            node.intake.superseded(known)
        task = node.tasks.table[spec.task_id] = Task(
            spec=spec, retries_left=spec.options.max_retries
        )
        task.state = DONE
        task.recorded = True
        node.objects.hold_lineage(spec.deps + spec.borrows)
