# user program: all of it runs in virtual time
"""Streaming generators in simulated clusters: across nodes, under faults, in virtual time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import rsim
from rsim.sim import Cluster, Faults

KIB = 1 << 10


@rsim.remote(max_retries=-1)
def readings(number: int, pause_s: float = 0.0) -> Iterator[Any]:
    """Small and large values in turn."""
    for index in range(number):
        time.sleep(pause_s)
        yield index if index % 2 else np.full(150 * KIB, index, dtype=np.uint8)


@rsim.remote(max_retries=-1)
def total(*values: Any) -> int:
    return sum(int(np.max(value)) for value in values)


@rsim.remote(max_retries=-1)
def consume(number: int) -> int:
    refs = list(readings.options(scheduling_strategy="SPREAD").remote(number))
    return int(rsim.get(total.remote(*refs)))


def test_items_come_in_virtual_time() -> None:
    session = rsim.init("sim", cluster=Cluster(1, num_cpus=2, latency_s=0))
    for index, ref in enumerate(readings.remote(5, 1.0)):
        assert session.now() == index + 1
        assert int(np.max(rsim.get(ref))) == index
    assert session.now() == 5


def test_an_endless_generator_lets_time_pass() -> None:
    rsim.init("sim", num_cpus=2)

    @rsim.remote
    def endless() -> Iterator[int]:
        while True:
            yield 0

    generator = endless.options(_generator_backpressure_num_objects=-1).remote()
    time.sleep(0.02)
    rsim.cancel(generator)
    *_, last = generator
    with pytest.raises(rsim.exceptions.TaskCancelledError):
        rsim.get(last)


@pytest.mark.parametrize("seed", range(6))
def test_across_nodes(seed: int) -> None:
    session = rsim.init("sim", cluster=Cluster(3, num_cpus=2), seed=seed)
    spread = readings.options(scheduling_strategy="SPREAD", _generator_backpressure_num_objects=2)
    generators = [spread.remote(6) for _ in range(3)]
    sums = [rsim.get(total.remote(*generator)) for generator in generators]
    assert sums == [15, 15, 15]
    assert rsim.get([consume.remote(5) for _ in range(3)]) == [10, 10, 10]
    digest = session.digest()
    rsim.shutdown()
    assert len(digest) > 0


def run_program(seed: int, faults: Faults) -> tuple[list[int], str]:
    session = rsim.init("sim", cluster=Cluster(4, num_cpus=2), seed=seed, faults=faults)
    spread = readings.options(scheduling_strategy="SPREAD")
    children = [consume.remote(5) for _ in range(4)]
    found = [rsim.get(total.remote(*spread.remote(6, 0.1))) for _ in range(3)]
    found += rsim.get(children)
    digest = session.digest()
    rsim.shutdown()
    return found, digest


@pytest.mark.parametrize("seed", range(12))
def test_workers_and_nodes_may_die(seed: int) -> None:
    faults = Faults(kill_worker=0.3, kill_node=0.1, max_faults=6)
    found, digest = run_program(seed, faults)
    assert found == [15, 15, 15, 10, 10, 10, 10]
    assert run_program(seed, faults) == (found, digest)
