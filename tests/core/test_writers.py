"""Two that would write the same object into one node's store: a worker, and a pull of a copy."""

from __future__ import annotations

import pytest

from rsim.core import effects as fx
from rsim.core import events
from rsim.core.ids import put_id, return_id
from rsim.core.messages import ObjectDeletion
from rsim.core.objects import STORED
from rsim.core.records import STREAMING, Result, Strategy
from rsim.core.store_table import ObjectState
from tests.core.cluster import MIB, Cluster
from tests.core.test_cluster import assert_all_freed

LARGE = Result(None, MIB)


def deliver(cluster: Cluster, *held: tuple[str, str]) -> None:
    """Deliver all that is under way, but on the lanes that are held. Tasks stay where they are."""
    while True:
        lanes = [lane for lane, queue in cluster.channels.items() if queue and lane not in held]
        if not lanes:
            return
        for lane in lanes:
            if cluster.channels.get(lane):
                name, event = cluster.channels[lane].popleft()
                cluster.step(name, event)


def begun(cluster: Cluster, name: str) -> fx.StartTask:
    """What a worker of the node is to run."""
    (start,) = [each for key, queue in cluster.queued.items() if key[0] == name for each in queue]
    assert start is not None
    return start


def finish(cluster: Cluster, name: str, result: Result) -> None:
    """The worker of the node ends what it was to run."""
    start = begun(cluster, name)
    cluster.queued[name, start.client].clear()
    task_id = start.spec.task_id
    if result.payload is None:
        item = return_id(task_id, 0)
        cluster.allocating[name, start.client, 9] = item
        cluster.step(name, events.AllocationRequested(start.client, 9, item, result.size_bytes))
    cluster.step(name, events.TaskFinished(start.client, task_id, (result,)))


def test_a_result_that_is_written_may_go_to_disk_for_the_next() -> None:
    cluster = Cluster(0, nodes=1, cpus=1, capacity_bytes=2 * MIB)
    deliver(cluster)
    spec = cluster.driver.spec((), (), 3, num_returns=4)
    results = [return_id(spec.task_id, index) for index in range(4)]
    cluster.driver.lent(tuple(results))
    cluster.step("n0", events.TaskSubmitted(0, spec))
    client = begun(cluster, "n0").client
    cluster.queued["n0", client].clear()
    node = cluster.nodes["n0"]
    for op, result in enumerate(results):
        cluster.allocating["n0", client, op] = result
        cluster.step("n0", events.AllocationRequested(client, op, result, MIB))
        deliver(cluster)
        assert node.shelf.store.state_of(result) is ObjectState.CREATING
        cluster.step("n0", events.ResultWritten(client, result))
    assert [node.objects.entries[each].exists for each in results] == [False] * 4
    cluster.step("n0", events.TaskFinished(client, spec.task_id, (LARGE,) * 4))
    assert [node.objects.entries[each].state for each in results] == [STORED] * 4
    drop_all(cluster)


def put(cluster: Cluster, name: str = "n0") -> bytes:
    """The driver puts an object of one MiB."""
    driver = cluster.driver
    object_id = put_id(driver.task_id, driver.puts)
    driver.puts += 1
    cluster.allocating[name, 0, 8] = object_id
    cluster.step(name, events.AllocationRequested(0, 8, object_id, MIB))
    driver.lent((object_id,))
    cluster.step(name, events.ObjectPut(0, object_id, MIB, (), True))
    return object_id


def drop_all(cluster: Cluster) -> None:
    cluster.step("n0", cluster.driver.give_up(list(cluster.driver.loans)))
    deliver(cluster)
    assert_all_freed(cluster)


class Pulling:
    """The driver at n0 pulls an item of a generator from n1, where its worker dies: the generator
    runs again, at n0.
    """

    def __init__(self, full: bool = False) -> None:
        capacity_bytes = MIB if full else 8 * MIB
        self.cluster = cluster = Cluster(0, nodes=2, cpus=1, capacity_bytes=capacity_bytes)
        deliver(cluster)
        driver = cluster.driver
        other, self.spec = driver.spec((), (), 3), driver.spec((), (), 3, num_returns=STREAMING)
        driver.lent((return_id(other.task_id, 0), return_id(self.spec.task_id, 0)))
        cluster.step("n0", events.TaskSubmitted(0, other))
        cluster.step("n0", events.TaskSubmitted(0, self.spec))
        deliver(cluster)
        self.item = return_id(self.spec.task_id, 1)
        worker = begun(cluster, "n1").client
        self.allocate("n1", worker)
        cluster.step("n1", events.ItemYielded(worker, self.spec.task_id, 1, LARGE))
        deliver(cluster)
        if full:
            self.fill("n0")
        cluster.step("n0", events.NextRequested(0, 1, self.item))
        cluster.step("n0", events.ObjectsRequested(0, 2, (self.item,)))
        finish(cluster, "n0", Result(b"v", 1))
        cluster.kill_worker("n1", worker, "crashed")
        deliver(cluster, ("n0", "n1"))
        self.worker = begun(cluster, "n0").client

    def allocate(self, name: str, worker: int) -> None:
        """A worker asks for room for the item."""
        self.cluster.allocating[name, worker, 7] = self.item
        self.cluster.step(name, events.AllocationRequested(worker, 7, self.item, MIB))

    def fill(self, name: str) -> None:
        """The driver puts an object that takes all memory, and keeps looking at it."""
        self.put = put(self.cluster, name)
        self.cluster.step(name, events.ObjectsRequested(0, 9, (self.put,)))

    def make_room(self) -> None:
        cluster = self.cluster
        cluster.step("n0", events.PinsReleased(0, (self.put,)))
        cluster.step("n0", cluster.driver.give_up([self.put]))

    @property
    def answered(self) -> bool:
        """Whether the worker at n0 has its answer."""
        return ("n0", self.worker, 7) not in self.cluster.allocating

    def go_on(self, retries_left: int = 2) -> None:
        """The generator yields the item and ends, and the driver drops all."""
        assert self.answered
        cluster = self.cluster
        task_id = self.spec.task_id
        cluster.step("n0", events.ItemYielded(self.worker, task_id, 1, LARGE))
        finish(cluster, "n0", Result(b"v", 1))
        deliver(cluster)
        answer = cluster.answers[2]
        assert isinstance(answer, fx.ReplyObjects) and answer.error is None
        assert cluster.nodes["n0"].objects.entries[self.item].state == STORED
        assert ("n0", self.item) not in cluster.errors
        assert cluster.nodes["n0"].tasks.table[task_id].retries_left == retries_left
        cluster.step("n0", events.PinsReleased(0, (self.item,)))
        drop_all(cluster)


