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

_CLOSE_MS: Final = 10_000
"""A guardian that takes longer is killed, and can remove no files any more."""


class Warden:
    """Starts the guardian and talks to it. ``leftovers``: how the paths begin that it is to remove
    in the end; ``env_vars``: what its environment, and that of all workers, has besides;
    ``working_dir``: where they are; ``code``: where they look for modules first.
    """

    def __init__(
        self,
        leftovers: Sequence[str],
        env_vars: EnvVars = (),
        working_dir: str | None = None,
        code: tuple[str, ...] = (),
    ) -> None:
        self.alive = False
        self._env_vars = env_vars
        self._working_dir = working_dir
        self._code = code
        self._leftovers = tuple(leftovers)
        self._sock: socket.socket
        self._pidfd = -1
        self.start()

    def start(self) -> None:
        """Start a guardian."""
        if self._pidfd >= 0:
            self.close()
        self._sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            its_fd = max(theirs.fileno(), 2) + 1
            actions = [
                (os.POSIX_SPAWN_DUP2, theirs.fileno(), its_fd),
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                *(
                    (os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_WRONLY, 0)
                    for fd in (1, 2)
                    if not _is_inherited(fd)  # else it would be the first fd that it opens
                ),
            ]
            arguments = (its_fd, os.getpid(), self._leftovers)
            path = [*self._code, *map(os.path.abspath, sys.path)]
            go = f"os.chdir({self._working_dir!r}); " if self._working_dir else ""
            code = (
                f"import os, sys; del sys.argv[0]; sys.path[:] = {path!r}; {go}"
                f"from rsim.backends.local import guardian; guardian.main(*{arguments!r})"
            )
            pid = os.posix_spawn(
                sys.executable,
                [sys.executable, *_interpreter_options(), "-c", code, *sys.argv],
                self._environment(),
                file_actions=actions,
                setsid=True,
                setsigmask=(),
                setsigdef=(signal.SIGCHLD,),  # if it is ignored here, the guardian still reaps
            )
        try:
            self._pidfd = os.pidfd_open(pid)  # its number may be another's when it has ended
        except OSError:
            self._sock.close()  # at which it ends
            _wait_for(os.P_PID, pid)
            raise
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
        if self._pidfd >= 0:
            self._reap()

    def _reap(self) -> None:
        pidfd, self._pidfd = self._pidfd, -1
        try:
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            if not poll.poll(_CLOSE_MS):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)  # its workers die with it
            _wait_for(os.P_PIDFD, pidfd)
        except ProcessLookupError:
            pass
        finally:
            os.close(pidfd)

    def abandon(self) -> None:
        """In a forked child: close the copies of the parent's fds."""
        self._sock.close()
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1


def _is_inherited(fd: int) -> bool:
    try:
        return os.get_inheritable(fd)
    except OSError:  # closed: the driver is a daemon
        return False


def _wait_for(kind: int, number: int) -> None:
    try:
        os.waitid(kind, number, os.WEXITED)
    except ChildProcessError:
        pass  # user code has waited for all its children, and so for this one


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
