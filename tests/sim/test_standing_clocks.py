# user program: what sleeps here sleeps in virtual time
"""The clocks of a program outside its sessions, when all of them are simulated."""

import logging
import threading
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime
from functools import partial
from types import BuiltinFunctionType

import pytest

import rsim
from rsim.sim.virtual import DEFAULT_EPOCH_NS, standing

EPOCH_S = DEFAULT_EPOCH_NS / 1e9
LATER_S = EPOCH_S + 86_400 * 30
"""Real clocks have passed this."""


@pytest.fixture(autouse=True)
def standing_clocks() -> Iterator[None]:
    undo = standing.stand()
    yield
    undo()
    assert type(time.time) is type(time.sleep) is BuiltinFunctionType
    assert datetime.now().timestamp() > LATER_S


@rsim.remote
def nap(seconds: float) -> float:
    time.sleep(seconds)
    return time.time()


def read() -> tuple[object, ...]:
    return (
        time.time(),
        time.monotonic_ns(),
        time.perf_counter(),
        time.clock_gettime(time.CLOCK_REALTIME),
        time.gmtime(),
        datetime.now(UTC),
        date.today(),
    )


def at(seconds: float) -> tuple[object, ...]:
    now = datetime.fromtimestamp(EPOCH_S + seconds, UTC)
    wall_s = EPOCH_S + seconds
    local_date = date.fromtimestamp(wall_s)
    return wall_s, int(seconds * 1e9), seconds, wall_s, time.gmtime(wall_s), now, local_date


def test_they_stand_where_the_last_session_ended_and_the_next_goes_on_there() -> None:
    assert read() == at(0)
    with rsim.init("sim") as session:
        assert rsim.get(nap.remote(10)) == EPOCH_S + 10
        assert read() == at(10)
    assert read() == read() == at(10)
    with rsim.init("sim") as session:
        assert read() == at(10)
        assert rsim.get(nap.remote(5)) == EPOCH_S + 15
        assert session.now() == 5
    assert read() == at(15)


def test_what_is_slept_outside_a_session_takes_virtual_time_too() -> None:
    time.sleep(0.25)
    assert time.perf_counter() == 0.25
    with rsim.init("sim"):
        assert time.perf_counter() == 0.25


def test_a_busy_wait_outside_a_session_ends() -> None:
    begin = time.monotonic()
    while time.monotonic() - begin < 0.02:
        pass


def test_other_code_and_other_threads_read_the_real_clocks() -> None:
    record = logging.LogRecord("name", logging.INFO, "path", 1, "message", (), None)
    assert record.created > LATER_S
    told: list[float] = []
    thread = threading.Thread(target=lambda: told.append(time.time()))
    thread.start()
    thread.join()
    assert told[0] > LATER_S


def test_copies_of_standing_clocks_are_virtual_in_a_session() -> None:
    class Holder:
        clock = time.monotonic

    calls = [partial(time.sleep, 3)]

    @rsim.remote
    def run(calls: list[partial[None]]) -> float:
        calls[0]()
        return Holder().clock()

    with rsim.init("sim"):
        assert rsim.get(run.remote(calls)) == 3
    assert Holder().clock() == 3


def test_equal_seeds_give_equal_sessions_one_after_the_other() -> None:
    def run(seed: int) -> str:
        with rsim.init("sim", seed=seed, num_cpus=2) as session:
            ready, _ = rsim.wait([nap.remote(second) for second in (0.3, 0.1, 0.2)], num_returns=2)
            assert len(ready) == 2
            return session.digest()

    assert run(7) == run(7) != run(8)


def test_a_real_session_has_real_clocks() -> None:
    with rsim.init("local", num_cpus=1):
        assert time.time() > LATER_S
    assert time.time() == EPOCH_S
