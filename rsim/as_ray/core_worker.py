"""What tests of Ray ask of its core worker: whether an object is there, who refers to what, and how
much memory is in use.

Decides nothing about programs: it is what the process counts and the nodes tell, in Ray's form.
Owns no state.
"""

from __future__ import annotations

from typing import Any

import rsim
from rsim.api import session
from rsim.api.state import node_facts
from rsim.as_ray.absent import Partial
from rsim.as_ray.ids import ActorID, JobID, TaskID, current_job
from rsim.core import facts
from rsim.core.facts import ObjectFact
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
    nodes = [node for node in node_facts(session.running_client()) if node.alive]
    used = sum(node.used_bytes for node in nodes)
    capacity = sum(node.capacity_bytes for node in nodes)
    count = sum(node.stored for node in nodes)
    full = round(100 * used / capacity, 2) if capacity else 0.0
    lines = [
        "--- Aggregate object store stats across all nodes ---",
        f"Plasma memory usage {used // _MIB} MiB, {count} objects, {full}% full",
    ]
    for what, disk in (
        ("Spilled", [node.spilled for node in nodes]),
        ("Restored", [node.restored for node in nodes]),
    ):
        objects = sum(each[0] for each in disk)
        if objects:
            lines.append(f"{what} {sum(each[1] for each in disk) // _MIB} MiB, {objects} objects")
    return "\n".join(lines) + "\n"
