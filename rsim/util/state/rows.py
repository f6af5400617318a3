"""What the nodes tell, as rows of columns.

Decides how a fact is written down by Ray's names. Must never leave a fact out. Owns no state.
"""

from __future__ import annotations

import json
from typing import Any

from rsim.api import checks
from rsim.api import state as api_state
from rsim.api.groups import placement_group_table
from rsim.api.state import client_of, own_resources, quantities
from rsim.core import facts
from rsim.core.facts import ActorFact, NodeFact, ObjectFact, TaskFact, WorkerFact
from rsim.core.history import INPUT_ERROR, USER_ERROR
from rsim.core.records import DRIVER, EnvVars
from rsim.runtime import state
from rsim.runtime.client import Client
from rsim.runtime.environment import merged
from rsim.runtime.trace import natural_key
from rsim.util.state.schema import (
    ActorState,
    JobState,
    NodeState,
    ObjectState,
    PlacementGroupState,
    TaskState,
    WorkerState,
)

_ERROR_TYPES = {
    USER_ERROR.kind: "TASK_EXECUTION_EXCEPTION",
    INPUT_ERROR.kind: "DEPENDENCY_RESOLUTION_FAILED",
    "ActorDiedError": "ACTOR_DIED",
    "ActorUnavailableError": "ACTOR_UNAVAILABLE",
    "NodeDiedError": "NODE_DIED",
    "ObjectLostError": "OBJECT_LOST",
    "ObjectReconstructionFailedError": "OBJECT_UNRECONSTRUCTABLE_MAX_ATTEMPTS_EXCEEDED",
    "OutOfDiskError": "OUT_OF_DISK_ERROR",
    "OutOfMemoryError": "OUT_OF_MEMORY",
    "OwnerDiedError": "OWNER_DIED",
    "TaskCancelledError": "TASK_CANCELLED",
    "TaskUnschedulableError": "TASK_UNSCHEDULABLE_ERROR",
    "WorkerCrashedError": "WORKER_DIED",
}
"""Ray's names; others are told as they are."""

_EXIT_TYPES = {
    facts.ENDED_ITSELF: "INTENDED_USER_EXIT",
    facts.SPENT: "INTENDED_USER_EXIT",
    facts.FORCED: "INTENDED_USER_EXIT",
}
"""By why a worker was told to end."""

DEFAULT_TIMEOUT_S = 30

_HEAD = "node:__internal_head__"


class Sheet:
    """Asks the cluster for one list, and knows what all rows need."""

    def __init__(self, client: Client, timeout_s: float | None, *, partial: bool = False) -> None:
        self._client = client
        self._timeout_s = timeout_s
        self._partial = partial
        self.session = state.session_of(client).session
        self.job_id = state.job_name(self.session.job)

    def ask(self, kind: str) -> list[Any]:
        """The facts of a kind that all nodes tell."""
        timeout_s, partial = self._timeout_s, self._partial
        return state.ask(self._client, kind, timeout_s=timeout_s, partial=partial)

    def ms(self, at_ns: int) -> int | None:
        """A time by the clock of the nodes, in milliseconds since 1970."""
        return None if at_ns < 0 else (self.session.epoch_ns + at_ns) // 1_000_000

    def runtime_env(self, env_vars: EnvVars) -> str:
        """The runtime environment of what was given these variables, as JSON."""
        found = merged(self.session.env_vars, env_vars)
        return json.dumps({"env_vars": dict(found)} if found else {})

    def addresses(self) -> dict[str, str]:
        """The nodes' addresses."""
        return {node.node: node.address for node in state.nodes(self.ask(facts.NODES))}


def sheet_of(
    name: str, address: str | None, timeout: float | None, raise_on_missing_output: bool = True
) -> Sheet:
    """A sheet for a public function; its arguments are checked."""
    client = client_of(f"util.state.{name}")
    if address not in (None, "auto", state.session_of(client).session.address):
        raise NotImplementedError(
            f"{name}(address={address!r}): only the cluster of the running session can be asked"
        )
    return Sheet(client, checks.timeout(timeout), partial=not raise_on_missing_output)


def tasks(sheet: Sheet) -> list[TaskState]:
    """A row for each attempt."""
    found = state.tasks(sheet.ask(facts.TASKS))
    calls = any(fact.actor and not fact.creates for fact in found)
    titles = state.titles(sheet.ask(facts.ACTORS)) if calls else {}
    return [_task(sheet, fact, titles) for fact in found]


