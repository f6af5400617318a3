"""ray.cluster_utils.Cluster: nodes that are added and removed while programs run.

Decides when nodes begin to exist: with the session of the driver that connects, on its first node,
the head; and with it they end. What was added before waits for that. Owns the clusters by address.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Collection, Mapping
from types import SimpleNamespace
from typing import Any

import rsim
from rsim.as_ray.arguments import check_settings
from rsim.as_ray.constants import (
    HEAD_NODE_RESOURCE_NAME,
    NODE_ADDRESS_RESOURCE_NAME,
    PROCESS_TYPE_RAYLET,
)

cluster_not_supported = False

_DEFAULTS = {"num_cpus": 1, "num_gpus": 0, "object_store_memory": 150 * 1024 * 1024}
_SIZES = ("num_cpus", "num_gpus", "resources", "labels", "object_store_memory", "memory")
_WITHOUT_EFFECT_ENDINGS = ("_port", "_address", "_dir", "_password")
_WITHOUT_EFFECT = frozenset(
    "node_name dashboard_host include_dashboard log_to_driver namespace "
    "enable_object_reconstruction num_redis_shards redis_max_memory _system_config "
    "_internal_config".split()
)

_HEADS = {"sim": "n0", "local": "local"}
"""What the first node of a session is called, by its backend."""

NODE_ID_LABEL = "ray.io/node-id"

_clusters: dict[str, Cluster] = {}
_ports = itertools.count(61_000)


class ClusterNode:
    """A node of a cluster."""

    def __init__(self, cluster: Cluster, number: int, arguments: Mapping[str, Any]) -> None:
        self._cluster = cluster
        self.sizes = arguments
        self.node_id = f"node-{number}"
        """The node's id, as in ray.nodes()."""
        self.runs = self.dead = False

    @property
    def unique_id(self) -> str:
        """The node's id."""
        return self.node_id

    @property
    def node_ip_address(self) -> str:
        """All nodes are on this machine."""
        return "127.0.0.1"

    @property
    def address(self) -> str | None:
        """The address of its cluster."""
        return self._cluster.address

    gcs_address = address

    @property
    def address_info(self) -> dict[str, Any]:
        """What there is to know of its place."""
        return {
            "node_ip_address": self.node_ip_address,
            "gcs_address": self.address,
            "object_store_address": self.node_id,
            "raylet_socket_name": self.node_id,
        }

    def is_head(self) -> bool:
        """Whether it is the one that drivers connect to."""
        return self._cluster.head_node is self

    def kill_raylet(self, check_alive: bool = True) -> None:
        """Let the node die; it stays in the cluster's list."""
        self._cluster._end(self, graceful=False)

    def kill_all_processes(
        self, check_alive: bool = True, allow_graceful: bool = False, wait: bool = False
    ) -> None:
        """Let the node die; it stays in the cluster's list."""
        self._cluster._end(self, graceful=allow_graceful)

    def any_processes_alive(self) -> bool:
        """Whether the node runs."""
        return not self.dead

    remaining_processes_alive = any_processes_alive

    @property
    def all_processes(self) -> dict[str, list[SimpleNamespace]]:
        """What is said to run on it: one process, with which the node ends."""
        return {PROCESS_TYPE_RAYLET: [SimpleNamespace(process=NodeProcess(self))]}

    def __repr__(self) -> str:
        return f"ClusterNode({self.node_id!r})"


class NodeProcess:
    """A node as what tests of Ray take for a process."""

    def __init__(self, node: ClusterNode) -> None:
        self._node = node

    def terminate(self) -> None:
        """Let the node end."""
        if not self._node.dead:
            self._node.kill_all_processes(allow_graceful=True)

    def kill(self) -> None:
        """Let the node die."""
        if not self._node.dead:
            self._node.kill_all_processes()

    def poll(self) -> int | None:
        """None while the node runs."""
        return 0 if self._node.dead else None

    def wait(self, timeout: float | None = None) -> int:
        """Raises TimeoutError if the node runs: it does not end by itself."""
        if not self._node.dead:
            raise TimeoutError(f"{self._node!r} does not end unless it is told to")
        return 0


