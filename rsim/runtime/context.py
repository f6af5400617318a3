"""The task that code belongs to.

Decides how it is found: by a context variable, so that the threads of a pool, asyncio tasks and
greenlets each see their own. Must never be set in a driver. Owns that variable.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rsim.runtime.wire import RunTask


class TaskContext:
    """What code creates is named after the task that it belongs to."""

    __slots__ = ("__dict__", "cancelled", "depth", "started_ns", "task", "task_id")

    def __init__(self, task_id: bytes, depth: int, task: RunTask | None = None) -> None:
        self.task_id = task_id
        self.depth = depth
        self.task = task
        """None in a driver."""
        self.cancelled = False
        """Somebody has asked to cancel it, and it has been told."""
        self.started_ns = -1
        """When, by the clock of the node."""

    def __getattr__(self, name: str) -> Iterator[int]:
        """``submissions`` and ``puts`` count what code has created; made when they are first asked
        for, as most tasks create nothing.
        """
        if name not in ("submissions", "puts"):
            raise AttributeError(name)
        counter: Iterator[int] = self.__dict__.setdefault(name, itertools.count())  # atomic
        return counter


RUNNING: ContextVar[TaskContext | None] = ContextVar("rsim_running", default=None)
"""None where no task runs, as in threads that user code started itself."""
