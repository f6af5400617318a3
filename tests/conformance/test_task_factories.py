"""What an actor does to its event loop's task factory is for its own tasks, not for its calls."""

import asyncio

import pytest

import rsim


def at_once(loop, coro, **kwargs):
    """Begins a task where it is made; before Python 3.12 asyncio knows no such thing."""
    kind = getattr(asyncio, "eager_task_factory", None)
    return asyncio.Task(coro, loop=loop, **kwargs) if kind is None else kind(loop, coro, **kwargs)


def refuse(loop, coro, **kwargs):
    coro.close()
    raise RuntimeError("no more tasks")


@rsim.remote(max_concurrency=2)
class Maker:
    def __init__(self):
        self.door = asyncio.Event()

    async def use(self, factory):
        asyncio.get_running_loop().set_task_factory(factory)

    async def uses(self, factory):
        return asyncio.get_running_loop().get_task_factory() is factory

    async def value_of_a_task(self, value):
        async def give():
            return value

        return await asyncio.create_task(give())

    async def plain(self, value):
        return value

    async def wait(self):
        await self.door.wait()

    async def open(self):
        self.door.set()


@pytest.mark.parametrize("factory", [at_once, refuse])
def test_calls_begin_as_ever(rt, factory):
    maker = Maker.remote()
    rsim.get(maker.use.remote(factory))
    assert rsim.get([maker.plain.remote(n) for n in range(1200)]) == list(range(1200))
    waits, opened = maker.wait.remote(), maker.open.remote()
    assert rsim.get([waits, opened], timeout=60) == [None, None]
    assert rsim.get(maker.uses.remote(factory))


def test_its_own_tasks_are_made_by_it(rt):
    maker = Maker.remote()
    rsim.get(maker.use.remote(at_once))
    values = [maker.value_of_a_task.remote(n) for n in range(10)]
    assert rsim.get(values, timeout=60) == list(range(10))
    rsim.get(maker.use.remote(refuse))
    with pytest.raises(RuntimeError, match="no more tasks"):
        rsim.get(maker.value_of_a_task.remote(1))


def test_a_call_can_still_be_cancelled(rt):
    maker = Maker.remote()
    rsim.get(maker.use.remote(at_once))
    waits = maker.wait.remote()
    assert rsim.get(maker.plain.remote(1)) == 1
    rsim.cancel(waits)
    with pytest.raises(rsim.exceptions.TaskCancelledError):
        rsim.get(waits, timeout=60)
