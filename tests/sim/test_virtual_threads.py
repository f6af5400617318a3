"""Threads in a simulation: strands in virtual time, that end with it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.pool import ThreadPool

import pytest

from rsim.exceptions import DeadlockError, SimulationEscapeError
from tests.sim.driving import get, simulation, submit


def nap(seconds: float) -> float:  # user program
    time.sleep(seconds)
    return time.monotonic()


def test_threads_sleep_side_by_side_in_virtual_time() -> None:
    with simulation() as session:
        threads = [threading.Thread(target=nap, args=(seconds,)) for seconds in (100, 200, 300)]
        for thread in threads:
            thread.start()
        threads[0].join()
        assert session.now() == 100.0
        threads[2].join(timeout=50)
        assert session.now() == 150.0 and threads[2].is_alive()
        threads[2].join()
        assert session.now() == 300.0


def test_a_timer() -> None:
    fired: list[float] = []
    with simulation() as session:
        timer = threading.Timer(3600, lambda: fired.append(session.now()))
        timer.start()
        timer.join()
        cancelled = threading.Timer(3600, lambda: fired.append(0))
        cancelled.start()
        cancelled.cancel()
        cancelled.join()
        assert fired == [3600.0]


def test_each_has_an_identity_and_is_listed() -> None:
    seen: list[threading.Thread] = []

    def look() -> None:
        seen.append(threading.current_thread())
        assert threading.current_thread() in threading.enumerate()

    with simulation():
        threads = [threading.Thread(target=look) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert seen == threads
        assert len({thread.ident for thread in threads}) == 3
        assert not set(threads) & set(threading.enumerate())


def test_an_rlock_is_each_threads_own() -> None:
    lock = threading.RLock()
    order: list[str] = []

    def work(name: str) -> None:
        with lock, lock:
            order.append(name)
            time.sleep(1)  # user program
            order.append(name)

    with simulation():
        threads = [threading.Thread(target=work, args=(name,)) for name in "abc"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert order[0::2] == order[1::2] and sorted(order) == list("aabbcc")


def test_the_same_seed_interleaves_alike() -> None:
    def run(seed: int) -> tuple[list[int], str]:
        order: list[int] = []
        with simulation(seed=seed) as session:

            def work(number: int) -> None:
                for _ in range(3):
                    get(submit(nap, 1))
                    order.append(number)

            with ThreadPoolExecutor(4) as pool:
                list(pool.map(work, range(4)))
            return order, session.digest()

    assert run(7) == run(7)


def test_a_session_that_ends_ends_its_threads() -> None:
    cleaned: list[str] = []

    def wait() -> None:
        try:
            time.sleep(1e9)  # user program
        finally:
            cleaned.append("up")

    with simulation():
        thread = threading.Thread(target=wait)
        thread.start()
        time.sleep(1)  # user program
    assert cleaned == ["up"] and not thread.is_alive()
    thread.join()


def test_a_pool_that_is_older_than_the_session_starts_threads_anew() -> None:
    pool = ThreadPoolExecutor(2)
    for _ in range(2):
        with simulation():
            assert list(pool.map(abs, (-1, -2))) == [1, 2]
    assert list(pool.map(abs, (-3, -4))) == [3, 4]
    with (
        simulation(),
        pytest.raises(SimulationEscapeError, match="of this pool are real ones"),
    ):
        pool.submit(abs, -5)
    pool.shutdown()


def test_a_pool_of_multiprocessing_stays_on_its_side_of_the_simulation() -> None:
    outside = ThreadPool(1)
    with simulation():
        with pytest.raises(SimulationEscapeError, match="of this pool are real ones"):
            outside.map(abs, [-1])
        inside = ThreadPool(1)
        assert inside.map(abs, [-1, -2]) == [1, 2]
    with pytest.raises(ValueError, match="ended with the simulation"):
        inside.map(abs, [-3])
    assert outside.map(abs, [-4]) == [4]
    for pool in (inside, outside):
        pool.terminate()
        pool.join()


def test_what_a_thread_has_in_a_local_goes_with_either() -> None:
    class Value:
        pass

    def work() -> None:
        kept[0].value = Value()
        gone.append(weakref.ref(kept[0].value))

    gone: list[weakref.ref[Value]] = []
    kept = [threading.local()]
    before = threading.local.__getattribute__
    with simulation():
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert gone[0]() is None
        pool = ThreadPoolExecutor(1)
        pool.submit(work).result()
        assert gone[1]() is not None
        kept.clear()
        assert gone[1]() is None
    assert threading.local.__getattribute__ is before


def test_a_loop_that_another_thread_runs_is_woken_at_once() -> None:
    with simulation() as session:
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever)
        thread.start()

        async def late() -> float:
            await asyncio.sleep(3)
            return session.now()

        slow = asyncio.run_coroutine_threadsafe(late(), loop)
        nap(1)
        assert asyncio.run_coroutine_threadsafe(asyncio.sleep(0, "now"), loop).result() == "now"
        assert 1 <= session.now() < 1.1
        assert 3 <= slow.result() < 3.1
        nap(1)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        assert 4 <= session.now() < 4.1
        loop.close()


def test_threads_that_wait_for_each_other_are_a_deadlock() -> None:
    with simulation():
        never = threading.Event()
        thread = threading.Thread(target=never.wait)
        thread.start()
        with pytest.raises(DeadlockError):
            thread.join()


def test_a_program_waits_for_its_threads_at_its_end() -> None:
    program = """
import threading, time, rsim
rsim.init("sim")
threading.Thread(target=lambda: (time.sleep(5), print("late"))).start()
threading.Thread(target=lambda: (time.sleep(9), print("never")), daemon=True).start()
print("main is done")
"""
    command = [sys.executable, "-c", program]
    out = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    assert out.split("\n")[:2] == ["main is done", "late"] and "never" not in out


def test_a_program_does_not_wait_for_the_threads_of_its_workers() -> None:
    program = """
import asyncio, time, rsim
from concurrent.futures import ThreadPoolExecutor

@rsim.remote
class Busy:
    async def begin(self):
        self.task = asyncio.create_task(self.tick())
    async def tick(self):
        while True:
            await asyncio.get_running_loop().run_in_executor(None, time.sleep, 1)

rsim.init("sim")
busy = Busy.remote()
rsim.get(busy.begin.remote())
ThreadPoolExecutor().submit(lambda: (time.sleep(5), print("mine")))
print("main is done")
"""
    command = [sys.executable, "-c", program]
    out = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    assert out.split() == ["main", "is", "done", "mine"]
