"""What tests of Ray ask of its core worker."""

import pytest

pytestmark = pytest.mark.usefixtures("as_ray")


def test_whether_an_object_is_there() -> None:
    import ray
    from ray._private.test_utils import wait_for_condition
    from ray.worker import global_worker

    ray.init(num_cpus=1)
    exists = global_worker.core_worker.object_exists
    ref = ray.put(bytes(1_000_000))
    object_id = ray.ObjectRef(ref.binary())
    never = ray.remote(resources={"none": 1})(abs).remote(-1)
    assert exists(ref) and exists(object_id) and not exists(never)
    written = ref.binary()
    del ref, object_id
    wait_for_condition(lambda: not exists(ray.ObjectRef(written)))


def test_counts_of_refs() -> None:
    import ray
    from ray._common.test_utils import SignalActor, wait_for_condition

    ray.init(num_cpus=1)
    core_worker = ray._private.worker.global_worker.core_worker
    counts = core_worker.get_all_reference_counts
    signal = SignalActor.remote()
    ref = ray.put(1)
    again = ray.ObjectRef(ref.binary())
    result = ray.remote(lambda value, _go: value).remote(ref, signal.wait.remote())
    key = ref.hex().encode()
    assert counts()[key] == {"local": 2, "submitted": 1}
    assert signal._actor_id.hex().encode() not in counts()
    ray.get(signal.send.remote())
    assert ray.get(result) == 1
    del again
    wait_for_condition(lambda: counts()[key] == {"local": 1, "submitted": 0})
    assert core_worker.get_memory_store_size() == 2
    del ref, result
    wait_for_condition(lambda: counts() == {} and core_worker.get_memory_store_size() == 0)


def test_a_summary_of_memory() -> None:
    import ray
    from ray._private.internal_api import (
        get_memory_info_reply,
        get_state_from_address,
        memory_summary,
    )

    ray.init(num_cpus=1, object_store_memory=10 << 20)
    refs = [ray.put(bytes(4 << 20)) for _ in range(3)]
    told = memory_summary(stats_only=True)
    assert "Plasma memory usage 8 MiB, 2 objects" in told and "Spilled 4 MiB, 1 objects" in told
    assert "Restored" not in told
    assert len(ray.get(refs[0])) == 4 << 20
    assert "Restored 4 MiB, 1 objects" in memory_summary(stats_only=True)
    stats = get_memory_info_reply(get_state_from_address("auto")).store_stats
    assert stats.spilled_bytes_total >= stats.restored_bytes_total >= 4 << 20
    assert stats.object_store_bytes_used <= stats.object_store_bytes_avail == 10 << 20
    with pytest.raises(NotImplementedError, match="stats_only"):
        memory_summary()


def test_without_spilling() -> None:
    import ray

    config = {"automatic_object_spilling_enabled": False}
    ray.init(num_cpus=1, object_store_memory=10 << 20, _system_config=config)
    kept = ray.put(bytes(7 << 20))
    with pytest.raises(ray.exceptions.ObjectStoreFullError):
        ray.put(bytes(7 << 20))
    del kept
    ray.put(bytes(7 << 20))


def test_a_node_as_a_process() -> None:
    import ray
    from ray._private.ray_constants import PROCESS_TYPE_RAYLET
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    ray.init(address=cluster.address)
    node = cluster.add_node(num_cpus=1)
    process = node.all_processes[PROCESS_TYPE_RAYLET][0].process
    assert process.poll() is None
    with pytest.raises(TimeoutError):
        process.wait()
    process.terminate()
    process.kill()
    assert process.wait() == 0 and process.poll() == 0
    (dead,) = [each for each in ray.nodes() if not each["Alive"]]
    assert dead["ObjectStoreSocketName"] == node.address_info["object_store_address"]
    cluster.shutdown()
    assert not any(each.any_processes_alive() for each in (node,))


def test_where_code_runs() -> None:
    import ray

    def look() -> tuple[object, object, object]:
        worker = ray._private.worker.global_worker
        core = worker.core_worker
        assert worker.actor_id == core.get_actor_id() and worker.node_ip_address == "127.0.0.1"
        assert worker.current_task_id == core.get_current_task_id()
        return worker.actor_id, worker.current_task_id, core.get_current_job_id()

    @ray.remote
    class Actor:
        def look(self) -> tuple[object, object, object]:
            return look()

    assert look() == (ray.ActorID.nil(), ray.TaskID.nil(), ray.JobID.nil())
    ray.init(num_cpus=1)
    job = ray.JobID.from_hex(ray.get_runtime_context().get_job_id())
    assert look() == (ray.ActorID.nil(), ray.TaskID.nil(), job)
    actor, ref = Actor.remote(), ray.remote(look).remote()
    assert ray.get(ref) == (ray.ActorID.nil(), ref.task_id(), job)
    call = actor.look.remote()
    assert ray.get(call) == (actor._actor_id, call.task_id(), job)


def test_what_it_does_not_have() -> None:
    from ray._private.worker import global_worker

    for has, path in (
        (global_worker, "global_worker"),
        (global_worker.core_worker, r"global_worker\.core_worker"),
        (global_worker.node, r"global_worker\.node"),
    ):
        with pytest.raises(NotImplementedError, match=rf"ray\._private\.worker\.{path}\.no_such"):
            has.no_such()
        assert not hasattr(has, "no_such")
