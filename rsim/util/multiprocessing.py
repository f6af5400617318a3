"""A pool like `multiprocessing.Pool` whose calls are tasks.

Decides how items are put into tasks. Must never wait in the methods whose names end in `_async`.
Owns the results that are not known to be ready.
"""

from __future__ import annotations

from builtins import TimeoutError  # what AsyncResult.get raises; in multiprocessing another type
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import rsim
from rsim.util._callables import Callables, chunks_of, over_chunk
from rsim.util.completion import as_completed

__all__ = ["AsyncResult", "Pool", "TimeoutError"]

_USUAL_PROCESSES = 8
_CHUNKS_PER_PROCESS = 4
_FEWEST_TO_FORGET = 64

Callback = Callable[[Any], object]


class AsyncResult:
    """The result of a call of a pool. Callbacks run when it is first asked and found ready."""

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
        self._ready = True
        if self._callback or self._error_callback:
            self._call_back()

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

    def _call_back(self) -> None:
        error = self._error()
        if error is None and self._callback:
            self._callback(self._combine(rsim.get(self._refs)))
        elif error is not None and self._error_callback:
            self._error_callback(error)

    def _cancel(self) -> None:
        for ref in self._refs:
            rsim.cancel(ref)


class Pool:
    """Calls functions in tasks, with the methods of `multiprocessing.Pool`.

    processes: how many the default size of chunks is made for; how many tasks run at once is up to
    the cluster. task_options: those of `rsim.remote`, but for num_returns. Raises
    NotImplementedError for initializer and maxtasksperchild, ValueError for processes below 1.
    """

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
        **task_options: Any,
    ) -> None:
        if processes is not None and processes < 1:
            raise ValueError(f"processes must be 1 or more, or None, not {processes!r}")
        if initializer is not None:
            raise NotImplementedError("initializer: it needs workers that keep state, i.e. actors")
        if maxtasksperchild is not None:
            raise NotImplementedError("maxtasksperchild: workers are shared by the whole session")
        self._processes = processes or _USUAL_PROCESSES
        self._callables = Callables(task_options)
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
        refs = [self._callables(func).remote(*args, **kwds)]
        return self._kept(AsyncResult(refs, lambda values: values[0], callback, error_callback))

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
            chunksize = -(-len(items) // (self._processes * _CHUNKS_PER_PROCESS)) or 1
        refs = self._submit(func, items, chunksize)
        return self._kept(AsyncResult(refs, _joined, callback, error_callback))

    def imap(
        self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int = 1
    ) -> Iterator[Any]:
        """Yield `func(item)` for each item, in order. All tasks are submitted at once."""
        refs = self._tracked(self._submit(func, zip(iterable), chunksize))
        return chain.from_iterable(map(rsim.get, refs))

    def imap_unordered(
        self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int = 1
    ) -> Iterator[Any]:
        """Like `imap`, in the order in which the results are there."""
        refs = self._tracked(self._submit(func, zip(iterable), chunksize))
        return chain.from_iterable(as_completed(refs, chunk_size=1))

    def close(self) -> None:
        """Refuse further calls."""
        self._closed = True

    def terminate(self) -> None:
        """Refuse further calls and cancel those under way."""
        self._closed = True
        for result in self._results:
            result._cancel()

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
        run_chunk = self._callables(over_chunk(func))
        return [run_chunk.remote(chunk) for chunk in chunks_of(items, chunksize)]

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
