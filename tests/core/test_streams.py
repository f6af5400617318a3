"""Streams of bare machines: in random clusters under deaths, and step by step."""

from __future__ import annotations

import pytest

from rsim.core import effects as fx
from rsim.core import events, messages
from rsim.core.choices import FirstChoice
from rsim.core.config import NodeConfig
from rsim.core.ids import consecutive, driver_task_id, return_id
from rsim.core.node import Node
from rsim.core.records import LENT_ITEM, NO_ITEM, STREAMING, ActorOptions, Result, Strategy
from tests.core.clients import CPU, Client
from tests.core.cluster import MIB, Cluster, items_of
from tests.core.test_cluster import assert_all_freed


class Consumer:
    """The driver of a cluster, as a consumer of streams."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.ops = 0
        self.taken: dict[bytes, int] = {}
        self.here: dict[bytes, list[bytes]] = {}
        """Items that have come, and are not taken yet."""
        self.errors: list[str] = []

    def call(self, deps: tuple[bytes, ...] = (), *, retries: int = 50, actor: bytes = b"") -> bytes:
        """Call a generator; the id of its task."""
        driver = self.cluster.driver
        strategy = Strategy("SPREAD") if self.cluster.rng.random() < 0.3 else None
        spec = driver.spec(deps, (), retries, strategy, actor=actor, num_returns=STREAMING)
        driver.lent((return_id(spec.task_id, 0),))
        self.cluster.step("n0", events.TaskSubmitted(0, spec))
        self.taken[spec.task_id] = 0
        return spec.task_id

    def answer(self, event: events.Event, op: int) -> fx.Effect:
        cluster = self.cluster
        cluster.step("n0", event)
        for _ in range(200_000):
            if op in cluster.answers or not cluster.turn():
                break
        report = [line for node in cluster.nodes.values() for line in node.waiting_report()]
        assert op in cluster.answers, "\n".join(report) or "no answer, nobody waits"
        return cluster.answers.pop(op)

    def take(self, task_id: bytes) -> bytes | None:
        """The next item, or None at the end."""
        here = self.here.setdefault(task_id, [])
        if not here:
            self.ops += 1
            item, most = return_id(task_id, self.taken[task_id] + 1), self.cluster.rng.randint(1, 3)
            asked = events.NextRequested(0, self.ops, item, True, most)
            reply = self.answer(asked, self.ops)
            assert isinstance(reply, fx.ReplyNext)
            if reply.state == NO_ITEM:
                return None
            assert reply.state == LENT_ITEM and 0 < reply.count <= most
            if self.cluster.rng.random() < 0.1:  # interrupted
                self.cluster.driver.unlent(reply)
                self.cluster.step("n0", events.ItemReturned(0, item, reply.count))
                return self.take(task_id)
            here += consecutive(item, reply.count)
        self.taken[task_id] += 1
        return here.pop(0)

    def get(self, object_id: bytes) -> str:
        """Get a value; the kind of error that it is, if it is one."""
        self.ops += 1
        cluster = self.cluster
        reply = self.answer(events.ObjectsRequested(0, self.ops, (object_id,)), self.ops)
        assert isinstance(reply, fx.ReplyObjects) and reply.error is None
        if cluster.nodes["n0"].located(object_id) is not None:
            cluster.step("n0", events.PinsReleased(0, (object_id,)))
        error = cluster.errors.get(("n0", object_id))
        return "" if error is None else error.kind

    def drop(self, *object_ids: bytes) -> None:
        self.cluster.step("n0", self.cluster.driver.give_up(list(object_ids)))


def run_streams(cluster: Cluster, calls: int = 10, trouble: float = 0.0) -> list[str]:
    """Call generators, some on items of others, take their items, all of them or not; the errors
    that came.
    """
    rng, consumer = cluster.rng, Consumer(cluster)
    open_streams: list[bytes] = []
    refs: list[bytes] = []
    errors: list[str] = []
    complete: dict[bytes, bool] = {}
    actor = b""
    for _ in range(calls):
        if rng.random() < 0.3:
            spec = cluster.driver.spec((), (), 50, creation=ActorOptions(-1))
            actor = return_id(spec.task_id, 0)
            cluster.actors[actor] = None
            cluster.driver.lent((actor,))
            cluster.step("n0", events.TaskSubmitted(0, spec))
        deps = tuple(rng.sample(refs, min(len(refs), rng.randint(0, 1))))
        stream = consumer.call(deps, actor=actor if rng.random() < 0.3 else b"")
        open_streams.append(stream)
        complete[stream] = True
        if trouble and rng.random() < trouble:
            victim = return_id(rng.choice(open_streams), rng.randint(0, 2))
            cluster.step("n0", events.CancelRequested(0, victim, rng.random() < 0.5, True))
        for _ in range(rng.randint(0, 12)):
            stream = rng.choice(open_streams)
            if rng.random() < 0.3 and (item := consumer.take(stream)) is not None:
                refs.append(item)
            elif refs and rng.random() < 0.1:
                consumer.drop(refs.pop(rng.randrange(len(refs))))
            else:
                cluster.turn()
        if rng.random() < 0.2:
            stream = open_streams.pop(rng.randrange(len(open_streams)))
            consumer.drop(return_id(stream, 0))
    rng.shuffle(open_streams)
    for stream in open_streams:
        while (item := consumer.take(stream)) is not None:
            refs.append(item)
            if rng.random() < 0.5:
                errors.append(consumer.get(item))
        error = consumer.get(return_id(stream, 0))
        errors.append(error)
        if not error and not trouble:
            assert consumer.taken[stream] == items_of(stream)
    errors += [consumer.get(item) for item in refs]
    for number in ("n0", *cluster.nodes):
        cluster.nodes[number].fingerprint()
    consumer.drop(*cluster.driver.loans)
    cluster.run()
    return [kind for kind in errors if kind]


@pytest.mark.parametrize("seed", range(80))
def test_every_item_arrives_and_all_is_freed(seed: int) -> None:
    cluster = Cluster(seed, nodes=1 + seed % 3, pipeline=1 + 3 * (seed % 2), streams=0.3)
    assert run_streams(cluster) == []
    assert_all_freed(cluster)


@pytest.mark.parametrize("seed", [*range(120), 200188])
def test_worker_deaths_are_survived(seed: int) -> None:
    crash = 0.03
    cluster = Cluster(seed, nodes=1 + seed % 3, crash=crash, streams=0.3)
    assert set(run_streams(cluster)) <= {"ActorUnavailableError"}
    assert_all_freed(cluster)


@pytest.mark.parametrize("seed", range(150))
def test_node_deaths_are_survived(seed: int) -> None:
    cluster = Cluster(seed, nodes=4, kill_nodes=2, crash=0.005, streams=0.3)
    assert set(run_streams(cluster)) <= {"ActorUnavailableError", "ActorDiedError"}
    assert_all_freed(cluster)


@pytest.mark.parametrize("seed", range(60))
def test_a_tight_store(seed: int) -> None:
    cluster = Cluster(seed, nodes=1 + seed % 3, capacity_bytes=6 * MIB, streams=0.3)
    assert run_streams(cluster) == []
    assert_all_freed(cluster)


@pytest.mark.parametrize("seed", range(120))
def test_cancelled_streams(seed: int) -> None:
    crash = 0.01 * (seed % 2)
    cluster = Cluster(seed, nodes=1 + seed % 3, crash=crash, streams=0.3)
    errors = run_streams(cluster, trouble=0.4)
    assert set(errors) <= {"TaskCancelledError", "WorkerCrashedError", "ActorUnavailableError"}
    assert_all_freed(cluster)


def test_a_run_that_does_not_count_does_not_pause() -> None:
    """Who takes over a generator that runs here has missed its first items."""
    node = Node(
        "n1", CPU, capacity_bytes=MIB, spill_limit_bytes=None, choices=FirstChoice(),
        config=NodeConfig(prestart_workers=2),
    )  # fmt: skip
    node.start(0)
    for client in (1, 2):
        node.handle(events.WorkerStarted(client), 0)
    for name in ("n0", "n1"):
        node.handle(events.NodeJoined(name, CPU), 0)
    spec = Client("n0", 0, driver_task_id(0), 0).spec((), (), 3, num_returns=STREAMING)
    started = node.handle(events.MessageArrived("n0", messages.TaskForward(spec, 0, ())), 0)
    (start,) = [effect for effect in started if isinstance(effect, fx.StartTask)]
    node.handle(events.ItemYielded(start.client, spec.task_id, 1, Result(b"v", 1)), 0)
    other = 3 - start.client
    node.handle(events.TaskSubmitted(other, spec), 0)
    node.handle(events.NextRequested(other, 1, return_id(spec.task_id, 1), True, 1), 0)
    node.handle(events.ItemYielded(start.client, spec.task_id, 2, Result(b"v", 1)), 0)
    effects = node.handle(events.ConsumptionAwaited(start.client, 2, spec.task_id, 1), 0)
    assert [effect.op for effect in effects if isinstance(effect, fx.ReplyConsumption)] == [2]
    node.check()
