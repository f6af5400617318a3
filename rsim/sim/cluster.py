"""What a simulated cluster is made of.

Decides the defaults and the limits of its sizes and speeds, and nothing at run time. Owns no state:
the records are immutable and may be shared between runs.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, fields, replace
from typing import Any

from rsim.runtime import checks
from rsim.runtime.session import NodeOptions, SessionConfig

GIB = 1 << 30
_MOST_NODES = 100_000


@dataclass(frozen=True)
class Node:
    """One machine of a simulated cluster.

    Raises TypeError or ValueError for quantities that are not finite or are below zero.
    """

    name: str = ""
    """Empty: "n" and its position in the cluster, from "n0"."""
    _: KW_ONLY
    num_cpus: float = 4
    num_gpus: float = 0
    resources: Mapping[str, float] | None = None
    """Further resources by name."""
    labels: Mapping[str, str] | None = None
    """For tasks that select nodes by them."""
    memory: int = 16 * GIB
    """Bytes that tasks can ask for by their option `memory`."""
    object_store_memory: int = 2 * GIB
    """Bytes in the node's object store."""
    speed: float = 1.0
    """A task's declared cost takes cost / speed; sleeping takes as long everywhere."""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise TypeError(f"name must be a str, not {self.name!r}")
        if self.name == "global":
            raise ValueError("name must not be 'global', the address of the global scheduler")
        checks.quantity("num_cpus", self.num_cpus)
        checks.devices("num_gpus", self.num_gpus)
        checks.quantity("memory", self.memory)
        checks.integer("object_store_memory", self.object_store_memory, 1)
        _positive("speed", self.speed)
        if self.labels is not None:
            checks.labels("labels", self.labels)
        if self.resources is not None:
            checks.resources("resources", self.resources)

    @property
    def quantities(self) -> dict[str, float]:
        """All resources of the node by the names that tasks use."""
        own = {"CPU": self.num_cpus, "GPU": self.num_gpus, "memory": self.memory}
        return {**own, **(self.resources or {})}


@dataclass(frozen=True)
class Cluster:
    """A simulated cluster: its nodes, and the network between them. The driver is on the first.

    `nodes` is how many equal nodes there are, or a list of them; the fields from `num_cpus` to
    `speed` describe the equal ones.
    """

    nodes: int | Sequence[Node] = 3
    _: KW_ONLY
    num_cpus: float = 4
    num_gpus: float = 0
    resources: Mapping[str, float] | None = None
    memory: int = 16 * GIB
    object_store_memory: int = 2 * GIB
    speed: float = 1.0
    latency_s: float = 50e-6
    """How long a message or the first byte of an object is under way."""
    bandwidth_bytes_per_s: float = 1.25e9
    """Of each node's network card, in each direction; shared by the objects that pass it."""
    jitter_s: float = 0.0
    """A message takes up to this much longer, as the choice tape decides."""
    disk_bytes_per_s: float = 1e9
    """Of each node's disk, on which objects are spilled."""
    worker_start_s: float = 0.0
    """How long a worker process takes to start."""
    detection_s: float = 0.5
    """How long the others need to learn that a node died."""
    timer_slack_s: float = 0.0
    """How much longer than asked for a sleep takes, if it is longer than that. A program that was
    written for real clocks may count on some: Linux takes 50e-6.
    """
    members: tuple[Node, ...] = field(init=False, repr=False)
    """The nodes one by one, all with names."""

    def __post_init__(self) -> None:
        for name in ("bandwidth_bytes_per_s", "disk_bytes_per_s"):
            _positive(name, getattr(self, name))
        for name in ("latency_s", "jitter_s", "worker_start_s", "detection_s", "timer_slack_s"):
            checks.seconds(name, getattr(self, name))
        object.__setattr__(self, "members", self._members())

    def _must_be_plain(self) -> None:
        """Nothing is said of equal nodes where each is described by itself."""
        for each in fields(Node):
            own = getattr(self, each.name, each.default)
            if own != each.default:
                raise ValueError(
                    f"{each.name}={own!r} is for equal nodes, and nodes is a list: say it in each "
                    f"rsim.sim.Node"
                )

    def _members(self) -> tuple[Node, ...]:
        nodes = self.nodes
        if not isinstance(nodes, int):
            self._must_be_plain()
        if isinstance(nodes, int) and not isinstance(nodes, bool):
            checks.integer("nodes", nodes, 1, _MOST_NODES)
            alike = Node(
                num_cpus=self.num_cpus,
                num_gpus=self.num_gpus,
                resources=self.resources,
                memory=self.memory,
                object_store_memory=self.object_store_memory,
                speed=self.speed,
            )
            nodes = [alike] * nodes
        elif isinstance(nodes, (str, bool)) or not isinstance(nodes, Sequence):
            raise TypeError(f"nodes must be an int or a list of rsim.sim.Node, not {nodes!r}")
        named = _named(nodes)
        _check_nodes("nodes", named)
        return tuple(named)