def _task(sheet: Sheet, fact: TaskFact, titles: dict[bytes, str]) -> TaskState:
    """`titles`: how actors write themselves; their calls bear that, unless given other names."""
    name = function = state.task_name(fact)
    if fact.actor in titles and not (fact.creates or fact.function):
        name = f"{titles[fact.actor]}.{function.rpartition('.')[2]}"
    kind = "ACTOR_TASK" if fact.actor else "NORMAL_TASK"
    if fact.creates:
        kind = "ACTOR_CREATION_TASK"
    worker = fact.executor if isinstance(fact.executor, int) else 0
    error = fact.error
    begun = (
        ("PENDING_ARGS_AVAIL", fact.submitted_ns),
        ("RUNNING", fact.started_ns),
        (fact.state, fact.ended_ns),
    )
    return TaskState(
        task_id=fact.task_id.hex(),
        attempt_number=fact.attempt,
        name=name,
        state=api_state.task_states.get(fact.state, fact.state),
        job_id=sheet.job_id,
        actor_id=fact.actor.hex() or None,
        type=kind,
        func_or_class_name=function if fact.creates else fact.function or function,
        parent_task_id=fact.parent_id.hex(),
        node_id=fact.node or None,
        worker_id=state.worker_name(fact.node, worker) if worker else None,
        worker_pid=fact.pid or None,
        error_type=None if error is None else _error_type(fact, error.kind),
        language="PYTHON",
        required_resources=quantities(fact.demand),
        runtime_env_info={"serialized_runtime_env": sheet.runtime_env(fact.env_vars)},
        placement_group_id=fact.group.hex() or None,
        events=[
            {"state": state_name, "created_ms": sheet.ms(at_ns)}
            for state_name, at_ns in begun
            if at_ns >= 0
        ],
        creation_time_ms=sheet.ms(fact.submitted_ns),
        start_time_ms=sheet.ms(fact.started_ns),
        end_time_ms=sheet.ms(fact.ended_ns),
        error_message=error.message or None if error is not None else None,
    )


def _error_type(fact: TaskFact, kind: str) -> str:
    """Why it failed, by Ray's names. To its callers an actor is dead whose constructor has run, and
    raised.
    """
    if fact.creates and fact.started_ns >= 0 and kind == "ActorDiedError":
        kind = USER_ERROR.kind
    return _ERROR_TYPES.get(kind, kind)


def actors(sheet: Sheet) -> list[ActorState]:
    """A row for each actor."""
    return [_actor(sheet, fact) for fact in state.actors(sheet.ask(facts.ACTORS))]


def _actor(sheet: Sheet, fact: ActorFact) -> ActorState:
    cause = None
    if fact.state == facts.DEAD:
        cause = {"actor_died_error_context": {"error_message": fact.ended}}
    return ActorState(
        actor_id=fact.actor_id.hex(),
        class_name=fact.class_name,
        state=fact.state,
        job_id=sheet.job_id,
        name="" if fact.name is None else fact.name.name,
        node_id=fact.at or None,
        pid=fact.pid,
        ray_namespace=sheet.session.namespace if fact.name is None else fact.name.namespace,
        serialized_runtime_env=sheet.runtime_env(fact.env_vars),
        required_resources=quantities(fact.demand),
        death_cause=cause,
        is_detached=fact.detached,
        placement_group_id=fact.group.hex() or None,
        repr_name=fact.title,
        num_restarts=fact.restarts,
    )


def objects(sheet: Sheet) -> list[ObjectState]:
    """A row for each object."""
    addresses = sheet.addresses()
    return [_object(sheet, fact, addresses) for fact in sheet.ask(facts.OBJECTS)]


def _object(sheet: Sheet, fact: ObjectFact, addresses: dict[str, str]) -> ObjectState:
    is_drivers = fact.node == sheet.session.driver_node and DRIVER in fact.holders[:1]
    return ObjectState(
        object_id=fact.object_id.hex(),
        object_size=fact.size_bytes,
        task_status=fact.task_state or "NIL",
        attempt_number=fact.attempt,
        reference_type=fact.held_as,
        call_site="disabled",
        type="DRIVER" if is_drivers else "WORKER",
        pid=sheet.session.driver_pid if is_drivers else fact.pid,
        ip=addresses.get(fact.node, ""),
        node_id=fact.node,
        place=fact.place,
        copies=list(fact.copies),
    )


