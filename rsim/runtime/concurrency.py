"""The calls of an actor that runs several at a time.

Decides which of them begin and which wait, by concurrency group: first come, first served. Must
never run more of a group than its limit, nor begin one after the actor has ended itself. Owns the
calls that were received and are not over.
"""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING

from rsim.core.records import ActorOptions
from rsim.runtime.context import TaskContext
from rsim.runtime.ports import Stage
from rsim.runtime.wire import RunTask

if TYPE_CHECKING:
    from rsim.runtime.client import Client
    from rsim.runtime.executor import Executor


class _Group:
    """A concurrency group."""

    __slots__ = ("limit", "running", "waiting")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.running = 0
        self.waiting: dict[bytes, RunTask] = {}


class Calls:
    """Admits calls. How they run is the subclasses' business. Thread-safe."""

    def __init__(
        self, executor: Executor, client: Client, stage: Stage, options: ActorOptions
    ) -> None:
        self._executor = executor
        self._client = client
        self._stage = stage
        self._lock = threading.Lock()
        self._groups = {"": _Group(options.max_concurrency)}
        self._groups.update((name, _Group(limit)) for name, limit in options.groups)
        self._contexts: dict[bytes, TaskContext] = {}
        """Of the calls that have begun."""
        self._again: dict[bytes, RunTask] = {}
        """Calls that came to be run again before their last run was over: its end has been told,
        but what it held is not all given back.
        """
        self._closed = False

    @property
    def busy(self) -> bool:
        """Whether any call runs or waits."""
        return bool(self._contexts) or any(group.waiting for group in self._groups.values())

    def take(self, task: RunTask) -> None:
        """A call has come: begin it, or let it wait for its turn."""
        if self._executor.is_cancelled(task.task_id):
            self._executor.give_back(task.task_id)
            return
        group = self._group_of(task)
        with self._lock:
            if self._closed:
                return  # the actor's end is the answer
            if task.task_id in self._contexts:
                self._again[task.task_id] = task
                return
            if group.running >= group.limit:
                group.waiting[task.task_id] = task
                return
            group.running += 1
            context = self._enter(task)
        self._begin(task, context)

    def over(self, task: RunTask) -> tuple[RunTask, TaskContext] | None:
        """A call is over. Which one has its place now, if any, and is to begin."""
        self._stage.ended(task)
        group = self._group_of(task)
        with self._lock:
            del self._contexts[task.task_id]
            again = self._again.pop(task.task_id, None)
            if again is not None:
                group.waiting[task.task_id] = again
            if group.waiting:
                following = group.waiting.pop(next(iter(group.waiting)))
                return following, self._enter(following)
            group.running -= 1
            busy = self.busy
        if not busy:
            self._stage.fell_idle()
        return None

    def cancel(self, task_id: bytes, recursive: bool) -> bool:
        """Give back a call that waits, or tell one that runs. False: it is not here."""
        with self._lock:
            context = self._contexts.get(task_id)
            queues = (self._again, *(group.waiting for group in self._groups.values()))
            waited = any([queue.pop(task_id, None) is not None for queue in queues])
        if waited:
            self._executor.give_back(task_id)
        elif context is not None:
            context.cancelled = True
            self._cancel_running(task_id, recursive)
        return waited or context is not None

    def close(self) -> None:
        """The actor ends itself: what runs may end, and nothing begins any more."""
        with self._lock:
            self._closed = True
            self._again.clear()
            for group in self._groups.values():
                group.waiting.clear()

    def leave(self) -> None:
        """The worker is to end, and nothing is left to do. Called where calls are taken."""

    def _group_of(self, task: RunTask) -> _Group:
        return self._groups.get(task.group) or self._groups[""]

    def _enter(self, task: RunTask) -> TaskContext:
        context = TaskContext(task.task_id, task.depth, task)
        self._contexts[task.task_id] = context
        return context

    def _begin(self, task: RunTask, context: TaskContext) -> None:
        raise NotImplementedError

    def _cancel_running(self, task_id: bytes, recursive: bool) -> None:
        """A call that runs is cancelled; its context says so already."""
        if recursive:
            self._executor.tell_interrupted(task_id)


class ThreadedCalls(Calls):
    """Calls of plain methods, each in a thread."""

    def _begin(self, task: RunTask, context: TaskContext) -> None:
        self._stage.spawn(partial(self._work, task, context))

    def _work(self, task: RunTask, context: TaskContext) -> None:
        """The life of a thread: one call after another, as long as any waits."""
        executor, stage = self._executor, self._stage
        following: tuple[RunTask, TaskContext] | None = task, context
        while following is not None:
            task, context = following
            stage.began(task)
            executor.perform(task, context, executor.run_beside)
            following = self.over(task)
