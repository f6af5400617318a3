"""The calls by which a process asks about or ends itself or its like, for simulated workers.

Decides what `os.getpid`, `os.kill`, `os._exit`, `os.abort` and `signal.raise_signal` do in a task.
Must never change what they do in the driver's own program, but that it can signal simulated
processes, too. Owns their ids and, between `install` and `remove`, these functions.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any, NoReturn, Protocol

FIRST_PID = 5_000_000
"""More than Linux ever gives to a real process, so that a driver can signal simulated ones."""


class SimulatedProcess(Protocol):
    """What a worker lets these calls do to it."""

    pid: int

    @property
    def alive(self) -> bool:
        """Whether it has not ended yet."""

    def exit(self, reason: str) -> NoReturn:
        """End the process that runs now."""

    def kill(self, reason: str) -> None:
        """End another process."""

    def interrupt(self) -> None:
        """Raise KeyboardInterrupt in another process, if it runs a task."""


class Processes:
    """The simulated processes by their ids, and the patches of `os` and `signal`.

    `running` returns the worker that runs now, or None for the driver.
    """

    def __init__(self, running: Callable[[], SimulatedProcess | None]) -> None:
        self._running = running
        self._by_pid: dict[int, SimulatedProcess] = {}
        self._undo: list[tuple[Any, str, Any]] = []

    def new_pid(self) -> int:
        """The id of the next process."""
        return FIRST_PID + len(self._by_pid)

    def add(self, process: SimulatedProcess) -> None:
        """Make a process known by its `pid`."""
        self._by_pid[process.pid] = process

    def install(self, real: dict[str, Callable[..., Any]]) -> None:
        """Replace the functions. `real`: what the driver is to call instead of what is there now.

        (The virtualisation forbids some of them.)
        """
        self._replace(os, "getpid", lambda process: process.pid, real)
        self._replace(os, "_exit", self._exit, real)
        self._replace(os, "abort", lambda process: self._signal(process, signal.SIGABRT), real)
        self._replace(os, "kill", self._kill, real)
        self._replace(signal, "raise_signal", self._signal, real)

    def remove(self) -> None:
        """Put everything back."""
        while self._undo:
            setattr(*self._undo.pop())

    def _replace(
        self,
        module: Any,
        name: str,
        replacement: Callable[..., Any],
        real: dict[str, Callable[..., Any]],
    ) -> None:
        present = getattr(module, name)
        original = real.get(name, present)

        def call(*args: Any) -> Any:
            process = self._running()
            if process is None and not (name == "kill" and args[0] in self._by_pid):
                return original(*args)
            return replacement(process, *args)

        call.__name__ = call.__qualname__ = name
        call.__module__ = module.__name__
        self._undo.append((module, name, present))
        setattr(module, name, call)

    @staticmethod
    def _exit(process: SimulatedProcess, status: int) -> NoReturn:
        process.exit(f"exit code {status & 0xFF}")

    @staticmethod
    def _signal(process: SimulatedProcess, signum: int) -> None:
        if signum == signal.SIGINT:
            raise KeyboardInterrupt
        if _is_deadly(signum):
            process.exit(_killed_by(signum))

    def _kill(self, process: SimulatedProcess | None, pid: int, signum: int) -> None:
        target = self._by_pid.get(pid)
        if target is None or not target.alive:
            raise ProcessLookupError(3, f"No such simulated process: {pid}")
        if process is not None and target is process:
            self._signal(process, signum)
        elif signum == signal.SIGINT:
            target.interrupt()
        elif _is_deadly(signum):
            target.kill(_killed_by(signum))


def _is_deadly(signum: int) -> bool:
    return signum not in (0, signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH)


def _killed_by(signum: int) -> str:
    return f"killed by signal {signum} ({signal.Signals(signum).name})"
