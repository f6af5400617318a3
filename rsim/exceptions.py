"""Every error that rsim raises.

    Exception
    └── RsimError
        ├── RsimTaskError                  a task raised; also an instance of the user's own type
        ├── TaskCancelledError             the task was cancelled
        ├── TaskUnschedulableError         no node can ever run the task
        ├── ActorUnschedulableError        no node can ever hold the actor
        │   └── ActorPlacementGroupRemoved     ... because its placement group was removed
        ├── TaskPlacementGroupRemoved      the task's placement group was removed
        ├── WorkerCrashedError             the worker died while running the task
        ├── NodeDiedError                  the node died while running the task
        ├── RuntimeEnvSetupError           the environment that was asked for could not be made
        ├── GetTimeoutError                (TimeoutError)  get() ran out of time
        ├── ObjectLostError                no copy is left and the object cannot be computed again
        │   ├── OwnerDiedError             ... because the node that owned it died
        │   ├── ObjectFreedError           ... because it was freed
        │   └── ObjectReconstructionFailedError   ... because computing it again failed
        ├── ObjectStoreFullError           nothing left to evict or to spill
        │   └── OutOfDiskError             ... and spilling found no room on disk
        ├── OutOfMemoryError               the worker was killed to protect the node's memory
        ├── RsimActorError
        │   ├── ActorDiedError             dead for good
        │   └── ActorUnavailableError      unreachable for now; the call may or may not have run
        ├── AsyncioActorExit               ends an async actor from within
        ├── ActorAlreadyExistsError        (ValueError)  the name of an actor is taken
        ├── ActorHandleNotFoundError       (ValueError)  a handle of an earlier session
        ├── ForeignRefError                (ValueError)  a ref of an earlier session
        ├── PolicyError                    (ValueError)  a placement policy's answer is none
        ├── PendingCallsLimitExceeded      a handle has max_pending_calls calls unanswered
        ├── ObjectRefStreamEndOfStreamError    a stream of refs has ended
        ├── StreamingGeneratorReplayInconsistentError    run again, it yielded something else
        ├── UnserializableError            (TypeError)  a part of a value cannot be pickled
        │   └── UnserializableCauseError   stands in for a user's exception that cannot be pickled
        ├── DeadlockError                  nothing can ever run again, or (sim) the time limit came
        ├── NondeterminismError            (sim) a replay took another path than the recording
        └── SimulationEscapeError          (sim) a call that would leave the simulation

Decides how an exception is taken apart and put together again without running its `__init__`,
and how a task's error becomes an instance of both RsimTaskError and the user's type.
Never imports anything but the standard library. Owns no state but caches of types.
"""

from __future__ import annotations

import copyreg
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from textwrap import indent
from types import FunctionType, GetSetDescriptorType, MemberDescriptorType
from typing import Any, SupportsIndex


class RsimError(Exception):
    """Base of every error that rsim raises."""


class TaskCancelledError(RsimError):
    """The task was cancelled before it finished.

    `task_id` is its id as 32 hex digits, or "" where unknown.
    """

    def __init__(self, message: str = "", *, task_id: str = "") -> None:
        super().__init__(message)
        self.task_id = task_id


class TaskUnschedulableError(RsimError):
    """No node can ever satisfy what the task asks for."""


class ActorUnschedulableError(RsimError):
    """No node can ever satisfy what the actor asks for."""


class ActorPlacementGroupRemoved(ActorUnschedulableError):
    """The placement group was removed before the actor was created in it."""


class TaskPlacementGroupRemoved(RsimError):
    """The placement group was removed before the task had run in it."""


class WorkerCrashedError(RsimError):
    """The worker process died while it ran the task, and no retry was left."""


class NodeDiedError(RsimError):
    """The node died while it ran the task, and no retry was left."""


class RuntimeEnvSetupError(RsimError):
    """The environment that a task or actor asked for could not be made."""


class GetTimeoutError(RsimError, TimeoutError):
    """get() ran out of time before every object was there."""


