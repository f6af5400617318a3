"""Actors by which tests wait for each other, and a queue: those that tests of Ray import.

Decides nothing. Owns, in each actor, who is let go.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import rsim
from rsim.as_ray.pools import Queue
from rsim.util.queue import Empty


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


class BatchQueue(Queue):
    """A queue from which many items can be taken at once."""

    def get_batch(
        self,
        batch_size: int | None = None,
        total_timeout: float | None = None,
        first_timeout: float | None = None,
    ) -> list[Any]:
        """At most `batch_size` items: the first one, however long it takes, or `first_timeout`
        seconds, and then those that are there; with `total_timeout` also those that come in time.
        Raises Empty when there is not even one.
        """
        items = [self.get(timeout=first_timeout)]
        deadline = time.monotonic() + (total_timeout or 0)
        while batch_size is None or len(items) < batch_size:
            left = max(0.0, deadline - time.monotonic())
            try:
                items.append(self.get(timeout=left) if left else self.get_nowait())
            except Empty:
                break
        return items


def create_remote_signal_actor(_ray: Any) -> Any:
    """The class of signal actors."""
    return SignalActor
