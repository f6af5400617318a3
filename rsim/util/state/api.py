"""Lists of what there is in the cluster, and single entries of them.

Decides how facts that the nodes tell become columns. Must never keep an answer: each call asks
anew. Owns no state.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from rsim.core.ids import TASK_ID_BYTES
from rsim.runtime.refs import ObjectRef
from rsim.util.state import rows
from rsim.util.state.filters import Filter, chosen
from rsim.util.state.rows import DEFAULT_TIMEOUT_S, sheet_of
from rsim.util.state.schema import (
    ActorState,
    JobState,
    NodeState,
    ObjectState,
    PlacementGroupState,
    StateSchema,
    TaskState,
    WorkerState,
)

S = TypeVar("S", bound=StateSchema)

DEFAULT_LIMIT = 100


def list_tasks(
    address: str | None = None,
    filters: Sequence[Filter] | None = None,
    limit: int = DEFAULT_LIMIT,
    timeout: float | None = DEFAULT_TIMEOUT_S,
    detail: bool = False,
    raise_on_missing_output: bool = True,
) -> list[TaskState]:
    """The tasks, an entry for each attempt, by the time of submission.

    All that are not over, and of those that are the last 100,000 of each node.

    filters: triples (column, "=" or "!=", value), all of which must hold. limit: how many at most.
    timeout: seconds. detail: with the columns that are None otherwise. raise_on_missing_output:
    False: go without the nodes that do not answer in time. address must be None.

    Raises ValueError or TypeError for a bad argument, GetTimeoutError, and RuntimeError when no
    runtime is running. The other lists take and raise the same.
    """
    sheet = sheet_of("list_tasks", address, timeout, raise_on_missing_output)
    return chosen(rows.tasks(sheet), TaskState, filters, limit, detail)


def list_actors(
    address: str | None = None,
    filters: Sequence[Filter] | None = None,
    limit: int = DEFAULT_LIMIT,
    timeout: float | None = DEFAULT_TIMEOUT_S,
    detail: bool = False,
    raise_on_missing_output: bool = True,
) -> list[ActorState]:
    """The actors, by the time of their creation; of dead ones the last 10,000 of each node."""
    sheet = sheet_of("list_actors", address, timeout, raise_on_missing_output)
    return chosen(rows.actors(sheet), ActorState, filters, limit, detail)


def list_objects(
    address: str | None = None,
    filters: Sequence[Filter] | None = None,
    limit: int = DEFAULT_LIMIT,
    timeout: float | None = DEFAULT_TIMEOUT_S,
    detail: bool = False,
    raise_on_missing_output: bool = True,
) -> list[ObjectState]:
    """The objects that somebody holds a ref to, one entry for each."""
    sheet = sheet_of("list_objects", address, timeout, raise_on_missing_output)
    return chosen(rows.objects(sheet), ObjectState, filters, limit, detail)


def list_workers(
    address: str | None = None,
    filters: Sequence[Filter] | None = None,
    limit: int = DEFAULT_LIMIT,
    timeout: float | None = DEFAULT_TIMEOUT_S,
    detail: bool = False,
    raise_on_missing_output: bool = True,
) -> list[WorkerState]:
    """The driver, then the workers of each node; of dead ones the last 10,000 of each node."""
    sheet = sheet_of("list_workers", address, timeout, raise_on_missing_output)
    return chosen(rows.workers(sheet), WorkerState, filters, limit, detail)


def list_nodes(
    address: str | None = None,
    filters: Sequence[Filter] | None = None,
    limit: int = DEFAULT_LIMIT,
    timeout: float | None = DEFAULT_TIMEOUT_S,
    detail: bool = False,
    raise_on_missing_output: bool = True,
) -> list[NodeState]:
    """The nodes by name, dead ones included."""
    sheet = sheet_of("list_nodes", address, timeout, raise_on_missing_output)
    return chosen(rows.nodes(sheet), NodeState, filters, limit, detail)


def list_placement_groups(
    address: str | None = None,
    filters: Sequence[Filter] | None = None,
    limit: int = DEFAULT_LIMIT,
    timeout: float | None = DEFAULT_TIMEOUT_S,
    detail: bool = False,
    raise_on_missing_output: bool = True,
) -> list[PlacementGroupState]:
    """The placement groups, removed ones included as long as they are remembered."""
    sheet = sheet_of("list_placement_groups", address, timeout, raise_on_missing_output)
    return chosen(rows.placement_groups(sheet), PlacementGroupState, filters, limit, detail)


def list_jobs(
    address: str | None = None,
    filters: Sequence[Filter] | None = None,
    limit: int = DEFAULT_LIMIT,
    timeout: float | None = DEFAULT_TIMEOUT_S,
    detail: bool = False,
    raise_on_missing_output: bool = True,
) -> list[JobState]:
    """The jobs: the program of this session's driver."""
    sheet = sheet_of("list_jobs", address, timeout, raise_on_missing_output)
    return chosen(rows.jobs(sheet), JobState, filters, limit, detail)