class ObjectLostError(RsimError):
    """Every copy of the object is gone and it cannot be computed again.

    `object_id` is the lost object's 40 hex digits, or "" where unknown.
    """

    def __init__(self, message: str = "", *, object_id: str = "") -> None:
        super().__init__(message)
        self.object_id = object_id


class OwnerDiedError(ObjectLostError):
    """The node that owned the object died."""


class ObjectFreedError(ObjectLostError):
    """The object was freed, though there are refs to it."""


class ObjectReconstructionFailedError(ObjectLostError):
    """The object was lost, and running its task again failed or was not allowed."""


class ObjectStoreFullError(RsimError):
    """The object store has no room, and nothing is left to evict or to spill."""


class OutOfDiskError(ObjectStoreFullError):
    """The object store has no room, and spilling an object found none on disk."""


class OutOfMemoryError(RsimError):
    """The worker was killed because its node ran out of memory, and no retry was left."""


class RsimActorError(RsimError):
    """Base of errors about actors.

    `actor_id` is the actor's id as 40 hex digits, or "" where unknown.
    """

    def __init__(self, message: str = "", *, actor_id: str = "") -> None:
        super().__init__(message)
        self.actor_id = actor_id


class ActorDiedError(RsimActorError):
    """The actor is dead for good."""


class ActorUnavailableError(RsimActorError):
    """The actor cannot be reached for now; the call may or may not have run."""


class AsyncioActorExit(RsimError):
    """Raised in an async actor to end it; it never reaches a caller."""


class ActorAlreadyExistsError(RsimError, ValueError):
    """The name for an actor about to be created is another living actor's."""


class ActorHandleNotFoundError(RsimError, ValueError):
    """The handle of an actor that is unknown here: it was made in an earlier session."""


class ForeignRefError(RsimError, ValueError):
    """A ref is used in a session, or in a process, that does not know of it."""


class PolicyError(RsimError, ValueError):
    """A policy gave an answer that is none: no such node, or one that can never run the task."""


class PendingCallsLimitExceeded(RsimError):
    """A handle with `max_pending_calls` has as many calls that are not answered yet."""


class ObjectRefStreamEndOfStreamError(RsimError):
    """The stream of refs that a generator makes has ended."""


class StreamingGeneratorReplayInconsistentError(RsimError):
    """A generator that had to run again yielded something else than the first time."""


class UnserializableError(RsimError, TypeError):
    """A value cannot be pickled; `part` is the path to the part at fault, or ""."""

    def __init__(self, message: str = "", *, part: str = "") -> None:
        super().__init__(message)
        self.part = part


class UnserializableCauseError(UnserializableError):
    """Stands in for a user's exception that could not be pickled, or not be loaded here.

    `type_name` and `text` are the original's type and message, `remote_traceback` its traceback.
    """

    def __init__(
        self,
        message: str = "",
        *,
        part: str = "",
        type_name: str = "",
        text: str = "",
        remote_traceback: str = "",
    ) -> None:
        super().__init__(message, part=part)
        self.type_name = type_name
        self.text = text
        self.remote_traceback = remote_traceback


class DeadlockError(RsimError):
    """Nothing can ever run again, or a simulation's time limit has come; `report` lists who waits
    for what.
    """

    def __init__(self, message: str = "", *, report: str = "") -> None:
        super().__init__(message)
        self.report = report

    def __str__(self) -> str:
        return "\n".join(text for text in (super().__str__(), self.report) if text)


class NondeterminismError(RsimError):
    """A replay met another choice than the one recorded at that point."""


class SimulationEscapeError(RsimError):
    """User code made a call that would leave the simulation; `call` names it."""

    def __init__(self, message: str = "", *, call: str = "") -> None:
        super().__init__(message)
        self.call = call


