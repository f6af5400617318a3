"""Finds what a test left on the machine: processes, shared memory, sockets, temporary folders.

Whatever rsim makes is named `rsim-<pid of the driver>-<suffix>`. Only names with the pid of this
process or of one of its children count: other test processes are busy beside this one.
"""

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.polling import DEADLINE_S, holds_in_time

_SOCKET_TABLE = Path("/proc/net/unix")
# Python's own, one per process, ends with it; and what carries the tests themselves.
_NOT_OURS = ("multiprocessing.resource_tracker", "execnet")


def runtime_is_up() -> bool:
    """Whether rsim is initialised; a test that never imported it is not made to."""
    rsim = sys.modules.get("rsim")
    return rsim is not None and bool(getattr(rsim, "is_initialized", bool)())


def lives(process: psutil.Process) -> bool:
    """Whether a process still runs: one that only waits to be reaped does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def shutdown_runtime() -> None:
    if runtime_is_up():
        sys.modules["rsim"].shutdown()


@dataclass(frozen=True)
class Snapshot:
    """The child processes of this process, and the rsim names on this machine."""

    processes: frozenset[psutil.Process]
    names: frozenset[str]

    @classmethod
    def take(cls) -> "Snapshot":
        return cls(frozenset(psutil.Process().children(recursive=True)), frozenset(_rsim_names()))


def left_since(before: Snapshot, deadline_s: float = DEADLINE_S) -> list[str]:
    """What is new since `before` and still there after `deadline_s`, one line each.

    Leaked processes are killed, so that one failure does not become many.
    """
    ours = {psutil.Process(), *before.processes}
    processes: list[psutil.Process] = []
    names: list[str] = []

    def nothing_left() -> bool:
        now = Snapshot.take()
        processes[:] = [new for new in now.processes - before.processes if _counts(new)]
        ours.update(processes)
        owners = [f"rsim-{process.pid}-" for process in ours]
        names[:] = [new for new in now.names - before.names if any(own in new for own in owners)]
        return not processes and not names

    if holds_in_time(nothing_left, deadline_s):
        return []
    lines = [f"  process {_describe(process)}" for process in processes]
    for process in processes:
        process.kill()
    psutil.wait_procs(processes, timeout=DEADLINE_S)
    return sorted([*lines, *(f"  {name}" for name in names)])


def _rsim_names() -> list[str]:
    """Paths of segments and temporary entries, and sockets, abstract ones included."""
    folders = (Path("/dev/shm"), Path(tempfile.gettempdir()))
    names = [str(path) for folder in folders for path in folder.glob("rsim*")]
    if _SOCKET_TABLE.exists():
        lines = _SOCKET_TABLE.read_text().splitlines()
        names += [f"socket {line.split()[-1]}" for line in lines if "rsim-" in line]
    return names


def _counts(process: psutil.Process) -> bool:
    try:
        words = " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return False
    return lives(process) and not any(word in words for word in _NOT_OURS)


def _describe(process: psutil.Process) -> str:
    try:
        return f"{process.pid}: {' '.join(process.cmdline())[:200]}"
    except psutil.NoSuchProcess:
        return f"{process.pid}: gone meanwhile"
