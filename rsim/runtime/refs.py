"""Object refs: what a program holds in place of a value that may not exist yet.

Decides how a ref counts itself, compares, hashes and pickles. Never blocks, never talks to a
node: counting is a call to the process's RefCounter, which must be cheap and thread-safe, as
`dropped` is called by the garbage collector at any moment, even during interpreter shutdown.
Owns the factory that makes refs out of pickled ones, which the shell swaps whenever another
(simulated) process begins to run, and ``may_leave``.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Generic, NoReturn, Protocol, TypeVar, final

import msgspec

from rsim.core.ids import OBJECT_ID_BYTES, TASK_ID_BYTES
from rsim.exceptions import ForeignRefError
from rsim.runtime import current

if TYPE_CHECKING:
    import asyncio
    import concurrent.futures

T_co = TypeVar("T_co", covariant=True)

NIL_ID = b"\xff" * OBJECT_ID_BYTES


def _may(_ref: ObjectRef[Any]) -> None: ...


may_leave: Callable[[ObjectRef[Any]], None] = _may
"""Raises if a ref must not be pickled but in values and arguments: set by rsim.as_ray."""


def foreign(ref: object) -> ForeignRefError:
    """The error for a ref whose counter is not the client that it is used with."""
    return ForeignRefError(
        f"{ref!r} cannot be used here: it was made in an earlier session, whose objects are gone, "
        "or in another process and not passed on as an argument or a result"
    )


class RefCounter(Protocol):
    """Told of every ref that begins or ceases to exist in a process."""

    def added(self, object_id: bytes, /) -> None: ...

    @property
    def dropped(self) -> Callable[[bytes], None]: ...


class _Uncounted:
    """Counts the refs that were made of ids which this process holds no ref of."""

    def added(self, object_id: bytes) -> None: ...

    def dropped(self, object_id: bytes) -> None: ...


_UNCOUNTED: RefCounter = _Uncounted()


@final
class ObjectRef(msgspec.Struct, Generic[T_co], gc=False, eq=False):
    """A reference to an object, made by `put` and by calling remote functions.

    Give it to `get` for the value, or to a remote function as an argument. The object lives at
    least as long as a ref to it. An id is the 16 bytes of the task that makes the object and
    4 bytes of the object's index in it.

    `ObjectRef(ref.binary())` is another ref to the same object as long as this process holds one;
    otherwise it is an id only, which `get`, `wait` and tasks refuse.
    """

    # A struct, as there are many: made quickly, and nothing for the garbage collector to look at.
    _id: bytes
    _counter: RefCounter = _UNCOUNTED
    """Given by who makes a ref, and has counted it; else it is made of what another ref has told.
    """
    _watch: tuple[asyncio.Future[Any], dict[Any, Any]] | None = None
    """What `futures.watch` keeps of it."""

    def __post_init__(self) -> None:
        if self._counter is _UNCOUNTED:
            self._counter = _counter_of(self._id)
            self._counter.added(self._id)

    def __del__(self) -> None:
        self._counter.dropped(self._id)

    def hex(self) -> str:
        """The id as 40 hex digits."""
        return self._id.hex()

    def binary(self) -> bytes:
        """The id as 20 bytes."""
        return self._id

    def task_id(self) -> str:
        """Id of the task that makes the object, as 32 hex digits."""
        return self._id[:TASK_ID_BYTES].hex()

    def is_nil(self) -> bool:
        """Whether this refers to no object at all."""
        return self._id == NIL_ID

    # -- as a future ---------------------------------------------------------------------------

    def future(self) -> concurrent.futures.Future[T_co]:
        """The value as a future for threads. Its callbacks run in a thread that is made for them,
        or in one that waits in its `result`.
        """
        from rsim.runtime import futures

        return futures.RefFuture(self)

    def as_future(self) -> asyncio.Future[T_co]:
        """The value as a future of the running event loop, or else of asyncio's current one.
        RuntimeError when there is none.
        """
        from rsim.runtime import futures

        return futures.asyncio_future(self)

    def __await__(self) -> Generator[Any, None, T_co]:
        return self.as_future().__await__()

    def _on_completed(self, callback: Callable[[Any], object]) -> None:
        """Call `callback`, in a thread of its own, with the value, or with the error that it is."""
        from rsim.runtime import futures

        futures.when_done(self, lambda value_of: futures.call_back(callback, value_of))

    # What `asyncio.wait` asks of what it waits for; each needs a running event loop.

    def add_done_callback(self, callback: Callable[[Any], object], **context: Any) -> None:
        """Call `callback(ref)` on the running event loop when the value is there."""
        from rsim.runtime import futures

        futures.watch(self, callback, **context)

    def remove_done_callback(self, callback: Callable[[Any], object]) -> int:
        """Forget a callback; returns how many were forgotten."""
        from rsim.runtime import futures

        return futures.unwatch(self, callback)

    def done(self) -> bool:
        """Whether the value is there, as far as this process has been told."""
        future = self._watched()
        return future is not None and future.done()

    def cancelled(self) -> bool:
        """Always false: a cancelled task's value is an error."""
        return False

    def exception(self) -> BaseException | None:
        """The error that the value is, if it is there."""
        future = self._watched()
        return future.exception() if future is not None and future.done() else None

    def _watched(self) -> asyncio.Future[Any] | None:
        from rsim.runtime import futures

        return futures.watched(self)

    # -- as a value ----------------------------------------------------------------------------

    def __repr__(self) -> str:
        return f"ObjectRef({self._id.hex()})"

    def __eq__(self, other: object) -> bool:
        if type(other) is not ObjectRef:
            return NotImplemented
        return self._id == other._id

    def __hash__(self) -> int:
        return int.from_bytes(self._id, "big")  # not hash(bytes): the same under any hash seed

    def __copy__(self) -> ObjectRef[T_co]:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> ObjectRef[T_co]:
        return self

    def __reduce__(self) -> Recipe:
        # By a pickler that is not rsim's: the object is kept, as nobody counts what is in a pickle.
        may_leave(self)
        self._counter.added(self._id)
        return recipe(self)


