"""Which thread runs the loop."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from rsim.backends.local.parking import Parking
from rsim.runtime.wire import Nudge

OP = 7


class OneAtATime:
    """A loop that notes by whom it is run, and answers the thread that parks beside the main one
    as soon as that runs it.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.parking = Parking(self)
        self.replies: list[Any] = []
        self.inside: list[str] = []
        self.overlaps: list[str] = []
        self.other = threading.Thread(target=self.park, name="other", daemon=True)

    def park(self) -> None:
        self.replies.append(self.parking.wait(OP))

    def turn(self, timeout_s: float | None) -> bool:
        name = threading.current_thread().name
        self.overlaps += self.inside
        self.inside.append(name)
        try:
            if name == "other":
                with self.lock:
                    self.parking.deliver(OP, Nudge(OP))
            elif not self.other.is_alive():
                self.other.start()
                while self.other.is_alive() and not self.parking.awaits(OP):
                    pass  # until it is parked
            return True
        finally:
            self.inside.remove(name)

    def wake(self) -> None: ...

    def patience_s(self, rounds: int) -> float | None:
        return None

    def impatient(self, rounds: int, parked: Sequence[int]) -> None: ...

    def raise_interrupt(self) -> None: ...


def test_who_looks_out_has_the_loop_to_itself_and_hands_it_over() -> None:
    loop = OneAtATime()
    assert loop.parking.look_out()
    loop.other.join(30)
    assert loop.replies == [Nudge(OP)]
    assert loop.overlaps == []
    assert not loop.parking.led
