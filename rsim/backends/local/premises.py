"""What a session has outside its driver's process: shared memory, a guardian, a place on disk.

Decides their names, which carry the driver's pid. Must never outlive a session, nor touch one that
lives. Owns the list of what is to be undone in the end, to which the session adds.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path

from rsim.backends.local.segment import (
    PREFIX,
    SHM_ROOT,
    Segment,
    default_capacity_bytes,
    sweep,
)
from rsim.backends.local.warden import Warden


class Premises:
    """``scratch`` is a folder that does not exist yet."""

    def __init__(self, capacity_bytes: int | None) -> None:
        temporary = Path(tempfile.gettempdir())
        for root in (SHM_ROOT, temporary):
            sweep(root)
        name = f"{PREFIX}{os.getpid()}-{os.urandom(6).hex()}"
        self.scratch = temporary / name
        with ExitStack() as undo:
            self.segment = Segment.create(name, capacity_bytes or default_capacity_bytes())
            undo.callback(self.segment.close)
            self.warden = Warden(self.segment.fd, (str(SHM_ROOT / name), str(self.scratch)))
            undo.callback(self.warden.close)
            self.undo = undo.pop_all()
