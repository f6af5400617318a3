"""Ray's own ways of the utilities: its Pool, its Queue and its joblib backend.

Decides where they differ from those of `rsim.util`, of which they are subclasses. Owns nothing.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import rsim
from rsim.as_ray import session
from rsim.as_ray.annotations import RayDeprecationWarning
from rsim.util import multiprocessing, queue


class Queue(queue.Queue):
    """A queue that has no actor any more when it was shut down."""

    def shutdown(self, force: bool = False, grace_period_s: float = 5) -> None:
        """End the actor."""
        if self.actor is not None:
            super().shutdown(force, grace_period_s)
        self.actor = None


class Pool(multiprocessing.Pool):
    """A pool whose processes exist when it is made, and fit in the cluster.

    processes: by default the CPUs of the cluster, which is started with so many CPUs if none runs.
    ray_address: what to connect to; ray_remote_args: options of the actors; context: without
    effect. Raises ValueError when the cluster has fewer CPUs than the pool shall have processes.
    """

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] | None = None,
        maxtasksperchild: int | None = None,
        context: Any = None,
        ray_address: str | None = None,
        ray_remote_args: dict[str, Any] | None = None,
    ) -> None:
        options = {"num_cpus": 0, **(ray_remote_args or {})}
        count = _fitting(processes, ray_address)
        super().__init__(count, initializer, initargs or (), maxtasksperchild, **options)
        self._ready_all()

    def apply(  # type: ignore[override]
        self,
        func: Callable[..., Any],
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        *,
        kwds: Mapping[str, Any] | None = None,
    ) -> Any:
        """The result of `func(*args, **kwargs)`; `kwds`: the standard library's name for them."""
        return self.apply_async(func, args, kwargs, kwds=kwds).get()

    def apply_async(  # type: ignore[override]
        self,
        func: Callable[..., Any],
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        callback: multiprocessing.Callback | None = None,
        error_callback: multiprocessing.Callback | None = None,
        *,
        kwds: Mapping[str, Any] | None = None,
    ) -> multiprocessing.AsyncResult:
        """Like `apply`, without waiting."""
        named = {**(kwds or {}), **(kwargs or {})}
        return super().apply_async(func, args or (), named, callback, error_callback)

    def imap(
        self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int | None = 1
    ) -> multiprocessing.IMapIterator:
        """Yield `func(item)` for each item, in order; what it raises is yielded as well."""
        return super().imap(_Attempt(func), _iterable(iterable), chunksize or 1)

    def imap_unordered(
        self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int | None = 1
    ) -> multiprocessing.IMapIterator:
        """Like `imap`, in the order in which the results are there."""
        return super().imap_unordered(_Attempt(func), _iterable(iterable), chunksize or 1)


class _Attempt:
    """A function that returns what another one raises."""

    def __init__(self, func: Callable[[Any], Any]) -> None:
        self._func = func

    def __call__(self, item: Any) -> Any:
        try:
            return self._func(item)
        except Exception as error:
            return error


def _fitting(processes: int | None, address: str | None) -> int:
    """How many processes a pool has; starts Ray if it does not run."""
    if processes is not None and processes < 1:
        raise ValueError(f"Processes in the pool must be >0, not {processes}")
    if not rsim.is_initialized():
        if address is not None or "RAY_ADDRESS" in os.environ:
            fresh = (address or os.environ.get("RAY_ADDRESS")) == "local"
            session.init(address, num_cpus=processes if fresh else None)
        else:
            session.init(num_cpus=processes)
    there = int(rsim.cluster_resources().get("CPU", 0))
    if processes is not None and processes > there:
        raise ValueError(
            f"Tried to start a pool with {processes} processes on an existing ray cluster, but "
            f"there are only {there} CPUs in the ray cluster."
        )
    return processes or there


def _iterable(items: Any) -> Iterable[Any]:
    if isinstance(items, Iterable):
        return items
    warnings.warn(
        "Passing a non-iterable argument to imap and imap_unordered is deprecated",
        category=RayDeprecationWarning,
        stacklevel=3,
    )
    return [items]


def register_ray() -> None:
    """Make joblib's backend "ray" that of rsim."""
    from joblib import register_parallel_backend

    from rsim.as_ray.joblib_backend import RayBackend

    register_parallel_backend("ray", RayBackend)
