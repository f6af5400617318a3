"""Objects on disk.

Decides where a spilled object lies: a file of its own in the session's folder, which is made when
it is first needed. Must never touch the disk on the caller's thread, nor let an error of the disk
end the thread. Owns the folder and its files; work on one object is done in the order asked.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue

from rsim.backends.local.segment import create_folder
from rsim.core.events import Event, RestoreFinished, SpillFinished


class SpillFolder:
    """``done`` gets each answer (SpillFinished, RestoreFinished) in the folder's thread."""

    def __init__(self, path: Path, done: Callable[[Event], None]) -> None:
        self._path = path
        self._done = done
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock_fd = -1
        self._closed = False

    def write(self, object_id: bytes, data: memoryview) -> None:
        """Begin to write the object; the bytes stay unchanged until the answer."""
        self._begin(lambda: self._done(SpillFinished(object_id, self._write(object_id, data))))

    def read(self, object_id: bytes, data: memoryview) -> None:
        """Begin to read the object back into ``data``."""
        self._begin(lambda: self._done(RestoreFinished(object_id, self._read(object_id, data))))

    def drop(self, object_id: bytes) -> None:
        """Delete it."""
        self._begin(lambda: self._file(object_id).unlink(missing_ok=True))

    def close(self) -> None:
        """Delete all; what was asked and is not done yet is not done any more."""
        self._closed = True
        if self._thread is not None:
            self._work.put(None)
            self._thread.join()
            self._thread = None
            shutil.rmtree(self._path, ignore_errors=True)
            if self._lock_fd >= 0:
                os.close(self._lock_fd)

    def _begin(self, job: Callable[[], None]) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="rsim-spill", daemon=True)
            self._thread.start()
        self._work.put(job)

    def _run(self) -> None:
        while (job := self._work.get()) is not None and not self._closed:
            job()

    def _file(self, object_id: bytes) -> Path:
        return self._path / object_id.hex()

    def _write(self, object_id: bytes, data: memoryview) -> bool:
        path = self._file(object_id)
        try:
            if self._lock_fd < 0:
                self._lock_fd = create_folder(self._path)
            with open(path, "wb", buffering=0) as file:
                rest = data
                while rest:
                    rest = rest[file.write(rest) :]
        except OSError:
            path.unlink(missing_ok=True)
            return False
        return True

    def _read(self, object_id: bytes, data: memoryview) -> bool:
        try:
            with open(self._file(object_id), "rb", buffering=0) as file:
                rest = data
                while rest:
                    size_bytes = file.readinto(rest)
                    if not size_bytes:
                        return False
                    rest = rest[size_bytes:]
        except OSError:
            return False
        return True
