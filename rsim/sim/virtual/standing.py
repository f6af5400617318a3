"""The clocks of a program while it has no session, if all its sessions are simulated.

Decides who reads them: the program's own code, in the thread that runs it; not rsim, the standard
library, installed packages and other threads. Must never let time pass by itself: they show where
the last session has ended, so that what the program measures is virtual time, wherever it begins
and ends. Owns the virtual time that has passed in this process.

What the program sleeps outside its sessions takes real time, for something real may be waited for,
and virtual time as well: else a loop that sleeps until a moment would not end.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from types import FrameType

from rsim.runtime import current
from rsim.sim.virtual.aliases import Aliases, is_own_code
from rsim.sim.virtual.clock import DEFAULT_EPOCH_NS, SECOND_NS, install_clock
from rsim.sim.virtual.patching import Patcher

_clock: StandingClock | None = None


class StandingClock:
    """Tells `now_ns`, which only sleeping and sessions move."""

    def __init__(self) -> None:
        self.at_ns = 0
        self._sleep = time.sleep
        self._thread = threading.get_ident()

    def now_ns(self) -> int:
        return self.at_ns

    def sleep_ns(self, duration_ns: int) -> None:
        self._sleep(duration_ns / SECOND_NS)
        self.at_ns += duration_ns

    def of_caller(self) -> StandingClock | None:
        """Itself, if it is for whoever asks for the time; else None."""
        if current.client is not None or threading.get_ident() != self._thread:
            return None
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and frame.f_globals.get("__name__", "").startswith(__package__):
            frame = frame.f_back
        return self if frame is not None and is_own_code(frame.f_globals) else None


def stand() -> Callable[[], None]:
    """Let the clocks stand from now on, at the beginning of virtual time; returns what undoes it.

    To be called before the program begins, by the thread that is to run it.
    """
    global _clock
    _clock = StandingClock()
    patcher = Patcher()
    install_clock(patcher, _clock.of_caller, DEFAULT_EPOCH_NS)
    aliases = Aliases(patcher)
    aliases.install()

    def undo() -> None:
        global _clock
        _clock = None
        aliases.remove()
        patcher.restore()

    return undo


def elapsed_ns() -> int:
    """The virtual time that has passed before now: where a session begins. 0 unless they stand."""
    return 0 if _clock is None else _clock.at_ns


def stop_at(at_ns: int) -> None:
    """A session has ended there."""
    if _clock is not None:
        _clock.at_ns = at_ns
