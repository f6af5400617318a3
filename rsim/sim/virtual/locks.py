"""Locks of threads between the strands of a simulation, which share one real thread.

Decides who waits for a `threading.Lock` or `RLock`, and so for what is built on them (`Condition`,
`Semaphore`, `queue.Queue`). Must never block the one real thread for a lock that simulated code
holds, nor slow down a lock that nobody fights for. Owns who holds which lock, as far as somebody
else could meet it: a lock that is released before its holder waits for anything is never noticed.

The methods of the C types are replaced, so that locks made before count, such as those of imported
modules. These are one per process in reality; here all tasks share them, as they share the module
whose state they protect. A worker that dies releases what it held, as its process would.
"""

from __future__ import annotations

import _thread
import sys
import threading
from threading import get_ident
from typing import Any

from rsim.sim.virtual.context import Current, VirtualContext
from rsim.sim.virtual.escapes import blocking_call, escape_error
from rsim.sim.virtual.patching import Function, Patcher
from rsim.sim.virtual.waits import sleep_until

REAL_PATIENCE_S = 10.0
"""How long, in real time, simulated code waits for a lock that a real thread holds."""

_LOCK = "threading.Lock.acquire"
_RLOCK = "threading.RLock.acquire"

_lock_acquire: Function = _thread.LockType.acquire
_lock_release: Function = _thread.LockType.release
_rlock_acquire: Function = _thread.RLock.acquire
_rlock_release: Function = _thread.RLock.release
_rlock_is_owned: Function = _thread.RLock._is_owned  # type: ignore[attr-defined]


def thread_of(context: VirtualContext | None) -> object:
    """What stands for the thread that the context's code runs in; None for the hub."""
    return getattr(context, "thread", context)


