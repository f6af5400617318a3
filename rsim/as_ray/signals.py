"""Actors by which tests wait for each other: those that tests of Ray import.

Decides nothing. Owns, in each actor, who is let go.
"""

from __future__ import annotations

import asyncio
from typing import Any

import rsim


@rsim.remote(num_cpus=0)
class SignalActor:
    """Lets whoever waits go on when it is sent a signal."""

    def __init__(self) -> None:
        self._signal = asyncio.Event()
        self._waiting = 0

    async def send(self, clear: bool = False) -> None:
        """Let all go that wait; from now on nobody has to, unless `clear`."""
        self._signal.set()
        if clear:
            self._signal.clear()

    async def wait(self, should_wait: bool = True) -> None:
        """Return when the signal is, or was, sent."""
        if should_wait:
            self._waiting += 1
            await self._signal.wait()
            self._waiting -= 1

    async def cur_num_waiters(self) -> int:
        """How many wait now."""
        return self._waiting


@rsim.remote(num_cpus=0)
class Semaphore:
    """Lets `value` callers in at a time."""

    def __init__(self, value: int = 1) -> None:
        self._semaphore = asyncio.Semaphore(value)

    async def acquire(self) -> None:
        """Return when there is room."""
        await self._semaphore.acquire()

    async def release(self) -> None:
        """Make room for one."""
        self._semaphore.release()

    async def locked(self) -> bool:
        """Whether there is no room."""
        return self._semaphore.locked()


def create_remote_signal_actor(_ray: Any) -> Any:
    """The class of signal actors."""
    return SignalActor
