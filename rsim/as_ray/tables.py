"""The tables of what the cluster consists of that tests of Ray read from `ray._private.state`.

Decides nothing: what they tell is what `rsim.util.state` and `rsim.nodes` do, in another form. Owns
no state.
"""

from __future__ import annotations

from typing import Any

import rsim
from rsim.api.state import client_of, node_facts, quantities, total_resources
from rsim.as_ray.ids import JobID
from rsim.core import facts
from rsim.util import state
from rsim.util.state.schema import ActorState

_ALL = 10_000
_ACTOR_STATES = (facts.UNCREATED, facts.CREATING, facts.ALIVE, facts.RESTARTING, facts.DEAD)


def actors(
    actor_id: str | None = None, job_id: JobID | None = None, actor_state_name: str | None = None
) -> dict[str, Any]:
    """What there is to know of the actors, by id; of one actor, if its id is given. The others
    select by the job and by the state. Raises ValueError for what is no state.
    """
    if actor_state_name is not None and actor_state_name not in _ACTOR_STATES:
        raise ValueError(
            f"{actor_state_name!r} is not a valid actor state name; these are: "
            f"{', '.join(_ACTOR_STATES)}"
        )
    found = {each.actor_id: _described(each) for each in state.list_actors(limit=_ALL, detail=True)}
    if actor_id is not None:
        return dict(found.get(actor_id, {}))
    return {
        name: told
        for name, told in found.items()
        if (job_id is None or told["JobID"] == job_id.hex())
        and (actor_state_name is None or told["State"] == actor_state_name)
    }


def _described(actor: ActorState) -> dict[str, Any]:
    return {
        "ActorID": actor.actor_id,
        "ActorClassName": actor.class_name,
        "IsDetached": actor.is_detached,
        "Name": actor.name,
        "JobID": actor.job_id,
        "Address": {"IPAddress": "127.0.0.1", "Port": 0, "NodeID": actor.node_id or ""},
        "State": actor.state,
        "NumRestarts": actor.num_restarts,
        "DeathCause": actor.death_cause,
        "Pid": actor.pid,
    }


def jobs() -> list[dict[str, Any]]:
    """The job of this session's driver."""
    return [
        {
            "JobID": job.job_id,
            "DriverIPAddress": "127.0.0.1",
            "DriverPid": int((job.driver_info or {})["pid"]),
            "Entrypoint": job.entrypoint,
            "StartTime": job.start_time,
            "Timestamp": job.start_time,
            "IsDead": False,
        }
        for job in state.list_jobs(detail=True)
    ]


def workers() -> dict[str, dict[str, str]]:
    """The living workers, by id."""
    return {
        worker.worker_id: {"node_ip_address": worker.ip, "pid": str(worker.pid)}
        for worker in state.list_workers(limit=_ALL)
        if worker.is_alive and worker.worker_type == "WORKER"
    }


def available_resources_per_node() -> dict[str, dict[str, float]]:
    """What is free on each living node, by its id."""
    return {
        node.node: {
            **quantities(node.available),
            "object_store_memory": float(node.capacity_bytes - node.used_bytes),
        }
        for node in node_facts(client_of("available_resources_per_node"))
        if node.alive
    }


def total_resources_per_node() -> dict[str, dict[str, float]]:
    """What each living node has, by its id."""
    return {
        node.node: total_resources(node)
        for node in node_facts(client_of("total_resources_per_node"))
        if node.alive
    }


def current_node_id() -> str:
    """The resource of the node on which the code runs that asks."""
    return f"node:{rsim.get_runtime_context().get_node_id()}"


def node_ids() -> list[str]:
    """The resource of each living node by which tasks ask for it."""
    return [f"node:{node['NodeID']}" for node in rsim.nodes() if node["Alive"]]
