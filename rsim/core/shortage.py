"""A node whose machine runs out of memory: whose worker is ended for it, and when its task runs
again.

Decides on the victim: the task that began last of those that may be run again, else the worker that
began last. Must never end a second worker before the first is gone. Owns the victims, and the tasks
that wait before they run again.

Such a run costs none of the task's retries, for it is no fault of its own: it is repeated as often
as need be, after ever longer pauses. A task that may not be retried at all fails.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rsim.core.effects import SetTimer
from rsim.core.facts import SHORT
from rsim.core.records import ErrorInfo
from rsim.core.work import ACTOR, BUSY, DONE, WAITING, Task, Worker, cancellation

if TYPE_CHECKING:
    from rsim.core.events import MemoryRanShort, WorkerExited
    from rsim.core.node import Node

OUT_OF_MEMORY = "OutOfMemoryError"
"""Failure of a task whose worker died for want of memory."""

_FIRST_PAUSE_NS = 1_000_000_000
_DOUBLINGS = 6


class Shortage:
    """The part of a node that deals with want of memory."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._victims: dict[int, str] = {}
        """Workers that are being ended, and how scarce memory was."""
        self._pausing: dict[int, Task] = {}

    def ran_short(self, event: MemoryRanShort) -> None:
        """The backend has seen it."""
        workers = self._node.scheduler.workers.values()
        candidates = [each for each in workers if each.state in (BUSY, ACTOR)]
        if self._victims or not candidates:
            return
        victim = max(candidates, key=_expendable)
        self._victims[victim.client] = (
            f"{event.used_bytes} of at most {event.limit_bytes} bytes of memory were in use"
        )
        self._node.scheduler.stop_worker(victim.client, kill=True)

    def cause(self, event: WorkerExited) -> str:
        """In words, if the worker died for want of memory, else empty."""
        scarcity = self._victims.pop(event.client, "")
        if not scarcity and event.out_of_memory:
            scarcity = "the system has killed it"
        if not scarcity:
            return ""
        who = f"pid {event.pid}, " if event.pid else ""
        return f"{SHORT}: {scarcity} ({who}{event.reason})"

    def struck(self, task: Task, error: ErrorInfo) -> None:
        """A task died so: let it run again after a while, if it may; its owner decides."""
        tasks = self._node.tasks
        if task.state == DONE:
            return
        if task.cancelled:
            tasks.fail(task, cancellation(task))
        elif task.owner or not task.spec.options.max_retries:
            tasks.fail(task, error)
        else:
            step = self._node.step
            self._node.history.attempt_ended(task, error, step.now_ns)
            task.state = WAITING
            timer = step.next_op()
            self._pausing[timer] = task
            pause_ns = _FIRST_PAUSE_NS << min(task.shortages, _DOUBLINGS)
            task.shortages += 1
            step.out.append(SetTimer(timer, step.now_ns + pause_ns))

    def timer_fired(self, op: int) -> bool:
        """Whether the timer was ours; then a pause is over."""
        task = self._pausing.pop(op, None)
        if task is None:
            return False
        if task.state != DONE:
            task.attempt += 1
            self._node.tasks.await_inputs(task)
        return True

    @property
    def active(self) -> bool:
        """Whether something will happen by itself."""
        return bool(self._victims or self._pausing)


def _expendable(worker: Worker) -> tuple[bool, int, int]:
    """The greater, the better a victim."""
    is_retriable = worker.state == BUSY and worker.tasks[0].spec.options.max_retries != 0
    return is_retriable, worker.since_ns, worker.client
