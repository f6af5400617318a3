"""What tests of Ray ask of its core worker: whether an object is there, who refers to what, and how
much memory is in use.

Decides nothing about programs: it is what the process counts and the nodes tell, in Ray's form.
Owns no state.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import rsim
from rsim.api import session
from rsim.api.state import node_facts
from rsim.as_ray.absent import Partial
from rsim.as_ray.ids import ActorID, JobID, TaskID, current_job
from rsim.core import facts
from rsim.core.facts import NodeFact, ObjectFact
from rsim.runtime import state

_MIB = 1024 * 1024
_IS_THERE = ("inline", "stored", "remote")


class CoreWorker(Partial):
    """Of the process in which the code runs that asks."""

    PATH = "ray._private.worker.global_worker.core_worker"

    def get_actor_id(self) -> ActorID:
        """The id of the actor whose code asks; nil outside of one."""
        digits = rsim.get_runtime_context().get_actor_id() if rsim.is_initialized() else None
        return ActorID.nil() if digits is None else ActorID.from_hex(digits)

    def get_current_task_id(self) -> TaskID:
        """The id of the task whose code asks; nil in a driver."""
        digits = rsim.get_runtime_context().get_task_id() if rsim.is_initialized() else None
        return TaskID.nil() if digits is None else TaskID.from_hex(digits)

    def get_current_job_id(self) -> JobID:
        """The id of what the driver runs; nil: rsim does not run."""
        return current_job()

    def object_exists(self, object_ref: rsim.ObjectRef[Any]) -> bool:
        """Whether the object's value is there. A ref may be one that was made of an id."""
        object_id = object_ref.binary()
        return any(fact.object_id == object_id and fact.place in _IS_THERE for fact in _objects())

    def get_all_reference_counts(self) -> dict[bytes, dict[str, int]]:
        """By id, in hex digits: how many refs there are in this process, and how many unfinished
        tasks need the object. Actors are left out.
        """
        live = session.running_client().live_refs()
        told = {fact.object_id: fact for fact in _objects()}
        found = {}
        for object_id in {**live, **told}:
            fact, local = told.get(object_id), live.get(object_id, 0)
            submitted = fact.users if fact is not None else 0
            is_actor = fact is not None and fact.held_as == facts.HANDLE
            if (local or submitted) and not is_actor:
                found[object_id.hex().encode()] = {"local": local, "submitted": submitted}
        return found

    def get_memory_store_size(self) -> int:
        """How many objects of this node are so small that their owner keeps them, without actors
        and without what is only part of another object.
        """
        here = state.session_of(session.running_client()).node
        return sum(
            fact.place == "inline" and fact.node == here and fact.held_as != facts.HANDLE
            for fact in _objects()
        )

    def plasma_unlimited(self) -> bool:
        """Whether there is always room in memory: no."""
        return False


def _objects() -> list[ObjectFact]:
    return state.ask(session.running_client(), facts.OBJECTS)


def memory_summary(
    address: str | None = None,
    redis_password: str | None = None,
    group_by: str = "NODE_ADDRESS",
    sort_by: str = "OBJECT_SIZE",
    units: str = "B",
    line_wrap: bool = True,
    stats_only: bool = False,
    num_entries: int | None = None,
) -> str:
    """How full the object stores are, and what was written to disk and read back, in words.

    Raises NotImplementedError for the table of objects, which is what `stats_only` leaves out.
    """
    if not stats_only:
        raise NotImplementedError(
            "memory_summary() without stats_only=True of Ray is not in rsim: use "
            "ray.util.state.list_objects()"
        )
    stats = get_memory_info_reply().store_stats
    used, capacity = stats.object_store_bytes_used, stats.object_store_bytes_avail
    full = round(100 * used / capacity, 2) if capacity else 0.0
    lines = [
        "--- Aggregate object store stats across all nodes ---",
        f"Plasma memory usage {used // _MIB} MiB, {stats.num_local_objects} objects, {full}% full",
    ]
    for what, objects, size in (
        ("Spilled", stats.spilled_objects_total, stats.spilled_bytes_total),
        ("Restored", stats.restored_objects_total, stats.restored_bytes_total),
    ):
        if objects:
            lines.append(f"{what} {size // _MIB} MiB, {objects} objects")
    return "\n".join(lines) + "\n"


class StoreStats(Partial):
    """The object stores of all nodes that live, taken together."""

    PATH = "ray._private.internal_api.get_memory_info_reply().store_stats"

    def __init__(self, nodes: list[NodeFact]) -> None:
        self.object_store_bytes_used = sum(node.used_bytes for node in nodes)
        self.object_store_bytes_avail = sum(node.capacity_bytes for node in nodes)
        self.num_local_objects = sum(node.stored for node in nodes)
        self.spilled_objects_total = sum(node.spilled[0] for node in nodes)
        self.spilled_bytes_total = sum(node.spilled[1] for node in nodes)
        self.restored_objects_total = sum(node.restored[0] for node in nodes)
        self.restored_bytes_total = sum(node.restored[1] for node in nodes)


def get_state_from_address(address: str | None = None) -> None:
    """What ``get_memory_info_reply`` wants to be given; here it needs nothing."""


def get_memory_info_reply(
    state: None = None,
    node_manager_address: str | None = None,
    node_manager_port: int | None = None,
    timeout_seconds: float = 60.0,
) -> SimpleNamespace:
    """How full the object stores are, as numbers: ``.store_stats``."""
    nodes = [node for node in node_facts(session.running_client()) if node.alive]
    return SimpleNamespace(store_stats=StoreStats(nodes))
