"""Runs that would go on for ever: the limit of virtual time, and what the user is told before."""

import asyncio
import threading
import time

import pytest

import rsim
from rsim.exceptions import DeadlockError
from rsim.sim import Cluster
from rsim.sim import deadlock as module
from rsim.sim.deadlock import Watch
from rsim.sim.engine import World
from rsim.sim.tape import Tape, source_of


@rsim.remote
class Ticking:
    """Its time goes on for ever."""

    def __init__(self):
        self.ticks = 0

    async def tick(self):
        while True:
            await asyncio.sleep(1)
            self.ticks += 1

    async def never(self):
        await asyncio.Event().wait()


@rsim.remote
def greet():
    time.sleep(3)
    return "hello"


def test_an_actor_that_ticks_does_not_keep_a_driver_waiting_for_ever():
    with rsim.init("sim", time_limit_s=50) as session:
        ticking = Ticking.remote()
        ticking.tick.remote()
        with pytest.raises(DeadlockError) as caught:
            rsim.get(ticking.never.remote())
        assert session.now() == 50
    text = str(caught.value)
    assert "the time limit of 50 s has come (virtual time 50 s); who waits for what:" in text
    assert f"\n  d (the driver) is stopped in its get d/2.r0 at {__file__}:" in text


def test_nor_does_a_thread_that_ticks():
    def tick():
        while True:
            threading.Event().wait(0.5)

    with rsim.init("sim", time_limit_s=7) as session:
        threading.Thread(target=tick, daemon=True).start()
        with pytest.raises(DeadlockError, match="the time limit of 7 s has come"):
            threading.Event().wait()
        with pytest.raises(DeadlockError, match="the time limit of 7 s has come"):
            threading.Event().wait(1)
        assert session.now() == 7


def test_what_comes_in_time_comes():
    with rsim.init("sim", time_limit_s=3) as session:
        assert rsim.get(greet.remote()) == "hello"
        assert session.now() == 3
        with pytest.raises(DeadlockError, match="time limit"):
            rsim.get(greet.remote())


def test_a_deadlock_before_the_limit_is_one():
    with rsim.init("sim", time_limit_s=3), pytest.raises(DeadlockError, match="ever run again"):
        rsim.get(greet.options(num_gpus=1).remote())


def test_the_environment_sets_it(monkeypatch):
    monkeypatch.setenv("RSIM_TIME_LIMIT_S", "2")
    with rsim.init("sim"), pytest.raises(DeadlockError, match="the time limit of 2 s"):
        rsim.get(greet.remote())
    with rsim.init("sim", time_limit_s=4):
        assert rsim.get(greet.remote()) == "hello"
    monkeypatch.setenv("RSIM_TIME_LIMIT_S", "soon")
    with pytest.raises(ValueError, match="RSIM_TIME_LIMIT_S must be a number of seconds"):
        rsim.init("sim")


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        (-1, ValueError, "time_limit_s must be a finite number, 0 or more, not -1"),
        ("1", TypeError, "time_limit_s must be a number, not '1'"),
        (1e10, ValueError, "time_limit_s must be less than"),
    ],
)
def test_bad_limits(given, error, text):
    with pytest.raises(error, match=text):
        rsim.init("sim", time_limit_s=given)


def test_it_is_the_simulations():
    with pytest.raises(ValueError, match=r"^time_limit_s is an argument for address='sim' only"):
        rsim.init("local", time_limit_s=1)


@pytest.mark.parametrize("seed", range(3))
def test_a_limit_that_does_not_come_changes_nothing(seed):
    digests = []
    for limit_s in (None, 1000):
        cluster = Cluster(2, jitter_s=0.01)
        with rsim.init("sim", seed=seed, cluster=cluster, time_limit_s=limit_s) as session:
            rsim.get([greet.remote() for _ in range(12)])
            digests.append(session.digest())
    assert digests[0] == digests[1]


def test_a_driver_that_waits_for_long_is_told_about_now_and_then(capsys, monkeypatch):
    real = iter([0.0, 29.0, 30.0, 45.0, 61.0, 62.0, 300.0])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(real))
    world = World(Tape(source_of(1, None)))
    watch = Watch(world, lambda: "  somebody waits")
    for wait in ("a", "a", "a", "a", "a", "b", None):
        watch.look(wait)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4
    assert "has been waiting for 30 s, while virtual time has gone from 0 to 0 s" in lines[0]
    assert lines[1] == "  somebody waits"
    assert "has been waiting for 61 s" in lines[2]


def test_the_report_says_who_ticks(capsys, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE_S", 0.0)
    with rsim.init("sim", time_limit_s=5000):
        ticking = Ticking.remote()
        ticking.tick.remote()
        with pytest.raises(DeadlockError):
            rsim.get(ticking.never.remote())
    told = capsys.readouterr().err
    assert "rsim: the driver has been waiting for 0 s, while virtual time has gone from " in told
    assert f"\n  d (the driver) is stopped in its get d/2.r0 at {__file__}:" in told
