"""User exceptions to bytes and back.

Decides which exception an error of the system is, and how what a task raised travels: the
exception with its chain, notes and attributes if all of that pickles and loads again, without its
chain if only that does, else a stand-in; and always the traceback as text, without the frames of
rsim. Never fails, whatever the exception. Owns only the ``unseen_handler``.

A blob is a pickled tuple: function name, traceback, pickled exception, its type's name, its text.
The exception is a pickle of its own, so that a reader without its module still gets the rest.
"""

from __future__ import annotations

import copyreg
import io
import os
import pickle
from collections.abc import Callable
from traceback import FrameSummary, TracebackException
from typing import Any

import cloudpickle

from rsim import exceptions
from rsim.core.records import ErrorInfo, Inline
from rsim.exceptions import (
    RsimError,
    RsimTaskError,
    UnserializableCauseError,
    blank_arguments,
    blank_exception,
    exception_state,
    has_custom_reduce,
    restore_exception,
    text_of,
    type_name,
)
from rsim.runtime.unpicklable import describe, find_unpicklable

_RSIM = os.path.dirname(os.path.dirname(__file__)) + os.sep

_QUIET = ("RSIM_IGNORE_UNHANDLED_ERRORS", "RAY_IGNORE_UNHANDLED_ERRORS")
"""Environment variables, either of which is enough."""

unseen_handler: Callable[[RsimTaskError], bool] | None = None
"""Is handed errors that nobody has asked for; whether the user need not be told as well."""

_SUBJECTS = (
    (exceptions.RsimActorError, "actor_id"),
    (exceptions.ObjectLostError, "object_id"),
    (exceptions.TaskCancelledError, "task_id"),
)
"""What the subject of an error is, by the kind of error."""


def serialize_error(exception: BaseException, function_name: str) -> bytes:
    """Pack what the task of a function raised, for deserialize_error().

    An error that the task got from another task passes on that task's exception as its cause,
    and both tracebacks.
    """
    try:
        return _serialize(exception, function_name)
    except Exception as error:  # its own code runs when it is looked at
        return _serialize(_illegible(exception, error), function_name)


def legible(exception: BaseException) -> BaseException:
    """The exception, or, if not even its type can be asked for, another that says so."""
    try:
        isinstance(exception, RsimError)
    except Exception as error:
        return _illegible(exception, error)
    return exception


def _illegible(exception: BaseException, error: Exception) -> UnserializableCauseError:
    return _stand_in(type_name(exception), "", "", "", f"nothing can be read of it: {error!r}")


def _serialize(exception: BaseException, function_name: str) -> bytes:
    remote_traceback = format_remote_traceback(exception)
    cause = exception
    while isinstance(cause, RsimTaskError):
        cause = cause.cause
    name, text = type_name(cause), text_of(cause)
    pickled = _pickle(cause, chain=True) or _pickle(cause, chain=False)
    if pickled is None:
        stand_in = _stand_in(name, text, remote_traceback, *_fault(cause))
        pickled = pickle.dumps(stand_in, 5)
    return pickle.dumps((function_name, remote_traceback, pickled, name, text), 5)


def deserialize_error(blob: bytes | memoryview) -> RsimTaskError:
    """A fresh error to raise: an instance of RsimTaskError and, if possible, of the user's type."""
    function_name, remote_traceback, pickled, name, text = pickle.loads(blob)
    try:
        cause = pickle.loads(pickled)
    except Exception as error:
        cause = _stand_in(name, text, remote_traceback, "", f"it cannot be loaded here: {error!r}")
    return RsimTaskError(cause, function_name, remote_traceback).as_instanceof_cause()


def report_unseen(blob: bytes | memoryview, warn: Callable[[str], None]) -> None:
    """Tell the user of an error that nobody can ask for any more, unless the environment says not
    to.
    """
    if any(os.environ.get(name) == "1" for name in _QUIET):
        return
    if unseen_handler is not None and unseen_handler(deserialize_error(blob)):
        return
    function_name, remote_traceback, *_ = pickle.loads(blob)
    warn(
        f"{function_name} failed, and its result was dropped before anybody asked for it "
        f"({_QUIET[0]}=1 hides this):\n{remote_traceback.rstrip()}"
    )


def exception_of(error: ErrorInfo) -> RsimError:
    """The exception that an ``ErrorInfo`` stands for."""
    kind = getattr(exceptions, error.kind, RsimError)
    fields = {}
    if error.subject:
        fields = {field: error.subject.hex() for of, field in _SUBJECTS if issubclass(kind, of)}
    exception = kind(error.message, **fields)
    assert isinstance(exception, RsimError)
    return exception


