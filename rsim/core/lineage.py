"""Lineage: what is known of how objects came about, and how lost ones are made again.

Decides when a finished task can be forgotten, and whether a lost object may be computed again. Must
never run a task again that has no retries left. Owns no state of its own: the task table is the
lineage, where a finished task stays as long as one of its objects is known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rsim.core.ids import TASK_ID_BYTES, creator, is_put, return_id
from rsim.core.objects import FREED, LOST, PENDING, Entry
from rsim.core.records import STREAMING, ErrorInfo, TaskSpec
from rsim.core.work import DONE, Task, cancellation

if TYPE_CHECKING:
    from rsim.core.node import Node


class Lineage:
    """The finished tasks of a node, as the origin of its objects."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def object_put(self, entry: Entry) -> None:
        """A task's ``put`` can be made again as long as the task is known."""
        task = self.object_claimed(entry.object_id)
        if task is not None and task.owner and task.attempt:
            self._node.peers.note_put(entry.object_id, task.owner)

    def object_claimed(self, object_id: bytes) -> Task | None:
        """One reason more to remember the task that makes an object."""
        task = self._node.tasks.table.get(creator(object_id))
        if task is not None:
            task.live += 1
        return task

    def object_removed(self, object_id: bytes) -> None:
        """One reason less to remember the task that made it."""
        task = self._node.tasks.table.get(object_id[:TASK_ID_BYTES])
        if task is None or (task.owner and not is_put(object_id)):
            return
        task.live -= 1
        if not task.live and task.state == DONE:
            if not task.plain:
                self._node.objects.release_lineage(task.spec.deps + task.spec.borrows)
            self._forget(task)

    def live(self) -> dict[bytes, int]:
        """For how many objects each task is to be remembered, derived anew."""
        live: dict[bytes, int] = {}
        for object_id, entry in self._node.objects.entries.items():
            if not entry.owner:
                live[creator(object_id)] = live.get(creator(object_id), 0) + 1
        return live

    def check(self) -> None:
        """This node's own tasks are remembered for as many objects as there are. Not so if objects
        come before the task that makes them: no part of `Node.check`, for that may get anything.
        """
        live = self.live()
        for task_id, task in self._node.tasks.table.items():
            assert task.owner or task.live == live.get(task_id, 0), task.spec.name

    def forget(self, task: Task) -> None:
        """Nothing of what the task made is known any more."""
        if self._node.tasks.table.get(task.spec.task_id) is task:
            self._forget(task)

    def _forget(self, task: Task) -> None:
        task_id = task.spec.task_id
        del self._node.tasks.table[task_id]
        if task.spec.num_returns == STREAMING:
            self._node.streams.forget(task_id)
        if task.recorded:
            self._node.peers.forget_lineage(task_id)

    def can_recompute(self, object_id: bytes) -> bool:
        """Whether the task that made the object is known."""
        return creator(object_id) in self._node.tasks.table

    def reconstruct(self, entry: Entry) -> None:
        """Somebody wants an object whose value is gone: run its task again, if that is allowed."""
        if entry.state not in (FREED, LOST):
            return
        task = self._node.tasks.table.get(creator(entry.object_id))
        freed = entry.state == FREED
        error = self._obstacle(entry, task)
        entry.state = PENDING
        if error is not None:
            self._node.tasks.fail_object(entry, error)
        elif task is not None and task.state == DONE:
            self._node.objects.release_lineage(self.hold_inputs(task))
            self._node.tasks.retry(task, charged=not freed)
        elif task is not None and task.spec.num_returns == STREAMING:
            self._node.streams.missed(task, entry.object_id)

    @staticmethod
    def _obstacle(entry: Entry, task: Task | None) -> ErrorInfo | None:
        """Why an object cannot be made again."""
        lost = f"object {entry.object_id.hex()} is lost"
        if task is None:
            made = "put by the driver" if is_put(entry.object_id) else "made by a forgotten task"
            text = f"{lost}: it was {made}, so it cannot be computed again"
            return ErrorInfo("ObjectLostError", text, entry.object_id)
        if task.state != DONE:
            return None
        if task.spec.creation is not None:
            why = "all its handles were gone"
            if entry.state != FREED:
                why = "the node that owned it died"
            text = f"{task.spec.name} is dead: {why}"
            return ErrorInfo("ActorDiedError", text, entry.object_id)
        if task.cancelled:
            return cancellation(task)
        if task.retries_left == 0:
            option = "max_task_retries" if task.spec.actor else "max_retries"
            text = f"{lost}, and {task.spec.name} has no retries left ({option})"
            return ErrorInfo("ObjectReconstructionFailedError", text, entry.object_id)
        return None

    @staticmethod
    def omission(task: Task, entry: Entry) -> ErrorInfo:
        """Why an object is lost that another run of its task did not make."""
        yielded = task.spec.num_returns == STREAMING and not is_put(entry.object_id)
        inconsistent = "StreamingGeneratorReplayInconsistentError"
        kind = inconsistent if yielded else "ObjectReconstructionFailedError"
        name = entry.object_id.hex()
        text = f"object {name} is lost: {task.spec.name} ran again without making it"
        return ErrorInfo(kind, text, entry.object_id)

    def unfinished(self, task: Task) -> list[Entry]:
        """All that a task has yet to make."""
        return self.unfinished_results(task) + self.unfinished_others(task)

    def unfinished_results(self, task: Task) -> list[Entry]:
        """Results of a task that do not exist."""
        entries = map(self._node.objects.get, results_of(task.spec))
        return [entry for entry in entries if entry is not None and not entry.exists]

    def unfinished_others(self, task: Task) -> list[Entry]:
        """Objects that are wanted, and that an earlier run of the task put or yielded."""
        entries = self._node.objects.entries
        task_id, results = task.spec.task_id, results_of(task.spec)
        if task.live == sum(object_id in entries for object_id in results):
            return []
        return [
            entry
            for object_id, entry in entries.items()
            if creator(object_id) == task_id
            and entry.state == PENDING
            and not entry.owner
            and object_id not in results
            and not self._node.streams.is_awaited(object_id)
        ]

    def hold_inputs(self, task: Task) -> tuple[bytes, ...]:
        """A task that was over is to run again: its inputs, held anew."""
        spec = task.spec
        inputs = spec.deps + spec.borrows
        self._node.objects.hold((*inputs, spec.actor) if spec.actor else inputs)
        self._node.objects.revive(inputs)
        return inputs


def results_of(spec: TaskSpec) -> list[bytes]:
    """The ids of a task's results; the items of a generator are not among them."""
    return [return_id(spec.task_id, index) for index in range(abs(spec.num_returns))]
