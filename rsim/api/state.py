"""What the cluster consists of and what has happened in it: nodes, resources, the timeline.

Decides the form of the answers, which is Ray's. Must never keep an answer: each call asks anew.
Owns the other names of states.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rsim.runtime import current

if TYPE_CHECKING:
    from rsim.core.facts import NodeFact
    from rsim.core.records import Demand
    from rsim.runtime.client import Client

_UNEXPECTED_TERMINATION = 2
_NO_PORT = -1

task_states: Mapping[str, str] = {}
"""What states of tasks are called that have another name: set by rsim.as_ray."""


def client_of(name: str) -> Client:
    """The client that asks. RuntimeError when no runtime is running."""
    if current.client is None:
        raise RuntimeError(f"rsim.{name}() was called, but no runtime is running: call rsim.init()")
    return current.client


def quantities(demand: Demand) -> dict[str, float]:
    """Resources as users count them."""
    from rsim.core.records import RESOURCE_UNITS

    return {name: units / RESOURCE_UNITS for name, units in demand}


def node_facts(client: Client) -> list[NodeFact]:
    """All nodes, dead ones included, by name."""
    from rsim.core.facts import NODES
    from rsim.runtime import state

    return state.nodes(state.ask(client, NODES))


def total_resources(node: NodeFact) -> dict[str, float]:
    """What a node has; nothing when it is dead."""
    if not node.alive:
        return {}
    return {**quantities(node.total), "object_store_memory": float(node.capacity_bytes)}


def own_resources(node: NodeFact) -> dict[str, float]:
    """What a node has, without the names that the bundles of placement groups give to parts of it;
    nothing when it is dead.
    """
    total = total_resources(node)
    return {name: total[name] for name in total if "_group_" not in name}


def nodes() -> list[dict[str, Any]]:
    """The nodes of the cluster, dead ones included, as Ray describes them.

    "NodeID" and "NodeName" are the node's name; "Resources": quantities by name, memory in bytes.
    What rsim does not have, such as ports, is -1 or empty; a socket is called as its node. Raises
    RuntimeError when no runtime is running, GetTimeoutError when a node does not answer within
    30 s.
    """
    return [_described(node) for node in node_facts(client_of("nodes"))]


def _described(node: NodeFact) -> dict[str, Any]:
    return {
        "NodeID": node.node,
        "Alive": node.alive,
        "NodeManagerAddress": node.address,
        "NodeManagerHostname": node.hostname,
        "NodeManagerPort": _NO_PORT,
        "ObjectManagerPort": _NO_PORT,
        "ObjectStoreSocketName": node.node,
        "RayletSocketName": node.node,
        "MetricsExportPort": _NO_PORT,
        "MetricsAgentPort": _NO_PORT,
        "DashboardAgentListenPort": _NO_PORT,
        "RuntimeEnvAgentPort": _NO_PORT,
        "NodeName": node.node,
        "DeathReason": 0 if node.alive else _UNEXPECTED_TERMINATION,
        "DeathReasonMessage": node.reason,
        "alive": node.alive,
        "Resources": own_resources(node),
        "Labels": dict(node.labels),
    }


def cluster_resources() -> dict[str, float]:
    """All that the living nodes have, by name; memory in bytes. Raises as `nodes` does."""
    found = node_facts(client_of("cluster_resources"))
    return _sum(total_resources(node) for node in found)


def available_resources() -> dict[str, float]:
    """What is free of `cluster_resources`; what is used up is left out. Raises as `nodes` does."""
    found = node_facts(client_of("available_resources"))
    free = _sum(_free(node) for node in found if node.alive)
    return {name: amount for name, amount in free.items() if amount > 0}


def _free(node: NodeFact) -> dict[str, float]:
    room = float(node.capacity_bytes - node.used_bytes)
    return {**quantities(node.available), "object_store_memory": room}


def _sum(parts: Any) -> dict[str, float]:
    total: dict[str, float] = {}
    for part in parts:
        for name, amount in part.items():
            total[name] = total.get(name, 0.0) + amount
    return total


def timeline(filename: str | os.PathLike[str] | None = None) -> list[dict[str, Any]] | None:
    """The tasks that have run, as events of Chrome's trace format: a process is a node, a thread a
    worker.

    Times are in microseconds since 1970, in a simulation of its virtual clock. With `filename` they
    are written there, for https://ui.perfetto.dev or chrome://tracing, and None is returned. The
    last 100,000 tasks of each node are known. Raises as `nodes` does, and OSError.
    """
    if filename is not None and not isinstance(filename, str | os.PathLike):
        raise TypeError(f"filename must be a path or None, not {filename!r}")
    events = _events(client_of("timeline"))
    if filename is None:
        return events
    with open(filename, "w", encoding="utf-8") as file:
        json.dump(events, file)
    return None


def _events(client: Client) -> list[dict[str, Any]]:
    from rsim.core.facts import FAILED, TASKS
    from rsim.runtime import state

    epoch_ns = state.session_of(client).session.epoch_ns
    events = []
    for task in state.tasks(state.ask(client, TASKS)):
        if task.started_ns < 0 or task.ended_ns < 0 or not isinstance(task.executor, int):
            continue
        name = state.task_name(task)
        color = {"cname": "terrible"} if task.state == FAILED else {"cname": "generic_work"}
        events.append(
            {
                "cat": f"task::{name}",
                "name": name,
                "ph": "X",
                "ts": (epoch_ns + task.started_ns) / 1000,
                "dur": (task.ended_ns - task.started_ns) / 1000,
                "pid": task.node,
                "tid": f"worker:{state.worker_name(task.node, task.executor)}",
                "args": {
                    "name": name,
                    "task_id": task.task_id.hex(),
                    "attempt_number": task.attempt,
                    "state": task.state,
                },
                **color,
            }
        )
    return sorted(events, key=lambda event: event["ts"])
