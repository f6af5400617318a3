"""How a thread waits that expects something at any moment.

Decides when to look again and again before sleeping: as long as that has paid of late. Must never
spin for longer than a wake-up would take. Owns the record of what paid.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from time import monotonic_ns
from typing import Final, TypeVar

T = TypeVar("T")

_SPIN_NS: Final = 60_000
_CREDIT_MAX: Final = 8


class Spinner:
    """Of one thread at a time."""

    def __init__(self) -> None:
        self._credit = _CREDIT_MAX
        self._began_ns = 0

    def spin(self, look: Callable[[], T]) -> T | None:
        """What ``look`` finds within a moment; None if it finds nothing that is true, or looking
        has not paid lately.
        """
        self._began_ns = began_ns = monotonic_ns()
        if not self._credit:
            return None
        while monotonic_ns() - began_ns < _SPIN_NS:
            os.sched_yield()
            if found := look():
                self._credit = min(_CREDIT_MAX, self._credit + 1)
                return found
        self._credit -= 1
        return None

    def rested(self) -> None:
        """The thread slept after the spin, and something has woken it."""
        if monotonic_ns() - self._began_ns < 2 * _SPIN_NS:
            self._credit = min(_CREDIT_MAX, self._credit + 1)
