"""Deaths of workers and nodes, and what they had in hand.

Decides what becomes of the task that a dead worker or node was running: run again, or failed; and
in which order the parts of a node learn of a death. Must never charge a task for the death of a
worker that had not begun it. Owns no state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rsim.core.records import STREAMING, ErrorInfo
from rsim.core.shortage import OUT_OF_MEMORY
from rsim.core.work import DONE, FORWARDED, READY, SENT, WAITING, Task, cancellation

if TYPE_CHECKING:
    from rsim.core.events import NodeDied, WorkerExited
    from rsim.core.node import Node


class Deaths:
    """The part of a node that knows what follows from a death."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def worker_exited(self, event: WorkerExited) -> None:
        """A worker is gone."""
        node, client = self._node, event.client
        worker, shortage = node.scheduler.workers.get(client), node.shortage.cause(event)
        if worker is not None:
            actor = node.actors.actor_at(client)
            reason = shortage or node.actors.end_of(client) or worker.why or event.reason
            node.history.worker_ended(worker, actor, reason, node.step.now_ns)
        self._end_worker(client, event.reason, shortage)
        node.scheduler.replace_workers()
        node.reserved.worker_gone(client)

    def _end_worker(self, client: int, reason: str, shortage: str) -> None:
        """Only the task that it was running is charged for it, unless it died for want of memory
        (``shortage``, in words).
        """
        node = self._node
        lost = node.scheduler.worker_exited(client)
        running = lost[0] if lost and not node.requests.is_starting(lost[0].spec.task_id) else None
        node.requests.client_gone(client)
        node.streams.pauses.client_gone(client)
        node.shelf.client_gone(client)
        node.objects.close_account(client)
        node.names.client_gone(client)
        if node.actors.worker_exited(client, lost, shortage or reason):
            return
        spared = [task for task in lost if task is not running and not task.cancelled]
        node.scheduler.ready.put_back(spared)
        if running is not None:
            text = f"the worker running {running.spec.name} died: {shortage or reason}"
            kind = OUT_OF_MEMORY if shortage else "WorkerCrashedError"
            self.interrupted(running, ErrorInfo(kind, text))
        if node.scheduler.starts_failed >= node.config.max_starts_failed:
            text = f"no worker process could be started: {reason}"
            for task in list(node.scheduler.ready.tasks()):
                node.scheduler.ready.remove(task)
                node.tasks.fail(task, ErrorInfo("WorkerCrashedError", text))

    def node_died(self, event: NodeDied) -> None:
        """A node is gone: run its tasks again, look for its objects elsewhere, report what it
        owned.
        """
        node, dead = self._node, event.node
        total = node.peers.node_left(dead)
        if total is None:  # it died as this node joined
            node.peers.succession.report_orphans(dead, [])
            return
        node.history.node_died(dead, total, node.step.now_ns)
        node.inspection.node_died(dead)
        node.peers.borrowing.drop_node(dead)
        node.peers.directory.node_died(dead)
        node.actors.node_died(dead)
        node.streams.pauses.node_died(dead)
        node.names.node_died(dead)
        for task in list(node.tasks.table.values()):
            if task.state == FORWARDED and task.executor == dead:
                text = f"node {dead}, which was running {task.spec.name}, died"
                self.interrupted(task, ErrorInfo("NodeDiedError", text))
            elif task.owner == dead and task.state in (WAITING, READY):
                if task.state == READY:
                    node.withdraw(task)
                error = ErrorInfo("OwnerDiedError", f"its owner, the node {dead}, died")
                node.tasks.conclude(task, error)
            elif task.owner == dead and task.state == SENT and task.spec.num_returns == STREAMING:
                node.cancellation.cancel(task, force=False, recursive=False)  # it may be endless
        node.peers.succession.node_died(dead)

    def interrupted(self, task: Task, error: ErrorInfo) -> None:
        """A worker or node died while it ran the task: try again, if allowed."""
        node = self._node
        if task.state == DONE:
            return
        if task.spec.actor:
            node.lanes.call_lost(task)
        elif error.kind == OUT_OF_MEMORY:
            node.shortage.struck(task, error)
        elif not task.owner and node.tasks.may_retry(task):
            node.tasks.retry(task, error)
        elif task.cancelled and error.kind != "WorkerCrashedError":
            node.tasks.fail(task, cancellation(task))
        else:
            node.tasks.fail(task, error)