class RsimTaskError(RsimError):
    """A task raised an exception.

    What get() raises is an instance of this class *and* of the type of `cause`, the user's
    exception, with its `args` and attributes; only where the two types cannot be combined is it
    a plain RsimTaskError. `str()` shows what happened where the task ran.
    """

    def __init__(
        self, cause: BaseException, function_name: str = "", remote_traceback: str = ""
    ) -> None:
        self.args = cause.args
        self._describe(cause, function_name, remote_traceback)

    def _describe(self, cause: BaseException, function_name: str, remote_traceback: str) -> None:
        # Past __setattr__ and under mangled names: the user's type may be frozen, or have
        # attributes called the same.
        vars(self).update(
            _RsimTaskError__cause=cause,
            _RsimTaskError__function_name=function_name,
            _RsimTaskError__remote_traceback=remote_traceback,
        )

    @property
    def cause(self) -> BaseException:
        """The user's exception."""
        cause: BaseException = vars(self)["_RsimTaskError__cause"]
        return cause

    @property
    def function_name(self) -> str:
        """Name of the function whose task raised."""
        return str(vars(self)["_RsimTaskError__function_name"])

    @property
    def remote_traceback(self) -> str:
        """The traceback as text, as printed where the task ran."""
        return str(vars(self)["_RsimTaskError__remote_traceback"])

    def __str__(self) -> str:
        summary = text_of(self.cause)
        if not isinstance(self.cause, UnserializableCauseError):  # whose text names the type
            summary = f"{type_name(self.cause)}: {summary}" if summary else type_name(self.cause)
        summary = f"{self.function_name}() raised {summary}"
        return f"{summary}\n{indent(self.remote_traceback, '  ')}".rstrip()

    def as_instanceof_cause(self) -> RsimTaskError:
        """A fresh error that is also an instance of the cause's type, or self if none can be."""
        dual_type = _dual_type(type(self.cause))  # type: ignore[arg-type]  # as below
        if dual_type is None:
            return self
        dual = blank_exception(dual_type, *blank_arguments(self.cause))
        restore_exception(dual, exception_state(self.cause, chain=True))
        if notes := getattr(dual, "__notes__", None):
            vars(dual)["__notes__"] = list(notes)
        assert isinstance(dual, RsimTaskError)
        dual._describe(self.cause, self.function_name, self.remote_traceback)
        return dual

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        recipe: tuple[Any, ...] = (_itself, (self.cause,))
        if not has_custom_reduce(type(self.cause)):
            arguments = type(self.cause), blank_arguments(self.cause)
            recipe = (_rebuild_exception, (*arguments, exception_state(self.cause, chain=False)))
        is_dual = type(self) is not RsimTaskError
        return _rebuild_task_error, (*recipe, self.function_name, self.remote_traceback, is_dual)


def _rebuild_task_error(
    build: Callable[..., BaseException],
    arguments: tuple[Any, ...],
    function_name: str,
    remote_traceback: str,
    is_dual: bool,
) -> RsimTaskError:
    error = RsimTaskError(build(*arguments), function_name, remote_traceback)
    return error.as_instanceof_cause() if is_dual else error


def _rebuild_exception(
    kind: type[BaseException], arguments: tuple[Any, ...], state: ExceptionState
) -> BaseException:
    exception = blank_exception(kind, *arguments)
    restore_exception(exception, state)
    return exception


def _itself(exception: BaseException) -> BaseException:
    return exception


@lru_cache(maxsize=512)
def _dual_type(cause_type: type[Any]) -> type[BaseException] | None:
    if _ends_programs(cause_type) or issubclass(cause_type, RsimTaskError):
        return None
    name = f"RsimTaskError({cause_type.__name__})"
    namespace = {"__module__": __name__, "__doc__": cause_type.__doc__}
    try:
        return type(name, (RsimTaskError, cause_type), namespace)
    except Exception:  # metaclass or layout conflict, or a hook that refuses subclasses
        return None


def _ends_programs(kind: type[Any]) -> bool:
    """Whether the type is one of those by which Python ends or cancels what runs.

    An interrupt of a task must not interrupt who asks for its result: they stay behind `cause`.
    """
    if issubclass(kind, Exception):
        return False
    is_cancellation = any(base.__module__ == "asyncio.exceptions" for base in kind.__mro__)
    return is_cancellation or issubclass(
        kind, KeyboardInterrupt | SystemExit | GeneratorExit | BaseExceptionGroup
    )


