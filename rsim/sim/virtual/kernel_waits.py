"""Waits in the kernel: for a pipe, for a lock on a file, for a semaphore between processes.

Decides that such a call goes on as long as it need not wait, and is an escape otherwise: who would
end the wait is outside the simulation, or stopped by it. Must never wait. Owns no state.
"""

from __future__ import annotations

import _multiprocessing  # type: ignore[import-not-found]
import fcntl
import multiprocessing.synchronize
import os
import select
import stat
from typing import Any

from rsim.sim.virtual.context import Current
from rsim.sim.virtual.escapes import escape_error
from rsim.sim.virtual.patching import Function, Patcher
from rsim.sim.virtual.waits import sleep_until

_WHY = "it would wait in real time, for what no task can bring"
_SEMAPHORE = "multiprocessing.synchronize.SemLock.acquire"

_poll = select.select


def install_kernel_waits(patcher: Patcher, current: Current) -> None:
    """Replace `os.read`, `fcntl.flock` and the `acquire` of multiprocessing's locks."""

    def make_read(real: Any) -> Function:
        def read(fd: int, length: int, /) -> bytes:
            context = current()
            if context is not None and _is_empty_pipe(fd):
                raise escape_error("os.read", _WHY, context)
            return real(fd, length)  # type: ignore[no-any-return]

        return read

    def make_flock(real: Any) -> Function:
        def flock(fd: Any, operation: int, /) -> None:
            context = current()
            if context is None:
                return real(fd, operation)  # type: ignore[no-any-return]
            try:
                return real(fd, operation | fcntl.LOCK_NB)  # type: ignore[no-any-return]
            except BlockingIOError:
                if operation & fcntl.LOCK_NB:
                    raise
            raise escape_error("fcntl.flock", _WHY, context)

        return flock

    def make_acquire(real: Any) -> Function:
        def acquire(lock: Any, block: bool = True, timeout: float | None = None) -> bool:
            context = current() if block else None
            if context is None:
                return real(lock, block, timeout)  # type: ignore[no-any-return]
            return sleep_until(context, timeout, lambda: real(lock, False), _SEMAPHORE)

        return acquire

    def make_enter(real: Any) -> Function:
        return lambda lock: lock.acquire()

    patcher.replace(os, "read", make_read)
    patcher.replace(fcntl, "flock", make_flock)
    patcher.replace(_multiprocessing, "SemLock.acquire", make_acquire)
    patcher.replace(_multiprocessing, "SemLock.__enter__", make_enter)
    patcher.refresh(multiprocessing.synchronize.SemLock, "acquire", within="_semlock")


def _is_empty_pipe(fd: int) -> bool:
    """Whether reading would wait. A debugger may well wait for its user, at standard input."""
    if fd == 0 or not stat.S_ISFIFO(os.fstat(fd).st_mode) or not os.get_blocking(fd):
        return False
    return not _poll([fd], [], [], 0)[0]
