"""What a driver's thread does that waits and waits.

Decides whether the wait is a deadlock. Must never call one what another thread could still resolve.
Owns no state.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from typing import Final

from rsim.exceptions import DeadlockError

_FIRST_S: Final = 0.25
_REPORT_S: Final = 30.0
_REPORTED: Final = 2
"""After so many sleeps; once, for it may be as the user wants it."""
_SEEMS: Final = "rsim: nothing goes on, unless an asyncio actor waits for something outside"


class Patience:
    """``quiescent`` and ``report`` are the node's; ``stalled``: whether it looks quiescent, but an
    actor's event loop may know better. ``tidy`` collects the driver's garbage, and says whether
    anything can come of it.
    """

    def __init__(
        self,
        quiescent: Callable[[], bool],
        stalled: Callable[[], bool],
        report: Callable[[], list[str]],
        tidy: Callable[[], bool] = lambda: False,
    ) -> None:
        self._quiescent = quiescent
        self._stalled = stalled
        self._report = report
        self._tidy = tidy

    def patience_s(self, rounds: int) -> float:
        """How long to sleep at most after ``rounds`` sleeps in which nothing happened."""
        return _REPORT_S if rounds else _FIRST_S

    def impatient(self, rounds: int, parked: Sequence[int]) -> None:
        """Nothing happened for that long.

        Raises:
            DeadlockError: nothing can ever happen again, as no thread is left to cause it.

        """
        if not self._quiescent():
            if rounds == _REPORTED and self._stalled():
                print(f"{_SEEMS}:\n{self._lines()}", file=sys.stderr)
            return
        if self._tidy():
            return
        report = self._lines()
        if not _others(parked):
            raise DeadlockError("nothing that is waited for can ever happen", report=report)
        if rounds > 1:
            print(
                f"rsim: nothing can happen until another thread of the driver acts:\n{report}",
                file=sys.stderr,
            )

    def _lines(self) -> str:
        return "\n".join(self._report())


def _others(parked: Sequence[int]) -> list[threading.Thread]:
    """Threads of the user's that are neither parked nor daemons."""
    return [
        thread
        for thread in threading.enumerate()
        if thread.ident not in parked and (not thread.daemon or thread is threading.main_thread())
    ]
