"""StateApiClient: the state API by the kind of thing that is asked for.

Decides nothing: the functions of the state API do the work. Owns no state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from rsim.util import state

DEFAULT_RPC_TIMEOUT = 30
DEFAULT_LIMIT = 100
RAY_MAX_LIMIT_FROM_API_SERVER = 10_000


class StateResource(Enum):
    """What can be listed, and got by its id."""

    ACTORS = "actors"
    JOBS = "jobs"
    PLACEMENT_GROUPS = "placement_groups"
    NODES = "nodes"
    WORKERS = "workers"
    TASKS = "tasks"
    OBJECTS = "objects"
    RUNTIME_ENVS = "runtime_envs"
    CLUSTER_EVENTS = "cluster_events"


class SummaryResource(Enum):
    """What can be summed up."""

    ACTORS = "actors"
    TASKS = "tasks"
    OBJECTS = "objects"


@dataclass
class ListApiOptions:
    """What to list, how much of it, and how long to wait."""

    limit: int = DEFAULT_LIMIT
    timeout: int = DEFAULT_RPC_TIMEOUT
    detail: bool = False
    filters: list[tuple[str, str, Any]] = field(default_factory=list)
    exclude_driver: bool = True
    """Drivers have no task of their own here."""
    server_timeout_multiplier: float = 0.8
    """There is no server."""


@dataclass
class GetApiOptions:
    """How long to wait."""

    timeout: int = DEFAULT_RPC_TIMEOUT
    server_timeout_multiplier: float = 0.8


@dataclass
class SummaryApiOptions:
    """How to sum up, and how long to wait."""

    timeout: int = DEFAULT_RPC_TIMEOUT
    filters: list[tuple[str, str, Any]] = field(default_factory=list)
    summary_by: str | None = None


_LISTS: dict[StateResource, Callable[..., Any]] = {
    StateResource.ACTORS: state.list_actors,
    StateResource.JOBS: state.list_jobs,
    StateResource.PLACEMENT_GROUPS: state.list_placement_groups,
    StateResource.NODES: state.list_nodes,
    StateResource.WORKERS: state.list_workers,
    StateResource.TASKS: state.list_tasks,
    StateResource.OBJECTS: state.list_objects,
}
_GETTERS: dict[StateResource, Callable[..., Any]] = {
    StateResource.ACTORS: state.get_actor,
    StateResource.JOBS: state.get_job,
    StateResource.PLACEMENT_GROUPS: state.get_placement_group,
    StateResource.NODES: state.get_node,
    StateResource.WORKERS: state.get_worker,
    StateResource.TASKS: state.get_task,
    StateResource.OBJECTS: state.get_objects,
}
_SUMMARIES: dict[SummaryResource, Callable[..., Any]] = {
    SummaryResource.ACTORS: state.summarize_actors,
    SummaryResource.TASKS: state.summarize_tasks,
    SummaryResource.OBJECTS: state.summarize_objects,
}


class StateApiClient:
    """Asks the cluster of the running session. `cookies` and `headers` have no effect: nothing goes
    by HTTP.
    """

    def __init__(
        self,
        address: str | None = None,
        cookies: Mapping[str, Any] | None = None,
        headers: Mapping[str, Any] | None = None,
    ) -> None:
        self._address = address

    def list(
        self,
        resource: StateResource,
        options: ListApiOptions,
        raise_on_missing_output: bool = True,
        _explain: bool = False,
    ) -> list[Any]:
        """As `ray.util.state.list_actors` and its like. Raises NotImplementedError for runtime
        environments and events.
        """
        found: list[Any] = _of(_LISTS, resource)(
            self._address,
            options.filters,
            options.limit,
            options.timeout,
            options.detail,
            raise_on_missing_output,
        )
        return found

    def get(
        self,
        resource: StateResource,
        id: str,
        options: GetApiOptions | None = None,
        _explain: bool = False,
    ) -> Any:
        """As `ray.util.state.get_actor` and its like."""
        timeout = (options or GetApiOptions()).timeout
        return _of(_GETTERS, resource)(id, self._address, timeout)

    def summary(
        self,
        resource: SummaryResource,
        *,
        options: SummaryApiOptions,
        raise_on_missing_output: bool = True,
        _explain: bool = False,
    ) -> dict[str, Any]:
        """As `ray.util.state.summarize_tasks` and its like, for the whole cluster. Raises
        NotImplementedError for filters and for `summary_by`.
        """
        if options.filters or options.summary_by:
            raise NotImplementedError(
                "SummaryApiOptions(filters=..., summary_by=...) of Ray is not in rsim"
            )
        summarize = _of(_SUMMARIES, resource)
        found: dict[str, Any] = summarize(self._address, options.timeout, raise_on_missing_output)
        return found


def _of(functions: Mapping[Any, Callable[..., Any]], resource: Enum) -> Callable[..., Any]:
    if resource not in functions:
        known = ", ".join(str(each) for each in functions)
        raise NotImplementedError(f"the state API of rsim has {known}, not {resource}")
    return functions[resource]
