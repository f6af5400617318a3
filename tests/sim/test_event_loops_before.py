"""Event loops that are older than the simulation: they live in virtual time while it lasts."""

from __future__ import annotations

import asyncio
import socket
import sys
import time

import pytest

from rsim.exceptions import DeadlockError, SimulationEscapeError
from tests.sim.driving import simulation, submit


def nap(seconds: float) -> float:  # user program
    time.sleep(seconds)
    return seconds


def test_a_session_begins_in_a_running_loop():
    async def main() -> float:
        with simulation() as session:
            loop, hooks = asyncio.get_running_loop(), sys.get_asyncgen_hooks()
            assert await submit(nap, 100) == 100
            both = await asyncio.gather(submit(nap, 60), asyncio.sleep(5000, "slept"))
            assert both == [60, "slept"]
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(submit(nap, 100), timeout=10)
            assert asyncio.get_running_loop() is loop and sys.get_asyncgen_hooks() == hooks
            now = session.now()
        assert asyncio.get_running_loop() is loop and sys.get_asyncgen_hooks() == hooks
        assert await asyncio.sleep(0, "real again") == "real again"
        return now

    before = time.monotonic()
    assert 5110 <= asyncio.run(main()) < 5111
    assert time.monotonic() - before < 5000
    assert asyncio.run(asyncio.sleep(0, "afterwards")) == "afterwards"


def test_a_loop_made_before_runs_after_the_session_has_begun():
    loop = asyncio.new_event_loop()
    try:
        with simulation() as session:
            assert loop.run_until_complete(asyncio.sleep(300, "slept")) == "slept"
            assert 300 <= session.now() < 301
        assert loop.run_until_complete(asyncio.sleep(0, "real again")) == "real again"
    finally:
        loop.close()


def test_timers_keep_the_time_that_is_left():
    fired: list[str] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(3600, fired.append, "in an hour")
        with simulation() as session:
            loop.call_later(7200, fired.append, "in two")
            await asyncio.sleep(3599)
            assert fired == []
            await asyncio.sleep(2)
            assert fired == ["in an hour"]
            assert 3601 <= session.now() < 3602
        (left,) = (timer.when() - loop.time() for timer in loop._scheduled)  # type: ignore[attr-defined]
        assert 3500 < left <= 3600

    asyncio.run(main())


def test_two_sessions_in_one_loop():
    async def main() -> list[float]:
        times = []
        for _ in range(2):
            with simulation() as session:
                await submit(nap, 50)
                times.append(session.now())
        return times

    first, second = asyncio.run(main())
    assert first == second


def test_waiting_for_nothing_is_a_deadlock():
    loop = asyncio.new_event_loop()
    try:
        with simulation(), pytest.raises(DeadlockError):
            loop.run_until_complete(loop.create_future())
    finally:
        loop.close()


def test_a_future_of_a_loop_that_runs_later():
    loop = asyncio.new_event_loop()
    try:
        with simulation():
            asyncio.set_event_loop(loop)
            future = submit(nap, 7).as_future()
            assert future.get_loop() is loop
            assert loop.run_until_complete(future) == 7
            asyncio.set_event_loop(None)
    finally:
        loop.close()


def test_io_is_an_escape_meanwhile():
    async def main() -> None:
        with (
            simulation(),
            pytest.raises(SimulationEscapeError, match="create_connection"),
        ):
            await asyncio.open_connection("localhost", 1)
        left, right = socket.socketpair()
        with left, right:
            left.setblocking(False)
            await asyncio.get_running_loop().sock_sendall(left, b"real again")
            assert right.recv(10) == b"real again"

    asyncio.run(main())


def test_a_loop_that_ends_with_the_session_still_open_is_closed():
    async def main() -> asyncio.AbstractEventLoop:
        stack.__enter__()
        await submit(nap, 1)
        return asyncio.get_running_loop()

    stack = simulation()
    try:
        assert asyncio.run(main()).is_closed()
        assert asyncio.run(asyncio.sleep(10, "another")) == "another"
    finally:
        stack.__exit__(None, None, None)


class _Foreign(asyncio.BaseEventLoop):
    """A loop that is not asyncio's own: one turn, without a selector."""

    def run_forever(self) -> None:
        asyncio._set_running_loop(self)
        try:
            while self._ready:  # type: ignore[attr-defined]
                self._ready.popleft()._run()  # type: ignore[attr-defined]
        finally:
            asyncio._set_running_loop(None)


def test_a_foreign_loop_is_refused_by_name():
    problems: list[str] = []

    def begin() -> None:
        try:
            with simulation():
                problems.append("began")
        except RuntimeError as error:
            problems.append(str(error))

    loop = _Foreign()
    loop.call_soon(begin)
    loop.run_forever()
    loop.close()
    (problem,) = problems
    assert "_Foreign" in problem and "call init() before it" in problem
