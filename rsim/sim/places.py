"""What the processes of simulated workers have that the driver's has not: their environment
variables, the folder they are in, and where they look for modules.

Decides what those are at first, and whose is the real process's folder now. Must never leave the
driver anywhere else than where it was. Owns in which folder the driver is while a worker runs.

All workers share one folder, as they share one table of modules with the driver.
"""

from __future__ import annotations

import os
import sys

from rsim.runtime.environment import add
from rsim.runtime.session import SessionConfig
from rsim.sim.virtual.environ import Variables, encoded


def environ(config: SessionConfig) -> Variables:
    """What the environment of a worker is at first."""
    variables = dict(os.environ)
    add(variables, config.env_vars)
    return encoded(variables)


class Places:
    """The two folders: the driver's and the workers'."""

    def __init__(self, config: SessionConfig) -> None:
        self._elsewhere = config.working_dir
        """The folder of those who do not run now; None: all are in one, from the start or because
        one of the two is gone.
        """
        self._in_worker = False
        self._code = list(config.code)

    def enter(self) -> None:
        """Let modules be found."""
        sys.path[:0] = self._code

    def leave(self) -> None:
        """Undo `enter`; the driver is where it was."""
        self.show(False)
        for folder in self._code:
            if folder in sys.path:
                sys.path.remove(folder)

    def show(self, in_worker: bool) -> None:
        """Be in the folder of whoever runs from now on."""
        if self._elsewhere is not None and in_worker is not self._in_worker:
            here = _here()
            try:
                os.chdir(self._elsewhere)
            except FileNotFoundError:
                here = None
            self._elsewhere, self._in_worker = here, in_worker


def _here() -> str | None:
    try:
        return os.getcwd()
    except FileNotFoundError:
        return None
