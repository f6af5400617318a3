"""Where tasks run: strategies and resources, on a simulated cluster of three nodes."""

import time
from collections import Counter

import numpy as np
import pytest

import rsim
from rsim.exceptions import TaskUnschedulableError
from rsim.util.scheduling_strategies import NodeAffinitySchedulingStrategy as Affinity


@rsim.remote
def work(seconds=1):
    time.sleep(seconds)


@pytest.fixture
def cluster():
    return rsim.init("sim", cluster=rsim.sim.Cluster(nodes=3, num_cpus=2), seed=0)


def places(session, name="work"):
    """On which nodes tasks of a name ran, and how often."""
    return Counter(span.node for span in session.trace.spans if span.name == name)


def test_what_one_node_can_do_it_does(cluster):
    rsim.get([work.remote(), work.remote()])
    assert places(cluster) == {"n0": 2}


def test_more_is_spread_over_the_others(cluster):
    rsim.get([work.remote() for _ in range(6)])
    assert places(cluster) == {"n0": 2, "n1": 2, "n2": 2}
    assert cluster.now() < 1.1


def test_spread(cluster):
    for _ in range(3):
        rsim.get(work.options(scheduling_strategy="SPREAD").remote())
    assert places(cluster) == {"n0": 1, "n1": 1, "n2": 1}


@pytest.mark.parametrize("soft", [True, False])
@pytest.mark.parametrize("node", ["n0", "n1", "n2"])
def test_affinity(cluster, node, soft):
    refs = [work.options(scheduling_strategy=Affinity(node, soft=soft)).remote() for _ in range(2)]
    rsim.get(refs)
    assert places(cluster) == {node: 2}


def test_hard_affinity_waits_for_its_node(cluster):
    rsim.get([work.options(scheduling_strategy=Affinity("n1")).remote() for _ in range(6)])
    assert places(cluster) == {"n1": 6}
    assert 3 <= cluster.now() < 3.1


@pytest.mark.parametrize("node", ["n9", "global"])
def test_hard_affinity_to_an_unknown_node(cluster, node):
    ref = work.options(scheduling_strategy=Affinity(node)).remote()
    with pytest.raises(TaskUnschedulableError, match=f"work.*{node}"):
        rsim.get(ref)


def test_soft_affinity_to_an_unknown_node(cluster):
    rsim.get(work.options(scheduling_strategy=Affinity("n9", soft=True)).remote())
    assert sum(places(cluster).values()) == 1


def test_hard_affinity_to_a_node_that_died(cluster):
    cluster.kill_node("n1")
    time.sleep(1)  # user program
    with pytest.raises(TaskUnschedulableError, match="n1"):
        rsim.get(work.options(scheduling_strategy=Affinity("n1")).remote())
    rsim.get(work.options(scheduling_strategy=Affinity("n1", soft=True)).remote())


def test_local_has_one_node(init):
    init(num_cpus=2)
    rsim.get(work.options(scheduling_strategy="SPREAD").remote(0))
    ref = work.options(scheduling_strategy=Affinity("elsewhere")).remote(0)
    with pytest.raises(TaskUnschedulableError, match="elsewhere"):
        rsim.get(ref, timeout=60)


def test_nodes_that_differ():
    nodes = [
        rsim.sim.Node("head", num_cpus=1),
        rsim.sim.Node("gpus", num_cpus=2, num_gpus=2),
        rsim.sim.Node("licensed", num_cpus=2, resources={"licence": 1}),
        rsim.sim.Node("roomy", num_cpus=1, memory=1 << 40),
    ]
    with rsim.init("sim", cluster=nodes) as session:
        asked = {
            "gpus": {"num_gpus": 1},
            "licensed": {"resources": {"licence": 0.5}},
            "roomy": {"memory": 1 << 38},
        }
        refs = [
            work.options(name=name, **options).remote()
            for name, options in asked.items()
            for _ in range(2)
        ]
        rsim.get(refs)
        for name in asked:
            assert places(session, name) == {name: 2}
        big = work.options(num_cpus=3).remote()
        assert rsim.wait([big], timeout=10) == ([], [big])
        assert len(session.infeasible()) == 1


def test_large_inputs_attract_their_task():
    nodes = [rsim.sim.Node("head", num_cpus=0)]
    nodes += [rsim.sim.Node(name, num_cpus=4) for name in ("left", "right")]
    with rsim.init("sim", cluster=rsim.sim.Cluster(nodes), seed=0) as session:

        @rsim.remote
        def make():
            return np.zeros(10_000_000)

        @rsim.remote
        def use(array):
            return len(array)

        for node in ("left", "right", "left"):
            made = make.options(scheduling_strategy=Affinity(node)).remote()
            rsim.wait([made], fetch_local=False)
            rsim.get(use.options(name=f"use {node}").remote(made))
        assert places(session, "use left") == {"left": 2}
        assert places(session, "use right") == {"right": 1}


def test_objects_move_between_nodes(cluster):
    @rsim.remote
    def fill(number):
        return np.full(1_000_000, number)

    @rsim.remote
    def total(first, second):
        return int(first[-1] + second[0])

    made = [
        fill.options(scheduling_strategy=Affinity(f"n{number}")).remote(number)
        for number in range(3)
    ]
    refs = [
        total.options(scheduling_strategy=Affinity("n2")).remote(made[0], made[1]),
        total.options(scheduling_strategy=Affinity("n0")).remote(made[1], made[2]),
        total.options(scheduling_strategy=Affinity("n1")).remote(made[2], made[2]),
    ]
    assert rsim.get(refs) == [1, 3, 4]
    # 8 MB at 1.25 GB/s take 6.4 ms; each node gets at most two.
    assert 0.006 < cluster.now() < 0.1
    assert [each[0] for each in rsim.get(made)] == [0, 1, 2]


def test_a_policy_of_ones_own():
    class LastThatFits:
        """Whoever can do it, from the back."""

        def place(self, task, cluster, choices):
            fitting = [node.name for node in cluster.nodes if node.fits_now(task.demand)]
            return fitting[-1] if fitting else None

    with rsim.init(
        "sim", cluster=rsim.sim.Cluster(3, num_cpus=2), policy=LastThatFits()
    ) as session:
        for _ in range(4):
            rsim.get(work.options(scheduling_strategy="SPREAD").remote())
        spread = places(session)
        rsim.get([work.remote() for _ in range(6)])
        assert sum(places(session).values()) == 10
    assert sum(spread.values()) == 4


@rsim.remote
def make(size_bytes):
    return bytes(size_bytes)


@rsim.remote
def where_beside(*_):
    return rsim.get_runtime_context().get_node_id()


def test_a_task_goes_to_its_large_inputs_though_there_is_room_where_it_was_submitted(init):
    session = init(num_cpus=2)
    here = rsim.get_runtime_context().get_node_id()
    session.add_node(name="other", num_cpus=2, resources={"other": 1})
    large, small = (make.options(resources={"other": 1}).remote(size) for size in (500_000, 1))
    rsim.wait([large, small], num_returns=2, fetch_local=False)
    assert rsim.get(where_beside.remote(small)) == here
    assert rsim.get(where_beside.remote(large, small)) == "other"
    larger = rsim.put(bytes(1_000_000))
    assert rsim.get(where_beside.remote(large, larger)) == here
