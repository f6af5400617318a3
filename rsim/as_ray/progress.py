"""`ray.experimental.tqdm_ray` and `ray.experimental.ui`: how far a program has come, as text.

Decides when a progress bar says something: at most once in an interval, and at its end. A bar is a
line on stderr, which a worker passes on to the driver as all its output. Owns whether the bars of
this process are hidden.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Collection, Iterable, Iterator
from typing import Any

import rsim


class _Bars:
    """The bars of this process."""

    def __init__(self) -> None:
        self.hidden = False

    def hide_bars(self) -> None:
        """Let them say nothing for now."""
        self.hidden = True

    def unhide_bars(self) -> None:
        """Let them say again how far they have come."""
        self.hidden = False


_bars = _Bars()


def instance() -> _Bars:
    """All bars of this process."""
    return _bars


class tqdm:
    """The progress of a loop, in a task, an actor or the driver.

    Iterate over it, or call `update`. Without `total`, the length of the iterable is meant, if it
    has one. Raises ValueError when it is iterated over and there is no iterable.
    """

    def __init__(
        self,
        iterable: Iterable[Any] | None = None,
        desc: str | None = None,
        total: float | None = None,
        unit: str | None = None,
        *,
        position: int | None = None,
        flush_interval_s: float = 1.0,
    ) -> None:
        self.total = total
        if total is None and isinstance(iterable, Collection):
            self.total = len(iterable)
        self.n: float = 0
        self._iterable = iterable
        self._description = desc or ""
        self._unit = unit or "it"
        self._interval_s = flush_interval_s
        self._told_at = time.monotonic()
        self._told: float = -1
        self._closed = False

    def set_description(self, desc: str | None = None) -> None:
        """What the line begins with."""
        self._description = desc or ""

    def update(self, n: float = 1) -> None:
        """Another `n` are done."""
        self.n += n
        if time.monotonic() - self._told_at >= self._interval_s:
            self.refresh()

    def refresh(self) -> None:
        """Say how far it has come, now."""
        if _bars.hidden:
            return
        self._told_at, self._told = time.monotonic(), self.n
        of = "" if self.total is None else f"/{self.total}"
        begin = f"{self._description}: " if self._description else ""
        safe_print(f"{begin}{self.n}{of} {self._unit}", file=sys.stderr)

    def close(self) -> None:
        """It has come to its end."""
        if not self._closed and self.n != self._told:
            self.refresh()
        self._closed = True

    def __iter__(self) -> Iterator[Any]:
        if self._iterable is None:
            raise ValueError("tqdm() has no iterable: call update(), or tqdm(iterable)")
        for each in self._iterable:
            yield each
            self.update()
        self.close()

    def __enter__(self) -> tqdm:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def safe_print(*args: Any, **kwargs: Any) -> None:
    """print(), which no bar can garble."""
    print(*args, **kwargs)


def task_timeline() -> None:
    """Write `ray.timeline()` to a file, and say where."""
    number, path = tempfile.mkstemp(".json", "timeline-")
    os.close(number)
    rsim.timeline(path)
    print(f"The timeline is in {path}: open it in https://ui.perfetto.dev or chrome://tracing")
