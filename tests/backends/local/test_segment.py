"""The shared-memory segment: reserved before it is used, and gone when nobody uses it."""

import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from rsim.backends.local import segment as segments
from rsim.backends.local.segment import SHM_ROOT, Segment, sweep
from tests.polling import holds_in_time

MIB = 1 << 20


def name_for(suffix: str) -> str:
    return f"rsim-{os.getpid()}-{suffix}"


@pytest.fixture
def segment() -> Iterator[Segment]:
    made = Segment.create(name_for("test"), 400 * MIB)
    yield made
    made.close()


def reserved_bytes(segment: Segment) -> int:
    return os.fstat(segment.fd).st_blocks * 512


def test_a_new_segment_takes_no_memory(segment: Segment) -> None:
    assert os.fstat(segment.fd).st_size == 400 * MIB
    assert reserved_bytes(segment) == 0


def test_reserve_allocates_at_once_and_ahead(segment: Segment) -> None:
    segment.reserve(3 * MIB + 1)
    assert reserved_bytes(segment) >= 4 * MIB
    assert holds_in_time(lambda: reserved_bytes(segment) >= 64 * MIB)


def test_reserve_never_exceeds_the_capacity() -> None:
    small = Segment.create(name_for("small"), 3 * MIB)
    small.reserve(3 * MIB)
    assert holds_in_time(lambda: reserved_bytes(small) == 3 * MIB)
    small.close()


def test_a_full_shm_is_a_memory_error_that_says_what_to_do(
    segment: Segment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int, offset: int, size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(MemoryError, match=r"/dev/shm is full.*--shm-size"):
        segment.reserve(MIB)


def test_views_of_two_mappings_see_the_same_bytes(segment: Segment) -> None:
    segment.reserve(4 * MIB)
    other = Segment.attach(os.dup(segment.fd))
    segment.populate(MIB, 2 * MIB)
    segment.view(MIB, 5)[:] = b"hello"
    assert bytes(other.view(MIB, 5)) == b"hello"
    other.close()


def test_a_view_outlives_the_segment(segment: Segment) -> None:
    segment.reserve(MIB)
    view = segment.view(100, 3)
    view[:] = b"abc"
    segment.close()
    assert bytes(view) == b"abc"
    assert not (SHM_ROOT / name_for("test")).exists()


def test_sweep_removes_what_nobody_holds_and_keeps_the_rest(
    tmp_path: Path, segment: Segment
) -> None:
    abandoned_file = tmp_path / "rsim-1-dead"
    abandoned_file.write_bytes(b"x")
    abandoned_folder = tmp_path / "rsim-2-dead"
    abandoned_folder.mkdir()
    (abandoned_folder / "object").write_bytes(b"x")
    fd = segments.create_folder(tmp_path / "rsim-3-alive")
    foreign = tmp_path / "other"
    foreign.write_bytes(b"x")
    sweep(tmp_path)
    sweep(SHM_ROOT)
    os.close(fd)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "rsim-3-alive"]
    assert segment.path is not None and segment.path.exists()


@pytest.fixture
def swept_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Another session sweeps at the first moment at which it can do harm."""
    lock, swept = fcntl.flock, False

    def late(fd: int, how: int) -> None:
        nonlocal swept
        if not swept:
            swept = True
            sweep(tmp_path)
        lock(fd, how)

    with monkeypatch.context() as patched:
        patched.setattr(fcntl, "flock", late)
        patched.setattr(segments, "SHM_ROOT", tmp_path)
        yield
    assert swept


def test_a_segment_that_was_swept_away_too_soon_is_made_again(
    tmp_path: Path, swept_once: None
) -> None:
    made = Segment.create("rsim-4-new", MIB)
    assert (tmp_path / "rsim-4-new").exists() and os.fstat(made.fd).st_nlink == 1
    sweep(tmp_path)
    assert (tmp_path / "rsim-4-new").exists()
    made.close()


def test_and_so_is_a_folder(tmp_path: Path, swept_once: None) -> None:
    fd = segments.create_folder(tmp_path / "rsim-4-new")
    sweep(tmp_path)
    assert (tmp_path / "rsim-4-new").is_dir()
    os.close(fd)


def test_the_default_capacity_fits_shm() -> None:
    room = os.statvfs(SHM_ROOT)
    assert 0 < segments.default_capacity_bytes() <= room.f_bavail * room.f_frsize
