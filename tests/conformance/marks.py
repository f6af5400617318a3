"""Marks that the tasks of a test leave in a folder: to meet, to count, to be seen.

They work on every backend: files are real in each, and waiting is a loop of short sleeps, which
pass in virtual time where time is virtual.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path

DEADLINE_S = 60.0
PAUSE_S = 0.005


def leave(folder: Path, name: str) -> None:
    """Leave a mark, once more if it is there."""
    with open(folder / name, "ab", buffering=0) as file:
        file.write(b".")


def count(folder: Path, name: str) -> int:
    """How often a mark was left."""
    try:
        return os.stat(folder / name).st_size
    except FileNotFoundError:
        return 0


def await_marks(folder: Path, *names: str) -> None:
    """Return when all the marks are there."""
    await_that(lambda: all(count(folder, name) for name in names), f"{names} in {folder}")


def await_that(condition: Callable[[], object], what: str = "the condition") -> None:
    """Return when the condition holds; TimeoutError when it does not come to."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {DEADLINE_S:.0f} s for {what}")
        time.sleep(PAUSE_S)  # user program
