"""Spilled objects on disk."""

from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue

import pytest

from rsim.backends.local.spill import SpillFolder
from rsim.core.events import Event, RestoreFinished, SpillFinished
from tests.polling import DEADLINE_S

A, B = b"a" * 20, b"b" * 20


class Disk:
    """A spill folder and its answers."""

    def __init__(self, path: Path) -> None:
        self.answers: SimpleQueue[Event] = SimpleQueue()
        self.path = path
        self.folder = SpillFolder(path, self.answers.put)

    def answer(self) -> Event:
        return self.answers.get(timeout=DEADLINE_S)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    made = Disk(tmp_path / "rsim-spill")
    yield made
    made.folder.close()


def test_an_object_comes_back_as_it_was(disk: Disk) -> None:
    disk.folder.write(A, memoryview(b"hello"))
    disk.folder.write(B, memoryview(b"world!"))
    assert [disk.answer(), disk.answer()] == [SpillFinished(A, True), SpillFinished(B, True)]
    room = bytearray(6)
    disk.folder.read(B, memoryview(room))
    assert disk.answer() == RestoreFinished(B, True)
    assert room == b"world!"


def test_the_folder_is_private_and_made_only_when_needed(disk: Disk) -> None:
    assert not disk.path.exists()
    disk.folder.write(A, memoryview(b"x"))
    disk.answer()
    assert disk.path.stat().st_mode & 0o777 == 0o700


def test_a_dropped_object_is_gone(disk: Disk) -> None:
    disk.folder.write(A, memoryview(b"hello"))
    disk.folder.drop(A)
    disk.folder.drop(B)
    disk.folder.read(A, memoryview(bytearray(5)))
    assert [disk.answer(), disk.answer()] == [SpillFinished(A, True), RestoreFinished(A, False)]
    assert list(disk.path.iterdir()) == []


def test_a_truncated_file_is_not_ok(disk: Disk) -> None:
    disk.folder.write(A, memoryview(b"hello"))
    disk.answer()
    (disk.path / A.hex()).write_bytes(b"he")
    disk.folder.read(A, memoryview(bytearray(5)))
    assert disk.answer() == RestoreFinished(A, False)


def test_a_disk_that_fails_is_an_answer(tmp_path: Path) -> None:
    disk = Disk(tmp_path / "missing" / "rsim-spill")
    disk.folder.write(A, memoryview(b"hello"))
    assert disk.answer() == SpillFinished(A, False)
    disk.folder.read(A, memoryview(bytearray(5)))
    assert disk.answer() == RestoreFinished(A, False)
    disk.folder.close()


def test_close_removes_all(disk: Disk) -> None:
    disk.folder.write(A, memoryview(b"hello"))
    disk.answer()
    disk.folder.close()
    disk.folder.close()
    assert not disk.path.exists()
