"""Random runs of a small cluster of bare machines: whatever the order of deliveries and whoever
dies, all ends well.
"""

from __future__ import annotations

import msgspec
import pytest

from rsim.core import effects as fx
from rsim.core import events
from rsim.core.ids import put_id, return_id
from rsim.core.records import ActorOptions, Strategy
from tests.core.cluster import MIB, Cluster
from tests.core.specs import like


def run_program(
    cluster: Cluster,
    tasks: int = 12,
    retries: int = 50,
    *,
    actors: float = 0.0,
    trouble: float = 0.0,
    in_order: bool = False,
) -> list[str]:
    """The driver submits tasks on each other's results, waits for all, drops all refs; the errors
    it got. ``trouble``: how often something is cancelled, or an actor killed. ``in_order``: all
    actors run one call at a time.
    """
    driver, rng = cluster.driver, cluster.rng
    refs: list[bytes] = []
    held: list[events.Event] = []
    """Submissions that the node would only queue: it gets them together."""

    def take_in() -> None:
        cluster.step_together("n0", held)
        held.clear()

    for _ in range(tasks):
        if rng.random() < 0.2:
            object_id = put_id(driver.task_id, driver.puts)
            driver.puts += 1
            driver.lent((object_id,))
            take_in()
            cluster.step("n0", events.ObjectPut(0, object_id, 10, (), False))
        else:
            known = tuple(refs)
            living = [each for each in refs if each in cluster.actors]
            creation, actor = None, b""
            if rng.random() < actors:
                if living and rng.random() < 0.8:
                    actor = rng.choice(living)
                else:
                    kinds = [ActorOptions(-1), ActorOptions(-1, (), 1000, True)]
                    kinds.append(ActorOptions(-1, (), 2, groups=(("g", 2),)))
                    creation = rng.choice(kinds[: 1 if in_order else 3])
            deps = tuple(rng.sample(known, min(len(known), rng.randint(0, 2))))
            borrows = tuple(rng.sample(known, min(len(known), rng.randint(0, 1))))
            strategy = Strategy("SPREAD") if rng.random() < 0.3 else None
            kind = cluster.actors.get(actor)
            spec = driver.spec(
                deps, borrows, retries, strategy, creation=creation, actor=actor, kind=kind
            )
            object_id = return_id(spec.task_id, 0)
            if creation is not None:
                cluster.actors[object_id] = creation
            driver.lent((object_id,))
            held.append(events.TaskSubmitted(0, spec))
            if not cluster.nodes["n0"].would_queue(spec):
                take_in()
        refs.append(object_id)
        if trouble and rng.random() < trouble:
            take_in()
            victim, force = rng.choice(refs), rng.random() < 0.5
            if victim in cluster.actors:
                cluster.step("n0", events.ActorKilled(0, victim, force))
            else:
                cluster.step("n0", events.CancelRequested(0, victim, force, True))
        if rng.random() < 0.6:
            take_in()
            for _ in range(rng.randint(0, 50)):
                cluster.turn()
    take_in()
    errors = []
    for op, object_id in enumerate(refs, start=1000):
        cluster.step("n0", events.ObjectsRequested(0, op, (object_id,)))
        for _ in range(200_000):
            if op in cluster.answers or not cluster.turn():
                break
        answer = cluster.answers.get(op)
        report = [line for node in cluster.nodes.values() for line in node.waiting_report()]
        assert isinstance(answer, fx.ReplyObjects), "\n".join(report) or "no answer, nobody waits"
        for each in answer.object_ids:
            if ("n0", each) in cluster.errors:
                errors.append(cluster.errors["n0", each].kind)
            if cluster.nodes["n0"].located(each) is not None:
                cluster.step("n0", events.PinsReleased(0, (each,)))
    cluster.step("n0", driver.give_up(list(driver.loans)))
    cluster.run()
    return errors


def assert_all_freed(cluster: Cluster) -> None:
    for name, node in cluster.nodes.items():
        assert not node.objects.entries, name
        assert not node.tasks.table, name
        assert node.scheduler.pool.available() == node.scheduler.pool.total
        assert node.shelf.store.stats().used_bytes == 0
        assert node.quiescent()


