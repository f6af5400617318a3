"""A machine's timers in the reactor.

Decides nothing. Must never fire for a machine that is gone. Owns the handles of the timers that
are set.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic_ns

from rsim.backends.local.reactor import Reactor
from rsim.core.events import Event, TimerFired


class Timers:
    """``Timers`` of one machine's ports. ``handle`` takes the event to it."""

    def __init__(self, reactor: Reactor) -> None:
        self.now_ns = monotonic_ns
        self.handle: Callable[[Event], None]
        self._reactor = reactor
        self._handles: dict[int, int] = {}

    def set_timer(self, op: int, at_ns: int) -> None:
        """Hand ``TimerFired(op)`` over at that time."""

        def fire() -> None:
            del self._handles[op]
            self.handle(TimerFired(op))

        self._handles[op] = self._reactor.set_timer(at_ns, fire)

    def cancel_timer(self, op: int) -> None:
        """Forget a timer (unknown and fired ones are ignored)."""
        handle = self._handles.pop(op, None)
        if handle is not None:
            self._reactor.cancel_timer(handle)

    def cancel_all(self) -> None:
        """The machine is gone."""
        for handle in self._handles.values():
            self._reactor.cancel_timer(handle)
        self._handles.clear()