class Cluster:
    """Several nodes, simulated ones or real ones with processes of their own on this machine.

    Nodes have one CPU and 150 MiB of object store unless said otherwise. Raises RuntimeError for
    `connect` without `initialize_head`.
    """

    def __init__(
        self,
        initialize_head: bool = False,
        connect: bool = False,
        head_node_args: dict[str, Any] | None = None,
        shutdown_at_exit: bool = True,
    ) -> None:
        if connect and not initialize_head:
            raise RuntimeError("Cannot connect to uninitialized cluster.")
        self.head_node: ClusterNode | None = None
        self.worker_nodes: list[ClusterNode] = []
        self.connected = False
        self.left: list[str] = []
        """The ids of nodes that were removed in good order."""
        self._settings: dict[str, Any] = {}
        """What the head's `_system_config` means for the session."""
        self._session: rsim.Session | None = None
        self._numbers = itertools.count(1)
        self._address = f"127.0.0.1:{next(_ports)}"
        if initialize_head:
            self.add_node(**(head_node_args or {}))
            if connect:
                self.connect()

    @property
    def address(self) -> str | None:
        """What to give to ray.init; None while there is no node."""
        return self._address if self.head_node is not None else None

    gcs_address = address

    def connect(self, namespace: str | None = None) -> None:
        """Connect the driver: ray.init with the cluster's address."""
        from rsim.as_ray import session

        session.init(self.address, namespace=namespace, ignore_reinit_error=True)
        self.connected = True

    def add_node(self, wait: bool = True, **arguments: Any) -> ClusterNode:
        """Add a node; the first one is the head, where drivers run.

        num_cpus, num_gpus, resources, labels, memory, object_store_memory: what it has. Raises
        NotImplementedError for other arguments that would matter.
        """
        node = ClusterNode(self, next(self._numbers), _sizes(arguments))
        settings = check_settings(
            arguments.get("_system_config", arguments.get("_internal_config"))
        )
        if self.head_node is None:
            self._settings = settings
            self.head_node = node
            node.node_id = head_name()
            _clusters[self._address] = self
        else:
            self.worker_nodes.append(node)
            if self._runs():
                self._begin(node)
        return node

    def remove_node(self, node: ClusterNode, allow_graceful: bool = True) -> None:
        """Remove a node; its tasks and objects are lost as when a machine dies.

        Raises ValueError for the node of a connected driver, having disconnected it, as Ray does.
        """
        if node is self.head_node:
            if self._runs():
                rsim.shutdown()
                raise ValueError(
                    "Removing a node that is connected to this Ray client is not allowed, because "
                    "the driver cannot go on without it"
                )
            self.head_node = None
            node.dead = True
            _clusters.pop(self._address, None)
            return
        self._end(node, graceful=allow_graceful)
        self.worker_nodes.remove(node)

    def wait_for_nodes(self, timeout: float = 30) -> None:
        """Does nothing: a node is there as soon as add_node returns.

        Raises TimeoutError when a node has died that was not removed.
        """
        if any(node.dead for node in self.list_all_nodes()):
            raise TimeoutError("Timed out while waiting for nodes to join: one of them is dead")

    def list_all_nodes(self) -> list[ClusterNode]:
        """The nodes, the head first."""
        head = [self.head_node] if self.head_node is not None else []
        return [*head, *self.worker_nodes]

    def remaining_processes_alive(self) -> bool:
        """Whether all nodes run."""
        return all(node.any_processes_alive() for node in self.list_all_nodes())

    def shutdown(self) -> None:
        """Remove all nodes, and end the session of the driver that is connected."""
        if self._runs():
            rsim.shutdown()
        for node in self.list_all_nodes():
            node.runs, node.dead = False, True
        self.worker_nodes.clear()
        self.head_node = None
        self.connected = False
        _clusters.pop(self._address, None)

    def start(self, settings: Mapping[str, Any]) -> rsim.Session:
        """Begin the session of a driver that connects."""
        head = self.head_node
        assert head is not None, "only a cluster with a head has an address"
        sizes = {
            **head.sizes,
            "resources": head_resources(head.sizes.get("resources")),
            "labels": labels_of(head.node_id, head.sizes.get("labels")),
        }
        self._session = rsim.init(**sizes, **settings, **self._settings)
        head.node_id = self._session.node_names()[0]
        head.runs = True
        for node in self.worker_nodes:
            if not node.dead:
                self._begin(node)
        return self._session

    def _runs(self) -> bool:
        """Whether a driver is connected to this cluster."""
        if self._session is None or not rsim.is_initialized():
            return False
        return rsim.init(ignore_reinit_error=True) is self._session

    def _begin(self, node: ClusterNode) -> None:
        assert self._session is not None
        resources = {NODE_ADDRESS_RESOURCE_NAME: 1, **(node.sizes.get("resources") or {})}
        labels = labels_of(node.node_id, node.sizes.get("labels"))
        sizes = {**node.sizes, "resources": resources, "labels": labels}
        self._session.add_node(name=node.node_id, **sizes)
        node.runs = True

    def _end(self, node: ClusterNode, graceful: bool) -> None:
        runs, node.runs, node.dead = node.runs, False, True
        if graceful:
            self.left.append(node.node_id)
        if runs and self._runs():
            assert self._session is not None
            self._session.remove_node(node.node_id, graceful=graceful)