Recipe = tuple[Callable[[bytes], ObjectRef[Any]], tuple[bytes]]


def check_known(ref: ObjectRef[Any]) -> None:
    """Raise ForeignRefError unless the code that is running now may pass the ref on."""
    client = current.client
    if client is not None and ref._counter is not client:
        raise foreign(ref)


def recipe(ref: ObjectRef[Any]) -> Recipe:
    """How to make the ref again, for a pickler whose caller looks after the object."""
    return _rebuild_ref, (ref._id,)


def _counter_of(object_id: object) -> RefCounter:
    """Who counts a ref that is made of an id. TypeError or ValueError if that is none."""
    if not isinstance(object_id, bytes):
        raise TypeError(f"Unsupported type: {type(object_id)}, expected bytes: {object_id!r}")
    if len(object_id) != OBJECT_ID_BYTES:
        raise ValueError(
            f"ID string needs to have length {OBJECT_ID_BYTES}, got {len(object_id)}: {object_id!r}"
        )
    client = current.client
    return client if client is not None and client.holds(object_id) else _UNCOUNTED


def _no_runtime(object_id: bytes) -> NoReturn:
    raise RuntimeError(
        f"cannot unpickle ObjectRef({object_id.hex()}): no rsim runtime is running in this "
        "process; call rsim.init() first"
    )


_factory: Callable[[bytes], ObjectRef[Any]] = _no_runtime


def set_factory(factory: Callable[[bytes], ObjectRef[Any]] | None) -> None:
    """Make unpickled refs by `factory` from now on; None when no runtime is left."""
    global _factory
    _factory = factory or _no_runtime


def _rebuild_ref(object_id: bytes) -> ObjectRef[Any]:
    return _factory(object_id)
