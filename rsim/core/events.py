"""What happens to a node: the inputs of its machine, in the past tense.

Decides nothing. Those under "from clients" double as the messages that a worker process sends to
its node, hence the tags. ``client`` numbers the sender on its node (0 is the driver); ``op``
numbers a request of that client, and its answer carries the same number.
"""

from __future__ import annotations

import msgspec

from rsim.core.records import ErrorInfo, GroupRequest, NamedActor, Result, TaskSpec


class Event(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    """Base of all events."""


# -- from clients ----------------------------------------------------------------------------------


class TaskSubmitted(Event, tag="s", frozen=True):
    """A client submitted a task; it holds a ref to each result."""

    client: int
    spec: TaskSpec


class TaskFinished(Event, tag="f", frozen=True):
    """A worker ran a task to its end. ``error``: user code raised, and every result is that packed
    error, but for those that are said to be values.

    ``retryable``: the exception is one that the task's options ask to retry.
    """

    client: int
    task_id: bytes
    results: tuple[Result, ...]
    error: bool = False
    retryable: bool = False
    message: str = ""
    """What was raised, in words; by a generator also where it is no error, but an item."""
    cancelled: bool = False
    """It was a call of an actor that gave in to its cancellation: there are no results."""
    started_ns: int = -1
    ended_ns: int = -1
    """When, by the worker's clock; negative: not measured."""
    title: str = ""
    """How the actor that it has created writes itself, if its class says how."""


class TaskDone(Event, tag="td", frozen=True):
    """A worker ran a task to its end, and this value, small and without refs, is all that came of
    it: how most tasks end. It says the same as its ``in_full``.
    """

    client: int
    task_id: bytes
    payload: bytes
    started_ns: int = -1
    ended_ns: int = -1

    def in_full(self) -> TaskFinished:
        """The event that tells of any end."""
        result = Result(self.payload, len(self.payload))
        times = self.started_ns, self.ended_ns
        return TaskFinished(self.client, self.task_id, (result,), False, False, "", False, *times)


class ItemYielded(Event, tag="i", frozen=True):
    """A generator that a worker runs has yielded its ``index``-th item, counted from 1. ``error``:
    it raised, and the item is that packed error; ``retryable``: one that its options ask to retry.
    """

    client: int
    task_id: bytes
    index: int
    result: Result
    error: bool = False
    retryable: bool = False


class ConsumptionAwaited(Event, tag="o", frozen=True):
    """A worker that runs a generator waits until ``count`` of its items are consumed."""

    client: int
    op: int
    task_id: bytes
    count: int


class NextRequested(Event, tag="n", frozen=True):
    """A client wants to have this item of a stream as soon as it, or the end of the stream, is
    there; without ``take``, to know how things are.
    """

    client: int
    op: int
    object_id: bytes
    take: bool = True
    most: int = 1
    """It takes so many items at once, if those that follow are there, too."""


class ItemReturned(Event, tag="q", frozen=True):
    """A client has not taken the items that it was given: it was no longer waiting for them."""

    client: int
    object_id: bytes
    """Of the first."""
    count: int = 1


class ObjectPut(Event, tag="p", frozen=True):
    """A client put a value. ``stored``: it is written to, and to be sealed in, the node's store."""

    client: int
    object_id: bytes
    size_bytes: int
    contained: tuple[bytes, ...]
    stored: bool
    payload: bytes | None = None
    """The inline value, for the shell; the core does not look at it."""
    is_error: bool = False
    """The value is what a generator has raised, packed."""


class AllocationRequested(Event, tag="a", frozen=True):
    """A client wants room for a large object in the store; answered by ``ReplyAllocation``."""

    client: int
    op: int
    object_id: bytes
    size_bytes: int


class ResultWritten(Event, tag="rw", frozen=True):
    """A worker has written one of several results of its task: it may go to disk, to make room for
    the others. ``TaskFinished`` tells the rest.
    """

    client: int
    object_id: bytes


class AllocationDropped(Event, tag="d", frozen=True):
    """A client will not write the object that it was given room for."""

    client: int
    object_id: bytes


class ObjectsRequested(Event, tag="g", frozen=True):
    """A client waits for the values of all ``object_ids`` (or the first error among them)."""

    client: int
    op: int
    object_ids: tuple[bytes, ...]
    timeout_ns: int = -1
    """Negative: no limit."""


class WaitRequested(Event, tag="w", frozen=True):
    """A client waits until ``num_returns`` of the objects are ready."""

    client: int
    op: int
    object_ids: tuple[bytes, ...]
    num_returns: int
    timeout_ns: int = -1
    fetch_local: bool = True


class RefsReleased(Event, tag="r", frozen=True):
    """A client dropped its last ref to each object. ``counts``: how often the node had lent it that
    ref.
    """

    client: int
    object_ids: tuple[bytes, ...]
    counts: tuple[int, ...]


class PinsReleased(Event, tag="u", frozen=True):
    """A client no longer looks at the shared memory of these objects (once per reply that gave
    them).
    """

    client: int
    object_ids: tuple[bytes, ...]


class CancelRequested(Event, tag="c", frozen=True):
    """A client wants the task that creates ``object_id`` not to run, or to stop."""

    client: int
    object_id: bytes
    force: bool
    recursive: bool


class CallInterrupted(Event, tag="ci", frozen=True):
    """A worker has told a call of its actor that it is cancelled, with all that it has submitted:
    of that the node knows by now.
    """

    client: int
    task_id: bytes


class ActorKilled(Event, tag="k", frozen=True):
    """A client wants an actor's worker to end now. ``no_restart``: for good."""

    client: int
    actor_id: bytes
    no_restart: bool


class ActorExited(Event, tag="e", frozen=True):
    """The actor of this worker has decided to end, after what it has begun."""

    client: int
    task_id: bytes = b""
    """The call that has decided so, and is over; empty: it was the actor's creation."""
    started_ns: int = -1
    ended_ns: int = -1


class GroupsRequested(Event, tag="pg", frozen=True):
    """A client creates, removes or asks about placement groups; answered by ``ReplyGroups``."""

    client: int
    op: int
    request: GroupRequest


class NameDropped(Event, tag="nd", frozen=True):
    """A client will not create the actor that it has claimed a name for."""

    client: int
    actor_id: bytes


class TasksReturned(Event, tag="t", frozen=True):
    """A worker gives back tasks that it was sent and has not begun."""

    client: int
    task_ids: tuple[bytes, ...]


class StateRequested(Event, tag="st", frozen=True):
    """A client wants the facts of a kind (``core.facts``), of this node (``here``) or of all."""

    client: int
    op: int
    kind: str
    here: bool = False
    timeout_ns: int = -1
    """Negative: no limit."""


class WorkerStarted(Event, tag="b", frozen=True):
    """A worker is up and waits for tasks."""

    client: int
    pid: int = 0


# -- from the shell --------------------------------------------------------------------------------


class WorkerExited(Event, frozen=True):
    """A worker is gone, for whatever reason; everything it held is released."""

    client: int
    reason: str
    out_of_memory: bool = False
    """The system has killed it for want of memory."""
    pid: int = 0
    """Of its process, if it had one."""


class MemoryRanShort(Event, frozen=True):
    """More of the machine's memory is in use than may be: something must end. Told again and again
    as long as that is so.
    """

    used_bytes: int
    limit_bytes: int


class TimerFired(Event, frozen=True):
    """A timer set by ``SetTimer`` is due."""

    op: int


class SpillFinished(Event, frozen=True):
    """The bytes of a spilling object are on disk (or, not ``ok``, could not be written)."""

    object_id: bytes
    ok: bool


class RestoreFinished(Event, frozen=True):
    """The bytes of a spilled object are back in memory (or, not ``ok``, could not be read)."""

    object_id: bytes
    ok: bool


class MessageArrived(Event, frozen=True):
    """Another machine's message came in (``rsim.core.messages``)."""

    source: str
    message: msgspec.Struct


class ObjectReceived(Event, frozen=True):
    """The bytes of an object came from another node into the room allocated for them, or ``ok`` is
    False. ``error``: they cannot be kept here, from whichever node they come.
    """

    source: str
    object_id: bytes
    size_bytes: int
    inline: bool
    ok: bool
    error: ErrorInfo | None = None


class NodeJoined(Event, frozen=True):
    """A node is part of the cluster. ``total``: its resources."""

    node: str
    total: tuple[tuple[str, int], ...]
    labels: tuple[tuple[str, str], ...] = ()
    """By key, those that users gave it."""


class NodeDied(Event, frozen=True):
    """A node is gone for good; nothing more will come from it."""

    node: str


class LineageRecorded(Event, frozen=True):
    """The control store has acknowledged ``RecordLineage`` of the same ``op``."""

    op: int


class NameFound(Event, frozen=True):
    """The control store says whose name it is that a client asked for; None: nobody's. Answered by
    ``ReplyName``.

    ``claim``: the id of the actor that the client wants to give it to; it got it if that is the one
    ``named``. ``reuse``: else the client takes the actor that has it.
    """

    client: int
    op: int
    named: NamedActor | None
    claim: bytes = b""
    reuse: bool = False
