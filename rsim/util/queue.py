"""A queue between tasks, actors and drivers, kept by an actor.

Decides nothing: an asyncio queue in an asynchronous actor does, so that a `get` that waits holds up
no `put`. Must never lose an item that was put, while the actor lives. Owns the actor.
"""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import rsim
from rsim.exceptions import RsimTaskError

__all__ = ["Empty", "Full", "Queue"]

_MOST_CALLS = 100_000
"""How many calls may wait in the actor."""


class Empty(queue.Empty):
    """There is nothing in the queue."""


class Full(queue.Full):
    """There is no room in the queue."""


class Queue:
    """A first-in first-out queue that can be handed to tasks and actors.

    maxsize: most items at a time; 0 or less: no limit; anything but a number is a TypeError.
    actor_options: those of `rsim.remote` for the actor that keeps it. Every method raises
    ActorDiedError after `shutdown`.
    """

    def __init__(self, maxsize: int = 0, actor_options: dict[str, Any] | None = None) -> None:
        options = {"num_cpus": 0, "max_concurrency": _MOST_CALLS, **(actor_options or {})}
        if not hasattr(maxsize, "__int__"):
            raise TypeError(f"maxsize must be a number, not {maxsize!r}")
        self.maxsize = maxsize
        self.actor: Any = rsim.remote(**options)(_Keeper).remote(maxsize)

    def __len__(self) -> int:
        return self.size()

    def size(self) -> int:
        """How many items are in the queue."""
        count: int = rsim.get(self.actor.qsize.remote())
        return count

    def qsize(self) -> int:
        """The same as `size`."""
        return self.size()

    def empty(self) -> bool:
        """Whether the queue is empty."""
        is_empty: bool = rsim.get(self.actor.empty.remote())
        return is_empty

    def full(self) -> bool:
        """Whether there is no room in the queue."""
        return 0 < self.maxsize <= self.size()

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Add an item; wait for room, at most `timeout` seconds, if `block`.

        Raises Full when there is no room, ValueError for a negative timeout.
        """
        _answer(self.actor.put.remote(item, _patience(block, timeout)))

    async def put_async(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """`put` for a coroutine."""
        with _plainly():
            await self.actor.put.remote(item, _patience(block, timeout))

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Remove and return an item; wait for one, at most `timeout` seconds, if `block`.

        Raises Empty when there is none, ValueError for a negative timeout.
        """
        return _answer(self.actor.get.remote(_patience(block, timeout)))

    async def get_async(self, block: bool = True, timeout: float | None = None) -> Any:
        """`get` for a coroutine."""
        with _plainly():
            return await self.actor.get.remote(_patience(block, timeout))

    def put_nowait(self, item: Any) -> None:
        """`put` without waiting."""
        self.put(item, block=False)

    def get_nowait(self) -> Any:
        """`get` without waiting."""
        return self.get(block=False)

    def put_nowait_batch(self, items: Iterable[Any]) -> None:
        """Add all the items, or none: then Full is raised."""
        if not isinstance(items, Iterable):
            raise TypeError(f"items must be iterable, not {items!r}")
        _answer(self.actor.put_nowait_batch.remote(list(items)))

    def get_nowait_batch(self, num_items: int) -> list[Any]:
        """Remove and return so many items, or none: then Empty is raised."""
        if isinstance(num_items, bool) or not isinstance(num_items, int):
            raise TypeError(f"num_items must be an int, not {num_items!r}")
        if num_items < 0:
            raise ValueError(f"num_items must be 0 or more, not {num_items}")
        items: list[Any] = _answer(self.actor.get_nowait_batch.remote(num_items))
        return items

    def shutdown(self, force: bool = False, grace_period_s: float = 5) -> None:
        """End the actor: at once, or when it has done what it was asked before, but at most
        `grace_period_s` seconds later.
        """
        if not force:
            rsim.wait([self.actor.__ray_terminate__.remote()], timeout=grace_period_s)
        rsim.kill(self.actor)


def _patience(block: bool, timeout: float | None) -> float | None:
    """How many seconds to wait: None for ever, 0 not at all."""
    if not block:
        return 0
    if timeout is not None and timeout < 0:
        raise ValueError(f"timeout must be 0 or more, or None, not {timeout!r}")
    return timeout


def _answer(ref: Any) -> Any:
    with _plainly():
        return rsim.get(ref)


@contextmanager
def _plainly() -> Iterator[None]:
    """Full and Empty as they are, not as errors of a task of the queue's actor."""
    try:
        yield
    except RsimTaskError as error:
        if isinstance(error.cause, Empty | Full):
            raise error.cause from None
        raise


class _Keeper:
    """The actor; its methods are Ray's, as programs for Ray make it themselves, or call it."""

    def __init__(self, maxsize: int) -> None:
        self._items: asyncio.Queue[Any] = asyncio.Queue(maxsize)

    async def qsize(self) -> int:
        return self._items.qsize()

    async def empty(self) -> bool:
        return self._items.empty()

    async def full(self) -> bool:
        return self._items.full()

    async def put(self, item: Any, timeout: float | None = None) -> None:
        try:
            if timeout == 0:
                self._items.put_nowait(item)
            else:
                await asyncio.wait_for(self._items.put(item), timeout)
        except (asyncio.QueueFull, TimeoutError):
            raise Full(f"the queue is full: it has {self._items.qsize()} items") from None

    async def get(self, timeout: float | None = None) -> Any:
        try:
            if timeout == 0:
                return self._items.get_nowait()
            return await asyncio.wait_for(self._items.get(), timeout)
        except (asyncio.QueueEmpty, TimeoutError):
            raise Empty("the queue is empty") from None

    async def put_nowait(self, item: Any) -> None:
        await self.put(item, 0)

    async def get_nowait(self) -> Any:
        return await self.get(0)

    async def put_nowait_batch(self, items: list[Any]) -> None:
        room = self._items.maxsize - self._items.qsize()
        if self._items.maxsize > 0 and room < len(items):
            raise Full(f"{len(items)} items do not fit in the queue: it has room for {room}")
        for item in items:
            self._items.put_nowait(item)

    async def get_nowait_batch(self, num_items: int) -> list[Any]:
        if self._items.qsize() < num_items:
            raise Empty(f"the queue has {self._items.qsize()} items, not {num_items}")
        return [self._items.get_nowait() for _ in range(num_items)]