# -- single entries --------------------------------------------------------------------------------


def get_task(
    id: str | ObjectRef[Any],
    address: str | None = None,
    timeout: float | None = DEFAULT_TIMEOUT_S,
) -> TaskState | list[TaskState] | None:
    """A task by its id, or by a ref to its result: its one attempt, or a list of them; None: there
    is no such task.
    """
    if isinstance(id, ObjectRef):
        id = id.binary()[:TASK_ID_BYTES].hex()
    found = rows.tasks(sheet_of("get_task", address, timeout))
    attempts = [state for state in found if state.task_id == _text(id)]
    return attempts if len(attempts) > 1 else _first(attempts)


def get_actor(
    id: str,
    address: str | None = None,
    timeout: float | None = DEFAULT_TIMEOUT_S,
) -> ActorState | None:
    """An actor by its id; None: there is no such one. The others are found likewise."""
    found = rows.actors(sheet_of("get_actor", address, timeout))
    return _first([state for state in found if state.actor_id == _text(id)])


def get_objects(
    id: str,
    address: str | None = None,
    timeout: float | None = DEFAULT_TIMEOUT_S,
) -> list[ObjectState]:
    """The entries of an object, by its id."""
    found = rows.objects(sheet_of("get_objects", address, timeout))
    return [state for state in found if state.object_id == _text(id)]


def get_worker(
    id: str,
    address: str | None = None,
    timeout: float | None = DEFAULT_TIMEOUT_S,
) -> WorkerState | None:
    """A worker by its id."""
    found = rows.workers(sheet_of("get_worker", address, timeout))
    return _first([state for state in found if state.worker_id == _text(id)])


def get_node(
    id: str,
    address: str | None = None,
    timeout: float | None = DEFAULT_TIMEOUT_S,
) -> NodeState | None:
    """A node by its id, which is its name."""
    found = rows.nodes(sheet_of("get_node", address, timeout))
    return _first([state for state in found if state.node_id == _text(id)])


def get_placement_group(
    id: str,
    address: str | None = None,
    timeout: float | None = DEFAULT_TIMEOUT_S,
) -> PlacementGroupState | None:
    """A placement group by its id."""
    found = rows.placement_groups(sheet_of("get_placement_group", address, timeout))
    return _first([state for state in found if state.placement_group_id == _text(id)])


def get_job(
    id: str,
    address: str | None = None,
    timeout: float | None = DEFAULT_TIMEOUT_S,
) -> JobState | None:
    """A job by its id."""
    found = rows.jobs(sheet_of("get_job", address, timeout))
    return _first([state for state in found if state.job_id == _text(id)])


def _text(given: object) -> str:
    if not isinstance(given, str):
        raise TypeError(f"id must be a str, not {given!r}")
    return given


def _first(found: list[S]) -> S | None:
    return found[0] if found else None
