"""What ends a test that hangs, and says where it hung, also in a process of pytest-xdist.

After `timeout` (see pyproject.toml) the test fails, with the stacks of all threads. What not even
that ends, `LAST_S` after it, ends the process: the stacks go to stderr. This holds for all of a
test, also for the time after it has failed, in which its fixtures end what it had started.
"""

import faulthandler
import os
import signal
import sys
import threading
import traceback
from types import FrameType

import pytest

LAST_S = 120.0

_stderr = 2


def prepare() -> None:
    """Remember where messages go while the output of no test is captured."""
    global _stderr
    _stderr = os.dup(2)


def restrict(item: pytest.Item, limit_s: float) -> bool:
    """Let the test fail when it takes longer. False: this thread cannot see to it."""
    if threading.current_thread() is not threading.main_thread():
        return False

    def expired(signum: int, frame: FrameType | None) -> None:
        pytest.fail(f"{item.nodeid} took more than {limit_s:g} s\n{_stacks()}")

    def cancel() -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        faulthandler.cancel_dump_traceback_later()

    signal.signal(signal.SIGALRM, expired)
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    faulthandler.dump_traceback_later(limit_s + LAST_S, exit=True, file=_stderr)
    item.cancel_timeout = cancel  # type: ignore[attr-defined]  # where pytest-timeout looks for it
    return True


def restrict_the_end(node: pytest.Item | pytest.Collector) -> None:
    """If this is a test, it has failed, at which pytest lifts its limits: but it has not ended."""
    if hasattr(node, "cancel_timeout"):
        faulthandler.dump_traceback_later(LAST_S, exit=True, file=_stderr)


def _stacks() -> str:
    """Where all threads but this one are."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    return "\n".join(
        f"Thread {names.get(ident, ident)}:\n{''.join(traceback.format_stack(frame))}"
        for ident, frame in sys._current_frames().items()
        if ident != threading.get_ident()
    )
