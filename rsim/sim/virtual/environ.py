"""The environment variables of simulated processes: each has its own.

Decides whose variables `os.environ` shows. Must never let a simulated process change those of the
real one, which the driver has. Owns which are shown.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from rsim.sim.virtual.patching import Function, Patcher

Variables = dict[bytes, bytes]
"""As `os.environ` keeps them."""


def encoded(variables: Mapping[str, str]) -> Variables:
    """Variables for a simulated process."""
    return {os.fsencode(name): os.fsencode(value) for name, value in variables.items()}


class Environs:
    """Exchanges what is behind `os.environ`, so that whoever has kept that sees it, too."""

    def __init__(self) -> None:
        text: Any = os.environ
        self._views: tuple[Any, ...] = (text, os.environb)
        self._real = self._shown = text._data

    def install(self, patcher: Patcher) -> None:
        """Keep the C library from learning of the variables of simulated processes."""
        for name in ("putenv", "unsetenv"):
            patcher.replace(os, name, self._only_real)

    def _only_real(self, real: Any) -> Function:
        def change(*args: Any) -> None:
            if self._shown is self._real:
                real(*args)

        return change

    def show(self, variables: Variables | None) -> None:
        """Let `os.environ` be that of a simulated process from now on; None: the real one's."""
        wanted = self._real if variables is None else variables
        if wanted is not self._shown:
            self._shown = wanted
            for view in self._views:
                view._data = wanted
