"""The calls by which a process asks about or ends itself or its like, for simulated workers.

Decides what `os.getpid`, `os.kill`, `os._exit`, `os.abort` and `signal.raise_signal` do in a task
(for `atexit`, see `departures`).
Must never change what they do in the driver's own program, but that it can signal simulated
processes, too. Owns their ids.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any, NoReturn, Protocol

from rsim.sim import departures
from rsim.sim.virtual import Patcher

FIRST_PID = 5_000_000
"""More than Linux ever gives to a real process, so that a driver can signal simulated ones."""
DRIVER_PID = FIRST_PID - 1
"""What workers are told; the driver itself sees its real one, which no two runs have in common."""


class SimulatedProcess(Protocol):
    """What a worker lets these calls do to it."""

    pid: int
    departures: list[departures.Departure]

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
    """The simulated processes by their ids, and what `os` and `signal` do in them.

    `running` returns the worker that runs now, or None for the driver.
    """

    def __init__(self, running: Callable[[], SimulatedProcess | None]) -> None:
        self._running = running
        self._by_pid: dict[int, SimulatedProcess] = {}

    def new_pid(self) -> int:
        """The id of the next process."""
        return FIRST_PID + len(self._by_pid)

    def add(self, process: SimulatedProcess) -> None:
        """Make a process known by its `pid`."""
        self._by_pid[process.pid] = process

    def install(self, patcher: Patcher) -> None:
        """Replace the functions, some of which the virtualisation forbids otherwise."""
        for module, name, replacement in (
            (os, "getpid", lambda process: process.pid),
            (os, "_exit", self._exit),
            (os, "abort", lambda process: self._signal(process, signal.SIGABRT)),
            (os, "kill", self._kill),
            (signal, "raise_signal", self._signal),
        ):
            patcher.replace(module, name, self._dispatch(replacement))
        departures.install(patcher, self._running)

    def _dispatch(self, replacement: Callable[..., Any]) -> Callable[[Any], Callable[..., Any]]:
        def make(real: Any) -> Callable[..., Any]:
            def call(*args: Any) -> Any:
                process = self._running()
                signalled = replacement == self._kill and args[0] in self._by_pid
                if process is None and not signalled:
                    return real(*args)
                return replacement(process, *args)

            return call

        return make

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
