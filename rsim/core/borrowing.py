"""Refs that cross nodes: who owns what was lent to whom, and the rule that lineage is written
before a ref escapes.

Decides when a message with refs may leave, and what a node must tell an owner about refs it was
lent. Must never let a ref leave before the lineage of its object is in the control store, nor
reorder messages to one destination. Owns the messages that are held back.

A message from S lends each of its refs to the receiver K. Is S the owner, that is a loan in S's
books. Is K the owner, nothing need be counted: S's own hold ends after the message. Otherwise S
keeps a hold for K in its books until the owner has registered K (``RefBorrow`` from K to the owner,
``BorrowNote`` from the owner to S).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING

from rsim.core.directory import RemoteWaiter
from rsim.core.effects import Effect, ForgetLineage, RecordLineage, Send, SendLocation
from rsim.core.ids import creator
from rsim.core.messages import (
    BorrowNote,
    Message,
    ObjectLocation,
    RefBorrow,
    RefReturn,
)
from rsim.core.objects import INLINE, LOST, PENDING, Entry
from rsim.core.records import OwnedRef, TaskSpec

if TYPE_CHECKING:
    from rsim.core.node import Node


class Borrowing:
    """Loans between nodes, and the way out for messages that carry refs."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._unacked: deque[int] = deque()
        self._held: dict[str, deque[tuple[int, Effect]]] = {}

    # -- out ---------------------------------------------------------------------------------------

    def lend(self, to: str, object_ids: Iterable[bytes]) -> tuple[OwnedRef, ...]:
        """The refs as they travel to ``to``, lent."""
        node = self._node
        refs = []
        for object_id in object_ids:
            owner = node.objects.entries[object_id].owner or node.name
            if owner != to:
                node.objects.lend(to, object_id)
            refs.append(OwnedRef(object_id, owner))
        return tuple(refs)

    def send(self, to: str, message: Message, refs: tuple[OwnedRef, ...] = ()) -> None:
        """Send a message, after the lineage of the refs in it is on record."""
        if refs:
            self._record(refs)
        effect: Effect = Send(to, message)
        if isinstance(message, ObjectLocation) and message.size_bytes < 0:
            effect = SendLocation(to, message)
        barrier = self._unacked[-1] if refs and self._unacked else 0
        held = self._held.get(to)
        if held is not None:
            held.append((barrier, effect))
        elif barrier:
            self._held[to] = deque([(barrier, effect)])
        else:
            self._node.step.out.append(effect)

    def _record(self, refs: tuple[OwnedRef, ...]) -> None:
        """Write down the tasks that could make these objects again, and all those need."""
        node = self._node
        specs: list[TaskSpec] = []
        todo = [ref.object_id for ref in refs if ref.owner == node.name]
        while todo:
            task = node.tasks.table.get(creator(todo.pop()))
            if task is not None and not task.recorded:
                task.recorded = True
                specs.append(task.spec)
                todo += [*task.spec.deps, *task.spec.borrows]
        if specs:
            op = node.step.next_op()
            self._unacked.append(op)
            node.step.out.append(RecordLineage(op, tuple(specs), node.name))

    def lineage_recorded(self, op: int) -> None:
        """The control store has it: let go what waited for it."""
        while self._unacked and self._unacked[0] <= op:
            self._unacked.popleft()
        oldest = self._unacked[0] if self._unacked else 0
        for to in list(self._held):
            held = self._held[to]
            while held and (not oldest or held[0][0] < oldest):
                effect = held.popleft()[1]
                if not self._is_moot(to, effect):
                    self._node.step.out.append(effect)
            if not held:
                del self._held[to]

    def _is_moot(self, to: str, effect: Effect) -> bool:
        """Whether a value is to be sent that is gone: the receiver has dropped its ref meanwhile,
        or, if the value is being made again, is answered later. What the value holds will not be
        returned by it.
        """
        if not isinstance(effect, SendLocation):
            return False
        objects, message = self._node.objects, effect.message
        assert isinstance(message, ObjectLocation)
        entry = objects.get(message.object_id)
        if entry is not None and entry.state == INLINE:
            return False
        for ref in message.contained:
            if ref.owner != to:
                objects.returned(to, ref.object_id, 1)
        if entry is not None and entry.state == PENDING:  # an actor that has died meanwhile
            objects.wait(entry, RemoteWaiter(node=to))
        return True

    def forget_lineage(self, task_id: bytes) -> None:
        """The task's record is no longer needed."""
        self._node.step.out.append(ForgetLineage((task_id,)))

    def drop_node(self, dead: str) -> None:
        """Nothing more can be sent to a dead node."""
        self._held.pop(dead, None)

    # -- in ----------------------------------------------------------------------------------------

    def receive(self, source: str, refs: tuple[OwnedRef, ...]) -> None:
        """Refs came with a message from ``source``: make entries for them, and settle the loans."""
        node = self._node
        for ref in refs:
            object_id, owner = ref.object_id, ref.owner
            if owner == node.name:
                if node.objects.get(object_id) is None:
                    node.objects.declare(object_id).state = LOST
                continue
            entry = node.objects.declare_foreign(object_id, owner)
            if owner not in node.peers.others:
                if entry.owner == owner:
                    node.peers.succession.report_orphans(owner, [entry])
                continue
            if owner != source:
                self.send(owner, RefBorrow(object_id, source))
            if entry.owner == owner:
                entry.received += 1
                node.objects.touch(entry)  # perhaps a copy is kept that nobody has a use for
            else:
                self.send(owner, RefReturn((object_id,), (1,)))

    def borrowed(self, source: str, message: RefBorrow) -> None:
        """Another node was lent a ref of ours by a third one."""
        node = self._node
        if node.objects.get(message.object_id) is None:
            node.objects.declare(message.object_id).state = LOST
            node.lineage.object_claimed(message.object_id)
        node.objects.lend(source, message.object_id)
        self.send(message.lender, BorrowNote(message.object_id, source))

    def noted(self, message: BorrowNote) -> None:
        """The owner knows the borrower now: our own hold for it can go."""
        self._node.objects.returned(message.borrower, message.object_id, 1)

    def returned(self, source: str, message: RefReturn) -> None:
        """A borrower dropped refs of ours."""
        for object_id, count in zip(message.object_ids, message.counts, strict=True):
            self._node.objects.returned(source, object_id, count)

    def return_ref(self, entry: Entry) -> None:
        """This node dropped a ref that another owns."""
        if entry.received:
            received, entry.received = entry.received, 0
            self.send(entry.owner, RefReturn((entry.object_id,), (received,)))

    @property
    def active(self) -> bool:
        """Whether messages are held back."""
        return bool(self._held)
