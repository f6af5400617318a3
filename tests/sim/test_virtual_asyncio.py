# user program: what sleeps here sleeps in virtual time
"""asyncio in virtual time: unmodified programs, several loops in one thread, loud limits."""

import asyncio
import signal
import sys
import time

import pytest

from rsim.exceptions import DeadlockError, SimulationEscapeError
from rsim.sim.virtual import LOOP_ESCAPES, VirtualEventLoop, install
from tests.sim.virtual_hub import Context, Hub, Parker, simulate


def test_run_uses_a_virtual_loop_and_virtual_time():
    async def main():
        started = asyncio.get_running_loop().time()
        await asyncio.gather(asyncio.sleep(3600), asyncio.sleep(1800))
        return type(asyncio.get_running_loop()), asyncio.get_running_loop().time() - started

    assert simulate(lambda: asyncio.run(main())) == (VirtualEventLoop, 3600)


def test_timeouts_in_virtual_time():
    async def main():
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.sleep(100), timeout=5)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2):
                await asyncio.Event().wait()
        return time.monotonic()

    assert simulate(lambda: asyncio.run(main())) == 7


def test_two_loops_interleave():
    log = []

    async def tick(name, step):
        for _ in range(3):
            await asyncio.sleep(step)
            assert asyncio.get_running_loop() is asyncio.current_task().get_loop()
            log.append((name, time.monotonic()))

    async def main(name, step):
        await asyncio.gather(tick(name, step), tick(name + "'", 2 * step))

    simulate(a=lambda: asyncio.run(main("a", 2)), b=lambda: asyncio.run(main("b", 3)))
    assert sorted(log, key=lambda entry: entry[1]) == log
    assert [entry for entry in log if entry[0] == "a"] == [("a", 2), ("a", 4), ("a", 6)]
    assert [entry for entry in log if entry[0] == "b'"] == [("b'", 6), ("b'", 12), ("b'", 18)]


def test_blocking_sleep_inside_a_coroutine_hides_its_loop_from_others():
    def plain():
        time.sleep(1)
        assert asyncio._get_running_loop() is None
        return asyncio.run(asyncio.sleep(0, "plain"))

    async def blocking():
        time.sleep(2)
        return asyncio.get_running_loop().time()

    assert simulate(a=lambda: asyncio.run(blocking()), b=plain) == {"a": 2, "b": "plain"}


def test_asynchronous_generator_hooks_stay_with_their_loop():
    before = sys.get_asyncgen_hooks()

    async def numbers():
        try:
            for number in range(10):
                yield number
                await asyncio.sleep(1)
        finally:
            closed.append(asyncio.get_running_loop())

    async def main(step):
        async for number in numbers():
            if number == step:
                break
        return asyncio.get_running_loop()

    closed = []
    loops = simulate(a=lambda: asyncio.run(main(3)), b=lambda: asyncio.run(main(5)))
    assert [loops["a"], loops["b"]] == closed
    assert sys.get_asyncgen_hooks() == before


def test_the_outer_running_loop_is_hidden_and_comes_back():
    async def outer():
        inner = simulate(lambda: asyncio.run(asyncio.sleep(1, "inner")))
        return inner, asyncio.get_running_loop()

    loop = asyncio.SelectorEventLoop()
    try:
        assert loop.run_until_complete(outer()) == ("inner", loop)
    finally:
        loop.close()


def test_runner_and_old_style_loops():
    def task():
        with asyncio.Runner() as runner:
            first = runner.run(asyncio.sleep(1, "runner"))
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        assert asyncio.get_event_loop() is loop
        second = loop.run_until_complete(asyncio.sleep(1, "new"))
        loop.close()
        asyncio.set_event_loop(None)
        future = asyncio.ensure_future(asyncio.sleep(1, "old"), loop=asyncio.get_event_loop())
        third = asyncio.get_event_loop().run_until_complete(future)
        return first, second, third, time.monotonic()

    assert simulate(task) == ("runner", "new", "old", 3)


def test_no_signal_handler_is_installed_and_outside_stays_real():
    async def main():
        return signal.getsignal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    assert simulate(lambda: asyncio.run(main())) is before
    virtual = install(Hub().current)
    try:
        assert type(asyncio.run(kind_of_loop())) is type
    finally:
        virtual.remove()


async def kind_of_loop():
    assert not isinstance(asyncio.get_running_loop(), VirtualEventLoop)
    return type(asyncio.get_running_loop())


def test_waiting_for_nothing_is_a_deadlock():
    async def forever():
        await asyncio.Event().wait()

    with pytest.raises(DeadlockError, match="d: asyncio waits for something that never happens"):
        simulate(lambda: asyncio.run(forever()))
    with pytest.raises(DeadlockError, match="d waits: asyncio"):
        simulate(lambda: asyncio.run(forever()), kind=Parker)


@pytest.mark.parametrize(("kind", "woken_at"), [(Parker, 1), (Context, 10)])
def test_another_context_wakes_a_loop(kind, woken_at):
    shared = {}

    async def waiting():
        shared["loop"], shared["event"] = asyncio.get_running_loop(), asyncio.Event()
        keep_alive = asyncio.create_task(asyncio.sleep(10))
        await shared["event"].wait()
        woken = time.monotonic()
        await keep_alive
        return woken

    def waking():
        time.sleep(1)
        shared["loop"].call_soon_threadsafe(shared["event"].set)

    assert simulate(a=lambda: asyncio.run(waiting()), b=waking, kind=kind)["a"] == woken_at


def test_wake_of_a_loop_without_timers():
    shared = {}

    async def waiting():
        shared["loop"], shared["event"] = asyncio.get_running_loop(), asyncio.Event()
        await shared["event"].wait()
        return time.monotonic()

    def waking():
        time.sleep(4)
        shared["loop"].call_soon(shared["event"].set)
        shared["loop"].wake()

    assert simulate(a=lambda: asyncio.run(waiting()), b=waking, kind=Parker)["a"] == 4


def test_a_spinning_coroutine_lets_time_pass():
    async def spinning(done):
        while not done:
            await asyncio.sleep(0)
        return time.monotonic()

    done = []
    told = simulate(
        a=lambda: asyncio.run(spinning(done)), b=lambda: (time.sleep(0.01), done.append(1))
    )
    assert 0.01 <= told["a"] < 0.02


def test_default_task_names_do_not_depend_on_the_process():
    async def main():
        task = asyncio.create_task(asyncio.sleep(0))
        return asyncio.current_task().get_name(), task.get_name()

    assert simulate(lambda: asyncio.run(main())) == ("Task-1", "Task-2")


@pytest.mark.parametrize("name", LOOP_ESCAPES)
def test_io_of_the_loop_is_an_escape(name):
    async def main():
        return getattr(asyncio.get_running_loop(), name)()

    assert callable(getattr(asyncio.BaseEventLoop, name))
    with pytest.raises(SimulationEscapeError, match=__file__) as caught:
        simulate(lambda: asyncio.run(main()))
    assert caught.value.call == f"asyncio loop.{name}"


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: asyncio.to_thread(print), r"threading\.Thread\.start"),
        (lambda: asyncio.open_connection("localhost", 1), "create_connection"),
        (lambda: asyncio.create_subprocess_exec("true"), "subprocess_exec"),
        (lambda: asyncio.create_subprocess_shell("true"), "subprocess_shell"),
    ],
)
def test_asyncio_functions_that_leave(call, named):
    async def main():
        await call()

    with pytest.raises(SimulationEscapeError, match=named):
        simulate(lambda: asyncio.run(main()))
