"""The local backend: a driver that embeds its nodes, worker processes, shared memory; no daemon and
no port.

Decides that the guardian boots while the rest of the backend is imported. Must never import
anything heavy itself. Owns no state.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from rsim.backends.local import memory_monitor
from rsim.backends.local.premises import Premises

if TYPE_CHECKING:
    from rsim.backends.local.session import LocalSession
    from rsim.runtime.session import SessionConfig


def start(config: SessionConfig) -> LocalSession:
    """Start the backend in this process.

    Raises TypeError or ValueError if ``policy`` or a variable of the environment is not what it
    should be, OSError when there is no shared memory.
    """
    memory_monitor.settings(os.environ)
    premises = Premises(config)
    with premises.undo:  # empty once the session has taken it over
        from rsim.backends.local.session import LocalSession

        return LocalSession(config, premises)
