"""`socket.gethostbyname`, by which programs tell on which machine their tasks run.

Decides the address of this machine, which all simulated nodes have, as nodes on one real machine
do. Must never ask the network. Owns no state.
"""

from __future__ import annotations

import socket
from typing import Any

from rsim.sim.virtual.context import Current
from rsim.sim.virtual.escapes import NETWORK, escape_error
from rsim.sim.virtual.patching import Function, Patcher

_ADDRESS = "127.0.0.1"


def install_host_names(patcher: Patcher, current: Current) -> None:
    """Replace the function; for other names than this machine's it is an escape."""

    def make(real: Any) -> Function:
        def gethostbyname(hostname: Any, /) -> str:
            context = current()
            if context is None:
                return real(hostname)  # type: ignore[no-any-return]
            if hostname not in ("localhost", _ADDRESS, socket.gethostname()):
                raise escape_error("socket.gethostbyname", NETWORK, context)
            return _ADDRESS

        return gethostbyname

    patcher.replace(socket, "gethostbyname", make)
