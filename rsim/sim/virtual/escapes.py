"""Calls that would leave the simulation, and the error they raise instead.

Decides which calls are escapes (the tables) and whom the error names. Must never forbid file
access, `print`, logging or `input` (a debugger needs it). Owns no state.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from rsim.exceptions import SimulationEscapeError
from rsim.sim.virtual.context import Current, VirtualContext
from rsim.sim.virtual.patching import Function, Patcher


class Escape(NamedTuple):
    """`module`.`name` is forbidden in simulated code, because of `why`."""

    module: str
    name: str
    why: str


NO_THREADS = "a real thread would run outside virtual time; use threading.Thread"
_PROCESS = "a process would run outside virtual time"
NETWORK = "a socket reaches the real network; put the service behind an actor"
_WAIT = "it would block the whole simulation in real time"
_SIGNAL = "signals arrive in real time, for the whole test process"
_EXIT = "it would end the test process"
_KILL = "it would signal a real process"

_GROUPS: tuple[tuple[str, str, str], ...] = (
    (NO_THREADS, "_thread", "start_new_thread start_new start_joinable_thread"),
    (_PROCESS, "concurrent.futures.process", "ProcessPoolExecutor.submit"),
    (_PROCESS, "multiprocessing.process", "BaseProcess.start"),
    (_PROCESS, "subprocess", "Popen.__init__"),
    (_PROCESS, "_posixsubprocess", "fork_exec"),
    (_PROCESS, "os", "fork forkpty posix_spawn posix_spawnp system popen execv execve"),
    (_WAIT, "os", "wait wait3 wait4 waitpid waitid"),
    (_EXIT, "os", "_exit abort"),
    (_KILL, "os", "kill killpg"),
    (_KILL, "signal", "pthread_kill pidfd_send_signal"),
    (NETWORK, "socket", "socket.__init__ socket.connect socket.connect_ex socket.accept"),
    (NETWORK, "socket", "socket.recv socket.send socket.sendall socketpair create_connection"),
    (NETWORK, "socket", "getaddrinfo gethostbyaddr getnameinfo"),
    (NETWORK, "_socket", "socket._accept socket.bind socket.connect socket.connect_ex"),
    (NETWORK, "_socket", "socket.listen socket.recv socket.recv_into socket.recvfrom"),
    (NETWORK, "_socket", "socket.recvfrom_into socket.recvmsg socket.recvmsg_into socket.send"),
    (NETWORK, "_socket", "socket.sendall socket.sendmsg socket.sendto"),
    (NETWORK, "_socket", "getaddrinfo getnameinfo gethostbyname_ex socketpair"),
    (_WAIT, "multiprocessing.connection", "_ConnectionBase.recv _ConnectionBase.recv_bytes"),
    (_WAIT, "multiprocessing.connection", "_ConnectionBase.poll Client Listener.accept wait"),
    (_WAIT, "select", "select poll epoll.poll kqueue.control"),
    (_SIGNAL, "signal", "pause sigwait sigwaitinfo sigtimedwait setitimer alarm"),
    (_SIGNAL, "_signal", "sigwait"),
)

ESCAPES: tuple[Escape, ...] = tuple(
    Escape(module, name, why) for why, module, names in _GROUPS for name in names.split()
)
"""Every forbidden function and method; those that this platform lacks do no harm."""

LOOP_ESCAPES: dict[str, str] = {
    name: why
    for why, names in (
        (_PROCESS, "subprocess_exec subprocess_shell"),
        (_SIGNAL, "add_signal_handler"),
        (NETWORK, "create_connection create_server create_unix_connection create_unix_server"),
        (NETWORK, "create_datagram_endpoint connect_accepted_socket start_tls sendfile"),
        (NETWORK, "getaddrinfo getnameinfo sock_connect sock_accept sock_recv sock_recv_into"),
        (NETWORK, "sock_recvfrom sock_sendall sock_sendto sock_sendfile"),
        (_WAIT, "add_reader add_writer connect_read_pipe connect_write_pipe"),
    )
    for name in names.split()
}
"""Forbidden methods of an asyncio event loop, each with the reason."""


def install_escapes(patcher: Patcher, current: Current) -> None:
    """Guard every call of `ESCAPES`. Imports their modules, so that a later import is guarded."""

    def guard(escape: Escape) -> Any:
        def make(real: Any) -> Function:
            def guarded(*args: Any, **kwargs: Any) -> Any:
                context = current()
                if context is not None:
                    raise escape_error(f"{escape.module}.{escape.name}", escape.why, context)
                return real(*args, **kwargs)

            return guarded

        return make

    for escape in ESCAPES:
        patcher.replace(import_module(escape.module), escape.name, guard(escape))


def escape_error(call: str, why: str, context: VirtualContext) -> SimulationEscapeError:
    """The error that names the call, the simulated code and the user's line."""
    return SimulationEscapeError(
        f"{call} leaves the simulation: {why} (called by {context.name} at {user_line()})",
        call=call,
    )


def user_line(frame: FrameType | None = None) -> str:
    """file:line of the innermost frame that is the user's own code, from `frame` outwards; None:
    of those that run.
    """
    best = "an unknown line"
    frame = frame or sys._getframe(1)
    while frame is not None:
        distance = _distance(frame.f_code.co_filename)
        if distance == 0:
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
        if distance == 1 and best == "an unknown line":
            best = f"{frame.f_code.co_filename}:{frame.f_lineno}"
        frame = frame.f_back
    return best


def blocking_call(call: str) -> str:
    """The standard library function that user code called to get into `call`."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and _distance(frame.f_code.co_filename) == _LIBRARY:
        module = frame.f_globals.get("__name__", "")
        if not module.startswith("rsim."):
            call = f"{module}.{frame.f_code.co_qualname}"
        frame = frame.f_back
    return call


_LIBRARY = 2
_RSIM = str(Path(__file__).parents[2]) + "/"
_STDLIB = str(Path(os.__file__).parent) + "/"


def _distance(filename: str) -> int:
    """0 the user's own code, 1 a third-party package, 2 rsim and the standard library."""
    if filename.startswith((_RSIM, "<frozen ")):
        return _LIBRARY
    if "-packages/" in filename:
        return 1
    return _LIBRARY if filename.startswith(_STDLIB) else 0
