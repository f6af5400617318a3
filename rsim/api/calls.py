"""The calls on object refs: get, put, wait, cancel.

Decides which arguments are valid, by Ray's rules. Must never wait itself: the client does. Owns no
state.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar, overload

from rsim.api import checks
from rsim.api.session import running_client
from rsim.runtime import current
from rsim.runtime.generators import ObjectRefGenerator
from rsim.runtime.refs import ObjectRef

__tracebackhide__ = True  # pytest shows the caller's line instead

T = TypeVar("T")
W = TypeVar("W", bound="ObjectRef[Any] | ObjectRefGenerator[Any]")


@overload
def get(refs: ObjectRef[T], *, timeout: float | None = None) -> T: ...
@overload
def get(refs: list[ObjectRef[T]], *, timeout: float | None = None) -> list[T]: ...
def get(refs: Any, *, timeout: float | None = None) -> Any:
    """The value of a ref, or the values of a list of refs in its order; waits until they are there.

    timeout: seconds; 0: do not wait. Arrays come back read-only. Raises GetTimeoutError when the
    time is up, and what a value is if it is an error: of several refs, the first that is known.
    Raises ValueError for anything but a ref or a list, TypeError for a list of anything else. An
    ObjectRefGenerator is returned as it is.
    """
    client = current.client or running_client()
    if timeout is not None:
        timeout = checks.timeout(timeout)
    if type(refs) is ObjectRef:
        if refs._counter is not client:
            raise checks.foreign(refs)
        return client.get((refs,), timeout)[0]
    if type(refs) is ObjectRefGenerator:
        return refs
    if not isinstance(refs, list):
        raise ValueError(
            f"get() takes an ObjectRef or a list of them, not {refs!r}, of type "
            f"{type(refs).__name__}"
        )
    checks.refs_of("get()", refs, client)
    return client.get(refs, timeout)


def put(value: T) -> ObjectRef[T]:
    """Store a value, and return a ref to it; the value cannot be changed any more.

    Raises TypeError for an ObjectRef, UnserializableError for what cannot be pickled,
    ObjectStoreFullError when there is no room.
    """
    if isinstance(value, ObjectRef):
        raise TypeError(
            f"put() was called with {value!r}: an ObjectRef is a ref already; to store the ref "
            "itself, put it into a list"
        )
    client = current.client or running_client()
    return client.put(value)


def wait(
    refs: list[W],
    *,
    num_returns: int = 1,
    timeout: float | None = None,
    fetch_local: bool = True,
) -> tuple[list[W], list[W]]:
    """Wait until `num_returns` of the refs are ready; return (ready, others), in the order given.

    At most `num_returns` are among the ready ones, and fewer when `timeout`, in seconds, is over.
    fetch_local: ready means that the value is on this node, and not just anywhere. An
    ObjectRefGenerator among the refs is ready when its next ref is, or when it has ended. Raises
    TypeError for anything but a list of refs, ValueError when a ref is given twice or when
    `num_returns` is not from 1 to their number.
    """
    if not isinstance(refs, list):
        raise TypeError(f"wait() takes a list of ObjectRefs, not {refs!r}")
    client = current.client or running_client()
    timeout = checks.timeout(timeout)
    waited: Sequence[Any] = refs
    object_ids = client.ids_of(waited)
    if object_ids is None:
        checks.refs_of("wait()", list(map(_ref_of, refs)), client)
        _check_unique(refs)
        waited = [_awaited(each) for each in refs]
        object_ids = [each.binary() for each in waited]
    if not refs:
        return [], []
    num_returns = checks.integer("num_returns", num_returns, 1)
    if num_returns > len(refs):
        raise ValueError(
            f"num_returns must be at most {len(refs)}, the number of refs, not {num_returns}"
        )
    if fetch_local is not True:
        checks.flag("fetch_local", fetch_local)
    found: Any = client.wait(waited, num_returns, timeout, fetch_local, object_ids)
    ready, others = found
    return (ready, others) if waited is refs else (_given(ready), _given(others))


def _check_unique(refs: Sequence[Any]) -> None:
    seen = set()
    for ref in refs:
        if ref in seen:
            raise ValueError(f"wait() takes a list of unique refs, and {ref!r} is given twice")
        seen.add(ref)


class _NextRef:
    """The next ref of a generator, which may not exist yet, for the client to wait for."""

    __slots__ = ("_id", "generator")

    def __init__(self, generator: ObjectRefGenerator[Any]) -> None:
        self.generator = generator
        self._id = generator.next_id()

    def binary(self) -> bytes:
        return self._id


def _awaited(given: Any) -> Any:
    """What the client is to wait for."""
    return _NextRef(given) if type(given) is ObjectRefGenerator else given


def _given(waited: Sequence[Any]) -> list[Any]:
    """What the program knows of what the client has waited for."""
    return [each.generator if type(each) is _NextRef else each for each in waited]


def _ref_of(given: Any) -> Any:
    """The ref that stands for a generator; anything else as it is."""
    return given.completed() if type(given) is ObjectRefGenerator else given


def cancel(
    ref: ObjectRef[Any] | ObjectRefGenerator[Any], *, force: bool = False, recursive: bool = True
) -> None:
    """Cancel the task that makes an object; its refs then raise TaskCancelledError. So does the
    next ref of an ObjectRefGenerator, which is its last.

    A task that runs gets a KeyboardInterrupt; with `force` its worker is killed. A finished one
    stays as it is. recursive: also the tasks that it has submitted. Raises TypeError for no ref,
    ValueError for a call of an actor with `force`: it would end the actor.
    """
    ref = _ref_of(ref)
    if type(ref) is not ObjectRef:
        raise TypeError(f"cancel() takes an ObjectRef, not {ref!r}, of type {type(ref).__name__}")
    client = current.client or running_client()
    if ref._counter is not client:
        raise checks.foreign(ref)
    checks.flag("force", force)
    checks.flag("recursive", recursive)
    if force and client.is_call(ref):
        raise ValueError(
            "force=True is not supported for calls of actors, as it would end the actor: "
            "use force=False, or rsim.kill() to end it"
        )
    client.cancel(ref, force, recursive)
