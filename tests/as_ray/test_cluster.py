"""ray.cluster_utils.Cluster."""

import pytest

pytestmark = pytest.mark.usefixtures("as_ray")


def test_nodes_begin_when_a_driver_connects() -> None:
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    assert cluster.address is None and cluster.list_all_nodes() == []
    head = cluster.add_node(num_cpus=1)
    worker = cluster.add_node(num_cpus=1, resources={"special": 1})
    assert not ray.is_initialized() and head.is_head() and not worker.is_head()
    context = ray.init(address=cluster.address)
    assert context["address"] == cluster.address
    later = cluster.add_node(num_cpus=2)
    cluster.wait_for_nodes()
    alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
    assert alive == {head.node_id, worker.node_id, later.node_id}
    assert ray.cluster_resources()["CPU"] == 4
    assert ray.get(ray.remote(resources={"special": 1})(abs).remote(-1)) == 1
    cluster.remove_node(worker)
    assert cluster.list_all_nodes() == [head, later]
    assert ray.cluster_resources()["CPU"] == 3
    later.kill_raylet()
    assert not cluster.remaining_processes_alive()
    with pytest.raises(TimeoutError, match="dead"):
        cluster.wait_for_nodes()
    cluster.shutdown()
    assert not ray.is_initialized()


def test_a_driver_may_connect_again() -> None:
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 3})
    cluster.add_node()
    for address in (cluster.address, "auto", None):
        ray.init(address=address)
        assert ray.cluster_resources()["CPU"] == 4
        ray.shutdown()
    cluster.shutdown()
    with pytest.raises(ConnectionError, match="auto"):
        ray.init(address="auto")


def test_it_can_connect_by_itself() -> None:
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, connect=True)
    assert ray.is_initialized() and cluster.connected
    with pytest.raises(ValueError, match="not allowed"):
        cluster.remove_node(cluster.head_node)
    cluster.shutdown()


def test_mistakes() -> None:
    import ray
    from ray.cluster_utils import Cluster

    with pytest.raises(RuntimeError, match="uninitialized"):
        Cluster(connect=True)
    cluster = Cluster()
    with pytest.raises(NotImplementedError, match="no_such"):
        cluster.add_node(no_such=1)
    with pytest.raises(NotImplementedError, match="what"):
        cluster.add_node(_system_config={"what": 1})
    cluster.add_node()
    with pytest.raises(ValueError, match="num_cpus"):
        ray.init(cluster.address, num_cpus=4)
    with pytest.raises(ValueError, match="_system_config"):
        ray.init(cluster.address, _system_config={"object_timeout_milliseconds": 200})
    with pytest.raises(NotImplementedError, match="AutoscalingCluster"):
        ray.cluster_utils.AutoscalingCluster(head_resources={}, worker_node_types={})
    cluster.shutdown()


def test_where_code_runs_and_what_became_of_actors() -> None:
    import ray
    from ray._private import gcs_utils, state
    from ray._private.worker import global_worker
    from ray.cluster_utils import Cluster

    assert (global_worker.connected, global_worker.mode) == (False, None)
    with pytest.raises(RuntimeError, match=r"ray\.init"):
        global_worker.check_connected()
    cluster = Cluster(initialize_head=True, head_node_args={"memory": 1e9})
    node = cluster.add_node(
        resources={"there": 1}, enable_object_reconstruction=True, num_redis_shards=1
    )
    ray.init(cluster.address, namespace="here")
    global_worker.check_connected()
    assert (global_worker.mode, global_worker.namespace) == (ray.SCRIPT_MODE, "here")
    assert global_worker.node.is_head()

    @ray.remote(resources={"there": 1})
    class Actor:
        def where(self) -> tuple[object, ...]:
            from ray._private.worker import global_worker as worker

            assert worker.mode == ray.WORKER_MODE and not worker.node.is_head()
            assert worker.node.node_ip_address == "127.0.0.1"
            return worker.node.unique_id, worker.current_node_id, worker.worker_id

    actor = Actor.remote()
    found = ray.get(actor.where.remote())
    assert found[:2] == (node.unique_id, node.unique_id) and found[2] != global_worker.worker_id
    assert ray.get_runtime_context().get_job_id() == global_worker.current_job_id.hex()
    told = state.actors(actor_id=actor._actor_id.hex())
    assert told == state.actors()[actor._actor_id.hex()]
    assert (told["State"], told["Address"]["NodeID"]) == (
        gcs_utils.ActorTableData.ALIVE,
        node.unique_id,
    )
    assert state.actors(actor_id="00") == {}
    ray.shutdown()
    cluster.shutdown()


def test_nodes_have_the_labels_that_they_have_in_ray() -> None:
    import ray

    ray.init(num_cpus=1, labels={"region": "us"})
    (node,) = ray.nodes()
    assert node["Labels"] == {"region": "us", "ray.io/node-id": node["NodeID"]}
