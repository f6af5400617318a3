"""Event loops of the driver's that are older than the simulation.

Decides what becomes of a real event loop that simulated code runs in: it lives in virtual time, as
one made by simulated code does, until the virtualisation is removed; then it is what it was. Must
never leave a timer in the wrong time. Owns what such a loop had before.
"""

from __future__ import annotations

import asyncio
from typing import Any

from rsim.sim.virtual.clock import SECOND_NS
from rsim.sim.virtual.context import VirtualContext
from rsim.sim.virtual.escapes import LOOP_ESCAPES
from rsim.sim.virtual.loop import VirtualEventLoop, VirtualSelector, forbidden


class _Selector(VirtualSelector):
    """Sleeps virtually; what the loop has registered stays with its own selector."""

    def __init__(self, context: VirtualContext, real: Any) -> None:
        super().__init__(context)
        self.real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


class AdoptedLoop:
    """A real event loop, in virtual time until `release`."""

    def __init__(self, loop: Any, context: VirtualContext) -> None:
        self.loop = loop
        self._selector = _Selector(context, loop._selector)
        self._resolution = loop._clock_resolution
        self._executor = loop._default_executor
        before = loop.time()
        self._given: dict[str, Any] = {
            "time": lambda: context.now_ns() / SECOND_NS,
            "_write_to_self": self._selector.wake,
        }
        for name, why in LOOP_ESCAPES.items():
            self._given[name] = forbidden(name, why).__get__(loop)
        vars(loop).update(self._given)
        loop.context = context
        loop._selector, loop._clock_resolution = self._selector, 1e-9
        _shift(loop, loop.time() - before)

    def release(self) -> None:
        """Give the loop back to real time; one that is closed needs nothing."""
        loop, before = self.loop, self.loop.time()
        for name, value in self._given.items():
            if vars(loop).get(name) is value:
                del vars(loop)[name]
        del loop.context
        loop._clock_resolution, loop._default_executor = self._resolution, self._executor
        if loop._selector is self._selector:
            loop._selector = self._selector.real
        _shift(loop, loop.time() - before)


def _shift(loop: Any, seconds: float) -> None:
    """Let each timer go off as long from now as it was to; their order stays."""
    for timer in loop._scheduled:
        timer._when += seconds


class AdoptedLoops:
    """All that were adopted since the virtualisation was installed."""

    def __init__(self) -> None:
        self._loops: dict[int, AdoptedLoop] = {}

    def adopt(self, loop: Any, context: VirtualContext) -> None:
        """Let a real loop live in virtual time. Does nothing for one that does already.

        RuntimeError for a loop that is not asyncio's own.
        """
        if isinstance(loop, VirtualEventLoop) or id(loop) in self._loops:
            return
        if not isinstance(loop, asyncio.SelectorEventLoop):
            raise RuntimeError(
                f"a simulation cannot run in an event loop of {type(loop)}: call init() before it, "
                "or use asyncio's own"
            )
        self._loops[id(loop)] = AdoptedLoop(loop, context)

    def release(self) -> None:
        """Give all back to real time."""
        while self._loops:
            self._loops.popitem()[1].release()
