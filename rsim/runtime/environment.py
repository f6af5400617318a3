"""The environment variables of a worker.

Decides which of them come and go with what the worker runs: those that its task or actor was given
beside the worker's own, OMP_NUM_THREADS, and CUDA_VISIBLE_DEVICES and its like, by which libraries
learn of their accelerators; and what these are called, which such a variable of the node says. Must
never let what a task with variables of its own does to the environment reach another task. Owns
what the environment is without them, while they are there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, MutableMapping
from itertools import groupby
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rsim.core.records import EnvVars

_VISIBLE: Final = {
    "GPU": "CUDA_VISIBLE_DEVICES",
    "HPU": "HABANA_VISIBLE_MODULES",
    "NPU": "ASCEND_RT_VISIBLE_DEVICES",
    "RBLN": "RBLN_DEVICES",
    "TPU": "TPU_VISIBLE_CHIPS",
    "neuron_cores": "NEURON_RT_VISIBLE_CORES",
}
"""The variable by which libraries learn which devices of a kind they may use."""
_THREADS: Final = "OMP_NUM_THREADS"
"""The variable by which libraries learn with how many threads to compute."""
_REFERENCE: Final = re.compile(r"\$(?:(\w+)|\{(\w+)\})", re.ASCII)


class Environment:
    """`os.environ` as what a worker runs is to see it; `start`: as the worker has found it."""

    def __init__(self, start: Mapping[str, str] = os.environ) -> None:
        self._of_node = {kind: start.get(variable) for kind, variable in _VISIBLE.items()}
        self._shown: list[str] = []
        """The kinds of devices of which some are shown."""
        self._without: dict[str, str] | None = None
        """What to go back to; None: nothing was given."""
        self._sets_threads = False

    def begin(self) -> None:
        """It is a worker's, which is to compute with one thread per CPU of what it runs, unless its
        environment says how many.
        """
        self._sets_threads = _THREADS not in os.environ
        self._set_threads(1)

    def _set_threads(self, threads: int) -> None:
        if self._sets_threads:
            os.environ[_THREADS] = str(threads)

    def name(self, kind: str, index: int) -> str | None:
        """What the node's environment calls its device of this index; None: it says nothing."""
        given = self._of_node[kind]
        names = given.split(",") if given else []
        return names[index] if index < len(names) else None

    def show(self, env_vars: EnvVars, devices: tuple[tuple[str, int], ...], threads: int) -> None:
        """What runs from now on has these variables, computes with so many threads, and sees these
        devices (of a kind that is not among them, the node's).
        """
        for kind in self._shown:
            before = self._of_node[kind]
            if before is None:
                os.environ.pop(_VISIBLE[kind], None)
            else:
                os.environ[_VISIBLE[kind]] = before
        self._shown.clear()
        if self._without is not None:
            _become(os.environ, self._without)
            self._without = None
        self._set_threads(threads)
        if env_vars:
            self._without = dict(os.environ)
            add(os.environ, env_vars)
        for kind, its in groupby(devices, lambda device: device[0]):
            self._shown.append(kind)
            names = (self.name(kind, index) or str(index) for _, index in its)
            os.environ[_VISIBLE[kind]] = ",".join(names)


def _become(environ: MutableMapping[str, str], wanted: Mapping[str, str]) -> None:
    for name in [name for name in environ if name not in wanted]:
        del environ[name]
    for name, value in wanted.items():
        if environ.get(name) != value:
            environ[name] = value


def add(environ: MutableMapping[str, str], env_vars: EnvVars) -> None:
    """Set variables one after another; ${NAME} in a value is what the environment has by then."""
    for name, value in env_vars:
        environ[name] = _expanded(value, environ)


def _expanded(value: str, environ: Mapping[str, str]) -> str:
    """The value with $NAME and ${NAME} replaced; an unknown ${NAME} is empty."""

    def found(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        return environ.get(name, match[0] if match[1] else "")

    return _REFERENCE.sub(found, value) if "$" in value else value


def merged(outer: EnvVars, inner: EnvVars) -> EnvVars:
    """The variables of what is within something that has variables, too."""
    if not inner or inner == outer:
        return outer
    return tuple({**dict(outer), **dict(inner)}.items())