def _named(nodes: Sequence[Any]) -> list[Any]:
    """The nodes, each with the name that it was given or that its position gives it."""
    return [
        replace(node, name=node.name or f"n{index}") if isinstance(node, Node) else node
        for index, node in enumerate(nodes)
    ]


def _check_nodes(argument: str, nodes: Sequence[Any]) -> None:
    if not nodes:
        raise ValueError(f"{argument} must have one node or more, and has none")
    names = set()
    for index, node in enumerate(nodes):
        if not isinstance(node, Node):
            raise TypeError(f"{argument}[{index}] must be an rsim.sim.Node, not {node!r}")
        if node.name in names:
            raise ValueError(f"{argument}[{index}]: the name {node.name!r} is already taken")
        names.add(node.name)


def joining(name: str, options: NodeOptions, like: Node) -> Node:
    """The node that `add_node` was asked for; what it was not told is as in the node `like`."""
    return replace(
        like,
        name=name,
        num_cpus=options.num_cpus,
        num_gpus=options.num_gpus,
        resources=options.resources,
        labels=options.labels,
        object_store_memory=options.object_store_memory or like.object_store_memory,
        memory=like.memory if options.memory is None else options.memory,
    )


def cluster_of(config: SessionConfig) -> Cluster:
    """The cluster that `rsim.init` was asked for: by `cluster`, or by what its one node has."""
    given = {
        "num_cpus": config.num_cpus,
        "num_gpus": config.num_gpus,
        "resources": config.resources or None,
        "labels": config.labels or None,
        "object_store_memory": config.object_store_memory,
        "memory": config.memory,
    }
    given = {name: value for name, value in given.items() if value is not None}
    if config.cluster is None:
        return _default_cluster(Node(**given))  # type: ignore[arg-type]
    if given:
        raise ValueError(
            f"{', '.join(given)} cannot be given together with cluster=: "
            "the cluster says what its nodes have"
        )
    return _as_cluster(config.cluster)


def _default_cluster(node: Node) -> Cluster:
    """One node; its timers are as RSIM_TIMER_SLACK_S says. ValueError if that is no number."""
    text = os.environ.get("RSIM_TIMER_SLACK_S") or "0"
    try:
        slack_s = float(text)
    except ValueError:
        raise ValueError(f"RSIM_TIMER_SLACK_S must be a number of seconds, not {text!r}") from None
    return Cluster([node], timer_slack_s=slack_s)


def _as_cluster(given: object) -> Cluster:
    if isinstance(given, Cluster):
        return given
    if isinstance(given, Sequence) and not isinstance(given, str):
        _check_nodes("cluster", _named(given))
        return Cluster(given)
    raise TypeError(
        f"cluster must be an rsim.sim.Cluster or a list of rsim.sim.Node, not {given!r}"
    )


def _positive(name: str, value: object) -> None:
    if not checks.number(name, value):
        raise ValueError(f"{name} must be a finite number above 0, not {value!r}")
