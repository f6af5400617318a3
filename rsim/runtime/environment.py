"""The environment variables of a worker.

Decides which of them come and go with what the worker runs: those that its task or actor was given
beside the worker's own, and CUDA_VISIBLE_DEVICES, by which libraries learn of their GPUs. Must
never let what a task with variables of its own does to the environment reach another task. Owns
what the environment is without them, while they are there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, MutableMapping
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rsim.core.records import EnvVars

_VISIBLE: Final = "CUDA_VISIBLE_DEVICES"
_REFERENCE: Final = re.compile(r"\$(?:(\w+)|\{(\w+)\})", re.ASCII)


class Environment:
    """`os.environ` as what a worker runs is to see it; `start`: as the worker has found it."""

    def __init__(self, start: Mapping[str, str] = os.environ) -> None:
        self._node_gpus = start.get(_VISIBLE)
        self._shows_gpus = False
        self._without: dict[str, str] | None = None
        """What to go back to; None: nothing was given."""

    def show(self, env_vars: EnvVars, gpus: tuple[int, ...]) -> None:
        """What runs from now on has these variables, and sees these GPUs (none: the node's)."""
        if self._shows_gpus:
            self._shows_gpus = False
            if self._node_gpus is None:
                os.environ.pop(_VISIBLE, None)
            else:
                os.environ[_VISIBLE] = self._node_gpus
        if self._without is not None:
            _become(os.environ, self._without)
            self._without = None
        if env_vars:
            self._without = dict(os.environ)
            add(os.environ, env_vars)
        if gpus:
            self._shows_gpus = True
            names = self._node_gpus.split(",") if self._node_gpus else []
            shown = (names[each] if each < len(names) else str(each) for each in gpus)
            os.environ[_VISIBLE] = ",".join(shown)


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