@pytest.mark.parametrize("seed", range(20))
def test_an_end_told_in_short_means_the_same(seed: int) -> None:
    """As long as nothing is freed before it is compared."""

    def run(in_full: bool) -> list[str]:
        cluster = Cluster(
            seed, crash=0.05, pipeline=1 + seed % 3, streams=0.2, kill_nodes=1, in_full=in_full
        )
        prints: list[str] = []
        turn = cluster.turn

        def noted() -> bool:
            went_on = turn()
            prints.extend(node.fingerprint() for node in cluster.nodes.values())
            return went_on

        cluster.turn = noted  # type: ignore[method-assign]
        run_program(cluster, actors=0.3, trouble=0.05)
        return prints

    assert run(True) == run(False)


@pytest.mark.parametrize("seed", range(60))
def test_every_task_ends_and_all_is_freed(seed: int) -> None:
    cluster = Cluster(seed, nodes=1 + seed % 3, pipeline=1 + 3 * (seed % 2))
    assert run_program(cluster) == []
    assert_all_freed(cluster)


@pytest.mark.parametrize("seed", range(60))
def test_worker_deaths_are_survived(seed: int) -> None:
    cluster = Cluster(seed, nodes=1 + seed % 3, crash=0.02, pipeline=1 + 3 * (seed % 2))
    assert run_program(cluster) == []
    assert_all_freed(cluster)


@pytest.mark.parametrize("seed", [*range(150), 1036, 1291])
def test_node_deaths_are_survived(seed: int) -> None:
    cluster = Cluster(seed, nodes=4, kill_nodes=2, crash=0.005)
    assert run_program(cluster) == []
    assert_all_freed(cluster)


@pytest.mark.parametrize("seed", range(100))
def test_nodes_that_join_are_used_and_may_die(seed: int) -> None:
    kills = 2 * (seed % 2)
    cluster = Cluster(seed, nodes=1 + seed % 3, join_nodes=3, kill_nodes=kills, crash=0.005)
    errors = run_program(cluster, tasks=20, actors=0.3 * (seed % 3))
    assert all(kind == "ActorDiedError" for kind in errors)
    if not kills:
        assert errors == []
    assert_all_freed(cluster)


def test_a_node_that_joins_as_another_dies_is_not_waited_for() -> None:
    cluster = Cluster(0, nodes=2)
    cluster.kill_node("n1")
    cluster.join_node("late")
    cluster.run()
    assert cluster.glob.quiescent(), cluster.glob.waiting_report()


@pytest.mark.parametrize("seed", range(60))
def test_a_tight_store_spills_and_frees_all(seed: int) -> None:
    cluster = Cluster(seed, nodes=1 + seed % 3, capacity_bytes=6 * MIB)
    assert run_program(cluster) == []
    assert_all_freed(cluster)


@pytest.mark.parametrize("seed", [*range(10), 1261, 1308, 1340])
def test_a_tight_store_and_node_deaths(seed: int) -> None:
    cluster = Cluster(seed, nodes=3, kill_nodes=1, crash=0.005, capacity_bytes=6 * MIB)
    errors = run_program(cluster, actors=0.2)
    assert all(kind == "ActorDiedError" for kind in errors)
    assert_all_freed(cluster)


def assert_order(cluster: Cluster) -> None:
    """Calls of one caller began in the order of their submission."""
    for calls in cluster.calls.values():
        last: dict[bytes, int] = {}
        for caller, index in calls:
            assert index > last.get(caller, -1)
            last[caller] = index


@pytest.mark.parametrize("seed", range(80))
def test_actors_answer_every_call_in_order_and_end(seed: int) -> None:
    cluster = Cluster(seed, nodes=1 + seed % 3, pipeline=1 + 3 * (seed % 2))
    assert run_program(cluster, tasks=20, actors=0.6, in_order=True) == []
    assert_order(cluster)
    assert_all_freed(cluster)


@pytest.mark.parametrize("seed", range(80))
def test_concurrent_actors_answer_every_call_and_end(seed: int) -> None:
    cluster = Cluster(seed, nodes=1 + seed % 3, pipeline=1 + 3 * (seed % 2))
    assert run_program(cluster, tasks=20, actors=0.6) == []
    assert_order(cluster)
    assert_all_freed(cluster)


