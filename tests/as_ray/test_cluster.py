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
    with pytest.raises(NotImplementedError, match="AutoscalingCluster"):
        ray.cluster_utils.AutoscalingCluster(head_resources={}, worker_node_types={})
    cluster.shutdown()
