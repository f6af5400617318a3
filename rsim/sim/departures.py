"""What simulated processes do when they end in good order: `atexit`, each for itself.

Decides which functions are a process's own: those that a library registers for all that it has in
the real process stay there. Must never run any for a process that is killed. Owns nothing: each
process keeps its list.
"""

from __future__ import annotations

import atexit
import sys
import traceback
from collections.abc import Callable
from typing import Any, Protocol

from rsim.sim.virtual import Patcher

Departure = tuple[Callable[..., object], tuple[Any, ...], dict[str, Any]]


class Departing(Protocol):
    """A process that may end."""

    departures: list[Departure]


def install(patcher: Patcher, running: Callable[[], Departing | None]) -> None:
    """Let `atexit.register` and `unregister` be about the process that runs: `running`, if any."""

    def registers(real: Any) -> Callable[..., Any]:
        def register(func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            process = running()
            if process is None or _is_of_a_library(func):
                return real(func, *args, **kwargs)
            process.departures.append((func, args, kwargs))
            return func

        return register

    def unregisters(real: Any) -> Callable[..., Any]:
        def unregister(func: Callable[..., Any]) -> None:
            process = running()
            if process is not None:
                process.departures = [each for each in process.departures if each[0] != func]
            real(func)

        return unregister

    patcher.replace(atexit, "register", registers)
    patcher.replace(atexit, "unregister", unregisters)


def _is_of_a_library(func: Callable[..., Any]) -> bool:
    module = getattr(getattr(func, "func", func), "__module__", None) or ""
    return module.partition(".")[0] in sys.stdlib_module_names


def depart(process: Departing) -> None:
    """Run what the process has registered, the last first; what it raises is printed."""
    while process.departures:
        func, args, kwargs = process.departures.pop()
        try:
            func(*args, **kwargs)
        except Exception:
            traceback.print_exc()
