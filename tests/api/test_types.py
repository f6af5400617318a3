"""What a type checker makes of programs: mypy reads this file too, with `make lint`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, assert_type

import pytest

import rsim
from rsim import ActorHandle, ObjectRef, ObjectRefGenerator, RemoteFunction


@rsim.remote
def square(number: int) -> int:
    return number * number


@rsim.remote(num_cpus=0.5)
def text(number: int) -> str:
    return str(number)


@rsim.remote(num_returns=2)
def pair(number: int) -> tuple[int, int]:
    return number, number


@rsim.remote
def count(number: int) -> Iterator[int]:
    yield from range(number)


@rsim.remote(_generator_backpressure_num_objects=2)
def slow_count(number: int) -> Iterator[int]:
    yield from range(number)


@pytest.fixture(autouse=True)
def session() -> Iterator[rsim.Session]:
    with rsim.init("sim", cluster=rsim.sim.Cluster(nodes=2)) as session:
        yield session


class Plain:
    def add(self, number: int) -> int:
        return number + 1


# mypy does not look at what decorates a class.
Counter = rsim.remote(Plain)
Busy = rsim.remote(num_cpus=1)(Plain)


def test_functions() -> None:
    assert_type(square, RemoteFunction[ObjectRef[int]])
    assert_type(rsim.get(square.remote(2)), int)
    assert_type(rsim.get([square.remote(2)]), list[int])
    assert_type(rsim.get(text.remote(2)), str)
    assert_type(square.options(num_cpus=1), RemoteFunction[ObjectRef[int]])
    assert_type(square.options(num_returns=1), RemoteFunction[Any])
    ready, others = rsim.wait([square.remote(2)])
    assert_type(ready + others, list[ObjectRef[int]])
    first, second = rsim.get(pair.remote(2))  # a list of refs, which nothing in its type tells
    assert first == second == 2


def test_generators() -> None:
    generator = count.remote(2)
    assert_type(generator, ObjectRefGenerator[int])
    assert [assert_type(rsim.get(ref), int) for ref in generator] == [0, 1]
    slow = slow_count.remote(2)
    assert_type(slow, ObjectRefGenerator[int])
    assert_type(rsim.wait([slow])[0], list[ObjectRefGenerator[int]])


def test_actors() -> None:
    counter = Counter.remote()
    assert_type(counter, ActorHandle)
    assert rsim.get(counter.add.remote(1)) == 2
    assert_type(Busy.options(num_cpus=0).remote(), ActorHandle)


def test_what_is_imported_on_demand() -> None:
    assert_type(rsim.sim.Node("a"), rsim.sim.Node)
    assert_type(rsim.util.ActorPool([Plain]), rsim.util.ActorPool)
