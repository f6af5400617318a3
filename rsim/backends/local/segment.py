"""The shared-memory segment of a node, and the files that a session leaves behind when it is
killed.

Decides how memory is reserved: always before it is written, so that a full /dev/shm is a
MemoryError and never a SIGBUS. Must never unmap what a user's array may look at: the mapping lives
as long as its views. Owns the segment's file, its mapping and the count of bytes reserved.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import shutil
import stat
import threading
from pathlib import Path
from typing import Final

SHM_ROOT: Final = Path("/dev/shm")
PREFIX: Final = "rsim-"
MIN_CAPACITY_BYTES: Final = 75 << 20

_MIB: Final = 1 << 20
_AHEAD_MIN_BYTES: Final = 64 * _MIB
_AHEAD_MAX_BYTES: Final = 256 * _MIB
_POPULATE_FROM_BYTES: Final = _MIB
_MADV_POPULATE_WRITE: Final = 23  # Linux 5.14


def default_capacity_bytes() -> int:
    """30 % of the available memory, at least 75 MiB, but no more than /dev/shm can hold."""
    free_bytes = os.statvfs(SHM_ROOT)
    room_bytes = free_bytes.f_bavail * free_bytes.f_frsize
    wanted_bytes = max(MIN_CAPACITY_BYTES, available_memory_bytes() * 3 // 10)
    return max(_MIB, min(wanted_bytes, room_bytes) // _MIB * _MIB)


def available_memory_bytes() -> int:
    """Memory that this process could still use, as far as the system and its container tell."""
    available_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                available_bytes = int(line.split()[1]) * 1024
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        used_bytes = int(Path("/sys/fs/cgroup/memory.current").read_text())
        if limit != "max":
            available_bytes = min(available_bytes, max(0, int(limit) - used_bytes))
    except (OSError, ValueError):
        pass  # no such file in this container: the figure so far will do
    return available_bytes


class Segment:
    """A mapped file in /dev/shm. ``create`` it in the driver, ``attach`` it in a worker."""

    def __init__(self, fd: int, capacity_bytes: int, path: Path | None) -> None:
        self.capacity_bytes = capacity_bytes
        self.path = path
        self.fd = fd
        self._map = mmap.mmap(fd, capacity_bytes)
        self._all = memoryview(self._map)
        self._touched = 0
        self._reserved = 0
        self._goal = 0
        self._growing = threading.Lock()
        self._wake = threading.Event()
        self._helper: threading.Thread | None = None

    @classmethod
    def create(cls, name: str, capacity_bytes: int) -> Segment:
        """Make the segment's file. OSError when there is no room for its name or its addresses."""
        path = SHM_ROOT / name
        fd = _create(path)
        try:
            os.ftruncate(fd, capacity_bytes)
            return cls(fd, capacity_bytes, path)
        except BaseException as error:
            os.close(fd)
            path.unlink(missing_ok=True)
            if not isinstance(error, OSError):
                raise
            raise OSError(
                error.errno,
                f"an object store of {capacity_bytes:,} bytes cannot be mapped: {error.strerror}. "
                "Give object_store_memory a smaller number, or processes more room (ulimit -v)",
            ) from None

    @classmethod
    def attach(cls, fd: int) -> Segment:
        """Map the segment behind ``fd``, which another process created."""
        return cls(fd, os.fstat(fd).st_size, None)

    def view(self, offset: int, size_bytes: int) -> memoryview:
        """A writable view. It stays valid for as long as it is referenced."""
        return self._all[offset : offset + size_bytes]

    def populate(self, offset: int, size_bytes: int) -> None:
        """Map the pages of a big room that is about to be written: cheaper than one by one."""
        end = offset + size_bytes
        if size_bytes < _POPULATE_FROM_BYTES or end <= self._touched:
            return
        start = max(offset, self._touched) & -mmap.PAGESIZE
        if offset <= self._touched:
            self._touched = end
        try:
            self._map.madvise(_MADV_POPULATE_WRITE, start, end - start)
        except OSError:
            pass  # an old kernel: the pages come one by one

    # -- reserving (the driver only) ---------------------------------------------------------------

    def reserve(self, end: int) -> None:
        """Make sure that the first ``end`` bytes are really there, and soon some more.

        Raises:
            MemoryError: /dev/shm is full.
        """
        if end > self._goal:
            self._goal = end
            if self._helper is None:
                self._helper = threading.Thread(
                    target=self._grow_ahead, name="rsim-reserve", daemon=True
                )
                self._helper.start()
            self._wake.set()
        if end > self._reserved:
            self._grow(end)

    def _grow(self, end: int) -> None:
        with self._growing:
            start = self._reserved
            end = min(self.capacity_bytes, -(-end // _MIB) * _MIB)
            if end <= start or self.fd < 0:
                return
            try:
                os.posix_fallocate(self.fd, start, end - start)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                raise MemoryError(self._full(end)) from None
            self._reserved = end

    def _full(self, end: int) -> str:
        room = os.statvfs(SHM_ROOT)
        return (
            f"/dev/shm is full: the object store needs {end:,} bytes of it and has "
            f"{self._reserved:,}; /dev/shm has {room.f_bavail * room.f_frsize:,} of "
            f"{room.f_blocks * room.f_frsize:,} bytes free. Make it larger (docker run "
            f"--shm-size=…) or the store smaller (object_store_memory, now "
            f"{self.capacity_bytes:,})"
        )

    def _grow_ahead(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            if self.fd < 0:
                return
            goal = self._goal + min(_AHEAD_MAX_BYTES, max(_AHEAD_MIN_BYTES, self._goal))
            try:
                while self.fd >= 0 and self._reserved < min(goal, self.capacity_bytes):
                    self._grow(self._reserved + 16 * _MIB)
            except (MemoryError, OSError):
                pass  # whoever really needs the room will say so

    def close(self) -> None:
        """Remove the file. The mapping stays until the last view of it is gone."""
        with self._growing:
            fd, self.fd = self.fd, -1
            if fd < 0:
                return
            os.close(fd)
        self._wake.set()
        if self.path is not None:
            self.path.unlink(missing_ok=True)
        if self._helper is not None:
            self._helper.join()

    def unmap(self) -> None:
        """Give the memory back too, unless somebody still looks at it. ``close`` first."""
        self._all.release()
        try:
            self._map.close()
        except BufferError:
            pass  # it goes with the last view


# -- what a killed session left behind -------------------------------------------------------------


def _create(path: Path) -> int:
    """Make a file that is in use until the returned fd, and every copy of it, is closed."""
    while True:
        fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
        if _lock(fd):
            return fd


def create_folder(path: Path) -> int:
    """Make a folder that is in use until the returned fd, and every copy of it, is closed."""
    while True:
        path.mkdir(mode=0o700)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # swept away
        if _lock(fd):
            return fd


def _lock(fd: int) -> bool:
    """Mark what was just made as in use; False: another session has swept it away before."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        if os.fstat(fd).st_nlink:
            return True
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    return False


def sweep(root: Path) -> None:
    """Remove the segments and folders in ``root`` of sessions whose processes are all gone."""
    try:
        names = [name for name in os.listdir(root) if name.startswith(PREFIX)]
    except OSError:
        return
    for name in names:
        path = root / name
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            continue  # gone meanwhile, or somebody else's
        try:
            status = os.fstat(fd)
            if status.st_uid != os.getuid():
                continue
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if stat.S_ISDIR(status.st_mode):
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        except OSError:
            pass  # in use
        finally:
            os.close(fd)
