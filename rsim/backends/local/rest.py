"""A worker that has nothing to do: it still tells its node which refs and views are dropped, by
other threads or by the garbage collector, which it has look once.

Decides when a worker at rest collects garbage: only if it holds something of its node, and more and
more seldom while that finds nothing. Must never do anything when something is dropped but end the
sleep of the worker. Owns whether the worker rests.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from time import monotonic

from rsim.runtime.client import Client

FIRST_S = 0.2
"""How long a worker has rested when it collects garbage for the first time."""
SELDOM_S = 10.0
_SHARE = 50
"""Collecting takes no more than one part in so many of its time."""


class Rest:
    """Of the main thread of one worker. ``busy``: whether calls run in other threads, or wait;
    ``wake`` ends the sleep of the worker, at any moment.
    """

    def __init__(self, client: Client, busy: Callable[[], bool], wake: Callable[[], None]) -> None:
        self.woken = False
        """Something was dropped in the worker's sleep."""
        self._client = client
        self._busy = busy
        self._wake = wake
        self._pause_s = FIRST_S
        self._clean = True
        """Nothing ran since garbage was collected."""
        self._due = False

    def begin(self) -> None:
        """The worker is about to sleep: tell what was dropped, and have the rest told."""
        self.woken = False
        self._client.on_drop = self._dropped
        if self._due:
            self._due = False
            self._collect()
        if self._client.has_dropped and not self._busy():
            self._client.flush()

    def end(self) -> None:
        """The worker does not sleep any more."""
        self._client.on_drop = None

    def ran(self) -> None:
        """There is something to run: it may leave garbage."""
        self._clean = False

    @property
    def behind(self) -> bool:
        """Whether something was dropped that the node was not told of."""
        return self._client.has_dropped

    def patience_s(self) -> float | None:
        """How long the worker may sleep before there is something to do; None: for ever."""
        if self._clean or self._client.on_drop is None or self._busy():
            return None
        return self._pause_s if self._client.holds_any else None

    def slept(self) -> None:
        """The worker's patience is over."""
        self._due = True

    def _collect(self) -> None:
        self._clean = True
        began = monotonic()
        gc.collect()
        took_s = monotonic() - began
        least_s = FIRST_S if self._client.has_dropped else min(2 * self._pause_s, SELDOM_S)
        self._pause_s = max(least_s, _SHARE * took_s)

    def _dropped(self) -> None:
        if not self.woken and not self._busy():
            self.woken = True
            self._wake()
