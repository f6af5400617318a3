"""A pool like `multiprocessing.Pool` whose processes are actors.

Decides how items are put into calls, and which actor makes a call: of the idle ones that which has
made the fewest, else the one that was given the fewest. Must never wait in the methods whose names
end in `_async`. Owns the actors, and the results that are not known to be ready.
"""

from __future__ import annotations

import builtins
import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

import rsim
from rsim.util._callables import chunks_of

__all__ = ["AsyncResult", "IMapIterator", "Pool", "TimeoutError"]

_CHUNKS_PER_PROCESS = 4
_FEWEST_TO_FORGET = 64

Callback = Callable[[Any], object]


class TimeoutError(multiprocessing.TimeoutError, builtins.TimeoutError):
    """A result is not there in time. It is both `multiprocessing`'s error and the builtin one."""


class AsyncResult:
    """The result of a call of a pool. Callbacks run when it is there, in a thread of their own or
    in the one that waits for it; it is ready when they have run, as in `multiprocessing`.
    """

    def __init__(
        self,
        refs: list[rsim.ObjectRef[Any]],
        combine: Callable[[list[Any]], Any],
        callback: Callback | None = None,
        error_callback: Callback | None = None,
    ) -> None:
        self._refs = refs
        self._combine = combine
        self._callback = callback
        self._error_callback = error_callback
        self._ready = False
        self._unfinished = len(refs)
        self._calling_back = threading.RLock()
        """Held by who runs the callbacks, which may look at the result themselves."""
        self._called_back = not (callback or error_callback)
        if callback or error_callback:
            for ref in refs:
                ref.future().add_done_callback(self._finished)

    def ready(self) -> bool:
        """Whether the call is over."""
        self.wait(0)
        return self._ready

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the call is over, at most `timeout` seconds."""
        if self._ready:
            return
        if self._refs:
            _, others = rsim.wait(self._refs, num_returns=len(self._refs), timeout=timeout)
            if others:
                return
        if self._calling_back.acquire(timeout=-1 if timeout is None else timeout):
            try:
                self._call_back()
                self._ready = True
            finally:
                self._calling_back.release()

    def successful(self) -> bool:
        """Whether the call raised nothing. Raises ValueError when it is not over."""
        if not self.ready():
            raise ValueError(f"{self!r} is not ready")
        return self._error() is None

    def get(self, timeout: float | None = None) -> Any:
        """The result, or what the call raised; TimeoutError after `timeout` seconds."""
        self.wait(timeout)
        if not self._ready:
            raise TimeoutError(f"the call is not over after {timeout} s")
        return self._combine(rsim.get(self._refs))

    def _error(self) -> Exception | None:
        try:
            rsim.get(self._refs)
        except Exception as error:
            return error
        return None

    def _finished(self, _: object) -> None:
        self._unfinished -= 1  # futures are settled in one thread
        if not self._unfinished:
            with self._calling_back:
                self._call_back()

    def _call_back(self) -> None:
        if self._called_back:
            return
        self._called_back = True
        error = self._error()
        if error is None and self._callback:
            self._callback(self._combine(rsim.get(self._refs)))
        elif error is not None and self._error_callback:
            self._error_callback(error)


class IMapIterator:
    """The results of `imap` and `imap_unordered`, one by one."""

    def __init__(self, refs: list[rsim.ObjectRef[Any]], ordered: bool) -> None:
        self._refs = refs
        self._ordered = ordered
        self._values: deque[Any] = deque()

    def __iter__(self) -> IMapIterator:
        return self

    def __next__(self) -> Any:
        return self.next()

    def next(self, timeout: float | None = None) -> Any:
        """The next result, or what the call raised; TimeoutError after `timeout` seconds.

        Raises StopIteration after the last one.
        """
        while not self._values:
            if not self._refs:
                raise StopIteration
            candidates = self._refs[:1] if self._ordered else self._refs
            ready, _ = rsim.wait(candidates, timeout=timeout)
            if not ready:
                raise TimeoutError(f"the next result is not there after {timeout} s")
            self._refs.remove(ready[0])
            self._values += rsim.get(ready[0])
        return self._values.popleft()


class _Process:
    """The actor that stands for a process of the pool."""

    def __init__(
        self, initializer: Callable[..., object] | None, initargs: tuple[Any, ...]
    ) -> None:
        if initializer is not None:
            initializer(*initargs)

    def apply(
        self, func: Callable[..., Any], args: Sequence[Any], kwds: Mapping[str, Any]
    ) -> list[Any]:
        return [func(*args, **kwds)]

    def map(self, func: Callable[..., Any], chunk: list[Iterable[Any]]) -> list[Any]:
        return [func(*arguments) for arguments in chunk]


class _Slot:
    """One process of the pool, and the calls it was given."""

    def __init__(self) -> None:
        self.actor: Any = None
        self.calls = 0
        """Since the actor was made."""
        self.last: rsim.ObjectRef[Any] | None = None
        self.unfinished = 0
        """At most so many calls, all given since the slot was last found idle."""


class Pool:
    """Calls functions in actors, with the methods of `multiprocessing.Pool`.

    processes: how many actors, each made when it is needed first; by default the CPUs of this
    machine. initializer, initargs: called in each of them before all else; if it raises,
    the calls raise ActorDiedError. maxtasksperchild: after so many calls or chunks an actor is
    replaced. actor_options: those of `rsim.remote` for a class; by default an actor that dies is
    created again, and the call that it was making raises ActorUnavailableError. Raises TypeError or
    ValueError for bad options.
    """

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
        **actor_options: Any,
    ) -> None:
        for name, value in (("processes", processes), ("maxtasksperchild", maxtasksperchild)):
            if value is not None and value < 1:
                raise ValueError(f"{name} must be 1 or more, or None, not {value!r}")
        if initializer is not None and not callable(initializer):
            raise TypeError(f"initializer must be callable or None, not {initializer!r}")
        self._retries = actor_options.get("max_task_retries", 0)
        patient = {"max_task_retries": self._retries or 1}  # work waits for a new process
        self._make = rsim.remote(**{"max_restarts": -1, **actor_options, **patient})(_Process)
        self._initialization = initializer, tuple(initargs)
        self._most_calls = maxtasksperchild
        self._slots = [_Slot() for _ in range(processes or default_processes())]
        self._results: list[AsyncResult] = []
        self._forget_at = _FEWEST_TO_FORGET
        self._closed = False

    def apply(
        self, func: Callable[..., Any], args: Sequence[Any] = (), kwds: Mapping[str, Any] = {}
    ) -> Any:
        """The result of `func(*args, **kwds)`."""
        return self.apply_async(func, args, kwds).get()

    def apply_async(
        self,
        func: Callable[..., Any],
        args: Sequence[Any] = (),
        kwds: Mapping[str, Any] = {},
        callback: Callback | None = None,
        error_callback: Callback | None = None,
    ) -> AsyncResult:
        """Like `apply`, without waiting."""
        self._check_open()
        refs = [self._call("apply", func, args, dict(kwds))]
        return self._kept(AsyncResult(refs, lambda chunks: chunks[0][0], callback, error_callback))

    def map(
        self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int | None = None
    ) -> list[Any]:
        """The list of `func(item)` for each item."""
        return self.starmap(func, zip(iterable), chunksize)

    def map_async(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        callback: Callback | None = None,
        error_callback: Callback | None = None,
    ) -> AsyncResult:
        """Like `map`, without waiting."""
        return self.starmap_async(func, zip(iterable), chunksize, callback, error_callback)

    def starmap(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
    ) -> list[Any]:
        """The list of `func(*item)` for each item."""
        results: list[Any] = self.starmap_async(func, iterable, chunksize).get()
        return results

    def starmap_async(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
        callback: Callback | None = None,
        error_callback: Callback | None = None,
    ) -> AsyncResult:
        """Like `starmap`, without waiting."""
        items = list(iterable)
        if chunksize is None:
            chunksize = -(-len(items) // (len(self._slots) * _CHUNKS_PER_PROCESS)) or 1
        refs = self._submit(func, items, chunksize)
        return self._kept(AsyncResult(refs, _joined, callback, error_callback))

    def imap(
        self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int = 1
    ) -> IMapIterator:
        """Yield `func(item)` for each item, in order. All calls are submitted at once."""
        return IMapIterator(self._tracked(self._submit(func, zip(iterable), chunksize)), True)

    def imap_unordered(
        self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int = 1
    ) -> IMapIterator:
        """Like `imap`, in the order in which the results are there."""
        return IMapIterator(self._tracked(self._submit(func, zip(iterable), chunksize)), False)

    def close(self) -> None:
        """Refuse further calls. The actors end when they have made theirs."""
        self._closed = True
        for slot in self._slots:
            slot.actor = None

    def terminate(self) -> None:
        """Refuse further calls and kill the actors: calls under way raise ActorDiedError."""
        for slot in self._slots:
            if slot.actor is not None:
                rsim.kill(slot.actor)
        self.close()

    def join(self) -> None:
        """Wait for all calls. Raises ValueError before `close` or `terminate`."""
        if not self._closed:
            raise ValueError("the pool is still running: call close() or terminate() first")
        for result in self._results:
            result.wait()
        self._results.clear()

    def __enter__(self) -> Pool:
        self._check_open()
        return self

    def __exit__(self, *exception: object) -> None:
        self.terminate()

    def _submit(
        self, func: Callable[..., Any], items: Iterable[Iterable[Any]], chunksize: int
    ) -> list[rsim.ObjectRef[Any]]:
        self._check_open()
        return [self._call("map", func, chunk) for chunk in chunks_of(items, chunksize)]

    def _call(self, method: str, func: Callable[..., Any], *args: Any) -> rsim.ObjectRef[Any]:
        slot = self._idlest()
        if slot.actor is None or slot.calls == self._most_calls:
            slot.actor = self._make.remote(*self._initialization)
            slot.calls = 0
        call = getattr(slot.actor, method).options(max_task_retries=self._retries)
        slot.last = call.remote(func, *args)
        slot.calls += 1
        slot.unfinished += 1
        return slot.last

    def _ready_all(self) -> None:
        """Make all actors, and wait until they have been initialized."""
        for slot in self._slots:
            slot.actor = self._make.remote(*self._initialization)
        rsim.get([slot.actor.__ray_ready__.remote() for slot in self._slots])

    def _idlest(self) -> _Slot:
        slots = self._slots
        busy = {slot.last: slot for slot in slots if slot.unfinished and slot.last is not None}
        if busy:
            for ref in rsim.wait(list(busy), num_returns=len(busy), timeout=0)[0]:
                busy[ref].unfinished = 0
        return min(slots, key=lambda slot: (slot.unfinished, slot.actor is None, slot.calls))

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError("the pool is not running any more")

    def _tracked(self, refs: list[rsim.ObjectRef[Any]]) -> list[rsim.ObjectRef[Any]]:
        self._kept(AsyncResult(refs, _joined))
        return refs

    def _kept(self, result: AsyncResult) -> AsyncResult:
        """Keep it for `join` and `terminate`, and forget those that are ready now and then."""
        if len(self._results) >= self._forget_at:
            self._results = [each for each in self._results if not each.ready()]
            self._forget_at = max(_FEWEST_TO_FORGET, 2 * len(self._results))
        self._results.append(result)
        return result


def _joined(chunks: list[list[Any]]) -> list[Any]:
    return list(chain.from_iterable(chunks))


def default_processes() -> int:
    """How many processes a pool has unless told: the CPUs of this machine."""
    return os.cpu_count() or 1
