"""Event loops that began before the simulation, and in which the driver waits for it.

Decides that such a loop sleeps in virtual time from then on, until the session is over: a test that
is a coroutine runs in a loop that its test runner has made before. Must never let one wait in real
time for what only virtual time brings. Owns the loops that are changed, and how they were.
"""

from __future__ import annotations

import asyncio
from asyncio import events
from typing import Any

from rsim.sim.virtual.context import VirtualContext
from rsim.sim.virtual.loop import Sleeper, VirtualEventLoop


class _Adopted(Sleeper):
    """In the place of a loop's selector, which has nothing to tell: nothing outside is awaited."""

    def __init__(self, context: VirtualContext, loop: Any) -> None:
        super().__init__(context)
        self._loop = loop
        self._selector = loop._selector
        self._shift(self.time() - loop.time())
        loop._selector = self
        loop.time = self.time
        loop._write_to_self = self.wake

    def __getattr__(self, name: str) -> Any:
        return getattr(self._selector, name)

    def release(self) -> None:
        """Make the loop what it was."""
        loop = self._loop
        del loop.time, loop._write_to_self
        loop._selector = self._selector
        self._shift(loop.time() - self.time())

    def _shift(self, seconds: float) -> None:
        """Timers go by another clock now, and are as far away as before."""
        for timer in self._loop._scheduled:
            timer._when += seconds


_adopted: dict[int, _Adopted] = {}
"""By the id() of the loop, which is kept."""


def adopt_running(context: VirtualContext) -> None:
    """Let the loop that runs now, if any, sleep in this context."""
    loop = events._get_running_loop()
    if loop is not None:
        adopt(loop, context)


def adopt(loop: Any, context: VirtualContext) -> None:
    """Let a loop sleep in this context, if it is not one that does so anyway.

    RuntimeError for one that is not made of asyncio's.
    """
    if isinstance(loop, VirtualEventLoop) or id(loop) in _adopted:
        return
    if not isinstance(loop, asyncio.SelectorEventLoop):
        raise RuntimeError(
            f"{loop!r} began before the simulation, and cannot sleep in virtual time: use "
            "asyncio.run() after rsim.init()"
        )
    _adopted[id(loop)] = _Adopted(context, loop)


def is_adopted(loop: object) -> bool:
    """Whether the loop was here before the simulation."""
    return id(loop) in _adopted


def release_all() -> None:
    """Make all loops what they were: the session is over."""
    while _adopted:
        _, adopted = _adopted.popitem()
        adopted.release()