class Locks:
    """The locks that simulated code holds and waits for."""

    def __init__(self, current: Current) -> None:
        self._current = current
        self._real_thread = get_ident()
        self._running: object = None
        """The simulated thread that runs."""
        self._taken: dict[int, Any] = {}
        """Locks taken since it began to run; by id."""
        self._kept: dict[int, tuple[object, Any]] = {}
        """Locks that were held while somebody else ran, with their holder; by id."""
        self._waiting: dict[int, dict[VirtualContext, None]] = {}
        """Who waits for which lock, in the order of their arrival; by id."""

    def install(self, patcher: Patcher) -> None:
        """Replace the methods of the two types."""
        for name in ("acquire", "acquire_lock", "__enter__"):
            patcher.replace(_thread, f"LockType.{name}", lambda _: self._make_acquire())
        for name in ("release", "release_lock", "__exit__"):
            patcher.replace(_thread, f"LockType.{name}", lambda _: self._make_release())
        for name in ("acquire", "__enter__"):
            patcher.replace(_thread, f"RLock.{name}", lambda _: self._make_reacquire())
        for name in ("release", "__exit__", "_release_save"):
            patcher.replace(_thread, f"RLock.{name}", self._make_leave)
        patcher.replace(_thread, "RLock._is_owned", lambda _: self._make_is_owned())
        patcher.replace(_thread, "RLock._acquire_restore", self._make_restore)
        patcher.refresh(threading.Condition, "acquire", within="_lock")
        patcher.refresh(threading.Condition, "release", within="_lock")

    def switch(self, old: VirtualContext | None, new: VirtualContext | None) -> None:
        """Note what `old` holds while others run."""
        if self._taken:
            if old is not None:
                holder = thread_of(old)
                for key, lock in self._taken.items():
                    self._kept[key] = holder, lock
            self._taken.clear()
        self._running = thread_of(new)

    def bury(self, thread: object) -> None:
        """Release what a thread holds that will never run again."""
        held = {key: lock for key, (holder, lock) in self._kept.items() if holder is thread}
        if self._running is thread:
            held.update(self._taken)
        for key, lock in held.items():
            if type(lock) is _thread.RLock:
                while _rlock_is_owned(lock):
                    _rlock_release(lock)
            elif lock.locked():
                _lock_release(lock)
            self._released(key)

    # -- what replaces the methods -----------------------------------------------------------------

    def _make_acquire(self) -> Function:
        taken, real_thread = self._taken, self._real_thread

        def acquire(lock: Any, blocking: bool = True, timeout: float = -1) -> bool:
            if blocking and (timeout == -1 or timeout >= 0):
                acquired = _lock_acquire(lock, False) or self._wait(lock, timeout, _LOCK)
            else:
                acquired = _lock_acquire(lock, blocking, timeout)  # C judges the arguments
            if acquired and get_ident() == real_thread:
                taken[id(lock)] = lock
            return acquired

        return acquire

    def _make_release(self) -> Function:
        def release(lock: Any, *exception: object) -> None:
            _lock_release(lock)
            self._released(id(lock))

        return release

    def _make_reacquire(self) -> Function:
        taken, kept, real_thread = self._taken, self._kept, self._real_thread

        def acquire(lock: Any, blocking: bool = True, timeout: float = -1) -> bool:
            if not blocking or (timeout != -1 and timeout < 0):
                acquired = not self._is_anothers(lock) and _rlock_acquire(lock, blocking, timeout)
            elif self._is_anothers(lock) or not _rlock_acquire(lock, False):
                acquired = self._wait(lock, timeout, _RLOCK)
            else:
                acquired = True
            key = id(lock)
            if acquired and key not in kept and get_ident() == real_thread:
                taken[key] = lock
            return acquired

        return acquire

    def _make_leave(self, real: Any) -> Function:
        def release(lock: Any, *exception: object) -> Any:
            if self._is_anothers(lock):
                raise RuntimeError("cannot release un-acquired lock")
            state = real(lock, *exception)
            if not _rlock_is_owned(lock):
                self._released(id(lock))
            return state

        return release

    def _make_is_owned(self) -> Function:
        def is_owned(lock: Any) -> bool:
            return _rlock_is_owned(lock) and not self._is_anothers(lock)

        return is_owned

    def _make_restore(self, real: Any) -> Function:
        acquire = self._make_reacquire()

        def acquire_restore(lock: Any, state: Any) -> None:
            acquire(lock)
            _rlock_release(lock)
            real(lock, state)

        return acquire_restore

    # -- who holds what ----------------------------------------------------------------------------

    def _is_anothers(self, lock: Any) -> bool:
        """Whether another simulated thread holds a lock that, for C, this thread holds."""
        if not self._kept or self._running is None or get_ident() != self._real_thread:
            return False
        holder = self._kept.get(id(lock))
        return holder is not None and holder[0] is not self._running

    def _released(self, key: int) -> None:
        if self._taken.pop(key, None) is None and self._kept:
            self._kept.pop(key, None)
        if self._waiting and get_ident() == self._real_thread:
            for context in list(self._waiting.get(key, ())):  # whoever comes first takes it
                getattr(context, "interrupt", int)()

    def _wait(self, lock: Any, timeout: float, call: str) -> bool:
        """Wait for a lock that was not to be had at once; whether it is held now."""
        context = self._current()
        attempt = _rlock_acquire if type(lock) is _thread.RLock else _lock_acquire
        if context is None:
            return bool(attempt(lock, True, timeout))
        key = id(lock)
        if key not in self._taken and key not in self._kept and len(sys._current_frames()) > 1:
            return self._wait_for_thread(lock, attempt, timeout, call, context)
        waiting = self._waiting.setdefault(key, {})
        waiting[context] = None
        try:
            return sleep_until(
                context,
                None if timeout == -1 else timeout,
                lambda: not self._is_anothers(lock) and attempt(lock, False),
                call,
                interrupted=hasattr(context, "interrupt"),
            )
        finally:
            del waiting[context]
            if not waiting:
                del self._waiting[key]

    def _wait_for_thread(
        self, lock: Any, attempt: Function, timeout: float, call: str, context: VirtualContext
    ) -> bool:
        """Wait in real time for a lock that a real thread holds."""
        if attempt(lock, True, REAL_PATIENCE_S if timeout == -1 else min(timeout, REAL_PATIENCE_S)):
            return True
        if timeout != -1:
            return False
        why = f"a thread outside it has held this lock for {REAL_PATIENCE_S:.0f} s of real time"
        raise escape_error(blocking_call(call), why, context)
