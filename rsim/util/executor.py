"""A `concurrent.futures.Executor` whose calls are tasks.

Decides how many tasks are unfinished at a time, and what cancelling a future does. Must never block
but in `submit` at the limit, `result`, `exception` and `shutdown`. Owns the futures that are not
known to be done.
"""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from typing import Any, Generic, ParamSpec, TypeVar

import rsim
from rsim.runtime.futures import RefFuture
from rsim.util._callables import Callables, chunks_of, over_chunk

T = TypeVar("T")
P = ParamSpec("P")

_FEWEST_TO_FORGET = 64


class Future(RefFuture, Generic[T]):
    """The result of a task. Callbacks run in rsim's thread for callbacks, or in that which waits
    for the result.
    """

    def __init__(self, ref: rsim.ObjectRef[T]) -> None:
        self._told = threading.Event()
        super().__init__(ref)

    def set_result(self, result: T) -> None:
        """What `concurrent.futures.Future` does, and note when all callbacks have run."""
        with self._telling():
            super().set_result(result)

    def set_exception(self, exception: BaseException | None) -> None:
        """The same for an exception."""
        with self._telling():
            super().set_exception(exception)

    def cancel(self) -> bool:
        """Cancel the task, even when it runs; False when it was over before."""
        if self.cancelled():
            return True
        if not concurrent.futures.Future.cancel(self):
            return False
        self.set_running_or_notify_cancel()  # else `concurrent.futures.wait` does not hear of it
        self._told.set()
        rsim.cancel(self._ref)
        return True

    def result(self, timeout: float | None = None) -> T:
        """What the call returned; waits at most `timeout` seconds (None: without limit).

        Raises what the call raised, TimeoutError, or CancelledError after `cancel`.
        """
        value: T = super().result(timeout)
        return value

    def join(self) -> None:
        """Wait until the task is over and all callbacks have run, but for one that calls this."""
        with suppress(concurrent.futures.CancelledError):
            self.exception()
        if self not in _being_told():
            self._told.wait()

    @contextmanager
    def _telling(self) -> Iterator[None]:
        outer = _being_told()
        _here.told = (*outer, self)
        try:
            yield
            self._told.set()  # unless another thread was quicker: then it does that
        finally:
            _here.told = outer


_here = threading.local()


def _being_told() -> tuple[Future[Any], ...]:
    """The futures whose callbacks run in this thread: it cannot wait for these."""
    told: tuple[Future[Any], ...] = getattr(_here, "told", ())
    return told


class Executor(concurrent.futures.Executor):
    """Runs calls as tasks.

    max_workers: how many tasks may be unfinished; `submit` waits while there are as many. None: no
    limit, the cluster runs what it has room for. task_options: those of `rsim.remote`, but for
    num_returns. A function is sent to the workers once: later changes of what it captures are not
    seen. Raises TypeError or ValueError for bad options.
    """

    def __init__(self, max_workers: int | None = None, **task_options: Any) -> None:
        if max_workers is not None and max_workers < 1:
            raise ValueError(f"max_workers must be 1 or more, or None, not {max_workers!r}")
        self._max_workers = max_workers
        self._callables = Callables(task_options)
        self._unfinished: dict[rsim.ObjectRef[Any], Future[Any]] = {}
        self._forget_at = _FEWEST_TO_FORGET
        self._closed = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Submit a task that calls `fn`. ObjectRefs among the arguments become their values.

        Raises RuntimeError after `shutdown`.
        """
        if self._closed:
            raise RuntimeError("cannot submit to an Executor after its shutdown")
        if self._max_workers is not None and len(self._unfinished) >= self._max_workers:
            self._join(1, None)
        elif len(self._unfinished) >= self._forget_at:
            self._join(len(self._unfinished), 0)
            self._forget_at = max(_FEWEST_TO_FORGET, 2 * len(self._unfinished))
        ref = self._callables(fn).remote(*args, **kwargs)
        future = self._unfinished[ref] = Future[T](ref)
        return future

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        **more: Any,
    ) -> Iterator[T]:
        """The results of `fn` on the items, in order; one task for each `chunksize` of them.

        All tasks are submitted at once. timeout: seconds from the call on; TimeoutError after them.
        """
        if chunksize == 1:
            return super().map(fn, *iterables, timeout=timeout, **more)
        chunks = chunks_of(zip(*iterables, strict=False), chunksize)
        return chain.from_iterable(super().map(over_chunk(fn), chunks, timeout=timeout, **more))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Refuse further calls; wait for those under way, and for the callbacks of their futures.
        cancel_futures: cancel them first.
        """
        self._closed = True
        if cancel_futures:
            for future in self._unfinished.values():
                future.cancel()
        if wait:
            self._join(len(self._unfinished), None)

    def _join(self, count: int, timeout: float | None) -> None:
        if count:
            ready, _ = rsim.wait(list(self._unfinished), num_returns=count, timeout=timeout)
            for ref in ready:
                self._unfinished.pop(ref).join()
