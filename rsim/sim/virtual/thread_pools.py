"""`multiprocessing.pool.ThreadPool`, whose threads are simulated ones.

Decides what wakes the thread that looks after a pool: a queue in place of a pipe, on which it would
wait in real time. Must never let a pool be used on the other side of the simulation's begin or end,
where its threads do not run. Owns no state.
"""

from __future__ import annotations

import multiprocessing.pool
import queue
import weakref
from typing import Any

from rsim.sim.virtual.context import Current
from rsim.sim.virtual.escapes import escape_error
from rsim.sim.virtual.patching import Function, Patcher

_CALL = "multiprocessing.pool.ThreadPool"


class _Notifier:
    """A queue as a pool uses one for its messages to itself."""

    _reader = None

    def __init__(self) -> None:
        queued: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.get, self.put, self.empty = queued.get, queued.put, queued.empty


class _Context:
    """What a pool makes its queue with."""

    SimpleQueue = _Notifier

    def __init__(self, real: Any) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def install_thread_pools(patcher: Patcher, current: Current) -> None:
    """Replace what of a pool would wait for a pipe."""
    pools: Any = multiprocessing.pool

    def make_setup(real: Any) -> Function:
        def setup_queues(pool: Any) -> None:
            real(pool)
            if current() is not None:
                pool._ctx = _Context(pool._ctx)
                pool._check_running = check_of(weakref.ref(pool))

        return setup_queues

    def check_of(pool: weakref.ref[Any]) -> Function:
        """A pool's own, for when nothing is replaced any more."""

        def check_running() -> None:
            if current() is None:
                raise ValueError("Pool not running: its threads ended with the simulation")
            pools.Pool._check_running(pool())

        return check_running

    def make_wait(real: Any) -> Function:
        def wait_for_updates(sentinels: Any, notifier: Any, timeout: float | None = None) -> None:
            if not isinstance(notifier, _Notifier):
                real(sentinels, notifier, timeout)
                return
            notifier.get()
            while not notifier.empty():
                notifier.get()

        return wait_for_updates

    def make_check(real: Any) -> Function:
        def check_running(pool: Any) -> None:
            context = current()
            if context is not None and not isinstance(pool._ctx, _Context):
                raise escape_error(_CALL, "the threads of this pool are real ones", context)
            real(pool)

        return check_running

    patcher.replace(pools, "ThreadPool._setup_queues", make_setup)
    patcher.replace(pools, "ThreadPool._check_running", make_check)
    patcher.replace(pools, "Pool._wait_for_updates", make_wait)
