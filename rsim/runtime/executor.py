"""Runs user code: the same for a worker process and for a simulated worker.

Decides how a task's function and arguments are loaded, and what becomes of what it returns or
raises. Must never let an error of user code out, nor keep anything of a finished task alive. Owns
the functions that its worker has loaded, and its actor. Calls that run at the same time are begun
by ``runtime.concurrency``.
"""

from __future__ import annotations

import os
import pickle
import sys
import traceback
from collections.abc import Callable
from types import GeneratorType
from typing import Any, NoReturn

from msgspec.structs import replace

from rsim.core.events import (
    ActorExited,
    CallInterrupted,
    Event,
    TaskDone,
    TaskFinished,
    TasksReturned,
)
from rsim.core.records import STREAMING, Result
from rsim.exceptions import RuntimeEnvSetupError, TaskCancelledError, text_of
from rsim.runtime import checks, errors, setup
from rsim.runtime.client import Client
from rsim.runtime.concurrency import Calls, ThreadedCalls
from rsim.runtime.context import RUNNING, TaskContext
from rsim.runtime.methods import ActorExit, method_of
from rsim.runtime.ports import Stage
from rsim.runtime.results import Results, errors_of, is_retryable
from rsim.runtime.streaming import Broken, Declared, Kept, Production, collect, is_dynamic
from rsim.runtime.tenancy import enter
from rsim.runtime.wire import CALL, CREATION, TASK, RunTask

NANOSECONDS = 1_000_000_000

_LONGEST_TITLE = 100

_EARLY_INTERRUPTS = 64
"""How many interrupts of tasks that are not running are kept: most come too late, not too early."""


_LONGEST_MESSAGE = 1000
"""Of what is remembered of an error beside the error itself, in characters."""


_UNFINISHED = frozenset({Declared, Kept, Broken})
"""What `run_alone` gives for a generator, not for what it returned."""


class CallCancelled(BaseException):
    """Raised in place of what a cancelled call returned."""


