"""Event loops that began before the simulation: the driver waits in them as in any other."""

import asyncio
import time

import pytest

import rsim
from rsim.exceptions import DeadlockError


@rsim.remote
def slow(seconds):
    time.sleep(seconds)
    return seconds


@rsim.remote(num_gpus=1)
def never():
    pass


def start():
    return rsim.init("sim", cluster=rsim.sim.Cluster(1, num_cpus=4, latency_s=0))


@pytest.fixture
def loop():
    loop = asyncio.SelectorEventLoop()
    yield loop
    rsim.shutdown()
    loop.close()


def test_a_loop_made_before_the_session_awaits_refs_in_virtual_time(loop):
    start()

    async def main():
        began = time.monotonic()
        found = await asyncio.gather(slow.remote(1000), slow.remote(500))
        await asyncio.sleep(2000)
        return found, round(time.monotonic() - began)

    assert loop.run_until_complete(main()) == ([1000, 500], 3000)


def test_time_limits_count_virtual_seconds(loop):
    start()

    async def main():
        assert await asyncio.wait_for(slow.remote(5), 10) == 5
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(slow.remote(50), 10)

    loop.run_until_complete(main())
    loop.run_until_complete(loop.shutdown_asyncgens())


def test_a_session_may_begin_and_end_in_a_running_loop(loop):
    async def main():
        session = start()
        await asyncio.sleep(100)
        assert await slow.remote(100) == 100 and round(session.now()) == 200
        rsim.shutdown()
        assert asyncio.get_running_loop() is loop
        await asyncio.sleep(0)
        return "real again"

    before = loop.time()
    assert loop.run_until_complete(main()) == "real again"
    assert 0 <= loop.time() - before < 100
    loop.call_soon_threadsafe(loop.stop)
    loop.run_forever()


def test_what_never_comes_is_a_deadlock_there_too(loop):
    start()

    async def main():
        await never.remote()

    with pytest.raises(DeadlockError):
        loop.run_until_complete(main())


def test_a_loop_that_cannot_sleep_in_virtual_time_is_refused():
    class Foreign(asyncio.BaseEventLoop):
        """A loop that is not made of asyncio's parts."""

        def __init__(self):
            super().__init__()
            self._selector = self

        def select(self, timeout):
            return []

        def _process_events(self, event_list):
            pass

    loop = Foreign()
    start()
    with pytest.raises(RuntimeError, match="began before the simulation"):
        loop.run_forever()
    rsim.shutdown()
    loop.close()
