"""Ctrl-C in the driver, put off while the node is in the middle of a step.

Decides when the interrupt takes effect. Must never swallow one. Owns the process's SIGINT handler
between ``install`` and ``restore``.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType


class Interrupts:
    """Stands before the SIGINT handler that was there."""

    def __init__(self) -> None:
        self._previous: Callable[[int, FrameType | None], object] | int | None = None
        self._postpone: Callable[[], bool] | None = None

    def install(self, postpone: Callable[[], bool]) -> None:
        """Take SIGINT over, if this is the main thread and Python handles it.

        ``postpone()`` says whether it must wait; who set it off then calls ``raise_now`` soon.
        """
        if threading.current_thread() is not threading.main_thread():
            return
        previous = signal.getsignal(signal.SIGINT)
        if callable(previous):
            self._previous = previous
            self._postpone = postpone
            signal.signal(signal.SIGINT, self._handle)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self._postpone is not None and self._postpone():
            return
        if callable(self._previous):
            self._previous(signum, frame)

    def raise_now(self) -> None:
        """Do what the previous handler does: as a rule, raise KeyboardInterrupt."""
        if callable(self._previous):
            self._previous(signal.SIGINT, None)

    def restore(self) -> None:
        """Put the previous handler back, unless somebody has put another before ours."""
        if self._postpone is None:
            return
        self._postpone = None
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and signal.getsignal(signal.SIGINT) == self._handle:
            signal.signal(signal.SIGINT, self._previous)
