# user program: all of it runs in virtual time
"""Nodes that join and leave a simulated cluster: when, and that the seed decides all of it."""

import time
from typing import Any

import pytest

from rsim.exceptions import RsimTaskError
from rsim.runtime.gantt import render_gantt
from rsim.runtime.session import NodeOptions
from rsim.sim import Cluster, Node
from tests.sim.driving import get, get_all, simulation, submit


def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def test_joining_takes_the_latency() -> None:
    with simulation(cluster=Cluster(2, latency_s=0.25)) as session:
        assert session.add_node(NodeOptions()) == "n2"
        assert session.now() == 0.25
        (joined,) = [each for each in session.trace.instants if each.kind == "join"]
        assert (joined.node, joined.name, joined.at_ns) == ("n2", "node joined", 250_000_000)
        assert session.node_names() == ["n0", "n1", "n2"]


@pytest.mark.parametrize(("graceful", "takes_s"), [(False, 2.0), (True, 0.25)])
def test_the_others_know_of_a_death_when_it_is_told(graceful: bool, takes_s: float) -> None:
    with simulation(cluster=Cluster(2, latency_s=0.25, detection_s=2.0)) as session:
        session.remove_node("n1", graceful)
        assert session.now() == pytest.approx(takes_s, abs=1e-6)
        assert session.node_names() == ["n0"]
        for site in session.sites.values():
            assert "n1" not in getattr(getattr(site.host.machine, "peers", None), "others", ())
        views = session.sites["global"].host.machine.views()
        assert [view.name for view in views] == ["n0"]


def test_a_node_that_joins_before_a_death_is_told_hears_of_it() -> None:
    with simulation(cluster=Cluster(2, latency_s=0.25, detection_s=2.0)) as session:
        session.kill_node("n1")
        session.add_node(NodeOptions())
        get(submit(nap, 3.0))
        scheduler = session.sites["global"].host.machine
        assert scheduler.quiescent(), scheduler.waiting_report()


def test_a_new_node_is_like_the_first() -> None:
    members = [Node("home", speed=2.0, memory=7, object_store_memory=8_192), Node("other")]
    with simulation(cluster=Cluster(members)) as session:
        name = session.add_node(NodeOptions(num_cpus=3, resources={"slot": 1}))
        site = session.sites[name]
        assert site.speed == 2.0
        assert dict(site.total) == {
            "CPU": 30_000,
            "memory": 70_000,
            "slot": 10_000,
            f"node:{name}": 10_000,
        }
        assert site.host.machine.shelf.store.arena.capacity_bytes == 8_192


def test_names_do_not_come_back() -> None:
    with simulation(cluster=Cluster([Node("n1"), Node("n3")])) as session:
        assert session.add_node(NodeOptions()) == "n2"
        assert session.add_node(NodeOptions()) == "n4"
        session.remove_node("n2", True)
        assert session.add_node(NodeOptions()) == "n5"
        with pytest.raises(ValueError, match="'n2' is taken"):
            session.add_node(NodeOptions(name="n2"))


def test_a_task_can_neither_add_nor_remove_a_node() -> None:
    def meddle(how: str) -> None:
        from tests.sim import test_nodes

        if how == "add":
            test_nodes._session.add_node(NodeOptions())
        else:
            test_nodes._session.remove_node("n1", False)

    global _session
    with simulation(cluster=Cluster(2)) as _session:
        for how in ("add", "remove"):
            with pytest.raises(RsimTaskError, match=f"a task cannot {how} a node"):
                get(submit(meddle, how))
        assert _session.node_names() == ["n0", "n1"]


def play(seed: int) -> tuple[Any, str, str]:
    """Nodes come and go under a load; the results, the digest and the drawing."""
    cluster = Cluster(2, num_cpus=1, jitter_s=1e-3)
    with simulation(seed=seed, cluster=cluster) as session:
        refs = [submit(nap, 1 + number % 3, max_retries=-1) for number in range(12)]
        time.sleep(0.5)
        session.add_node(NodeOptions())
        session.remove_node("n1", False)
        session.add_node(NodeOptions(num_cpus=2))
        results = get_all(refs)
        trace = session.trace
        drawing = render_gantt(trace.spans, instants=trace.instants, colour=False)
        return results, session.digest(), drawing


@pytest.mark.parametrize("seed", range(5))
def test_the_seed_decides_it_all(seed: int) -> None:
    first = play(seed)
    assert first == play(seed)
    assert first[0] == [1 + number % 3 for number in range(12)]
    assert all(name in first[2] for name in ("n0", "n1", "n2", "n3"))


_session: Any = None
