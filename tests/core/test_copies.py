"""A copy of another node's object goes with the object, whoever owns that by now."""

from __future__ import annotations

from rsim.core import events
from rsim.core.ids import put_id, return_id
from rsim.core.objects import STORED
from rsim.core.records import Result, Strategy
from tests.core.cluster import MIB, Cluster
from tests.core.test_cluster import assert_all_freed
from tests.core.test_writers import begun, deliver, finish


def submit(cluster: Cluster, to: str, *borrows: bytes, soft: bool = False) -> bytes:
    """The driver submits a task for this node: its result."""
    spec = cluster.driver.spec((), borrows, 3, Strategy("AFFINITY", to, soft=soft))
    cluster.driver.lent((return_id(spec.task_id, 0),))
    cluster.step("n0", events.TaskSubmitted(0, spec))
    deliver(cluster)
    return return_id(spec.task_id, 0)


def put_one(cluster: Cluster, name: str) -> bytes:
    """What runs on this node puts a large object, and returns a ref to it."""
    start = begun(cluster, name)
    client = start.client
    object_id = put_id(start.spec.task_id, 0)
    cluster.allocating[name, client, 7] = object_id
    cluster.step(name, events.AllocationRequested(client, 7, object_id, MIB))
    cluster.step(name, events.ObjectPut(client, object_id, MIB, (), True))
    finish(cluster, name, Result(b"v", 1, (object_id,)))
    cluster.step(name, events.RefsReleased(client, (object_id,), (1,)))
    deliver(cluster)
    return object_id


def get(cluster: Cluster, name: str, client: int, object_id: bytes) -> None:
    """A client gets an object, and has looked at it when it has come."""
    cluster.step(name, events.ObjectsRequested(client, 5, (object_id,)))
    deliver(cluster)


def test_a_copy_of_which_a_former_owner_is_told_goes_with_the_object() -> None:
    cluster = Cluster(0, nodes=4, cpus=1)
    deliver(cluster)
    result = submit(cluster, "n1", soft=True)
    item = put_one(cluster, "n1")  # which n1 owns
    get(cluster, "n0", 0, result)
    submit(cluster, "n2", item)
    submit(cluster, "n0")  # now there is room nowhere else than at n3
    cluster.kill_node("n1")
    deliver(cluster)  # n0 owns the item, and n2 has heard of it
    get(cluster, "n0", 0, item)  # it is put again, at n3, which owns it then
    assert put_one(cluster, "n3") == item
    reader = begun(cluster, "n2").client
    get(cluster, "n2", reader, item)  # n2 tells n0, from which it has the ref, of its copy
    finish(cluster, "n2", Result(b"v", 1))
    assert cluster.nodes["n2"].objects.entries[item].state == STORED  # as long as it is held
    cluster.step("n2", events.RefsReleased(reader, (item,), (1,)))
    cluster.step("n2", events.PinsReleased(reader, (item,)))
    cluster.step("n0", events.PinsReleased(0, (item,)))
    finish(cluster, "n0", Result(b"v", 1))
    deliver(cluster)
    cluster.step("n0", cluster.driver.give_up(list(cluster.driver.loans)))
    cluster.run()
    assert_all_freed(cluster)
