"""What the processes of simulated workers have that the driver's has not: their environment
variables, the folder they are in, and where they look for modules.

Decides what those are at first, and in whose folder the real process is now. Must never leave the
driver anywhere else than where it was. Owns that folder, and the driver's.

All workers share one table of modules with the driver.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from rsim.runtime.environment import add
from rsim.runtime.session import SessionConfig
from rsim.sim.virtual.environ import Variables, encoded
from rsim.sim.virtual.patching import Function, Patcher


class Located(Protocol):
    """A simulated process."""

    folder: str
    """The folder it went to; empty: it has not gone anywhere."""


def environ(config: SessionConfig) -> Variables:
    """What the environment of a worker is at first."""
    variables = dict(os.environ)
    add(variables, config.worker_vars)
    return encoded(variables)


class Places:
    """The folders of the driver and of the workers. `running`: the worker that runs, if one does.

    A worker is where it went last, or where all begin.
    """

    def __init__(self, config: SessionConfig, running: Callable[[], Located | None]) -> None:
        self._running = running
        self._here = self._driver = _folder()
        self._first = config.working_dir or self._driver
        self._go: Callable[[str], object] = os.chdir
        self._code = list(config.code)

    def install(self, patcher: Patcher) -> None:
        """Notice who goes where."""
        self._go = os.chdir
        for name in ("chdir", "fchdir"):
            patcher.replace(os, name, self._noticed)

    def enter(self) -> None:
        """Let modules be found."""
        sys.path[:0] = self._code

    def leave(self) -> None:
        """Undo `enter`; the driver is where it was."""
        self.show(None)
        for folder in self._code:
            if folder in sys.path:
                sys.path.remove(folder)

    def show(self, process: Located | None) -> None:
        """Be in the folder of whoever runs from now on; None: the driver."""
        wanted = self._driver if process is None else process.folder or self._first
        if wanted != self._here and wanted:
            self._here = wanted
            with suppress(OSError):  # it is gone, and whoever was in it is nowhere
                self._go(wanted)

    def _noticed(self, real: Any) -> Function:
        def go(*args: Any, **kwargs: Any) -> None:
            real(*args, **kwargs)
            process = self._running()
            self._here = _folder()
            if process is None:
                self._driver = self._here
            else:
                process.folder = self._here

        return go


def _folder() -> str:
    """Where the real process is; empty: in a folder that is gone."""
    try:
        return os.getcwd()
    except OSError:
        return ""
