"""What a node tells of itself, its workers, tasks, actors and objects to whoever asks: plain facts.

Decides the names of states and the form of answers. Must never hold what changes: a fact is a copy,
true of the moment it was made. Owns no state. Times are those of the nodes' clock; negative: not
known.
"""

from __future__ import annotations

import msgspec

from rsim.core.records import ActorName, Demand, EnvVars, ErrorInfo

TASKS, ACTORS, OBJECTS, WORKERS, NODES = "tasks", "actors", "objects", "workers", "nodes"
"""Kinds of facts."""

WAITS_FOR_INPUTS = "PENDING_ARGS_AVAIL"
WAITS_FOR_PLACE = "PENDING_NODE_ASSIGNMENT"
FETCHES_INPUTS = "PENDING_ARGS_FETCH"
SENT_TO_WORKER = "SUBMITTED_TO_WORKER"
WAITS_FOR_TURN = "PENDING_ACTOR_TASK_ORDERING_OR_CONCURRENCY"
RUNS = "RUNNING"
GETS = "RUNNING_IN_RAY_GET"
WAITS = "RUNNING_IN_RAY_WAIT"
FINISHED, FAILED = "FINISHED", "FAILED"
"""States of a task, by Ray's names, in their order."""

UNCREATED, CREATING, ALIVE = "DEPENDENCIES_UNREADY", "PENDING_CREATION", "ALIVE"
RESTARTING, DEAD = "RESTARTING", "DEAD"
"""States of an actor; nodes are ALIVE or DEAD."""

ENDED_ITSELF = "it ended itself by exit_actor() or sys.exit()"
"""Why an actor, and its worker, may be gone."""

SPENT = "it has run a function as often as max_calls allows"
FORCED = "its task was cancelled by force"
UNMADE = "the constructor of its actor raised"
SHORT = "its node ran out of memory"
"""Why else a worker was told to end."""

HANDLE, PINNED, USED = "ACTOR_HANDLE", "PINNED_IN_MEMORY", "USED_BY_PENDING_TASK"
REFERENCE, CAPTURED, UNKNOWN = "LOCAL_REFERENCE", "CAPTURED_IN_OBJECT", "UNKNOWN_STATUS"
"""Why an object is kept."""


class Fact(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    """Base of all facts. ``node``: who tells it."""


class TaskFact(Fact, frozen=True):
    """One attempt to run a task, as one node knows it: its owner, or where it runs."""

    node: str
    task_id: bytes
    attempt: int
    name: str
    function: str
    """The function's own name; empty: ``name`` is."""
    state: str
    parent_id: bytes
    creates: bool
    """It creates an actor."""
    actor: bytes
    """The actor whose call it is, or which it creates."""
    owner: str
    executor: int | str
    """The worker of this node, or the other node, that has it; empty: nobody."""
    pid: int
    """Of that worker; 0: not known here."""
    error: ErrorInfo | None
    """Why it failed, if it did."""
    demand: Demand
    submitted_ns: int
    started_ns: int
    ended_ns: int
    group: bytes = b""
    """The placement group that it is to run in."""
    env_vars: EnvVars = ()
    """What it was given of its own, or by its parents."""


class ActorFact(Fact, frozen=True):
    """An actor: told by its owner, and (without ``state``) where it lives, or lived."""

    node: str
    actor_id: bytes
    class_name: str
    state: str
    at: str
    """The node it lives on; empty: none yet, or any more."""
    worker: int
    """Its worker there; 0: told by the owner."""
    pid: int
    restarts: int
    demand: Demand
    ended: str
    """Why it is dead."""
    created_ns: int
    """When its creation was asked for; told by the place where it lived, when its worker began."""
    name: ActorName | None = None
    detached: bool = False
    group: bytes = b""
    env_vars: EnvVars = ()
    title: str = ""
    """How it writes itself, if its class says how: told by the place where it lives, or lived."""


class ObjectFact(Fact, frozen=True):
    """An object, told by its owner."""

    node: str
    object_id: bytes
    size_bytes: int
    """Negative: not known yet."""
    held_as: str
    task_state: str
    """Of the task that makes it; empty: it was put, or its task is forgotten."""
    attempt: int
    place: str
    """pending, inline, stored, remote, freed or lost."""
    copies: tuple[str, ...]
    """Nodes whose store has it."""
    holders: tuple[int, ...]
    """Clients of the owner that have a ref."""
    pid: int
    """Of the first of them; 0: the driver's, or not known."""
    users: int
    """Unfinished tasks of the owner's that need it."""


class WorkerFact(Fact, frozen=True):
    """A worker process."""

    node: str
    client: int
    pid: int
    alive: bool
    actor: bytes
    demand: Demand
    """What it holds of the node's resources now."""
    started_ns: int
    ended_ns: int
    stopped: bool
    """It was told to end."""
    reason: str
    """Why it ended."""
    title: str = ""
    """How its actor writes itself, if its class says how."""


class NodeFact(Fact, frozen=True):
    """A node; of a dead one nothing but ``total`` and the reason is known."""

    node: str
    alive: bool
    reason: str
    total: Demand
    available: Demand
    capacity_bytes: int
    used_bytes: int
    address: str
    hostname: str
    labels: tuple[tuple[str, str], ...]
    started_ns: int
    ended_ns: int
    stored: int = 0
    """How many objects are in its memory."""
    spilled: tuple[int, int] = (0, 0)
    """How many objects it has written to disk so far, and their bytes."""
    restored: tuple[int, int] = (0, 0)
    """How many it has read back, and their bytes."""


AnyFact = TaskFact | ActorFact | ObjectFact | WorkerFact | NodeFact
