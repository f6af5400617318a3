"""Runs user code: the same for a worker process and for a simulated worker.

Decides how a task's function and arguments are loaded, and what becomes of what it returns or
raises. Must never let an error of user code out, nor keep anything of a finished task alive. Owns
the functions that its worker has loaded.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from functools import partial
from typing import Any

from rsim.core.events import ActorExited, TaskFinished
from rsim.core.ids import return_id
from rsim.core.records import Result
from rsim.exceptions import UnserializableError
from rsim.runtime import errors
from rsim.runtime.client import INLINE_LIMIT_BYTES, Client
from rsim.runtime.context import RUNNING, TaskContext
from rsim.runtime.serialization import (
    deserialize_function,
    pack,
    serialize,
)
from rsim.runtime.wire import CALL, CREATION, TASK, RunTask

NANOSECONDS = 1_000_000_000

_EARLY_INTERRUPTS = 64
"""How many interrupts of tasks that are not running are kept: most come too late, not too early."""


class ActorExit(BaseException):
    """Raised in a method of an actor that wants to end."""


def _terminate(_actor: object) -> None:
    raise ActorExit


def _apply(actor: object, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return function(actor, *args, **kwargs)


_HIDDEN: dict[str, Callable[..., Any]] = {
    "__ray_ready__": lambda _actor: True,
    "__ray_terminate__": _terminate,
    "__ray_call__": _apply,
}
"""Methods that every actor has."""


class Executor:
    """Runs one task at a time for one worker."""

    def __init__(self, client: Client) -> None:
        self.running: bytes | None = None
        """The task whose user code is running."""
        self._client = client
        self._functions: dict[bytes, Callable[..., Any]] = {}
        self._early: dict[bytes, None] = {}
        """Tasks to interrupt that had not begun when the interrupt came."""
        self._actor: object = None
        """The actor that lives in this worker."""
        self._exited = False
        """The actor has ended itself: nobody is left to answer what it was sent before."""

    def interrupt(self, task_id: bytes) -> bool:
        """Whether a task to interrupt is running now: then the caller raises KeyboardInterrupt in
        it. Otherwise the task raises by itself if it should begin later. Called from any thread.
        """
        self._early[task_id] = None
        if self.running == task_id:
            self._early.pop(task_id, None)
            return True
        while len(self._early) > _EARLY_INTERRUPTS:
            self._early.pop(next(iter(self._early)), None)
        return False

    @property
    def hosts_actor(self) -> bool:
        """Whether an actor lives in this worker: its calls can be run nowhere else."""
        return self._actor is not None

    def run(self, task: RunTask) -> None:
        """Run a task and report its end; never raises what user code raised."""
        if self._exited:
            return
        client = self._client
        client.base = TaskContext(task.task_id, task.depth, task)
        RUNNING.set(client.base)
        client.hosts_actor = task.kind != TASK
        is_error = retryable = False
        message = ""
        try:
            results = self._run(task)
        except BaseException as exception:
            if task.kind == CALL and isinstance(exception, ActorExit):
                self._exited = True
                RUNNING.set(None)
                client.channel.send(ActorExited(client.number))
                return
            is_error = True
            retryable = _is_retryable(exception, task.extras)
            results = _error_results(exception, task)
            if task.kind == CREATION:
                message = f"{type(exception).__name__}: {exception}"
        RUNNING.set(None)
        client.channel.send(
            TaskFinished(client.number, task.task_id, results, is_error, retryable, message)
        )
        if task.lent or client.has_dropped:  # not before: the results may hold what is dropped here
            client.return_unused(task)
            client.flush()

    def _run(self, task: RunTask) -> tuple[Result, ...]:
        function = self._function(task)
        args, kwargs = self._client.load_arguments(task)
        self.running = task.task_id
        try:
            if self._early and task.task_id in self._early:
                self._early.pop(task.task_id, None)
                raise KeyboardInterrupt
            if task.extras:
                self._spend(task.extras, args, kwargs)
            value = function(*args, **kwargs)
        finally:
            self.running = None
        if task.kind == CREATION:
            self._actor, value = value, None
        del args, kwargs
        return self._results(task, value)

    def _function(self, task: RunTask) -> Callable[..., Any]:
        """What to call: a function, the class of an actor, or a method of this worker's actor."""
        if task.kind == CALL:
            hidden = _HIDDEN.get(task.method)
            if hidden is not None:
                return partial(hidden, self._actor)
            method: Callable[..., Any] = getattr(self._actor, task.method)
            return method
        function = self._functions.get(task.function_id)
        if function is None:
            assert task.function is not None, f"{task.name} came without its function"
            function = self._functions[task.function_id] = deserialize_function(task.function)
        return function

    def _spend(self, extras: bytes, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Let the task's declared cost pass."""
        cost = pickle.loads(extras).get("cost")
        if callable(cost):
            cost = cost(*args, **kwargs)
        if cost:
            self._client.channel.spend(int(cost * NANOSECONDS))

    def _results(self, task: RunTask, value: Any) -> tuple[Result, ...]:
        if task.num_returns == 1:
            return (self._result(task, 0, value),)
        if task.num_returns == 0:
            return ()
        try:
            values = list(value)
        except TypeError:
            values = [value]
        if isinstance(value, dict | str | bytes) or len(values) != task.num_returns:
            raise ValueError(
                f"{task.name} was declared with num_returns={task.num_returns}, but returned "
                f"{type(value).__name__} with {len(values)} value(s)"
            )
        return tuple(self._result(task, index, each) for index, each in enumerate(values))

    def _result(self, task: RunTask, index: int, value: Any) -> Result:
        payload = serialize(value, f"the result of {task.name}()")
        size_bytes = payload.total_bytes
        if size_bytes <= INLINE_LIMIT_BYTES:
            return Result(pack(payload), size_bytes, payload.contained)
        self._client.write(return_id(task.task_id, index), payload)
        return Result(None, size_bytes, payload.contained)


def _error_results(exception: BaseException, task: RunTask) -> tuple[Result, ...]:
    """The exception as each of the task's results."""
    blob = errors.serialize_error(exception, task.name)
    return tuple(Result(blob, len(blob)) for _ in range(task.num_returns))


def _is_retryable(exception: BaseException, extras: bytes) -> bool:
    """Whether the task's options ask to retry this exception."""
    if not extras or isinstance(exception, UnserializableError | KeyboardInterrupt):
        return False
    wanted = pickle.loads(extras).get("retry_exceptions")
    if isinstance(wanted, bool) or wanted is None:
        return bool(wanted) and isinstance(exception, Exception)
    return isinstance(exception, wanted)
