"""The leak check sees what stays, kills processes, and is quiet about what goes in time."""

import fcntl
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import leaks
from tests.polling import holds_in_time

ENDLESS = [sys.executable, "-c", "input()"]


@pytest.fixture
def before() -> leaks.Snapshot:
    return leaks.Snapshot.take()


@pytest.fixture
def own_entry() -> Iterator[Path]:
    path = Path(tempfile.gettempdir(), f"rsim-{os.getpid()}-leak")
    yield path
    path.unlink(missing_ok=True)


def test_nothing_new_is_no_leak(before: leaks.Snapshot) -> None:
    assert leaks.left_since(before, deadline_s=0) == []


def test_a_process_is_reported_and_killed(before: leaks.Snapshot) -> None:
    with subprocess.Popen(ENDLESS, stdin=subprocess.PIPE) as child:
        left = leaks.left_since(before, deadline_s=0)
        assert len(left) == 1
        assert f"process {child.pid}: " in left[0]
        assert not psutil.pid_exists(child.pid)


def test_a_process_that_ends_in_time_is_no_leak(before: leaks.Snapshot) -> None:
    with subprocess.Popen(ENDLESS, stdin=subprocess.PIPE) as child:
        assert child.stdin is not None
        child.stdin.write(b"\n")
        child.stdin.flush()
        assert leaks.left_since(before) == []


@contextmanager
def held(path: Path) -> Iterator[None]:
    """A file that is in use. Else a session that starts elsewhere on this machine sweeps it away,
    as it bears the name of one whose session has ended.
    """
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if not os.fstat(file.fileno()).st_nlink:
            pytest.skip("a session that began this very moment has swept the file away")
        yield


def test_a_file_is_reported(before: leaks.Snapshot, own_entry: Path) -> None:
    with held(own_entry):
        assert leaks.left_since(before, deadline_s=0) == [f"  {own_entry}"]


def test_a_file_of_another_process_is_not(before: leaks.Snapshot, tmp_path: Path) -> None:
    path = Path(tempfile.gettempdir(), f"rsim-{os.getppid()}-{tmp_path.name}")
    with held(path):
        assert leaks.left_since(before, deadline_s=0) == []
    path.unlink(missing_ok=True)


@pytest.mark.skipif(sys.platform != "linux", reason="abstract sockets are Linux's")
def test_an_abstract_socket_is_reported(before: leaks.Snapshot) -> None:
    name = f"rsim-{os.getpid()}-leak"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"\0{name}")
        assert leaks.left_since(before, deadline_s=0) == [f"  socket @{name}"]


@given(st.integers())
def test_the_fixture_does_not_trouble_hypothesis(number: int) -> None:
    assert number == int(str(number))


def test_polling_ends() -> None:
    answers = iter([False, False, True])
    assert holds_in_time(lambda: next(answers))
    assert not holds_in_time(lambda: False, deadline_s=0)