def serialize_input_error(error: ErrorInfo, function_name: str) -> bytes:
    """Pack why a task cannot run one of whose inputs the system failed to produce."""
    exception = exception_of(error)
    reason = f"It did not run, because one of its arguments is an error:\n{text_of(exception)}"
    pickled = _pickle(exception, chain=False)
    assert pickled is not None, "errors of rsim can be pickled"
    packed = (function_name, reason, pickled, type_name(exception), text_of(exception))
    return pickle.dumps(packed, 5)


def never_created(actor_id: bytes, class_name: str, error: bytes | Inline | ErrorInfo) -> ErrorInfo:
    """Why an actor is dead one of whose constructor's arguments is an error."""
    if isinstance(error, ErrorInfo):
        name, text = error.kind, error.message
    else:
        assert isinstance(error, Inline)
        *_, name, text = pickle.loads(error.payload)
    reason = f"{class_name} is dead: an argument of its constructor is an error: {name}: {text}"
    return ErrorInfo("ActorDiedError", reason, actor_id)


def format_remote_traceback(exception: BaseException) -> str:
    """The traceback as Python prints it, with its chain, less the frames of rsim."""
    formatted = TracebackException.from_exception(exception)
    _trim(formatted)
    if isinstance(exception, RsimError) and not _foreign_frames(formatted):
        # What rsim raises by itself is meant: where it did so tells the user nothing.
        formatted.stack = None  # type: ignore[assignment]  # as traceback allows
    return "".join(formatted.format())


def _trim(whole: TracebackException) -> None:
    links: list[TracebackException | None] = [whole]
    while links:
        formatted = links.pop()
        if formatted is None:
            continue
        formatted.stack[:] = _foreign_frames(formatted) or formatted.stack  # else about rsim itself
        links += formatted.__cause__, formatted.__context__, *(formatted.exceptions or ())


def _foreign_frames(formatted: TracebackException) -> list[FrameSummary]:
    return [frame for frame in formatted.stack if not frame.filename.startswith(_RSIM)]


def _pickle(exception: BaseException, *, chain: bool) -> bytes | None:
    """The exception pickled, or None if that does not work or cannot be undone."""
    file = io.BytesIO()
    try:
        pickler = _ErrorPickler(file, 5)
        pickler.chain = chain
        pickler.dump(exception)
        pickled = file.getvalue()
        loaded = pickle.loads(pickled)
    except Exception:
        return None
    return pickled if isinstance(loaded, BaseException) else None


class _ErrorPickler(cloudpickle.Pickler):  # type: ignore[misc]
    """cloudpickle's, taking exceptions apart as rsim.exceptions does, with their chain."""

    chain: bool

    def reducer_override(self, obj: Any) -> Any:
        if not isinstance(obj, BaseException):
            return super().reducer_override(obj)
        if not has_custom_reduce(type(obj)):
            # The state comes after the exception, so that a chain may lead back to it.
            state = exception_state(obj, chain=self.chain)
            arguments = (type(obj), *blank_arguments(obj))
            return blank_exception, arguments, state, None, None, restore_exception
        registered = copyreg.dispatch_table.get(type(obj))
        reduced: str | tuple[Any, ...] = registered(obj) if registered else obj.__reduce_ex__(5)
        if not self.chain or isinstance(reduced, str):
            return reduced
        function, arguments, own, *_ = *reduced, None
        links = obj.__cause__, obj.__context__, obj.__suppress_context__
        return function, arguments, (own, links), None, None, _restore_custom


def _restore_custom(exception: BaseException, state: tuple[Any, tuple[Any, Any, bool]]) -> None:
    own, links = state
    if own is not None:
        exception.__setstate__(own)
    exception.__cause__, exception.__context__, exception.__suppress_context__ = links


def _fault(exception: BaseException) -> tuple[str, str]:
    """(path of the part, sentence) saying why an exception does not pickle."""
    parts: list[tuple[str, object]] = [("the type of exception", type(exception))]
    if has_custom_reduce(type(exception)):
        parts.append(("exception", exception))
    else:
        fields, attributes = exception_state(exception, chain=False)
        parts += ((f"exception.{name}", part) for name, part in {**fields, **attributes}.items())
    for path, part in parts:
        if culprits := find_unpicklable(part, path):
            return culprits[0].path, describe(culprits)
    return "exception", "it cannot be loaded again"


def _stand_in(
    name: str, text: str, remote_traceback: str, part: str, reason: str
) -> UnserializableCauseError:
    return UnserializableCauseError(
        f"{name}: {text} (this exception cannot be pickled: {reason})",
        part=part,
        type_name=name,
        text=text,
        remote_traceback=remote_traceback,
    )
