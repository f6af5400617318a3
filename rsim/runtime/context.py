"""The task that code belongs to.

Decides how it is found: by a context variable, so that the threads of a pool, asyncio tasks and
greenlets each see their own. Must never be set in a driver. Owns that variable.
"""

from __future__ import annotations

import itertools
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rsim.runtime.wire import RunTask


class TaskContext:
    """What code creates is named after the task that it belongs to."""

    __slots__ = ("cancelled", "depth", "puts", "started_ns", "submissions", "task", "task_id")

    def __init__(self, task_id: bytes, depth: int, task: RunTask | None = None) -> None:
        self.task_id = task_id
        self.depth = depth
        self.task = task
        """None in a driver."""
        self.cancelled = False
        """Somebody has asked to cancel it, and it has been told."""
        self.started_ns = -1
        """When, by the clock of the node."""
        self.submissions = itertools.count()
        self.puts = itertools.count()


RUNNING: ContextVar[TaskContext | None] = ContextVar("rsim_running", default=None)
"""None where no task runs, as in threads that user code started itself."""
