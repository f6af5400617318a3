"""What a session has outside its driver's process: a guardian, and a name that all it makes bears.

Decides that name, which carries the driver's pid, and what the parts of each node are called. Must
never outlive a session, nor touch one that lives. Owns the list of what is to be undone in the end,
to which the session adds.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from rsim.backends.local.segment import PREFIX, SHM_ROOT, sweep
from rsim.backends.local.warden import Warden

if TYPE_CHECKING:
    from rsim.runtime.session import SessionConfig


class Premises:
    """The guardian boots first, and removes whatever bears the name when the driver is gone: so
    nothing that is made later can be missed.
    """

    def __init__(self, config: SessionConfig) -> None:
        self._temporary = Path(tempfile.gettempdir())
        for root in (SHM_ROOT, self._temporary):
            sweep(root)
        self._name = f"{PREFIX}{os.getpid()}-{os.urandom(6).hex()}"
        leftovers = str(SHM_ROOT / self._name), str(self._temporary / self._name)
        self.warden = Warden(leftovers, config.worker_vars, config.working_dir, config.code)
        with ExitStack() as undo:
            undo.callback(self.warden.close)
            self.undo = undo.pop_all()

    def segment_name(self, node: int) -> str:
        """What the segment of the session's so-manieth node is called."""
        return f"{self._name}-{node}"

    def spill_folder(self, node: int) -> Path:
        """Where that node may spill: a folder that does not exist yet."""
        return self._temporary / f"{self._name}-{node}"
