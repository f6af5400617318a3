"""The guardian as the driver holds it: its end is noticed and seen to, whoever waits for it."""

import os
import signal

import psutil
import pytest

from rsim.backends.local.warden import Warden
from tests.backends.local.test_death import Program, programs
from tests.leaks import lives
from tests.polling import holds_in_time

__all__ = ["programs"]


def guardian() -> psutil.Process:
    found = psutil.Process().children()
    assert len(found) == 1
    return found[0]


def test_closing_ends_it() -> None:
    warden = Warden(())
    process = guardian()
    warden.close()
    warden.close()
    assert not process.is_running()


def test_it_may_have_been_waited_for_already() -> None:
    warden = Warden(())
    process = guardian()
    process.kill()
    os.waitpid(process.pid, 0)
    warden.close()


def test_one_that_hangs_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rsim.backends.local.warden._CLOSE_MS", 50)
    warden = Warden(())
    process = guardian()
    process.suspend()
    warden.close()
    assert not process.is_running()


def test_nothing_is_left_when_it_cannot_be_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(pid: int) -> int:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(os, "pidfd_open", full)
        with pytest.raises(OSError, match="Too many"):
            Warden(())
    assert not psutil.Process().children()


def test_a_forked_child_does_not_keep_it() -> None:
    warden = Warden(())
    process = guardian()
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            warden.abandon()
            os.close(theirs)
            os.read(ours, 1)  # lives as long as the test
        finally:
            os._exit(0)
    warden.close()
    assert not lives(process)
    os.close(theirs)
    os.close(ours)
    os.waitpid(pid, 0)


def test_a_driver_that_ignores_the_ends_of_its_children(programs: list[Program]) -> None:
    program = Program(
        """
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
def die(): os._exit(3)
with driving(2) as d:
    print(d.call(tiny, 1))
    try:
        d.get(d.run(die, options=TaskOptions(max_retries=0)))
    except Exception as error:
        print(type(error).__name__, "exit code 3" in str(error))
    print(d.call(tiny, 2))
print("ended")
"""
    )
    programs.append(program)
    assert program.rest().splitlines() == ["1", "WorkerCrashedError True", "2", "ended"]


def test_its_end_is_noticed() -> None:
    warden = Warden(())
    guardian().send_signal(signal.SIGKILL)
    assert holds_in_time(lambda: not list(warden.receive()) and not warden.alive)
    warden.start()
    assert warden.alive
    warden.close()
