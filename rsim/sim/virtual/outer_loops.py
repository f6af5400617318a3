"""Event loops that were made outside the simulation and run the driver's coroutines in it: one that
already ran when the session began, one that was made before, those of a plugin for asynchronous
tests.

Decides that they tell virtual time and wait in it, from the moment that they are first seen until
the simulation ends. Must never look at a socket, nor touch a loop of another thread. Owns what
stands in the place of their selectors meanwhile.
"""

from __future__ import annotations

import time
from asyncio import events
from asyncio.selector_events import BaseSelectorEventLoop
from collections.abc import Callable
from threading import get_ident
from typing import Any, cast
from weakref import WeakKeyDictionary

from rsim.sim.virtual.clock import SECOND_NS
from rsim.sim.virtual.context import Current, VirtualContext
from rsim.sim.virtual.loop import Parking
from rsim.sim.virtual.patching import Patcher

_real_monotonic = time.monotonic
_real_time = BaseSelectorEventLoop.time
_real_run_forever = BaseSelectorEventLoop.run_forever
_real_write = cast("Callable[[Any], None]", BaseSelectorEventLoop._write_to_self)  # type: ignore[attr-defined]


class _ParkedSelector(Parking):
    """Lets a loop wait in virtual time; all but the waiting is its own selector's."""

    def __init__(self, context: VirtualContext, selector: Any) -> None:
        super().__init__(context)
        self.selector = selector

    def __getattr__(self, name: str) -> Any:
        return getattr(self.selector, name)


class OuterLoops:
    """The loops of the driver's own program.

    `driver` returns its context while it runs, whoever called it, and None in the engine, in tasks
    and on other threads.
    """

    def __init__(self, driver: Current) -> None:
        self._driver = driver
        self._thread = get_ident()
        self._adopted: WeakKeyDictionary[Any, _ParkedSelector] = WeakKeyDictionary()

    def install(self, patcher: Patcher) -> None:
        """Replace what a loop waits by."""

        def seconds(loop: Any) -> float:
            context = self._driver()
            if context is None:
                return _real_time(loop)
            self.adopt(loop, context)
            return context.now_ns() / SECOND_NS

        def run_forever(loop: Any) -> None:
            context = self._driver()
            if context is not None:
                self.adopt(loop, context)
            _real_run_forever(loop)

        def write_to_self(loop: Any) -> None:
            parking = self._adopted.get(loop)
            if parking is None or get_ident() != self._thread:
                _real_write(loop)
            else:
                parking.wake()

        patcher.set(BaseSelectorEventLoop, "time", seconds)
        patcher.set(BaseSelectorEventLoop, "run_forever", run_forever)
        patcher.set(BaseSelectorEventLoop, "_write_to_self", write_to_self)

    def begin(self, context: VirtualContext) -> None:
        """The simulation begins, perhaps in a coroutine."""
        running = events._get_running_loop()
        if isinstance(running, BaseSelectorEventLoop):
            self.adopt(running, context)

    def adopt(self, loop: Any, context: VirtualContext) -> None:
        """Let a loop wait in virtual time from now on."""
        if loop not in self._adopted and loop._selector is not None:
            self._adopted[loop] = loop._selector = _ParkedSelector(context, loop._selector)
            _shift(loop, context.now_ns() / SECOND_NS - _real_monotonic())

    def end(self) -> None:
        """Let them all wait in real time again."""
        for loop, parking in self._adopted.items():
            if loop._selector is parking:
                loop._selector = parking.selector
                _shift(loop, _real_monotonic() - parking.context.now_ns() / SECOND_NS)
        self._adopted.clear()


def _shift(loop: Any, by: float) -> None:
    """Move the loop's timers to another clock."""
    for timer in loop._scheduled:
        timer._when += by
