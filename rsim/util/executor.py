"""A `concurrent.futures.Executor` whose calls are tasks.

Decides when a future learns that its task is done: when it is asked, as no thread runs beside the
program. Must never block but in `submit` at the limit, `result`, `exception` and `shutdown`. Owns
the futures that are not known to be done.
"""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import chain
from typing import Any, ParamSpec, TypeVar

import rsim
from rsim.util._callables import Callables, chunks_of, over_chunk

T = TypeVar("T")
P = ParamSpec("P")

_FEWEST_TO_FORGET = 64


class Future(concurrent.futures.Future[T]):
    """The result of a task, as a future that looks whenever it is asked.

    `done`, `running`, `cancel`, `result`, `exception` and `add_done_callback` observe the task;
    callbacks run at the first of these calls that finds it done, in the thread that makes it, or in
    `Executor.shutdown(wait=True)`. `concurrent.futures.wait`, `concurrent.futures.as_completed` and
    `asyncio.wrap_future` do not observe: they wait for another thread to complete the future, and
    there is none. Use `rsim.util.as_completed` on refs instead.
    """

    def __init__(self, ref: rsim.ObjectRef[T]) -> None:
        super().__init__()
        self._ref = ref

    def _observe(self, timeout: float | None) -> None:
        """Wait up to `timeout` seconds for the task, and take its result over if it is done."""
        if super().done() or not rsim.wait([self._ref], timeout=timeout)[0]:
            return
        with suppress(concurrent.futures.InvalidStateError):  # another thread was quicker
            try:
                value = rsim.get(self._ref)
            except Exception as error:
                self.set_exception(error)
            else:
                self.set_result(value)

    def done(self) -> bool:
        """Whether the task is over or the future was cancelled."""
        self._observe(0)
        return super().done()

    def running(self) -> bool:
        """Whether the task is not over yet; it may still be waiting for a worker."""
        return not self.done()

    def cancel(self) -> bool:
        """Cancel the task, even when it runs; False when it was over before."""
        if not self.done():
            rsim.cancel(self._ref)
        return super().cancel()

    def result(self, timeout: float | None = None) -> T:
        """What the call returned; waits at most `timeout` seconds (None: without limit).

        Raises what the call raised, TimeoutError, or CancelledError after `cancel`.
        """
        self._observe_or_raise(timeout)
        return super().result(0)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What the call raised, or None. Raises TimeoutError, or CancelledError after `cancel`."""
        self._observe_or_raise(timeout)
        return super().exception(0)

    def _observe_or_raise(self, timeout: float | None) -> None:
        self._observe(None if timeout is None else max(timeout, 0))
        if not super().done():
            raise TimeoutError(f"the task is not done after {timeout} s")

    def add_done_callback(self, fn: Callable[[Any], object]) -> None:
        """Call `fn` with this future once it is observed to be done: now, if it is so already."""
        self._observe(0)
        super().add_done_callback(fn)


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
            self._observe(1, None)
        elif len(self._unfinished) >= self._forget_at:
            self._observe(len(self._unfinished), 0)
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
        """Refuse further calls; wait for those under way. cancel_futures: cancel them first."""
        self._closed = True
        if cancel_futures:
            for future in self._unfinished.values():
                future.cancel()
        if wait:
            self._observe(len(self._unfinished), None)

    def _observe(self, count: int, timeout: float | None) -> None:
        if count:
            ready, _ = rsim.wait(list(self._unfinished), num_returns=count, timeout=timeout)
            for ref in ready:
                self._unfinished.pop(ref)._observe(None)