def test_a_worker_does_not_write_over_a_copy_that_is_under_way() -> None:
    pulling = Pulling()
    pulling.allocate("n0", pulling.worker)
    if not pulling.answered:
        deliver(pulling.cluster)
    pulling.go_on()


def test_a_worker_writes_what_a_dying_node_did_not_send() -> None:
    pulling = Pulling()
    pulling.allocate("n0", pulling.worker)
    pulling.cluster.kill_node("n1")
    deliver(pulling.cluster)
    pulling.go_on()


def test_a_pull_that_waits_for_room_when_its_source_dies() -> None:
    pulling = Pulling(full=True)
    pulling.cluster.kill_node("n1")
    deliver(pulling.cluster)
    pulling.make_room()
    pulling.allocate("n0", pulling.worker)
    pulling.go_on()


def test_a_worker_dies_that_waits_for_a_copy() -> None:
    pulling = Pulling()
    pulling.allocate("n0", pulling.worker)
    pulling.cluster.kill_worker("n0", pulling.worker, "crashed")
    deliver(pulling.cluster)
    pulling.worker = begun(pulling.cluster, "n0").client
    pulling.allocate("n0", pulling.worker)
    pulling.go_on(retries_left=1)


def read_on_n1(cluster: Cluster, array: bytes) -> int:
    """A task reads the array on n1, and keeps looking at it; the worker."""
    driver = cluster.driver
    spec = driver.spec((array,), (), 3, Strategy("AFFINITY", "n1"))
    driver.lent((return_id(spec.task_id, 0),))
    cluster.step("n0", events.TaskSubmitted(0, spec))
    deliver(cluster)
    worker = begun(cluster, "n1").client
    finish(cluster, "n1", Result(b"v", 1))
    deliver(cluster)
    assert cluster.nodes["n1"].shelf.is_pinned(array)
    return worker


def test_a_copy_stays_for_the_next_who_wants_it_until_the_object_is_freed() -> None:
    cluster = Cluster(0, nodes=2, cpus=1)
    deliver(cluster)
    array = put(cluster)
    n1 = cluster.nodes["n1"]
    worker = read_on_n1(cluster, array)
    assert n1.objects.entries[array].state == STORED
    assert not n1.objects.entries[array].received, "n1 holds no ref"
    entry = n1.objects.entries[array]
    assert read_on_n1(cluster, array) == worker
    assert n1.objects.entries[array] is entry, "it was not pulled again"
    for _ in range(2):
        cluster.step("n1", events.PinsReleased(worker, (array,)))
    drop_all(cluster)


def test_a_copy_that_was_let_go_of_while_somebody_looks_at_it_is_wanted_again() -> None:
    cluster = Cluster(0, nodes=2, cpus=1)
    deliver(cluster)
    array = put(cluster)
    for _ in range(2):
        worker = read_on_n1(cluster, array)
        cluster.step("n1", events.MessageArrived("n0", ObjectDeletion((array,))))
        assert array not in cluster.nodes["n1"].objects.entries
        assert cluster.nodes["n1"].shelf.is_pinned(array)
    for _ in range(2):
        cluster.step("n1", events.PinsReleased(worker, (array,)))
    drop_all(cluster)


def submit(cluster: Cluster, strategy: Strategy, *deps: bytes) -> bytes:
    """The driver submits a task; its result."""
    spec = cluster.driver.spec(deps, (), 3, strategy)
    result = return_id(spec.task_id, 0)
    cluster.driver.lent((result,))
    cluster.step("n0", events.TaskSubmitted(0, spec))
    return result


@pytest.mark.parametrize("moment", ["under way", "queued"])
def test_a_task_whose_input_is_lost_before_it_starts_does_not_hold_its_cpu(moment: str) -> None:
    cluster = Cluster(0, nodes=2, cpus=1)
    deliver(cluster)
    there = submit(cluster, Strategy("AFFINITY", "n1", soft=True))
    deliver(cluster)
    if moment == "queued":
        submit(cluster, Strategy("AFFINITY", "n0"))
    finish(cluster, "n1", LARGE)
    deliver(cluster)
    submit(cluster, Strategy("AFFINITY", "n0"), there)
    deliver(cluster, ("n0", "n1"))
    cluster.kill_node("n1")
    deliver(cluster)
    if moment == "queued":
        finish(cluster, "n0", Result(b"v", 1))
        deliver(cluster)
    assert return_id(begun(cluster, "n0").spec.task_id, 0) == there
    finish(cluster, "n0", LARGE)
    deliver(cluster)
    worker = begun(cluster, "n0").client
    finish(cluster, "n0", Result(b"v", 1))
    cluster.step("n0", events.PinsReleased(worker, (there,)))
    drop_all(cluster)
