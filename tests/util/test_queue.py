"""Queue: what the standard library's would do, between processes."""

import asyncio
import queue

import pytest

import rsim
from rsim.exceptions import ActorDiedError
from rsim.util.queue import Empty, Full, Queue


@rsim.remote(num_cpus=0)
def put_all(items, values):
    for value in values:
        items.put(value)


@rsim.remote(num_cpus=0)
def get_some(items, count):
    return [items.get() for _ in range(count)]


def test_first_in_first_out(rt):
    items = Queue()
    assert items.empty() and not items.full() and len(items) == 0
    for value in range(3):
        items.put(value)
    assert items.size() == items.qsize() == 3 and not items.full()
    assert [items.get() for _ in range(3)] == [0, 1, 2]


def test_limits(rt):
    items = Queue(maxsize=2)
    with pytest.raises(Empty):
        items.get_nowait()
    with pytest.raises(queue.Empty):
        items.get(timeout=0.01)
    items.put(1)
    items.put_nowait(2)
    assert items.full()
    for call in (items.put_nowait, lambda item: items.put(item, timeout=0.01)):
        with pytest.raises(Full):
            call(3)
    with pytest.raises(queue.Full):
        items.put(3, block=False)
    for call in (items.get, lambda timeout: items.put(0, timeout=timeout)):
        with pytest.raises(ValueError, match="timeout"):
            call(timeout=-1)


def test_batches(rt):
    items = Queue(maxsize=4)
    items.put_nowait_batch(range(3))
    with pytest.raises(Full, match="room for 1"):
        items.put_nowait_batch([3, 4])
    assert items.size() == 3
    with pytest.raises(Empty, match="3 items, not 4"):
        items.get_nowait_batch(4)
    assert items.get_nowait_batch(2) == [0, 1]
    for wrong, error in ((-1, ValueError), ("x", TypeError)):
        with pytest.raises(error, match="num_items"):
            items.get_nowait_batch(wrong)
    with pytest.raises(TypeError, match="items must be iterable"):
        items.put_nowait_batch(3)


def test_between_tasks(rt):
    items = Queue(maxsize=2)
    consumers = [get_some.remote(items, 5) for _ in range(2)]
    producers = [put_all.remote(items, range(start, start + 5)) for start in (0, 5)]
    rsim.get(producers)
    first, second = rsim.get(consumers)
    assert sorted(first + second) == list(range(10))
    assert items.empty()


def test_in_coroutines(rt):
    items = Queue(maxsize=1)

    async def produce():
        for value in range(4):
            await items.put_async(value)

    async def consume():
        return [await items.get_async() for _ in range(4)]

    async def both():
        _, values = await asyncio.gather(produce(), consume())
        with pytest.raises(Empty):
            await items.get_async(block=False)
        return values

    assert asyncio.run(both()) == [0, 1, 2, 3]


def test_options_of_the_actor(rt):
    items = Queue(actor_options={"num_cpus": 1})
    items.put("value")
    assert items.get() == "value"
    with pytest.raises(ValueError, match="num_cpu"):
        Queue(actor_options={"num_cpu": 1})
    with pytest.raises(TypeError, match="maxsize must be a number, not 'many'"):
        Queue("many")


@pytest.mark.parametrize("force", [False, True])
def test_shutdown(rt, force):
    items = Queue()
    items.put(1)
    items.shutdown(force, grace_period_s=60)
    with pytest.raises(ActorDiedError):
        items.put(2)
