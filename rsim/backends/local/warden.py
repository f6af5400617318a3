"""The driver's handle on its guardian process (see ``guardian``).

Decides how a clean Python is started beside a driver that may have threads. Must never fork the
driver itself. Owns the guardian's process and the driver's end of its socket.
"""

from __future__ import annotations

import array
import os
import select
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rsim.core.records import EnvVars

MESSAGE_BYTES: Final = 256
"""No message between the driver and the guardian is longer."""

_CLOSE_MS: Final = 2000


class Warden:
    """Starts the guardian and talks to it. ``leftovers``: how the paths begin that it is to remove
    in the end; ``env_vars``: what its environment, and that of all workers, has besides.
    """

    def __init__(self, leftovers: Sequence[str], env_vars: EnvVars = ()) -> None:
        self.alive = False
        self._env_vars = env_vars
        self._leftovers = tuple(leftovers)
        self._sock: socket.socket
        self._pid = 0
        self.start()

    def start(self) -> None:
        """Start a guardian."""
        if self._pid:
            self.close()
        self._sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            its_fd = max(theirs.fileno(), 2) + 1
            actions = [
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, theirs.fileno(), its_fd),
            ]
            arguments = (its_fd, os.getpid(), self._leftovers)
            path = [os.path.abspath(entry) for entry in sys.path]
            code = (
                f"import sys; sys.path[:] = {path!r}; "
                f"from rsim.backends.local import guardian; guardian.main(*{arguments!r})"
            )
            self._pid = os.posix_spawn(
                sys.executable,
                [sys.executable, *_interpreter_options(), "-c", code],
                self._environment(),
                file_actions=actions,
                setsid=True,
                setsigmask=(),
            )
        self.alive = True

    def _environment(self) -> dict[str, str]:
        environment = dict(os.environ)
        if self._env_vars:
            from rsim.runtime.environment import add

            add(environment, self._env_vars)
        return environment

    def fileno(self) -> int:
        """The fd to wait for."""
        return self._sock.fileno()

    def send(self, message: str, fds: Sequence[int] = ()) -> None:
        """Say something; a guardian that is gone is noticed by ``receive``."""
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        try:
            self._sock.sendmsg([message.encode()], ancillary)
        except OSError:
            pass

    def receive(self) -> Iterator[str]:
        """What the guardian has said; ``alive`` is False afterwards if it is gone."""
        while True:
            try:
                message = self._sock.recv(MESSAGE_BYTES, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError:
                message = b""
            if not message:
                self.alive = False
                return
            yield message.decode()

    def close(self) -> None:
        """Let the guardian end all workers, and wait for it."""
        self._sock.close()
        if self._pid:
            self._reap()

    def _reap(self) -> None:
        pid, self._pid = self._pid, 0
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:
            return  # user code has waited for all its children, and so for this one
        try:
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            if not poll.poll(_CLOSE_MS):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)  # its workers die with it
            os.waitpid(pid, 0)
        except ChildProcessError:
            pass
        finally:
            os.close(pidfd)

    def abandon(self) -> None:
        """In a forked child: close the copy of the parent's socket."""
        self._sock.close()


def _interpreter_options() -> list[str]:
    """Options of this interpreter that matter to what workers run."""
    flags = sys.flags
    options = ["-O"] * flags.optimize
    if flags.dont_write_bytecode:
        options.append("-B")
    if flags.isolated:
        options.append("-I")
    if flags.dev_mode:
        options += ["-X", "dev"]
    if flags.utf8_mode:
        options += ["-X", "utf8"]
    return options
