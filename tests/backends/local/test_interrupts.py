"""Cancelled tasks of a real session, at the moments at which an interrupt is easily lost."""

import signal
import time
from pathlib import Path

import pytest

import rsim
from rsim.exceptions import TaskCancelledError
from rsim.runtime import current
from tests.backends.local.driver import driving
from tests.polling import holds_in_time


def deaf_at_first(path: str) -> None:
    """Loses the first interrupt, as a system call does that begins just after it."""
    assert current.client is not None
    channel = current.client.channel
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    Path(path).touch()
    assert holds_in_time(lambda: channel.interrupt_target is not None)  # type: ignore[attr-defined]
    signal.signal(signal.SIGINT, handler)
    time.sleep(10_000)  # user program


def test_a_lost_interrupt_is_sent_again(tmp_path: Path) -> None:
    path = tmp_path / "started"
    with driving(1) as driver:
        ref = driver.run(deaf_at_first, str(path))
        assert holds_in_time(path.exists)
        driver.client.cancel(ref, False, True)
        with pytest.raises(TaskCancelledError):
            driver.get(ref)


@rsim.remote
def child() -> None:
    time.sleep(10_000)  # user program


@rsim.remote
def parent(path: str) -> object:
    children = [child.remote() for _ in range(4)]
    Path(path).touch()
    return rsim.get(children)


def test_what_a_task_has_submitted_is_cancelled_with_it_wherever_that_has_got(
    tmp_path: Path,
) -> None:
    path = tmp_path / "submitted"
    with rsim.init("local", num_cpus=1) as session:
        assert rsim.get(rsim.remote(abs).remote(-1)) == 1  # there is a worker
        ref = parent.remote(str(path))
        with session._backend._reactor.lock:  # type: ignore[attr-defined]
            assert holds_in_time(path.exists)  # and nothing of it is taken in
        rsim.cancel(ref)
        with pytest.raises(TaskCancelledError):
            rsim.get(ref)
        assert rsim.get(rsim.remote(abs).remote(-1)) == 1
