"""What ends a test that hangs where pytest-timeout cannot end it.

That lets the test fail after `timeout` (see pyproject.toml), by a signal. What does not end by
that, be it the test or its fixtures, which end what it had started, ends the process `LAST_S`
later: the stacks of all threads go to stderr, also from a process of pytest-xdist.
"""

import faulthandler
import os

import pytest

LAST_S = 120.0

_stderr = 2


def prepare() -> None:
    """Remember where messages go while the output of no test is captured."""
    global _stderr
    _stderr = os.dup(2)


def begun(limit_s: float) -> None:
    """A test begins, which pytest-timeout gives so long."""
    faulthandler.dump_traceback_later(limit_s + LAST_S, exit=True, file=_stderr)


def failed(node: pytest.Item | pytest.Collector) -> None:
    """If this is a test, pytest-timeout has lifted its limit: but it has not ended."""
    if isinstance(node, pytest.Item):
        faulthandler.dump_traceback_later(LAST_S, exit=True, file=_stderr)


def ended() -> None:
    """The test and its fixtures have ended."""
    faulthandler.cancel_dump_traceback_later()