class Executor:
    """Runs the tasks of one worker: one at a time, unless they are calls of a concurrent actor."""

    def __init__(self, client: Client, stage: Stage) -> None:
        self.running: bytes | None = None
        """The task whose user code is running, if no other's can be."""
        self.calls: Calls | None = None
        """Those of the concurrent actor that lives in this worker."""
        self._client = client
        self._results = Results(client)
        self._stage = stage
        self._functions: dict[bytes, Callable[..., Any]] = {}
        client.loaded_functions = self._functions
        self._unloadable: dict[bytes, bytes] = {}
        self._early: dict[bytes, None] = {}
        """Tasks to interrupt that had not begun when the interrupt came."""
        self._actor: object = None
        """The actor that lives in this worker."""
        self.title = ""
        """How that writes itself, if its class says how, else what its class is called: what it
        prints is marked with this.
        """
        self._exited = False
        """The actor has ended itself: nobody is left to answer what it was sent before."""
        self._unfit: RuntimeEnvSetupError | None = None
        """Why nothing can run here."""

    def begin(self) -> None:
        """The worker begins: its environment is its own now, and what the driver wants is done."""
        self._unfit = setup.run()
        self._client.environment.begin()

    @property
    def hosts_actor(self) -> bool:
        """Whether an actor lives in this worker: its calls can be run nowhere else."""
        return self._actor is not None

    @property
    def busy(self) -> bool:
        """Whether calls run, or wait to, that ``run`` has only begun."""
        return self.calls is not None and self.calls.busy

    def leave(self) -> None:
        """The worker is to end: if it is not busy, let ``run`` come back."""
        if self.calls is not None and not self.calls.busy:
            self.calls.leave()

    def farewell(self) -> None:
        """The worker ends in good order: let its actor clean up, if it has a method for that."""
        clean_up = getattr(type(self._actor), "__ray_shutdown__", None)
        if clean_up is not None:
            try:
                clean_up(self._actor)
            except Exception:
                traceback.print_exc()

    def part(self) -> None:
        """The last there is to do, after what was registered with `atexit`: let go of the actor, so
        that its `__del__` runs, and files that it has open are written.
        """
        self._actor = self.calls = None

    # -- running -----------------------------------------------------------------------------------

    def run(self, task: RunTask) -> None:
        """Run a task and report its end; never raises what user code raised. A call of a concurrent
        actor is only begun; the creation of one that uses asyncio lasts as long as the actor.
        """
        if self.calls is not None:
            self.calls.take(task)
            return
        if self._exited:
            return
        client = self._client
        if task.tenancy is not client.tenancy and task.kind != CALL:
            enter(client, task)
        client.base = context = TaskContext(task.task_id, task.depth, task)
        client.hosts_actor = task.kind != TASK
        options = task.creation
        if options is not None:
            client.creation = _without_arguments(task)
        if options is not None and options.asyncio:
            from rsim.runtime.async_calls import run_actor

            run_actor(self, self._client, self._stage, task, options)
            return
        created = self.perform(task, context, self.run_alone)
        if created and options is not None and options.is_concurrent:
            self.calls = ThreadedCalls(self, client, self._stage, options)

    def perform(self, task: RunTask, context: TaskContext, call: Callable[[RunTask], Any]) -> bool:
        """Run a task in this thread and report its end. Whether it came to a good one."""
        RUNNING.set(context)
        context.started_ns = self._client.channel.now_ns()
        try:
            event = self.success(task, context, call(task))
        except BaseException as exception:
            event = self.failure(task, context, exception)
        RUNNING.set(None)
        self.report(task, event)
        good = type(event) is TaskDone or (type(event) is TaskFinished and not event.error)
        return good and not self._exited

    def run_alone(self, task: RunTask) -> Any:
        """What the function returns, while no other runs: it can be interrupted."""
        function = self._function(task)
        args, kwargs = self._client.load_arguments(task)
        self.running = task.task_id
        try:
            if self._early and task.task_id in self._early:
                self._early.pop(task.task_id, None)
                if task.kind == CALL:
                    raise CallCancelled
                self._client.base.cancelled = True
                raise KeyboardInterrupt
            if task.extras:
                self._spend(task.extras, args, kwargs)
            value = function(*args, **kwargs)
            if type(value) is GeneratorType or task.num_returns == STREAMING or task.extras:
                return self._drain(task, value)
            return value
        finally:
            self.running = None

    def run_beside(self, task: RunTask) -> Any:
        """What the method returns; others may run meanwhile."""
        return self._drain(task, self.call(task))

    def call(self, task: RunTask) -> Any:
        """What the method returns at once, be it a coroutine or a generator."""
        function = self._function(task)
        args, kwargs = self._client.load_arguments(task)
        if task.extras:
            self._spend(task.extras, args, kwargs)
        return function(*args, **kwargs)

    def _drain(self, task: RunTask, values: Any) -> Any:
        """Run a generator, if the function has returned one. What to report is as if it had
        returned this.
        """
        if type(values) is not GeneratorType:
            return self.plain(task, values)
        if task.num_returns != STREAMING:
            return collect(values, self.collected(task))
        production = self.production(task)
        try:
            production.run(values)
        except Exception as error:
            return self.broken(production, error)
        return None

    def plain(self, task: RunTask, value: Any) -> Any:
        """The value of a function that has returned no generator. TypeError, as the one item of a
        stream if there is to be one: it was declared to.
        """
        streams = task.num_returns == STREAMING
        if not streams and not is_dynamic(task):
            return value
        option = "streaming" if streams else "dynamic"
        error = TypeError(
            f"{task.name} was declared with num_returns={option!r}, but returned "
            f"{type(value).__name__}, not a generator"
        )
        if streams:
            return self.broken(self.production(task), error)
        raise error

    def production(self, task: RunTask) -> Production:
        """For a run of a generator."""
        return Production(self._client, task, self._results.one)

    def collected(self, task: RunTask) -> Declared | Kept:
        """For what a generator yields that is not to be streamed."""
        return Kept(self._client, task) if is_dynamic(task) else self._results.declared(task)

    def broken(self, production: Production, error: Exception) -> Broken:
        """A generator has raised: send that as its last item."""
        retryable = is_retryable(error, production.task.extras)
        production.fail(error, retryable)
        return Broken(retryable, _in_words(error))

    def _function(self, task: RunTask) -> Callable[..., Any]:
        """What to call: a function, the class of an actor, or a method of this worker's actor."""
        if task.kind == CALL:
            return method_of(self._actor, task.method)
        function = self._functions.get(task.function_id)
        if function is None:
            return self._loaded(task)
        return function

    def _loaded(self, task: RunTask) -> Callable[..., Any]:
        """The task's function, which was not run here before. It is sent once, so that it is kept
        when it cannot be loaded: the next task that has it is to fail of the same.
        """
        function_id = task.function_id
        pickled = task.function or self._unloadable.get(function_id)
        assert pickled is not None, f"{task.name} came without its function"
        self._unloadable[function_id] = pickled
        if self._unfit is not None:
            raise self._unfit
        function = self._functions[function_id] = self._client.load_function(function_id, pickled)
        del self._unloadable[function_id]
        return function

    def _spend(self, extras: bytes, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Let the task's declared cost pass."""
        cost = pickle.loads(extras).get("cost")
        if callable(cost):
            cost = cost(*args, **kwargs)
            cost = 0 if cost is None else checks.seconds("what cost returns", cost)
        if cost:
            self._client.channel.spend(int(cost * NANOSECONDS))

    # -- ends --------------------------------------------------------------------------------------

    def success(self, task: RunTask, context: TaskContext, value: Any) -> Event:
        """What to report of a function that returned ``value`` (of a generator whose items were
        sent: how it has broken, if it has). Raises what makes it a failure.
        """
        client, kind = self._client, type(value)
        if (
            task.num_returns == 1
            and task.kind != CREATION
            and kind not in _UNFINISHED
            and not context.cancelled
        ):  # as mostly
            result = self._results.one(task, 0, value)
            ended_ns = client.channel.now_ns()
            if result.payload is None or result.contained:
                return TaskFinished(
                    client.number,
                    task.task_id,
                    (result,),
                    started_ns=context.started_ns,
                    ended_ns=ended_ns,
                )
            return TaskDone(
                client.number, task.task_id, result.payload, context.started_ns, ended_ns
            )
        if context.cancelled and task.kind == CALL:
            if kind is Declared:
                value.drop()
            raise CallCancelled
        if kind is Declared and value.error is not None:
            return self._broken_off(task, context, value, value.error)
        if kind is Kept:
            value = value.refs(lambda error: is_retryable(error, task.extras))
        title = ""
        if task.kind == CREATION:
            title = _title_of(value)
            self._actor, self.title, value = value, title or task.name, None
            self._stage.hosts(task.name)
        retryable, message = False, ""
        if kind is Broken:
            retryable, message = value
            results: tuple[Result, ...] = (
                replace(self._results.one(task, 0, None), is_value=True),
            )
        elif task.num_returns == STREAMING:
            results = (self._results.one(task, 0, None),)
        else:
            results = self._results.all_of(task, value)
        ended_ns = client.channel.now_ns()
        if kind is not Broken and len(results) == 1 and task.kind != CREATION:
            result = results[0]
            payload = result.payload
            if payload is not None and not result.contained:
                return TaskDone(client.number, task.task_id, payload, context.started_ns, ended_ns)
        return TaskFinished(
            client.number,
            task.task_id,
            results,
            False,
            retryable,
            message,
            False,
            context.started_ns,
            ended_ns,
            title,
        )

    def _broken_off(
        self, task: RunTask, context: TaskContext, declared: Declared, error: BaseException
    ) -> Event:
        """What to report of a generator that has made some of its results only."""
        declared.error = None
        event = self.failure(task, context, error)
        assert type(event) is TaskFinished
        made = tuple(replace(result, is_value=True) for result in declared.results)
        return replace(event, results=made + event.results[len(made) :])

    def failure(self, task: RunTask, context: TaskContext, exception: BaseException) -> Event:
        """What to report of a function that raised."""
        exception = errors.legible(exception)
        number, task_id = self._client.number, task.task_id
        if task.kind == CALL and _ends_actor(exception):
            self._close()
            return ActorExited(number, task_id, context.started_ns, self._client.channel.now_ns())
        if task.kind == CREATION and isinstance(exception, ActorExit):
            self._exited = True  # it lived, if not for long
            return self.success(task, context, exception)
        retryable = is_retryable(exception, task.extras)
        if context.cancelled and isinstance(exception, KeyboardInterrupt | SystemExit):
            exception = _cancelled(task).with_traceback(exception.__traceback__)
        elif task.kind != CREATION and isinstance(exception, SystemExit):
            _crash(exception.code)
        elif task.kind != CREATION and isinstance(exception, KeyboardInterrupt):
            why = f"raised {exception!r}, as if it were cancelled"
            exception = _cancelled(task, why).with_traceback(exception.__traceback__)
        times = context.started_ns, self._client.channel.now_ns()
        if isinstance(exception, CallCancelled):
            return TaskFinished(number, task_id, (), True, False, "", True, *times)
        message = _in_words(exception, task.kind == CREATION)
        results = errors_of(exception, task)
        return TaskFinished(number, task_id, results, True, retryable, message, False, *times)

    def exit(self) -> None:
        """The actor ends itself, by something else than a call."""
        self._close()
        self._client.channel.send(ActorExited(self._client.number))

    def _close(self) -> None:
        self._exited = True
        if self.calls is not None:
            self.calls.close()

    def called_off(self, task: RunTask, context: TaskContext, in_time: bool) -> Event:
        """What to report of a cancelled call of an asynchronous actor. What stops it, unless it was
        in time, is raised in its code, so it counts as an error of that, too.
        """
        if in_time or task.num_returns == STREAMING:
            return self.failure(task, context, CallCancelled())
        event = self.failure(task, context, _cancelled(task))
        assert type(event) is TaskFinished
        return replace(event, retryable=False)

    def report(self, task: RunTask, event: Event) -> None:
        """Tell the node."""
        client = self._client
        client.channel.send(event)
        if self._exited and task.kind == CREATION:
            client.channel.send(ActorExited(client.number))
        if task.lent or client.has_dropped:  # not before: the results may hold what is dropped here
            client.return_unused(task.lent)
            client.flush()

    # -- cancellation ------------------------------------------------------------------------------

    def interrupt(self, task_id: bytes, recursive: bool = False) -> bool:
        """Whether a task to interrupt is running now: then the caller raises KeyboardInterrupt in
        it. A call is told, or given back if it has not begun. What does not run yet is interrupted
        when it begins. `recursive`: a call that runs is cancelled with what it has submitted.
        Called from any thread.
        """
        if self.calls is not None:
            if not self.calls.cancel(task_id, recursive):
                self._remember(task_id)
            return False
        self._early[task_id] = None
        if self.running == task_id:
            self._early.pop(task_id, None)
            context = self._client.base
            assert context.task is not None
            context.cancelled = context.task_id == task_id
            if context.task.kind != CALL:
                return True
            if context.cancelled and recursive:
                self.tell_interrupted(task_id)
        elif self.hosts_actor and self._stage.withdraw(task_id):
            self._early.pop(task_id, None)
            self.give_back(task_id)
        else:
            self._remember(task_id)
        return False

    def give_back(self, task_id: bytes) -> None:
        """Return a call that has not begun, and is cancelled."""
        self._client.channel.send(TasksReturned(self._client.number, (task_id,)))

    def tell_interrupted(self, task_id: bytes) -> None:
        """Tell the node that a call knows of its cancellation, after all that it has submitted."""
        self._client.channel.send(CallInterrupted(self._client.number, task_id))

    def is_cancelled(self, task_id: bytes) -> bool:
        """Whether a call that is to begin was cancelled before it came."""
        if task_id not in self._early:
            return False
        del self._early[task_id]
        return True

    def _remember(self, task_id: bytes) -> None:
        self._early[task_id] = None
        for late in list(self._early)[:-_EARLY_INTERRUPTS]:  # a copy: another thread takes, too
            self._early.pop(late, None)


def _in_words(exception: BaseException, whole: bool = False) -> str:
    message = f"{type(exception).__name__}: {text_of(exception)}"
    return message if whole else message[:_LONGEST_MESSAGE]


def _title_of(actor: object) -> str:
    if type(actor).__repr__ is object.__repr__:
        return ""
    try:
        title = " ".join(repr(actor).split())[:_LONGEST_TITLE]
        return title.encode("utf-8", "backslashreplace").decode()
    except Exception:
        return ""


def _crash(code: object) -> NoReturn:
    """What becomes of a worker whose task, or call with an error, is ended by sys.exit()."""
    code = 0 if code is None else code
    if not isinstance(code, int):
        print(code, file=sys.stderr)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code if isinstance(code, int) else 1)


def _ends_actor(exception: BaseException) -> bool:
    """Whether a call that raised this wants its actor to end: sys.exit() in good order does."""
    if isinstance(exception, SystemExit):
        return exception.code in (None, 0)
    return isinstance(exception, ActorExit)


def _without_arguments(task: RunTask) -> RunTask:
    return replace(task, function=None, payload=b"", dep_ids=(), deps=(), lent=())


def _cancelled(task: RunTask, what: str = "was cancelled") -> TaskCancelledError:
    return TaskCancelledError(f"{task.name} {what}", task_id=task.task_id.hex())
