"""The real process that a simulation runs in, and what it changes there.

Decides when garbage is collected and whom Ctrl-C reaches while a simulation runs. Must never change
anything without a way to restore it. Owns whether what the process had imported is out of the
garbage collector's sight, which it stays.
"""

from __future__ import annotations

import gc
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from types import FrameType

from rsim.sim.greenlets import Hub, Strand

_FULL_COLLECTION = 64
"""How many collections of young garbage come before one of all."""

_TEST_RUNNERS = frozenset(("_pytest", "pytest", "pluggy", "xdist", "execnet"))

_frozen = False
"""Whether what this process had imported was put out of the garbage collector's sight."""


class Collector:
    """Collects garbage at fixed steps, so that finalisers run at the same points each time."""

    def __init__(self) -> None:
        self._collections = 0

    def collect(self) -> None:
        """One such step."""
        self._collections += 1
        gc.collect(2 if self._collections % _FULL_COLLECTION == 0 else 1)


def give_up_garbage(strands: Iterable[Strand]) -> bool:
    """Collect all garbage, and let nodes know which refs it held. Returns whether it held any."""
    gc.collect()
    clients = [each.client for each in strands if each.alive and each.client.has_dropped]
    for client in clients:
        client.flush()
    return bool(clients)


def pause_collector() -> Callable[[], None]:
    """Switch automatic garbage collection off; returns what restores it."""
    global _frozen
    if not _frozen:
        _frozen = True
        gc.collect()
        gc.freeze()
    was_enabled = gc.isenabled()
    gc.disable()
    return gc.enable if was_enabled else lambda: None


def catch_interrupts(hub: Hub) -> Callable[[], object]:
    """Let Ctrl-C reach the driver, whoever runs; returns what restores the handler."""
    handler = signal.getsignal(signal.SIGINT)
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or handler is not signal.default_int_handler:
        return lambda: None
    signal.signal(signal.SIGINT, lambda *_: hub.interrupt_driver(KeyboardInterrupt()))
    return lambda: signal.signal(signal.SIGINT, handler)


def is_test_runner(frame: FrameType | None) -> bool:
    """Whether a call was made by the test runner, itself or through the standard library.

    It shares the driver's thread, but not the driver's world: a time limit of a test is real.
    """
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        root = name.partition(".")[0]
        if root in _TEST_RUNNERS or root.startswith("pytest_"):
            return True
        if root not in sys.stdlib_module_names and not name.startswith("rsim.sim.virtual."):
            return False
        frame = frame.f_back
    return False
