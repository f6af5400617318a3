"""What tasks print.

Decides how the text of a task reaches the driver: line by line, each with the task's label in
front, and the folder of logs, if there is one. Must never touch what the driver prints, nor keep a
stream that somebody else may close. Owns the unfinished lines.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any

from rsim.runtime.session import SessionConfig
from rsim.sim.greenlets import Hub, Strand


class TaskOutput:
    """Stands for sys.stdout (`index` 0) or sys.stderr (1) while a task runs.

    All tasks share it, so that one which keeps it (a logging handler does) speaks for whoever
    runs; the driver's text passes unchanged. All else is the driver's stream's business.
    """

    def __init__(self, index: int, shown: bool, folder: str | None = None) -> None:
        self._index = index
        self._shown = shown
        self._folder = folder
        """Where the text of each worker is kept, too, in a file of its own."""
        self._kept: set[int] = set()
        self._hub: Hub | None = None
        self._lines: dict[Strand, str] = {}
        """The text after the last line break."""
        self._begun: dict[Strand, bool] = {}
        """Whose line was flushed before its end, with its label."""

    def attach(self, hub: Hub | None) -> None:
        """Take the strands of `hub` from now on; None at the end of a session."""
        self._hub = hub
        self._lines.clear()
        self._begun.clear()

    def write(self, text: str) -> int:
        strand = self._task()
        if strand is None:
            self._target.write(text)
        elif (self._shown or self._folder) and not self._hub_closing():
            *lines, rest = (self._lines.pop(strand, "") + text).split("\n")
            for line in lines:
                self._put(strand, line + "\n")
            if rest:
                self._lines[strand] = rest
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        strand = self._task()
        rest = None if strand is None else self._lines.pop(strand, None)
        if strand is not None and rest is not None:
            self._put(strand, rest)
        self._target.flush()

    def finish(self, strand: Strand) -> None:
        """The strand's task has ended: so does its last line."""
        if strand in self._lines or strand in self._begun:
            self._put(strand, self._lines.pop(strand, "") + "\n")

    def close(self) -> None:
        """A task that closes its stream closes nobody else's."""
        if self._task() is None:
            self._target.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target, name)

    def _put(self, strand: Strand, text: str) -> None:
        if self._folder is not None:
            self._keep(self._folder, strand.process.pid, text)
        if self._shown:
            self._show(strand, text)

    def _keep(self, folder: str, pid: int, text: str) -> None:
        mode = "a" if pid in self._kept else "w"  # an earlier simulation had the same numbers
        self._kept.add(pid)
        name = f"worker-{pid}.{('out', 'err')[self._index]}"
        with open(os.path.join(folder, name), mode, encoding="utf-8", errors="replace") as file:
            file.write(text)

    def _show(self, strand: Strand, text: str) -> None:
        label = "" if self._begun.pop(strand, False) else strand.label
        try:
            self._target.write(label + text)
        except UnicodeEncodeError:  # a worker's own stream would take it
            self._target.write(label + text.encode("ascii", "backslashreplace").decode())
        if not text.endswith("\n"):
            self._begun[strand] = True

    def _task(self) -> Strand | None:
        """The worker that runs now, if it is one."""
        hub = self._hub
        if hub is None or hub.running is None or hub.running is hub.driver:
            return None
        return hub.running

    def _hub_closing(self) -> bool:
        return self._hub is not None and self._hub.closing

    @property
    def _target(self) -> Any:
        name = ("stdout", "stderr")[self._index]
        if self._task() is not None and self._hub is not None:
            return self._hub.driver.streams[self._index]
        stream = getattr(sys, name)
        return stream if stream is not self else getattr(sys, f"__{name}__")


def outputs_of(config: SessionConfig) -> tuple[TaskOutput, TaskOutput]:
    """The two streams of a session's workers."""
    shown, folder = config.log_to_driver, config.log_dir
    return TaskOutput(0, shown, folder), TaskOutput(1, shown, folder)