def head_name() -> str:
    """What the first node of a session will be called."""
    return _HEADS.get(os.environ.get("RSIM_ADDRESS", ""), _HEADS["local"])


def labels_of(node_id: str, given: Mapping[str, str] | None) -> dict[str, str]:
    """A node's labels, with the one by which Ray's programs ask for it."""
    return {**(given or {}), NODE_ID_LABEL: node_id}


def head_resources(given: Mapping[str, float] | None) -> dict[str, float]:
    """A head's resources, with those by which Ray's programs ask for it and for its machine."""
    return {HEAD_NODE_RESOURCE_NAME: 1, NODE_ADDRESS_RESOURCE_NAME: 1, **(given or {})}


def _sizes(arguments: Mapping[str, Any]) -> dict[str, Any]:
    sizes: dict[str, Any] = dict(_DEFAULTS)
    for name, value in arguments.items():
        if name in _SIZES:
            given = json.loads(value) if isinstance(value, str) else value
            if given is not None:
                sizes[name] = int(given) if name.endswith("memory") else given
        elif name not in _WITHOUT_EFFECT and not name.endswith(_WITHOUT_EFFECT_ENDINGS):
            raise NotImplementedError(f"add_node({name}=...) of Ray's Cluster is not in rsim")
    return sizes


def find(address: str | None) -> Cluster | None:
    """The cluster that an address of ray.init means; None: a new session of its own.

    Raises ConnectionError for "auto" where there is none, NotImplementedError for a Ray Client,
    ValueError for other addresses.
    """
    if address is None:
        address = os.environ.get("RAY_ADDRESS") or None
    if address in (None, "auto"):
        if _clusters:
            return next(reversed(_clusters.values()))
        if address == "auto":
            raise ConnectionError(
                "Could not find any running Ray instance: address='auto' needs a Cluster that was "
                "made in this process"
            )
        return None
    assert address is not None
    if address in _clusters:
        return _clusters[address]
    if "://" in address:
        raise NotImplementedError(f"address={address!r}: rsim does not have Ray Client")
    if address in ("local", "sim"):
        return None
    raise ConnectionError(
        f"there is no cluster at {address!r}: rsim connects to a Cluster that was made in this "
        "process, or starts a session of its own"
    )


def has_left(node_id: str) -> bool:
    """Whether a cluster's node was removed in good order."""
    return any(node_id in each.left for each in _clusters.values())


def addresses() -> list[str]:
    """Where the clusters are that nobody has ended."""
    return list(_clusters)


def forget_all(but: Collection[str] = ()) -> None:
    """Forget all clusters except some; what runs on them is not ended."""
    for address in addresses():
        if address not in but:
            del _clusters[address]
