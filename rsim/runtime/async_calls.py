"""The calls of an actor that has ``async def`` methods: all of them run on one event loop.

Decides when the loop ends: with the actor. Must never run a call's code anywhere but on that loop.
Owns the asyncio tasks of the calls. Apart from ``runtime.concurrency``, as workers of other kinds
need no asyncio.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from types import CoroutineType
from typing import Any

from rsim.core.records import ActorOptions
from rsim.runtime.async_streaming import GENERATORS, drain
from rsim.runtime.client import Client
from rsim.runtime.concurrency import Calls
from rsim.runtime.context import RUNNING, TaskContext
from rsim.runtime.executor import CallCancelled, Executor
from rsim.runtime.ports import Stage
from rsim.runtime.trace import natural_key
from rsim.runtime.wire import RunTask

_CLEAN_UP_S = 1.0


def run_actor(
    executor: Executor, client: Client, stage: Stage, task: RunTask, options: ActorOptions
) -> None:
    """Create an actor on an event loop, and run its calls there until it ends."""
    stage.run_loop(_live(executor, client, stage, task, options))


async def _live(
    executor: Executor, client: Client, stage: Stage, task: RunTask, options: ActorOptions
) -> None:
    if executor.perform(task, client.base, executor.run_alone):
        calls = executor.calls = AsyncCalls(executor, client, stage, options)
        client.has_loop, client.exits = True, calls.exits
        while not calls.ended.done():
            with contextlib.suppress(asyncio.CancelledError):  # by a method that cancels all tasks
                await asyncio.shield(calls.ended)
        await _end_others()


async def _end_others() -> None:
    """Cancel what calls have left running, and give it a moment to clean up."""
    me = asyncio.current_task()
    others = [task for task in _tasks_of(asyncio.get_running_loop()) if task is not me]
    for task in others:
        task.cancel()
    if others:
        await asyncio.wait(others, timeout=_CLEAN_UP_S)


def abandon(loop: asyncio.AbstractEventLoop) -> None:
    """The loop will not run again: end what is left in it now, and not whenever it is collected."""
    for task in _tasks_of(loop):
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        coroutine = task.get_coro()
        if coroutine is not None:  # only a task that has ended may have none, since Python 3.12
            with contextlib.suppress(BaseException):
                coroutine.close()


def _see(task: asyncio.Task[Any]) -> None:
    """What it has raised is known: asyncio need not tell."""
    if not task.cancelled():
        task.exception()


def _tasks_of(loop: asyncio.AbstractEventLoop) -> list[asyncio.Task[Any]]:
    """Those that are not done, in the same order each time."""
    return sorted(asyncio.all_tasks(loop), key=lambda task: natural_key(task.get_name()))


class AsyncCalls(Calls):
    """Calls as asyncio tasks of the running loop."""

    def __init__(
        self, executor: Executor, client: Client, stage: Stage, options: ActorOptions
    ) -> None:
        super().__init__(executor, client, stage, options)
        self._loop = asyncio.get_running_loop()
        self._background = contextvars.copy_context()
        """What every call starts from, whoever happens to begin it."""
        self.ended: asyncio.Future[None] = self._loop.create_future()
        """Done when the worker is to end."""
        self._tasks: dict[bytes, asyncio.Task[None]] = {}
        self._begun: set[bytes] = set()
        """Calls whose asyncio tasks have run: only these can be cancelled by asyncio's means."""

    def exits(self) -> None:
        """The actor is to end: what a call raises then tells it, but nobody sees what is raised in
        an asyncio task of the program's own.
        """
        with contextlib.suppress(RuntimeError):  # a thread of the program's own
            task = asyncio.current_task()
            if task is not None and task not in self._tasks.values():
                task.add_done_callback(_see)
                self._executor.exit()

    def leave(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)

    def _begin(self, task: RunTask, context: TaskContext) -> None:
        loop = self._loop
        own = loop.get_task_factory()
        if own is not None:  # the actor's is for its own tasks: that may begin them here and now
            loop.set_task_factory(None)
        try:
            self._tasks[task.task_id] = loop.create_task(
                self._perform(task, context), context=self._background.copy()
            )
        finally:
            if own is not None:
                loop.set_task_factory(own)

    async def _perform(self, task: RunTask, context: TaskContext) -> None:
        task_id = task.task_id
        self._begun.add(task_id)
        executor = self._executor
        RUNNING.set(context)
        self._stage.began(task)
        context.started_ns = self._client.channel.now_ns()
        in_time = context.cancelled
        try:
            if in_time:
                raise CallCancelled
            value = executor.call(task)
            if type(value) is CoroutineType:
                value = await value
            if type(value) in GENERATORS:
                value = await drain(executor, self._client, task, value)
            else:
                value = executor.plain(task, value)
            event = executor.success(task, context, value)
        except (asyncio.CancelledError, CallCancelled):
            event = executor.called_off(task, context, in_time)
        except BaseException as exception:
            event = executor.failure(task, context, exception)
        del self._tasks[task_id]
        self._begun.discard(task_id)
        executor.report(task, event)
        following = self.over(task)
        if following is not None:
            self._begin(*following)

    def _cancel_running(self, task_id: bytes, recursive: bool) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._cancel_task, task_id, recursive)

    def _cancel_task(self, task_id: bytes, recursive: bool) -> None:
        if task_id in self._begun:
            if recursive:
                self._executor.tell_interrupted(task_id)
            self._tasks[task_id].cancel()
