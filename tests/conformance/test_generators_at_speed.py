"""Streaming generators whose consumer takes many values at once: what is there already."""

import asyncio

import numpy as np
import pytest

import rsim
from tests.conformance import inspecting, marks
from tests.conformance.programs import marked

NUMBER = 200


def value(index):
    """Small ones, some with a ref in them, and large ones."""
    if index % 50 == 7:
        return np.full(1 << 17, index)
    if index % 10 == 3:
        return [rsim.put(index)]
    return bytes(index) if index % 10 == 5 else index


def weight(found):
    if isinstance(found, list):
        return rsim.get(found[0])
    return int(found[0]) if isinstance(found, np.ndarray) else found


EXPECTED = [bytes(index) if index % 10 == 5 else index for index in range(NUMBER)]


@rsim.remote
def mixed(number):
    for index in range(number):
        yield value(index)
    raise LookupError("the end")


def read(generator):
    found = []
    with pytest.raises(LookupError):
        for ref in generator:
            found.append(weight(rsim.get(ref)))
    return found


async def read_async(generator):
    found = []
    with pytest.raises(LookupError):
        async for ref in generator:
            found.append(weight(await ref))
    return found


@rsim.remote
def read_in_a_task(number):
    generator = mixed.remote(number)
    rsim.wait([generator.completed()])
    return read(generator)


@rsim.remote
class Reader:
    async def read(self, number):
        generator = mixed.remote(number)
        await asyncio.wait([generator.completed()])
        return await read_async(generator)


def test_in_the_driver(rt):
    generator = mixed.remote(NUMBER)
    rsim.wait([generator.completed()])
    assert read(generator) == EXPECTED
    del generator
    inspecting.await_nothing_left(rt)


def test_in_a_task(rt):
    assert rsim.get(read_in_a_task.remote(NUMBER)) == EXPECTED
    inspecting.await_nothing_left(rt)


def test_in_an_asynchronous_actor(rt):
    reader = Reader.remote()
    assert rsim.get(reader.read.remote(NUMBER)) == EXPECTED
    del reader
    inspecting.await_nothing_left(rt)


def test_by_async_for_in_the_driver(rt):
    assert asyncio.run(read_async(mixed.remote(NUMBER))) == EXPECTED


@rsim.remote
def taking(number):
    """Takes some values, and drops the generator, its refs, or both, in the end."""
    generator = mixed.remote(100)
    rsim.wait([generator.completed()])
    refs = [next(generator) for _ in range(number)]
    return [weight(rsim.get(ref)) for ref in refs] == EXPECTED[:number]


@pytest.mark.parametrize("taken", [1, 4, 70])
def test_what_was_not_asked_for_goes_with_the_generator(rt, taken):
    assert rsim.get(taking.remote(taken))
    generator = mixed.remote(100)
    rsim.wait([generator.completed()])
    refs = [next(generator) for _ in range(taken)]
    del generator
    assert [weight(rsim.get(ref)) for ref in refs] == EXPECTED[:taken]
    del refs
    inspecting.await_nothing_left(rt)


def test_questions_between(rt):
    generator = mixed.remote(12)
    rsim.wait([generator.completed()])
    for _ in range(13):
        assert generator.next_ready() and not generator.is_finished()
        assert rsim.wait([generator]) == ([generator], [])
        next(generator)
    assert generator.is_finished() and not generator.next_ready()
    with pytest.raises(StopIteration):
        next(generator)


@rsim.remote
def slowly(folder, limit):
    """Whether the producer never was further ahead than it may be."""
    options = {"_generator_backpressure_num_objects": limit}
    generator = marked.options(**options).remote(folder, 20)
    for taken, ref in enumerate(generator, start=1):
        assert rsim.get(ref) == taken - 1
        most = min(taken + limit, 20)
        marks.await_that(lambda most=most: marks.count(folder, "made") >= most)
        assert marks.count(folder, "made") == most
    return True


@pytest.mark.parametrize("limit", [1, 5])
def test_a_producer_that_waits_is_not_hurried(rt, tmp_path, limit):
    assert rsim.get(slowly.remote(tmp_path, limit))
