# user program: what sleeps here sleeps in virtual time
"""Event loops that the simulation did not make run the driver's coroutines in virtual time."""

import asyncio
import time

import pytest

import rsim


@rsim.remote
def nap(seconds):
    time.sleep(seconds)
    return seconds


@pytest.fixture
def loop():
    made = asyncio.SelectorEventLoop()
    yield made
    made.close()


async def use():
    began = asyncio.get_running_loop().time()
    await asyncio.sleep(1000)
    slept = asyncio.get_running_loop().time() - began
    slow = nap.remote(50)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.ensure_future(slow), timeout=10)
    return slept, await slow, await asyncio.gather(*[nap.remote(n) for n in range(3)])


def test_a_loop_that_was_made_before(loop):
    with rsim.init("sim"):
        assert loop.run_until_complete(use()) == (1000, 50, [0, 1, 2])
        assert time.monotonic() == 1052


def test_a_session_that_begins_and_ends_in_a_coroutine(loop):
    async def main():
        asyncio.get_running_loop().call_later(3600, lambda: None)
        with rsim.init("sim"):
            used = await use()
        assert asyncio.get_running_loop() is loop
        await asyncio.sleep(0)
        return used

    began = time.monotonic()
    assert loop.run_until_complete(main()) == (1000, 50, [0, 1, 2])
    assert loop.time() >= began  # the real clock's again
    (timer,) = loop._scheduled
    assert timer.when() == pytest.approx(began + 3600 - 1052, abs=600)


def test_two_sessions_on_one_loop(loop):
    for _ in range(2):
        with rsim.init("sim", seed=3) as session:
            loop.run_until_complete(use())
            digest = session.digest()
    with rsim.init("sim", seed=3) as session:
        asyncio.run(use())
        assert session.digest() == digest


def test_waiting_for_nothing_is_a_deadlock(loop):
    with rsim.init("sim"), pytest.raises(rsim.exceptions.DeadlockError):
        loop.run_until_complete(loop.create_future())


def test_a_future_of_a_loop_that_runs_later(loop):
    with rsim.init("sim"):
        asyncio.set_event_loop(loop)
        future = nap.remote(7).as_future()
        assert future.get_loop() is loop
        assert loop.run_until_complete(future) == 7
        asyncio.set_event_loop(None)
