"""Random runs of bare machines with placement groups: all bundles or none, and all comes back."""

from __future__ import annotations

import pytest

from rsim.core import effects as fx
from rsim.core import events
from rsim.core.bundles import STRATEGIES
from rsim.core.ids import return_id
from rsim.core.records import DRIVER, ActorOptions, GroupQuery
from tests.core.cluster import Cluster


def submit(cluster: Cluster, group: bytes = b"", bundle: int = -1, actor: bool = False) -> bytes:
    creation = ActorOptions(max_restarts=-1) if actor else None
    spec = cluster.driver.spec((), (), 50, creation=creation, group=group, bundle=bundle)
    object_id = return_id(spec.task_id, 0)
    cluster.driver.lent((object_id,))
    cluster.step("n0", events.TaskSubmitted(DRIVER, spec))
    return object_id


def outcome(cluster: Cluster, object_id: bytes, op: int) -> str:
    """What became of an object: the kind of its error, or nothing."""
    cluster.step("n0", events.ObjectsRequested(DRIVER, op, (object_id,)))
    for _ in range(200_000):
        if op in cluster.answers or not cluster.turn():
            break
    assert isinstance(cluster.answers.get(op), fx.ReplyObjects), cluster.glob.waiting_report()
    if cluster.nodes["n0"].located(object_id) is not None:
        cluster.step("n0", events.PinsReleased(DRIVER, (object_id,)))
    error = cluster.errors.get(("n0", object_id))
    return error.kind if error is not None else ""


def states(cluster: Cluster) -> dict[bytes, str]:
    cluster.step("n0", events.GroupsRequested(DRIVER, 0, GroupQuery()))
    cluster.run()
    return {group_id: group.state for group_id, group in cluster.groups.items()}


def assert_idle(cluster: Cluster, cpus: int) -> None:
    """Nothing is taken, and nothing is left of any group."""
    cluster.run()
    for name, node in cluster.nodes.items():
        assert node.scheduler.pool.total == (("CPU", cpus * 10_000),), name
        assert node.scheduler.pool.available() == node.scheduler.pool.total, name
        assert not node.reserved.demands() and not node.scheduler.ready.count, name
    for view in cluster.glob.views():
        assert {key: n for key, n in view.available.items() if n} == view.total


def program(
    cluster: Cluster, groups: int, tasks: int, removals: float
) -> list[tuple[bytes, bytes]]:
    """Groups, and tasks and actors in them and beside them; (object, its group)."""
    rng = cluster.rng
    known = [cluster.create_group(rng.randint(1, 2), rng.choice(STRATEGIES)) for _ in range(groups)]
    refs = []
    for _ in range(tasks):
        group = rng.choice([*known, b""])
        bundle = rng.choice((-1, 0)) if group else -1
        refs.append((submit(cluster, group, bundle, actor=rng.random() < 0.2), group))
        for _ in range(rng.randint(0, 20)):
            cluster.turn()
        if rng.random() < removals:
            cluster.remove_group(rng.choice(known))
    return refs


@pytest.mark.parametrize("seed", range(60))
def test_tasks_in_groups_end_and_all_comes_back(seed: int) -> None:
    cluster = Cluster(seed, nodes=3, cpus=3, pipeline=1 + 3 * (seed % 2), crash=0.01 * (seed % 3))
    refs = program(cluster, groups=2, tasks=14, removals=0)
    for op, (object_id, _) in enumerate(refs, start=1000):
        assert outcome(cluster, object_id, op) == ""
    assert set(states(cluster).values()) == {"CREATED"}
    cluster.step("n0", cluster.driver.give_up(list(cluster.driver.loans)))
    for group_id in list(cluster.groups):
        cluster.remove_group(group_id)
    assert_idle(cluster, 3)


@pytest.mark.parametrize("seed", range(100))
def test_groups_removed_at_any_moment(seed: int) -> None:
    cluster = Cluster(seed, nodes=1 + seed % 3, cpus=3, pipeline=1 + 3 * (seed % 2), crash=0.005)
    refs = program(cluster, groups=4, tasks=14, removals=0.4)
    cluster.run()
    for group_id in states(cluster):
        cluster.remove_group(group_id)
    for op, (object_id, group) in enumerate(refs, start=1000):
        allowed = ("", "TaskPlacementGroupRemoved", "ActorPlacementGroupRemoved", "ActorDiedError")
        assert outcome(cluster, object_id, op) in (allowed if group else ("",))
    cluster.step("n0", cluster.driver.give_up(list(cluster.driver.loans)))
    assert_idle(cluster, 3)


@pytest.mark.parametrize("seed", range(100))
def test_lost_bundles_are_placed_anew(seed: int) -> None:
    cluster = Cluster(seed, nodes=5, cpus=3, kill_nodes=2, crash=0.005)
    refs = program(cluster, groups=3, tasks=14, removals=0.05)
    cluster.run()
    cluster.kills_left = 0  # none while the answer is on its way
    for group_id, state in states(cluster).items():
        assert state in ("CREATED", "REMOVED"), "three nodes are enough"
        cluster.remove_group(group_id)
    for op, (object_id, group) in enumerate(refs, start=1000):
        allowed = ("", "TaskPlacementGroupRemoved", "ActorPlacementGroupRemoved", "ActorDiedError")
        assert outcome(cluster, object_id, op) in (allowed if group else ("",))
    cluster.step("n0", cluster.driver.give_up(list(cluster.driver.loans)))
    assert_idle(cluster, 3)


def test_a_group_waits_for_a_node_that_is_large_enough() -> None:
    cluster = Cluster(0, nodes=2, cpus=2)
    waiting = cluster.create_group(3, "STRICT_SPREAD")
    ref = submit(cluster, waiting, 2)
    cluster.run()
    assert states(cluster)[waiting] == "PENDING"
    assert cluster.glob.quiescent()
    assert "could hold its bundles" in cluster.glob.waiting_report()[-1]
    cluster.join_node("n2")
    assert outcome(cluster, ref, 1000) == ""
    assert states(cluster)[waiting] == "CREATED"