def workers(sheet: Sheet) -> list[WorkerState]:
    """A row for the driver and for each worker."""
    addresses = sheet.addresses()
    found: list[WorkerFact] = sheet.ask(facts.WORKERS)
    found.sort(key=lambda fact: (natural_key(fact.node), fact.client))
    return [_driver(sheet, addresses), *(_worker(sheet, fact, addresses) for fact in found)]


def _driver(sheet: Sheet, addresses: dict[str, str]) -> WorkerState:
    session = sheet.session
    return WorkerState(
        worker_id=state.worker_name(session.driver_node, DRIVER),
        is_alive=True,
        worker_type="DRIVER",
        exit_type=None,
        node_id=session.driver_node,
        ip=addresses.get(session.driver_node, ""),
        pid=session.driver_pid,
        actor_id=None,
        start_time_ms=sheet.ms(session.started_ns),
        end_time_ms=0,
        held_resources={},
    )


def _worker(sheet: Sheet, fact: WorkerFact, addresses: dict[str, str]) -> WorkerState:
    return WorkerState(
        worker_id=state.worker_name(fact.node, fact.client),
        is_alive=fact.alive,
        worker_type="WORKER",
        exit_type=None if fact.alive else _exit_type(fact),
        node_id=fact.node,
        ip=addresses.get(fact.node, ""),
        pid=fact.pid,
        actor_id=fact.actor.hex() or None,
        exit_detail=_in_detail(fact) or None,
        start_time_ms=sheet.ms(fact.started_ns),
        end_time_ms=sheet.ms(fact.ended_ns) or 0,
        held_resources=quantities(fact.demand),
    )


def _exit_type(fact: WorkerFact) -> str:
    """What has ended a worker, by Ray's names."""
    if fact.reason.startswith(facts.SHORT):
        return "NODE_OUT_OF_MEMORY"
    if fact.reason.startswith(facts.UNMADE):
        return "USER_ERROR"
    other = "INTENDED_SYSTEM_EXIT" if fact.stopped else "SYSTEM_ERROR"
    return _EXIT_TYPES.get(fact.reason, other)


def _in_detail(fact: WorkerFact) -> str:
    """Why a worker ended, in words."""
    if "SIGKILL" in fact.reason and not fact.stopped:
        return f"{fact.reason}, as by the system's OOM killer when memory is short"
    return fact.reason


def nodes(sheet: Sheet) -> list[NodeState]:
    """A row for each node."""
    return [_node(sheet, fact) for fact in state.nodes(sheet.ask(facts.NODES))]


def _node(sheet: Sheet, fact: NodeFact) -> NodeState:
    return NodeState(
        node_id=fact.node,
        node_ip=fact.address,
        is_head_node=_HEAD in dict(fact.total),
        state="ALIVE" if fact.alive else "DEAD",
        state_message=fact.reason or None,
        node_name=fact.node,
        resources_total=own_resources(fact),
        labels=dict(fact.labels),
        start_time_ms=sheet.ms(fact.started_ns) or 0,
        end_time_ms=sheet.ms(fact.ended_ns) or 0,
    )


def placement_groups(sheet: Sheet) -> list[PlacementGroupState]:
    """A row for each placement group."""
    return [_placement_group(sheet, each) for each in placement_group_table().values()]


def _placement_group(sheet: Sheet, told: dict[str, Any]) -> PlacementGroupState:
    group_id = told["placement_group_id"]
    return PlacementGroupState(
        placement_group_id=group_id,
        name=told["name"],
        creator_job_id=sheet.job_id,
        state=told["state"],
        bundles=[
            {
                "bundle_id": {"placement_group_id": group_id, "bundle_index": index},
                "unit_resources": resources,
                "node_id": told["bundles_to_node_id"][index] or None,
            }
            for index, resources in told["bundles"].items()
        ],
        is_detached=False,
        stats=told["stats"],
    )


def jobs(sheet: Sheet) -> list[JobState]:
    """The one job."""
    session = sheet.session
    driver = {"id": sheet.job_id, "pid": str(session.driver_pid), "node_ip_address": ""}
    return [
        JobState(
            job_id=sheet.job_id,
            submission_id=None,
            entrypoint=session.entrypoint,
            type="DRIVER",
            status="RUNNING",
            message=None,
            error_type=None,
            driver_info=driver,
            start_time=sheet.ms(session.started_ns),
            namespace=session.namespace,
            driver_node_id=session.driver_node,
        )
    ]
