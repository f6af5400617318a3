"""Cancellation: tasks that are not to run, or not to run on.

Decides how a task is stopped, wherever it has got to: taken out of a queue, recalled, interrupted,
or its worker killed. Must never stop a call of an actor by itself: the worker knows whether it has
begun. Owns no state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rsim.core.effects import InterruptTask
from rsim.core.facts import FORCED
from rsim.core.ids import creator, is_put
from rsim.core.messages import CancelForward
from rsim.core.work import DONE, FORWARDED, READY, SENT, Task, cancellation

if TYPE_CHECKING:
    from rsim.core.events import CallInterrupted, CancelRequested
    from rsim.core.node import Node
    from rsim.core.records import ErrorInfo


class Cancellation:
    """The part of a node that stops tasks."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def requested(self, event: CancelRequested) -> None:
        """A client wants the task that creates an object cancelled, wherever it is."""
        task_id = creator(event.object_id)
        task = self._node.tasks.table.get(task_id)
        if task is not None and not is_put(event.object_id):
            self.cancel(task, event.force, event.recursive)
            return
        entry = self._node.objects.get(event.object_id)
        if entry is not None and entry.owner:
            forward = CancelForward(task_id, event.force, event.recursive)
            self._node.peers.borrowing.send(entry.owner, forward)

    def forwarded(self, message: CancelForward) -> None:
        """The same from another node."""
        task = self._node.tasks.table.get(message.task_id)
        if task is not None:
            self.cancel(task, message.force, message.recursive)

    def interrupted(self, event: CallInterrupted) -> None:
        """A call has been told: what it had submitted before goes with it. It may have begun, and
        submitted that, only after the cancellation was asked for.
        """
        for child in self._children(event.task_id):
            self.cancel(child, force=False, recursive=True)

    def _children(self, parent_id: bytes) -> list[Task]:
        table = self._node.tasks.table.values()
        return [task for task in table if task.spec.parent_id == parent_id]

    def cancel(self, task: Task, force: bool, recursive: bool) -> None:
        """Do not run a task, or stop it, unless it has finished: then never again."""
        node = self._node
        task.cancelled = True
        todo = [task]
        while todo:
            task = todo.pop()
            if task.state == DONE:
                continue
            if recursive:
                todo += self._children(task.spec.task_id)
            error = cancellation(task)
            task.cancelled = True
            if task.state == FORWARDED:
                forward = CancelForward(task.spec.task_id, force, recursive)
                node.peers.borrowing.send(str(task.executor), forward)
            elif task.state == SENT:
                self._cancel_sent(task, force, recursive, error)
            else:
                self._withdraw_wait(task)
                node.tasks.fail(task, error)

    def cut_short(self, task: Task) -> None:
        """End this run of a task: it is to run again."""
        node = self._node
        if task.state == FORWARDED:
            forward = CancelForward(task.spec.task_id, force=False, recursive=False)
            node.peers.borrowing.send(str(task.executor), forward)
        elif task.state == SENT and node.scheduler.workers[int(task.executor)].tasks[0] is task:
            node.step.out.append(InterruptTask(int(task.executor), task.spec.task_id))

    def _withdraw_wait(self, task: Task) -> None:
        node = self._node
        if task.spec.actor or task.state == READY:
            node.withdraw(task)
        for object_id in task.spec.deps:
            entry = node.objects.get(object_id)
            if entry is not None:
                node.objects.unwait(entry, task)

    def _cancel_sent(self, task: Task, force: bool, recursive: bool, error: ErrorInfo) -> None:
        node = self._node
        client = int(task.executor)
        worker = node.scheduler.workers[client]
        if node.requests.is_starting(task.spec.task_id):
            node.requests.cancel_start(task)
            node.tasks.fail(task, error)
            node.scheduler.abandon(task)
            if task.spec.actor:
                node.actors.call_dropped(task)
        elif task.spec.actor:  # the worker knows whether it has begun
            node.step.out.append(InterruptTask(client, task.spec.task_id, recursive))
            node.streams.pauses.end(task.spec.task_id)
        elif worker.tasks[0] is not task:
            node.tasks.fail(task, error)
            if not worker.recalled:
                node.scheduler.recall(worker)
        elif force:
            node.scheduler.stop_worker(client, kill=True, why=FORCED)
        else:
            node.step.out.append(InterruptTask(client, task.spec.task_id))
