"""What a node's machine wants done: its outputs, in the imperative. ``runtime.host`` alone
interprets them.

Decides nothing. An effect that expects an answer names the event that answers it.
"""

from __future__ import annotations

import msgspec

from rsim.core.facts import AnyFact
from rsim.core.records import (
    ActorName,
    Demand,
    ErrorInfo,
    GroupState,
    NamedActor,
    TaskSpec,
)


class Effect(msgspec.Struct, frozen=True, gc=False):
    """Base of all effects."""


class StartTask(Effect, frozen=True):
    """Send a task to a worker, with the values of its deps (local, and pinned for this client)."""

    client: int
    spec: TaskSpec
    attempt: int
    lent: tuple[bytes, ...] = ()
    """Refs in the payload and in the deps: lent to the client."""
    devices: tuple[tuple[str, int], ...] = ()
    """The accelerators of the node that it may use: kind and index."""


class StartTasks(Effect, frozen=True):
    """Send tasks to a worker, one after the other: the first attempts of such as have no inputs,
    and to which nothing is lent.
    """

    client: int
    specs: tuple[TaskSpec, ...]


class KeepValues(Effect, frozen=True):
    """Small values that workers have sent are objects from now on: their ids, and they."""

    values: list[tuple[bytes, bytes]]


class RecallTasks(Effect, frozen=True):
    """Ask a worker to give back the tasks it has not begun (``TasksReturned``)."""

    client: int


class InterruptTask(Effect, frozen=True):
    """Raise KeyboardInterrupt in the worker if it is running just this task; of a call, it gives
    back one that it has not begun, and tells one that it has.
    """

    client: int
    task_id: bytes
    recursive: bool = False
    """A call that has begun is cancelled with what it has submitted (``CallInterrupted``)."""


class StartWorker(Effect, frozen=True):
    """Start a worker process (``WorkerStarted``, or ``WorkerExited``)."""

    client: int


class StopWorker(Effect, frozen=True):
    """End a worker: at once when ``kill``, else when it is idle (``WorkerExited``)."""

    client: int
    kill: bool


class ReplyObjects(Effect, frozen=True):
    """Answer ``ObjectsRequested``. Every id is local and, if in the store, pinned once for the
    client.

    ``timed_out``: the time limit came first, and ``object_ids`` are those that are still missing.
    """

    client: int
    op: int
    object_ids: tuple[bytes, ...]
    lent: tuple[bytes, ...] = ()
    timed_out: bool = False
    error: ErrorInfo | None = None
    """The values cannot be had (the store is full)."""


class ReplyWait(Effect, frozen=True):
    """Answer ``WaitRequested`` with the ready ids, in the order asked."""

    client: int
    op: int
    ready: tuple[bytes, ...]


class ReplyGroups(Effect, frozen=True):
    """Answer ``GroupsRequested``. ``error``: why there is no such group."""

    client: int
    op: int
    groups: tuple[GroupState, ...]
    error: str = ""


class ReplyAllocation(Effect, frozen=True):
    """Answer ``AllocationRequested``: write to ``offset``, or ``error``."""

    client: int
    op: int
    offset: int
    error: ErrorInfo | None = None


class ReplyNext(Effect, frozen=True):
    """Answer ``NextRequested``: ``state`` is PENDING_ITEM, READY_ITEM, LENT_ITEM or NO_ITEM; with
    LENT_ITEM, ``count`` items are lent, of which ``object_id`` is the first.
    """

    client: int
    op: int
    object_id: bytes
    state: int
    count: int = 1


class ReplyConsumption(Effect, frozen=True):
    """Answer ``ConsumptionAwaited``: so many items are consumed, and more can be produced."""

    client: int
    op: int
    consumed: int


class ReplyName(Effect, frozen=True):
    """Answer a question for a name. ``lent``: the id of the living actor that has it, a ref to
    which is lent to the client. ``claimed``: it is the client's to give. Neither: it is taken by
    ``named``, or (None) nobody has it.
    """

    client: int
    op: int
    named: NamedActor | None = None
    lent: tuple[bytes, ...] = ()
    claimed: bool = False


class ReleaseName(Effect, frozen=True):
    """Let the control store forget a name, if it is (still) that of this actor and owner."""

    name: ActorName
    actor_id: bytes
    owner: str


class ReleaseNames(Effect, frozen=True):
    """Let the control store forget the names of all actors that a dead node owned."""

    owner: str


class ReplyState(Effect, frozen=True):
    """Answer ``StateRequested``. ``missing``: nodes that had not answered when the time was up."""

    client: int
    op: int
    facts: tuple[AnyFact, ...]
    missing: tuple[str, ...] = ()


class StoreError(Effect, frozen=True):
    """Let this error be the object's local value."""

    object_id: bytes
    error: ErrorInfo


class CopyError(Effect, frozen=True):
    """Let the error that ``source`` holds be the local value of ``target`` too.

    ``dependent``: the name of the task whose result ``target`` is, if it cannot run for that error;
    an error of the system then becomes an error of that task. ``is_actor``: what the task was to
    create, which is dead for that error.
    """

    source: bytes
    target: bytes
    dependent: str = ""
    is_actor: bool = False


class ForgetValues(Effect, frozen=True):
    """Drop the inline values or errors of objects that nobody can ask for any more. ``unseen``:
    errors among them that nobody has asked for.
    """

    object_ids: tuple[bytes, ...]
    unseen: tuple[bytes, ...] = ()


class SpillObject(Effect, frozen=True):
    """Write the bytes at ``offset`` to disk (``SpillFinished``)."""

    object_id: bytes
    offset: int
    size_bytes: int


class RestoreObject(Effect, frozen=True):
    """Read a spilled object back to ``offset`` (``RestoreFinished``)."""

    object_id: bytes
    offset: int
    size_bytes: int


class DropSpilled(Effect, frozen=True):
    """Delete a spilled object from disk."""

    object_id: bytes


class Send(Effect, frozen=True):
    """Send a message to another machine: a node by name, or ``GLOBAL``."""

    node: str
    message: msgspec.Struct


class SendLocation(Effect, frozen=True):
    """Send an ``ObjectLocation`` after filling in the local inline value or error of its object."""

    node: str
    message: msgspec.Struct


class SendObject(Effect, frozen=True):
    """Send an object's bytes from the local store to another node (there: ``ObjectReceived``)."""

    node: str
    object_id: bytes
    offset: int
    size_bytes: int


class RecordLineage(Effect, frozen=True):
    """Write task specs to the control store (``LineageRecorded``) before their refs leave this
    node.
    """

    op: int
    specs: tuple[TaskSpec, ...]
    owner: str


class ForgetLineage(Effect, frozen=True):
    """The control store may drop these specs."""

    task_ids: tuple[bytes, ...]


class SetTimer(Effect, frozen=True):
    """Answer with ``TimerFired(op)`` at ``at_ns``."""

    op: int
    at_ns: int


class CancelTimer(Effect, frozen=True):
    """The timer is no longer wanted (a late ``TimerFired`` is ignored all the same)."""

    op: int


class WarnDriver(Effect, frozen=True):
    """Tell the user. ``demand`` is set when a task can never be placed (it is then infeasible)."""

    message: str
    task_id: bytes = b""
    demand: Demand = ()