@pytest.mark.parametrize("seed", [*range(80), 11090])
def test_actors_survive_worker_deaths(seed: int) -> None:
    cluster = Cluster(seed, nodes=1 + seed % 3, crash=0.02, pipeline=1 + 3 * (seed % 2))
    assert run_program(cluster, tasks=20, actors=0.6, in_order=True) == []
    assert_all_freed(cluster)


@pytest.mark.parametrize("seed", [*range(80), 10423, 11098])
def test_concurrent_actors_survive_worker_deaths(seed: int) -> None:
    cluster = Cluster(seed, nodes=1 + seed % 3, crash=0.02)
    errors = run_program(cluster, tasks=25, actors=0.6, trouble=0.2 * (seed % 2))
    assert set(errors) <= {"ActorDiedError", "TaskCancelledError", "WorkerCrashedError"}
    assert_all_freed(cluster)


@pytest.mark.parametrize("seed", [*range(100), 1079, 1094, 1200, 3378, 5190])
def test_actors_and_node_deaths(seed: int) -> None:
    cluster = Cluster(seed, nodes=4, kill_nodes=2, crash=0.005)
    errors = run_program(cluster, tasks=20, actors=0.6)
    assert all(kind == "ActorDiedError" for kind in errors)
    assert_all_freed(cluster)


@pytest.mark.parametrize("seed", [*range(10), 1002, 5251, 5352])
def test_cancels_kills_and_node_deaths(seed: int) -> None:
    cluster = Cluster(seed, nodes=4, kill_nodes=2, crash=0.005)
    run_program(cluster, tasks=20, actors=0.4, trouble=0.2)
    assert_all_freed(cluster)


@pytest.mark.parametrize("seed", range(150))
def test_actors_cancels_and_kills(seed: int) -> None:
    crash = 0.01 * (seed % 2)
    cluster = Cluster(seed, nodes=1 + seed % 3, crash=crash, pipeline=1 + 3 * (seed // 2 % 2))
    errors = run_program(cluster, tasks=25, actors=0.6, trouble=0.3)
    assert set(errors) <= {"ActorDiedError", "TaskCancelledError", "WorkerCrashedError"}
    assert_all_freed(cluster)


def free_names(cluster: Cluster) -> None:
    """End the actors that still have one: detached ones, whose creators died too early."""
    for name in cluster.names.names(None):
        named = cluster.names.find(name)
        assert named is not None and named.owner in cluster.nodes
        assert cluster.nodes[named.owner].actors.is_callable(named.actor_id)
        cluster.step(named.owner, events.ActorKilled(0, named.actor_id, True))
    cluster.run()
    assert cluster.names.names(None) == ()


@pytest.mark.parametrize("seed", [*range(80), 10021, 20585])
def test_names_are_free_when_all_is_over(seed: int) -> None:
    cluster = Cluster(seed, nodes=1 + seed % 3, crash=0.01 * (seed % 2), naming=0.4)
    run_program(cluster)
    free_names(cluster)
    assert_all_freed(cluster)


@pytest.mark.parametrize("seed", [*range(100), 1042, 1148, 1336, 3408, 10068, 11589])
def test_names_and_node_deaths(seed: int) -> None:
    cluster = Cluster(seed, nodes=4, kill_nodes=2, crash=0.005, naming=0.4)
    run_program(cluster)
    free_names(cluster)
    assert_all_freed(cluster)


def test_demands_that_nobody_has_any_more_are_forgotten() -> None:
    cluster = Cluster(0, nodes=1, cpus=1)
    driver, scheduler = cluster.driver, cluster.nodes["n0"].scheduler
    for units in range(1, 201):
        spec = driver.spec((), (), 0)
        options = msgspec.structs.replace(spec.options, demand=(("CPU", units),))
        driver.lent((return_id(spec.task_id, 0),))
        spec = like(spec, options=options)
        cluster.step("n0", events.TaskSubmitted(0, spec))
        cluster.run()
        cluster.step("n0", driver.give_up(list(driver.loans)))
    assert len(scheduler.ready.queues) <= 70
    assert_all_freed(cluster)
