"""What worker processes are called where processes are listed (`top`, `ps -e`, `pgrep`).

Decides the form of the names. Must never name a process for a task: that takes longer than a tiny
task runs. Owns no state.
"""

from __future__ import annotations

import ctypes
import os
from typing import Final

_PR_SET_NAME: Final = 15
_BYTES: Final = 15
"""The kernel keeps no more of a name."""


def name_process(name: str) -> None:
    """Call this process by a name, behind what RSIM_PROCESS_PREFIX says. By its main thread."""
    prefix = os.environ.get("RSIM_PROCESS_PREFIX", "rsim")
    title = f"{prefix}::{name}".encode("ascii", "replace")[:_BYTES]
    ctypes.CDLL(None).prctl(_PR_SET_NAME, title)