# Taking exceptions apart. Pickle rebuilds an exception by calling its type with `args`, which
# fails for the many types whose __init__ takes anything else. Here it is made blank by the
# built-in base, and then given back its attributes.

ExceptionState = tuple[dict[str, Any], dict[str, Any]]
"""(fields kept outside __dict__, including args and the chain; __dict__)"""

_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: defined by a class statement, not in C
_CHAIN = ("__cause__", "__context__", "__suppress_context__")  # setting a cause sets suppress


def type_name(value: object) -> str:
    """Name of the value's type, with its module unless built in or in the script."""
    kind = type(value)
    hidden = kind.__module__ in ("builtins", "__main__")
    return kind.__qualname__ if hidden else f"{kind.__module__}.{kind.__qualname__}"


def text_of(exception: BaseException) -> str:
    """str(exception), even if its __str__ is broken, or makes what cannot be encoded."""
    try:
        return str(exception).encode("utf-8", "backslashreplace").decode()
    except Exception:
        return "<its str() failed>"


def has_custom_reduce(kind: type[BaseException]) -> bool:
    """Whether the exception's type says itself, in Python, how to pickle it, or `copyreg` does."""
    return (
        kind in copyreg.dispatch_table
        or kind.__reduce_ex__ is not object.__reduce_ex__
        or isinstance(kind.__reduce__, FunctionType)
        or isinstance(kind.__setstate__, FunctionType)
    )


def blank_arguments(exception: BaseException) -> tuple[Any, ...]:
    """What blank_exception() needs: groups alone fix something when they are made."""
    if isinstance(exception, BaseExceptionGroup):
        return exception.message, list(exception.exceptions)
    return ()


def blank_exception(kind: type[BaseException], *arguments: Any) -> BaseException:
    """An instance of `kind` whose __new__ and __init__ in Python have not run."""
    native: type[Any] = kind
    while native.__flags__ & _HEAP_TYPE:
        assert native.__base__ is not None
        native = native.__base__
    exception: BaseException = native.__new__(kind, *arguments)
    return exception


def exception_state(exception: BaseException, *, chain: bool) -> ExceptionState:
    """Everything the exception carries but its traceback; causes and contexts with `chain`."""
    fields: dict[str, Any] = {"args": exception.args}
    own, native = _field_names(type(exception))  # type: ignore[arg-type]  # mypy: "not hashable"
    for name in (*own, *native, *(_CHAIN if chain else ())):
        with suppress(AttributeError, TypeError):  # declared, never set
            fields[name] = getattr(exception, name)
    for name in native:
        if fields.get(name, 0) is None:  # as in a blank one; if it was set, an OSError would say so
            del fields[name]
    return fields, dict(vars(exception))


def restore_exception(exception: BaseException, state: ExceptionState) -> None:
    """Give a blank exception what exception_state() took."""
    fields, attributes = state
    slots, _ = _field_names(type(exception))  # type: ignore[arg-type]  # as above
    if not attributes.keys().isdisjoint(slots):  # its class had none where it was pickled by value
        fields = fields | {name: attributes[name] for name in slots if name in attributes}
        attributes = {name: attributes[name] for name in attributes if name not in slots}
    for name, value in fields.items():
        with suppress(AttributeError, TypeError):  # read-only, fixed when it was made
            object.__setattr__(exception, name, value)  # a frozen type may forbid setattr()
    vars(exception).update(attributes)


@lru_cache(maxsize=512)
def _field_names(kind: type[Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Slots, and fields that C types keep: errno, strerror, value, lineno ..."""
    found = [
        (bool(base.__flags__ & _HEAP_TYPE), name)
        for base in kind.__mro__
        if base not in (BaseException, object)
        for name, descriptor in vars(base).items()
        if isinstance(descriptor, (MemberDescriptorType, GetSetDescriptorType))
        and name not in ("__dict__", "__weakref__")
        # the object that lacked an attribute: any size, often unpicklable, never needed
        and (base, name) != (AttributeError, "obj")
    ]
    slots = tuple(name for is_slot, name in found if is_slot)
    return slots, tuple(name for is_slot, name in found if not is_slot)
