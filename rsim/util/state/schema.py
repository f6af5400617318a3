"""What is told of each thing: the columns, by Ray's names.

Decides which columns can be filtered by, and which are given in detail only. Must never ask the
cluster. Owns no state. Ids are hex digits or names, times milliseconds since 1970, sizes bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from typing import Any

_PLAIN = {"filterable": True, "detail": False}
_UNFILTERED = {"filterable": False, "detail": False}
_DETAIL = {"filterable": False, "detail": True}
"""The column is None unless detail is asked for."""
_FILTERED_DETAIL = {"filterable": True, "detail": True}


@dataclass
class StateSchema:
    """One thing; its columns are attributes (`task.name`) and items (`task["name"]`)."""

    @classmethod
    def list_columns(cls, detail: bool = True) -> list[str]:
        """The names of the columns."""
        return [each.name for each in fields(cls) if detail or not each.metadata["detail"]]

    @classmethod
    def filterable_columns(cls) -> list[str]:
        """The names of the columns that filters may use."""
        return [each.name for each in fields(cls) if each.metadata["filterable"]]

    def without_detail(self) -> StateSchema:
        """The same, with None in the columns that are given in detail only."""
        shown = set(self.list_columns(detail=False))
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return type(self)(**{name: values[name] if name in shown else None for name in values})

    def asdict(self) -> dict[str, Any]:
        """The columns as a dict."""
        return asdict(self)

    def get(self, key: str, default: Any = None) -> Any:
        """A column, or `default` if there is no such one."""
        return getattr(self, key) if key in self.list_columns() else default

    def keys(self) -> list[str]:
        """The names of the columns."""
        return self.list_columns()

    def __iter__(self) -> Iterator[str]:
        return iter(self.list_columns())

    def __getitem__(self, key: str) -> Any:
        if key not in self.list_columns():
            raise KeyError(f"{key!r}: a {type(self).__name__} has {', '.join(self.list_columns())}")
        return getattr(self, key)


@dataclass
class TaskState(StateSchema):
    """One attempt to run a task."""

    task_id: str = field(metadata=_PLAIN)
    attempt_number: int = field(metadata=_PLAIN)
    """From 0."""
    name: str = field(metadata=_PLAIN)
    state: str = field(metadata=_PLAIN)
    """PENDING_ARGS_AVAIL, PENDING_NODE_ASSIGNMENT, PENDING_ARGS_FETCH, SUBMITTED_TO_WORKER,
    PENDING_ACTOR_TASK_ORDERING_OR_CONCURRENCY (its actor has others to run before it), RUNNING,
    RUNNING_IN_RAY_GET, RUNNING_IN_RAY_WAIT, FINISHED or FAILED.
    """
    job_id: str = field(metadata=_PLAIN)
    actor_id: str | None = field(metadata=_PLAIN)
    """The actor that it creates or calls."""
    type: str = field(metadata=_PLAIN)
    """NORMAL_TASK, ACTOR_CREATION_TASK or ACTOR_TASK."""
    func_or_class_name: str = field(metadata=_PLAIN)
    parent_task_id: str = field(metadata=_PLAIN)
    node_id: str | None = field(metadata=_PLAIN)
    worker_id: str | None = field(metadata=_PLAIN)
    worker_pid: int | None = field(metadata=_PLAIN)
    error_type: str | None = field(metadata=_PLAIN)
    """Why it failed: TASK_EXECUTION_EXCEPTION (it raised), WORKER_DIED ..."""
    language: str | None = field(default=None, metadata=_FILTERED_DETAIL)
    required_resources: dict[str, float] | None = field(default=None, metadata=_DETAIL)
    runtime_env_info: dict[str, Any] | None = field(default=None, metadata=_DETAIL)
    placement_group_id: str | None = field(default=None, metadata=_FILTERED_DETAIL)
    events: list[dict[str, Any]] | None = field(default=None, metadata=_DETAIL)
    """When it came to be in which state: [{"state": ..., "created_ms": ...}]."""
    creation_time_ms: int | None = field(default=None, metadata=_DETAIL)
    start_time_ms: int | None = field(default=None, metadata=_DETAIL)
    end_time_ms: int | None = field(default=None, metadata=_DETAIL)
    error_message: str | None = field(default=None, metadata=_DETAIL)
    """What was raised, or what the system reports."""


@dataclass
class ActorState(StateSchema):
    """An actor."""

    actor_id: str = field(metadata=_PLAIN)
    class_name: str = field(metadata=_PLAIN)
    state: str = field(metadata=_PLAIN)
    """DEPENDENCIES_UNREADY, PENDING_CREATION, ALIVE, RESTARTING or DEAD."""
    job_id: str = field(metadata=_PLAIN)
    name: str | None = field(metadata=_PLAIN)
    node_id: str | None = field(metadata=_PLAIN)
    pid: int | None = field(metadata=_PLAIN)
    ray_namespace: str | None = field(metadata=_PLAIN)
    serialized_runtime_env: str | None = field(default=None, metadata=_DETAIL)
    required_resources: dict[str, float] | None = field(default=None, metadata=_DETAIL)
    """What it holds while it lives."""
    death_cause: dict[str, Any] | None = field(default=None, metadata=_DETAIL)
    """{"actor_died_error_context": {"error_message": ...}}, if it is dead."""
    is_detached: bool | None = field(default=None, metadata=_DETAIL)
    placement_group_id: str | None = field(default=None, metadata=_FILTERED_DETAIL)
    repr_name: str | None = field(default=None, metadata=_FILTERED_DETAIL)
    num_restarts: int | None = field(default=None, metadata=_DETAIL)


@dataclass
class ObjectState(StateSchema):
    """An object that somebody holds a ref to."""

    object_id: str = field(metadata=_PLAIN)
    object_size: int = field(metadata=_PLAIN)
    """-1: not known yet."""
    task_status: str = field(metadata=_PLAIN)
    """Of the task that makes it; NIL: it was put."""
    attempt_number: int = field(metadata=_PLAIN)
    reference_type: str = field(metadata=_PLAIN)
    """ACTOR_HANDLE, PINNED_IN_MEMORY, USED_BY_PENDING_TASK, LOCAL_REFERENCE, CAPTURED_IN_OBJECT or
    UNKNOWN_STATUS: the first that is true.
    """
    call_site: str = field(metadata=_PLAIN)
    """Always "disabled": it is not recorded."""
    type: str = field(metadata=_PLAIN)
    """DRIVER or WORKER: who holds it, of those that do on the node that owns it the first."""
    pid: int = field(metadata=_PLAIN)
    """The process that does; 0: none on that node."""
    ip: str = field(metadata=_PLAIN)
    node_id: str = field(metadata=_PLAIN)
    """The node that owns it."""
    place: str = field(metadata=_PLAIN)
    """pending, inline (small, in the owner's memory), stored (in its object store), remote (in
    those of others), freed or lost.
    """
    copies: list[str] | None = field(default=None, metadata=_DETAIL)
    """Nodes whose object store has it."""


@dataclass
class WorkerState(StateSchema):
    """A worker process, or the driver."""

    worker_id: str = field(metadata=_PLAIN)
    is_alive: bool = field(metadata=_PLAIN)
    worker_type: str = field(metadata=_PLAIN)
    """WORKER or DRIVER."""
    exit_type: str | None = field(metadata=_PLAIN)
    """INTENDED_USER_EXIT (its actor ended itself, it reached `max_calls`, or its task was cancelled
    by force), USER_ERROR (its actor's constructor raised), INTENDED_SYSTEM_EXIT (it was told to
    stop for another reason), NODE_OUT_OF_MEMORY or SYSTEM_ERROR.
    """
    node_id: str = field(metadata=_PLAIN)
    ip: str = field(metadata=_PLAIN)
    pid: int = field(metadata=_PLAIN)
    actor_id: str | None = field(metadata=_PLAIN)
    """The actor that lives in it."""
    exit_detail: str | None = field(default=None, metadata=_DETAIL)
    start_time_ms: int | None = field(default=None, metadata=_DETAIL)
    end_time_ms: int | None = field(default=None, metadata=_DETAIL)
    held_resources: dict[str, float] | None = field(default=None, metadata=_DETAIL)


@dataclass
class NodeState(StateSchema):
    """A node."""

    node_id: str = field(metadata=_PLAIN)
    node_ip: str = field(metadata=_PLAIN)
    is_head_node: bool = field(metadata=_PLAIN)
    state: str = field(metadata=_PLAIN)
    """ALIVE or DEAD."""
    state_message: str | None = field(metadata=_UNFILTERED)
    node_name: str = field(metadata=_PLAIN)
    resources_total: dict[str, float] = field(metadata=_UNFILTERED)
    labels: dict[str, str] = field(metadata=_UNFILTERED)
    start_time_ms: int | None = field(default=None, metadata=_DETAIL)
    end_time_ms: int | None = field(default=None, metadata=_DETAIL)


@dataclass
class PlacementGroupState(StateSchema):
    """A placement group."""

    placement_group_id: str = field(metadata=_PLAIN)
    name: str = field(metadata=_PLAIN)
    creator_job_id: str = field(metadata=_PLAIN)
    state: str = field(metadata=_PLAIN)
    """PENDING, CREATED, RESCHEDULING or REMOVED."""
    bundles: list[dict[str, Any]] | None = field(default=None, metadata=_DETAIL)
    """[{"bundle_id": {"placement_group_id", "bundle_index"}, "unit_resources", "node_id"}]."""
    is_detached: bool | None = field(default=None, metadata=_FILTERED_DETAIL)
    stats: dict[str, Any] | None = field(default=None, metadata=_DETAIL)


@dataclass
class JobState(StateSchema):
    """A driver's program."""

    job_id: str = field(metadata=_PLAIN)
    submission_id: str | None = field(metadata=_PLAIN)
    entrypoint: str = field(metadata=_PLAIN)
    type: str = field(metadata=_PLAIN)
    status: str = field(metadata=_PLAIN)
    message: str | None = field(metadata=_UNFILTERED)
    error_type: str | None = field(metadata=_PLAIN)
    driver_info: dict[str, Any] | None = field(metadata=_UNFILTERED)
    start_time: int | None = field(default=None, metadata=_DETAIL)
    end_time: int | None = field(default=None, metadata=_DETAIL)
    namespace: str | None = field(default=None, metadata=_DETAIL)
    driver_node_id: str | None = field(default=None, metadata=_FILTERED_DETAIL)
