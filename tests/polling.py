"""Waiting in a test: for a condition, with a deadline, never for a length of time."""

import threading
import time
from collections.abc import Callable

DEADLINE_S = 60.0
"""Only a condition that never holds takes so long: a busy machine is no reason to fail."""
PAUSE_S = 0.02


def holds_in_time(condition: Callable[[], object], deadline_s: float = DEADLINE_S) -> bool:
    """Whether `condition` comes true within `deadline_s`; it is asked at least once."""
    deadline = time.monotonic() + deadline_s
    pause = threading.Event()  # a name of its own: the simulated world may have replaced sleep
    while not condition():
        if time.monotonic() > deadline:
            return False
        pause.wait(PAUSE_S)
    return True
