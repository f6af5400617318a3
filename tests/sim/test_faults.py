# user program: all of it runs in virtual time
"""Injected faults: their arguments, their draws, and what programs see of them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from rsim.exceptions import WorkerCrashedError
from rsim.sim import Cluster, Faults, Node
from rsim.sim.faults import AT_END, AT_PAUSE, AT_START, Injector
from rsim.sim.sources import Seeded
from rsim.sim.tape import Tape
from tests.sim.driving import get, get_all, simulation, submit


class Scripted:
    """Faults strike whenever they can, at the given point; all else is canonical."""

    def __init__(self, when: int) -> None:
        self._when = when

    def choose(self, label: str, n: int, candidates: Sequence[object], rate: float) -> int:
        if rate:
            return 1
        return self._when if label == "fault.when" else 0


def leaf(value: int) -> int:
    time.sleep(0.5)
    return value


def tree(width: int) -> int:
    return sum(get_all([submit(leaf, value, max_retries=9) for value in range(width)]))


def quick(value: int) -> int:
    return value


# -- arguments ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"kill_worker": 1.5}, ValueError, "kill_worker must be from 0 to 1, not 1.5"),
        ({"kill_node": -0.1}, ValueError, "kill_node must be from 0 to 1, not -0.1"),
        ({"kill_node": float("nan")}, ValueError, "kill_node must be from 0 to 1, not nan"),
        ({"kill_worker": "often"}, TypeError, "kill_worker must be a number from 0 to 1"),
        ({"max_faults": -1}, ValueError, "max_faults must be 0 or more, not -1"),
        ({"max_faults": 1.0}, TypeError, "max_faults must be an int, not 1.0"),
    ],
)
def test_bad_rates_are_refused(
    arguments: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        Faults(**arguments)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"nodes": 0}, ValueError, "nodes must be 1 or more, not 0"),
        ({"nodes": "three"}, TypeError, "nodes must be an int or a list"),
        ({"nodes": [Node("a"), Node("a")]}, ValueError, r"nodes\[1\]: the name 'a' is already"),
        ({"num_cpus": -1}, ValueError, "num_cpus must be a finite number, 0 or more, not -1"),
        ({"num_cpus": "4"}, TypeError, "num_cpus must be a number, not '4'"),
        ({"resources": {"CPU": 2}}, ValueError, "must not contain 'CPU': use num_cpus="),
        ({"resources": {"tpu": -2}}, ValueError, r"resources\['tpu'\] must be a finite number"),
        ({"latency_s": float("inf")}, ValueError, "latency_s must be a finite number"),
        ({"bandwidth_bytes_per_s": 0}, ValueError, "bandwidth_bytes_per_s must be .* above 0"),
        ({"timer_slack_s": -1}, ValueError, "timer_slack_s must be a finite number, 0 or more"),
        ({"speed": 0}, ValueError, "speed must be a finite number above 0, not 0"),
        ({"speed": 10**400}, ValueError, "speed must be a finite number"),
        ({"nodes": 1 << 70}, ValueError, "nodes must be at most 100000"),
        ({"nodes": []}, ValueError, "nodes must have one node or more, and has none"),
        ({"num_gpus": 1 << 31}, ValueError, "num_gpus must be at most 100000"),
        ({"resources": ["tpu"]}, TypeError, r"resources must be a dict .* not \['tpu'\]"),
        ({"resources": 0}, TypeError, "resources must be a dict of quantities by name, not 0"),
        ({"object_store_memory": 0.5}, TypeError, "object_store_memory must be an int, not 0.5"),
        ({"latency_s": 1e300}, ValueError, r"latency_s must be less than 9e\+09, not 1e\+300"),
    ],
)
def test_bad_clusters_are_refused(
    arguments: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        Cluster(**arguments)


def test_nodes_without_a_name_are_numbered() -> None:
    members = Cluster([Node(num_cpus=1), Node("big", num_cpus=64), Node()]).members
    assert [(node.name, node.num_cpus) for node in members] == [("n0", 1), ("big", 64), ("n2", 4)]


# -- draws -------------------------------------------------------------------------------------


def test_rates_and_the_limit_are_kept() -> None:
    injector = Injector(Faults(kill_worker=0.2, max_faults=10_000), Tape(Seeded(1)))
    dooms = [injector.doom(b"t" * 16, exempt_node=False) for _ in range(2000)]
    struck = [doom for doom in dooms if doom is not None]
    assert 300 < len(struck) < 500
    assert {doom.when for doom in struck} == {AT_START, AT_PAUSE, AT_END}
    limited = Injector(Faults(kill_worker=1.0, max_faults=2), Tape(Scripted(0)))
    dooms = [limited.doom(b"t" * 16, exempt_node=False) for _ in range(5)]
    assert [doom is not None for doom in dooms] == [True, True, False, False, False]


def test_the_drivers_node_is_exempt() -> None:
    injector = Injector(Faults(kill_node=1.0), tape := Tape(Scripted(0)))
    assert injector.doom(b"t" * 16, exempt_node=True) is None
    assert not tape.draws


def test_no_rate_is_no_decision() -> None:
    tape = Tape(Seeded(1))
    assert Injector(Faults(), tape).doom(b"t" * 16, exempt_node=False) is None
    assert not tape.draws


# -- what programs see -------------------------------------------------------------------------


@pytest.mark.parametrize("when", [AT_START, AT_PAUSE, AT_END])
@pytest.mark.parametrize(("function", "takes_s"), [(leaf, 0.5), (quick, 0.0)])
def test_a_worker_dies_at_the_point_drawn(function: Any, takes_s: float, when: int) -> None:
    faults = Faults(kill_worker=1.0, max_faults=1)
    with simulation(Scripted(when), num_cpus=1, faults=faults) as session:
        assert get(submit(function, 5, max_retries=1)) == 5
        assert session.now() == (2 * takes_s if when == AT_END else takes_s)
    assert [span.outcome for span in session.trace.spans] == ["died", "finished"]
    (fault,) = session.trace.instants
    assert (fault.node, fault.name, fault.slot, fault.args) == (
        "n0",
        "kill worker",
        1,
        {"task": "d/0"},
    )


def test_without_retries_a_fault_is_an_error() -> None:
    faults = Faults(kill_worker=1.0, max_faults=1)
    with (
        simulation(Scripted(AT_START), faults=faults),
        pytest.raises(WorkerCrashedError, match="fault injected by the simulation"),
    ):
        get(submit(quick, 5, max_retries=0))


@pytest.mark.parametrize("when", [AT_START, AT_PAUSE, AT_END])
def test_a_node_dies_at_the_point_drawn_and_others_take_over(when: int) -> None:
    cluster = Cluster([Node(num_cpus=0), Node(num_cpus=1), Node(num_cpus=1)], detection_s=2.0)
    faults = Faults(kill_node=1.0, max_faults=1)
    with simulation(Scripted(when), cluster=cluster, faults=faults) as session:
        assert get(submit(leaf, 5, max_retries=1)) == 5
        assert session.now() == pytest.approx(2.5 + (0.5 if when == AT_END else 0), abs=0.01)
    names = [(instant.name, instant.kind) for instant in session.trace.instants]
    assert names == [("kill node", "fault"), ("node died", "death")]
    first, second = [span.node for span in session.trace.spans if span.kind == "task"]
    assert {first, second} == {"n1", "n2"}


def test_fifty_seeds_of_faults_change_no_result() -> None:
    seen: Counter[str] = Counter()
    for seed in range(50):
        faults = Faults(kill_worker=0.1, kill_node=0.05, max_faults=3)
        cluster = Cluster(3, num_cpus=2, jitter_s=1e-3)
        with simulation(seed=seed, cluster=cluster, faults=faults) as session:
            refs = [submit(tree, 4, max_retries=9) for _ in range(3)]
            assert get_all(refs) == [6, 6, 6], f"seed {seed}"
            for site in session.sites.values():
                if site.alive:
                    site.host.machine.check()
            struck = [instant for instant in session.trace.instants if instant.kind == "fault"]
            assert len(struck) <= 3
            seen.update(instant.name for instant in struck)
    assert seen["kill worker"] > 30
    assert seen["kill node"] > 5


def test_without_a_seed_faults_are_those_of_seed_0_on_the_canonical_schedule() -> None:
    def play() -> tuple[str, list[str]]:
        faults = Faults(kill_worker=0.3, max_faults=5)
        with simulation(cluster=Cluster(2), faults=faults) as session:
            get_all([submit(leaf, value, max_retries=9) for value in range(12)])
            ready = [draw.choice for draw in session.tape.draws if draw.label == "ready"]
            assert not any(ready)
            return session.digest(), [instant.name for instant in session.trace.instants]

    first, second = play(), play()
    assert first == second
    assert first[1]
