"""Pauses: generators that wait for their consumers, so as not to run ahead too far.

Decides when a paused generator goes on: as soon as enough items are consumed, nobody will ever
consume them, or its run must end. Must never leave a worker paused whose consumer, stream or owner
is gone. Owns the paused generators of this node's workers, and the nodes that wait to hear of this
node's streams.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from rsim.core.effects import ReplyConsumption
from rsim.core.events import ConsumptionAwaited
from rsim.core.messages import ConsumptionQuery, ConsumptionReport

if TYPE_CHECKING:
    from rsim.core.node import Node
    from rsim.core.streams import Stream


class Pause(msgspec.Struct, gc=False, eq=False):
    """A worker whose generator waits until ``count`` items are consumed."""

    client: int
    op: int
    count: int
    owner: str
    stint: int
    """Of the worker that it blocks."""


class Pauses:
    """The paused generators that a node knows."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._paused: dict[bytes, Pause] = {}
        self._asking: dict[bytes, tuple[str, int]] = {}
        """Who runs a paused generator of ours elsewhere, and how many items it waits for."""

    def awaited(self, event: ConsumptionAwaited) -> None:
        """A worker waits for its consumer."""
        node = self._node
        task_id, count = event.task_id, event.count
        task = node.streams.running(event.client, task_id)
        consumed: int | None = count
        if task is not None and task.cancelled and task.spec.actor:
            pass  # it ends by itself as soon as the worker hears of it
        elif task is not None and task.owner in node.peers.others:
            consumed = None
            query = ConsumptionQuery(task_id, task.attempt, count)
            node.peers.borrowing.send(task.owner, query)
        elif task is not None and not task.owner:
            consumed = self._enough(node.streams.table.get(task_id), count)
        if consumed is not None:
            node.step.out.append(ReplyConsumption(event.client, event.op, consumed))
            return
        assert task is not None
        self.end(task_id)
        stint = node.scheduler.block(event.client)
        self._paused[task_id] = Pause(event.client, event.op, count, task.owner, stint)

    def _enough(self, stream: Stream | None, count: int) -> int | None:
        """How many items are consumed if that is enough, or if it must be; else None."""
        if stream is None or self._node.streams.is_hurried(stream):
            return count
        return stream.consumed if stream.consumed >= count else None

    def asked(self, source: str, message: ConsumptionQuery) -> None:
        """The node that runs a generator of ours waits for its consumer."""
        node = self._node
        task_id, count = message.task_id, message.count
        consumed: int | None = count
        if node.streams.forwarded(source, task_id, message.attempt) is not None:
            consumed = self._enough(node.streams.table.get(task_id), count)
        if consumed is None:
            self._asking[task_id] = source, count
        else:
            node.peers.borrowing.send(source, ConsumptionReport(task_id, consumed))

    def told(self, message: ConsumptionReport) -> None:
        """The owner of a generator that is paused here tells what is consumed."""
        pause = self._paused.get(message.task_id)
        if pause is not None and pause.count <= message.consumed:
            self._go_on(message.task_id, message.consumed)

    def consumed(self, stream: Stream) -> None:
        """Items of a stream of ours were consumed, or must be taken for consumed."""
        task_id = stream.task_id
        if not (self._paused or self._asking):
            return
        pause = self._paused.get(task_id)
        if pause is not None:
            consumed = self._enough(stream, pause.count)
            if consumed is not None:
                self._go_on(task_id, consumed)
        asking = self._asking.get(task_id)
        if asking is not None:
            consumed = self._enough(stream, asking[1])
            if consumed is not None:
                del self._asking[task_id]
                report = ConsumptionReport(task_id, consumed)
                self._node.peers.borrowing.send(asking[0], report)

    def _go_on(self, task_id: bytes, consumed: int) -> None:
        pause = self._paused.pop(task_id)
        self._node.scheduler.unblock(pause.client, pause.stint)
        self._node.step.out.append(ReplyConsumption(pause.client, pause.op, consumed))

    # -- ends --------------------------------------------------------------------------------------

    def end(self, task_id: bytes) -> None:
        """A run of a generator has ended here: if it was paused, it was interrupted."""
        pause = self._paused.get(task_id)
        if pause is not None:
            self._go_on(task_id, pause.count)

    def forget(self, task_id: bytes) -> None:
        """A generator of ours is not known any more."""
        self._asking.pop(task_id, None)

    def client_gone(self, client: int) -> None:
        """A worker died."""
        for task_id in [each for each, pause in self._paused.items() if pause.client == client]:
            del self._paused[task_id]

    def node_died(self, dead: str) -> None:
        """Generators of a dead node have no consumer any more."""
        for task_id in [each for each, pause in self._paused.items() if pause.owner == dead]:
            self.end(task_id)

    # -- checks ------------------------------------------------------------------------------------

    def waiting(self) -> list[tuple[int, bytes]]:
        """Who (by client) waits for the consumer of which generator."""
        return [(pause.client, task_id) for task_id, pause in self._paused.items()]

    def check(self) -> None:
        """Whoever is paused is blocked."""
        for task_id, pause in self._paused.items():
            worker = self._node.scheduler.workers[pause.client]
            assert worker.blocked, task_id.hex()
            assert any(task.spec.task_id == task_id for task in worker.tasks)
