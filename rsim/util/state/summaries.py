"""How many tasks, actors and objects there are in which state.

Decides by what they are grouped: as in Ray. Must never keep an answer. Owns no state.
"""

from __future__ import annotations

from typing import Any

from rsim.util.state import rows
from rsim.util.state.rows import DEFAULT_TIMEOUT_S, sheet_of

_MIB = 1 << 20
_CLUSTER = "cluster"


def summarize_tasks(
    address: str | None = None,
    timeout: float | None = DEFAULT_TIMEOUT_S,
    raise_on_missing_output: bool = True,
) -> dict[str, Any]:
    """How many attempts are in which state, by the name of the task.

    {"cluster": {"summary": {NAME: {"func_or_class_name", "type", "state_counts"}}, "total_tasks",
    "total_actor_tasks", "total_actor_scheduled", "summary_by"}}. Arguments and errors are those of
    `list_tasks`.
    """
    sheet = sheet_of("summarize_tasks", address, timeout, raise_on_missing_output)
    summary: dict[str, dict[str, Any]] = {}
    totals = {"NORMAL_TASK": 0, "ACTOR_TASK": 0, "ACTOR_CREATION_TASK": 0}
    for task in rows.tasks(sheet):
        entry = summary.setdefault(
            task.name, {"func_or_class_name": task.name, "type": task.type, "state_counts": {}}
        )
        _count(entry["state_counts"], task.state)
        totals[task.type] += 1
    return {
        _CLUSTER: {
            "summary": summary,
            "total_tasks": totals["NORMAL_TASK"],
            "total_actor_tasks": totals["ACTOR_TASK"],
            "total_actor_scheduled": totals["ACTOR_CREATION_TASK"],
            "summary_by": "func_name",
        }
    }


def summarize_actors(
    address: str | None = None,
    timeout: float | None = DEFAULT_TIMEOUT_S,
    raise_on_missing_output: bool = True,
) -> dict[str, Any]:
    """How many actors are in which state, by class.

    {"cluster": {"summary": {CLASS: {"class_name", "state_counts"}}, "total_actors", "summary_by"}}.
    """
    sheet = sheet_of("summarize_actors", address, timeout, raise_on_missing_output)
    summary: dict[str, dict[str, Any]] = {}
    found = rows.actors(sheet)
    for actor in found:
        entry = summary.setdefault(
            actor.class_name, {"class_name": actor.class_name, "state_counts": {}}
        )
        _count(entry["state_counts"], actor.state)
    return {_CLUSTER: {"summary": summary, "total_actors": len(found), "summary_by": "class"}}


def summarize_objects(
    address: str | None = None,
    timeout: float | None = DEFAULT_TIMEOUT_S,
    raise_on_missing_output: bool = True,
) -> dict[str, Any]:
    """How many objects there are, of which size, and why; by call site, which is not recorded.

    {"cluster": {"summary": {"disabled": {"total_objects", "total_size_mb", "total_num_workers",
    "total_num_nodes", "task_state_counts", "task_attempt_number_counts", "ref_type_counts"}},
    "total_objects", "total_size_mb", "callsite_enabled", "summary_by"}}.
    """
    sheet = sheet_of("summarize_objects", address, timeout, raise_on_missing_output)
    found = rows.objects(sheet)
    size_mb = sum(each.object_size for each in found if each.object_size > 0) / _MIB
    entry: dict[str, Any] = {
        "total_objects": len(found),
        "total_size_mb": size_mb,
        "total_num_workers": len({each.pid for each in found}),
        "total_num_nodes": len({each.node_id for each in found}),
        "task_state_counts": {},
        "task_attempt_number_counts": {},
        "ref_type_counts": {},
    }
    for each in found:
        _count(entry["task_state_counts"], each.task_status)
        _count(entry["task_attempt_number_counts"], str(each.attempt_number))
        _count(entry["ref_type_counts"], each.reference_type)
    return {
        _CLUSTER: {
            "summary": {"disabled": entry} if found else {},
            "total_objects": len(found),
            "total_size_mb": size_mb,
            "callsite_enabled": False,
            "summary_by": "callsite",
        }
    }


def _count(counts: dict[str, int], key: str) -> None:
    counts[key] = counts.get(key, 0) + 1
