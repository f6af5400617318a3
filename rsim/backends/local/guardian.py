"""The guardian: a small process that starts workers and outlives the driver by a moment, to clean
up.

Decides nothing about tasks. It forks a worker in a few milliseconds, since it has one thread and
has imported what a worker needs; it reaps workers and says why they ended; when the driver is gone,
for whatever reason, it kills all workers and removes the session's files. Must never start a
thread, nor run user code before a fork. Owns the worker processes; each leads a session and process
group of its own.

Workers are named by the number of their node and their number there. The driver says, one message
each: ``start <node> <client>`` with six fds (segment, data, control, events, stdout, stderr),
``kill <node> <client>``, ``end <node>``: kill them all. The guardian says: ``started <node>
<client> <pid>``, ``exited <node> <client> <reason>`` or, when the system has killed it for want of
memory, ``starved`` in place of ``exited``, and ``ended <node>`` when none of a node is left; and,
as long as memory is short, ``memory <used bytes> <limit in bytes>``.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import os
import select
import shutil
import signal
import socket
import sys
from collections.abc import Sequence
from typing import Final, NoReturn

from rsim.backends.local import worker as program
from rsim.backends.local.memory_monitor import MemoryMonitor
from rsim.backends.local.naming import name_process
from rsim.backends.local.warden import MESSAGE_BYTES

_PR_SET_PDEATHSIG: Final = 1


class Guardian:
    """Runs until the driver is gone. ``leftovers``: how the paths begin that it removes then."""

    def __init__(self, driver: socket.socket, driver_pid: int, leftovers: Sequence[str]) -> None:
        self._driver = driver
        self._leftovers = leftovers
        self._children: dict[int, tuple[str, int]] = {}  # pidfd: ("node client", pid)
        self._poll = select.poll()
        self._poll.register(driver, select.POLLIN)
        self._driver_fd = os.pidfd_open(driver_pid)
        self._poll.register(self._driver_fd, select.POLLIN)
        self._memory = MemoryMonitor(os.environ)
        self._prctl = ctypes.CDLL(None).prctl

    def run(self) -> None:
        """Serve the driver; then clean up."""
        try:
            while self._serve():
                pass
        finally:
            self._clean_up()

    def _serve(self) -> bool:
        shortage = self._memory.look() if self._children else None
        if shortage is not None:
            self._say(f"memory {shortage.used_bytes} {shortage.limit_bytes}")
        for fd, _ in self._poll.poll(self._memory.wait_ms() if self._children else None):
            if fd == self._driver_fd:
                return False
            if fd != self._driver.fileno():
                if fd in self._children:  # else its node has just been ended
                    self._reap(fd)
                continue
            try:
                message, fds, _, _ = socket.recv_fds(
                    self._driver, MESSAGE_BYTES, 6, socket.MSG_CMSG_CLOEXEC
                )
            except OSError:
                return False
            if not message:
                return False
            command, _, target = message.decode().partition(" ")
            if command == "start":
                self._start(target, fds)
            elif command == "kill":
                self._kill(target)
            else:
                self._end(target)
        return True

    def _start(self, worker: str, fds: list[int]) -> None:
        me = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            self._say(f"exited {worker} it cannot be forked: {error.strerror}")
            pid = -1
        if pid == 0:
            self._become_worker(int(worker.split()[1]), fds, me)
        for fd in fds:
            os.close(fd)
        if pid > 0:
            pidfd = os.pidfd_open(pid)
            self._children[pidfd] = (worker, pid)
            self._poll.register(pidfd, select.POLLIN)
            self._say(f"started {worker} {pid}")

    def _become_worker(self, client: int, fds: list[int], guardian_pid: int) -> NoReturn:
        code = 1
        try:
            self._prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != guardian_pid:
                os._exit(1)
            os.setsid()
            name_process("worker")
            self._driver.close()
            os.close(self._driver_fd)
            for pidfd in self._children:
                os.close(pidfd)
            code = program.main(client, *fds)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(code)

    def _kill(self, worker: str) -> None:
        for each, pid in self._children.values():
            if each == worker:
                _kill_group(pid)

    def _end(self, node: str) -> None:
        """A node is no more: kill its workers, and say so when they are gone."""
        doomed = [
            (pidfd, pid)
            for pidfd, (worker, pid) in self._children.items()
            if worker.split()[0] == node
        ]
        for _, pid in doomed:
            _kill_group(pid)
        for pidfd, _ in doomed:
            self._reap(pidfd)
        self._say(f"ended {node}")

    def _reap(self, pidfd: int) -> None:
        worker, pid = self._children.pop(pidfd)
        self._poll.unregister(pidfd)
        os.close(pidfd)
        _kill_group(pid)  # while the zombie still holds the number
        _, status = os.waitpid(pid, 0)
        starved = status == signal.SIGKILL and self._memory.killed()
        kind = "starved" if starved else "exited"
        self._say(f"{kind} {worker} {describe_status(status)}")

    def _say(self, message: str) -> None:
        try:
            self._driver.send(message.encode())
        except OSError:
            pass  # the driver is gone, which the next turn finds out

    def _clean_up(self) -> None:
        for _, pid in self._children.values():
            _kill_group(pid)
        for beginning in self._leftovers:
            _remove_all(beginning)
        for _, pid in self._children.values():
            os.waitpid(pid, 0)


def _remove_all(beginning: str) -> None:
    """Remove all files and folders whose paths begin like this."""
    root, prefix = os.path.split(beginning)
    try:
        names = [name for name in os.listdir(root) if name.startswith(prefix)]
    except OSError:
        return
    for name in names:
        path = os.path.join(root, name)
        try:
            os.unlink(path)
        except OSError:
            shutil.rmtree(path, ignore_errors=True)


def _kill_group(pid: int) -> None:
    """Kill a worker that is not reaped yet, and what it started."""
    for kill in (os.killpg, os.kill):  # the first fails when it has just been forked
        try:
            kill(pid, signal.SIGKILL)
        except OSError:
            pass


def describe_status(status: int) -> str:
    """A wait status in words."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by signal {-code} ({signal.Signals(-code).name})"
    except ValueError:
        return f"killed by signal {-code}"


def main(driver_fd: int, driver_pid: int, leftovers: Sequence[str]) -> None:
    """The program of the guardian process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.set_inheritable(driver_fd, False)
    with socket.socket(fileno=driver_fd) as driver:
        try:
            guardian = Guardian(driver, driver_pid, leftovers)
        except ProcessLookupError:  # killed before it could be watched
            for beginning in leftovers:
                _remove_all(beginning)
            return
        for name in os.environ.get("RSIM_PRELOAD", "").split():
            importlib.import_module(name)  # here, and so in every worker
        gc.freeze()  # so that collections in workers do not touch, and so copy, the shared pages
        guardian.run()
