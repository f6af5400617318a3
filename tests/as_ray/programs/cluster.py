"""Nodes that join and leave."""

import ray
from ray.cluster_utils import Cluster
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
ray.init(address=cluster.address)
worker = cluster.add_node(num_cpus=2, resources={"special": 1})
cluster.wait_for_nodes()
print(len(cluster.list_all_nodes()), ray.cluster_resources()["CPU"])


@ray.remote(num_cpus=0)
def where():
    return ray.get_runtime_context().get_node_id()


here = ray.get_runtime_context().get_node_id()
print(ray.get(where.options(resources={"special": 1}).remote()) == worker.node_id)
print(
    ray.get(
        where.options(scheduling_strategy=NodeAffinitySchedulingStrategy(here, soft=False)).remote()
    )
    == here
)
print(ray.get(where.options(scheduling_strategy="SPREAD").remote()) in (here, worker.node_id))
cluster.remove_node(worker)
print([node["Alive"] for node in ray.nodes()].count(True))
ray.shutdown()
cluster.shutdown()
