"""An asyncio event loop in virtual time.

Decides when its greenlet parks: whenever no callback is ready, until the next timer. Must never
touch a socket, a thread or a real clock. Owns the parked state of a loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from rsim.exceptions import DeadlockError
from rsim.sim.virtual.clock import SECOND_NS
from rsim.sim.virtual.context import VirtualContext
from rsim.sim.virtual.escapes import LOOP_ESCAPES, escape_error

# `while not ready: await asyncio.sleep(0)` would hang, as nothing else moves virtual time: this
# many turns in a row cost 1 us each.
BUSY_TURNS = 1000
BUSY_NS = 1_000_000


class VirtualSelector:
    """What an event loop takes for its selector: it sleeps through a context."""

    def __init__(self, context: VirtualContext) -> None:
        self.context = context
        self._woken = False
        self._parked = False
        self._turns = 0

    def wake(self) -> None:
        """End the `select` that parks, or the next one, at once."""
        self._woken = True
        if self._parked:
            interrupt = getattr(self.context, "interrupt", None)
            if interrupt is not None:
                interrupt()

    def select(self, timeout: float | None = None) -> list[Any]:
        """Park until `timeout` seconds passed or `wake`."""
        if self._woken or (timeout is not None and timeout <= 0):
            self._woken = False
            self._turns += 1
            if self._turns < BUSY_TURNS:
                return []
            timeout = BUSY_NS / SECOND_NS
        self._turns = 0
        self._parked = True
        try:
            self._park(timeout)
        finally:
            self._parked = self._woken = False
        return []

    def _park(self, timeout: float | None) -> None:
        if timeout is not None:
            self.context.sleep_ns(max(1, round(timeout * SECOND_NS)))
            return
        reason = "asyncio waits for something that never happens: no callback and no timer is left"
        park_forever = getattr(self.context, "park_forever", None)
        if park_forever is None:
            raise DeadlockError(f"{self.context.name}: {reason}")
        park_forever(reason)


class VirtualEventLoop(asyncio.BaseEventLoop):
    """An event loop that lives in one context and sleeps through it.

    Several loops, each in its own greenlet, interleave in one thread as long as the engine calls
    `Virtualisation.switch` at every switch of greenlets. I/O raises SimulationEscapeError.
    """

    # BaseEventLoop's own contract with its subclasses; typeshed does not know it.
    _selector: VirtualSelector

    def __init__(self, context: VirtualContext) -> None:
        super().__init__()
        self.context = context
        self._selector = VirtualSelector(context)
        self._clock_resolution = 1e-9
        self._tasks_made = 0

    def time(self) -> float:
        """Virtual seconds since the session began."""
        return self.context.now_ns() / SECOND_NS

    def wake(self) -> None:
        """Make the loop look at its ready callbacks now, instead of at its next timer.

        For the engine and for other greenlets of this thread, after they put something into the
        loop with `call_soon`; `call_soon_threadsafe` does both. Not for other threads. A loop
        whose context has no `interrupt` notices at its next timer.
        """
        self._selector.wake()

    def move_to(self, context: VirtualContext) -> None:
        """Live there from now on: a loop may run in another thread than the one that made it."""
        self.context = self._selector.context = context

    def create_task(self, coro: Any, *, name: Any = None, **kwargs: Any) -> Any:
        """As BaseEventLoop's; default names count per loop, not per process."""
        self._tasks_made += 1
        return super().create_task(coro, name=name or f"Task-{self._tasks_made}", **kwargs)

    def __del__(self) -> None:
        """An unclosed loop holds nothing, so nothing warns at a random moment."""

    def _process_events(self, event_list: list[Any]) -> None:
        """There is no I/O, so there are no events."""

    def _write_to_self(self) -> None:
        """What `call_soon_threadsafe` does to wake a real loop."""
        self.wake()


def forbidden(name: str, why: str) -> Any:
    """A method of a loop with a `context` that raises SimulationEscapeError."""

    def method(self: Any, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, Any]:
        raise escape_error(f"asyncio loop.{name}", why, self.context)

    method.__name__, method.__qualname__ = name, f"VirtualEventLoop.{name}"
    return method


for _name, _why in LOOP_ESCAPES.items():
    setattr(VirtualEventLoop, _name, forbidden(_name, _why))
