"""What a node says to its clients, and how messages become bytes.

Decides the form of everything that crosses a pipe, a socket or a trace file. Must never look at
what a payload means. Owns no state. The other direction, clients to node, are the events "from
clients" of ``rsim.core.events``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

import msgspec

from rsim.core import events
from rsim.core.facts import AnyFact
from rsim.core.records import (
    ActorName,
    ActorOptions,
    EnvVars,
    ErrorInfo,
    GroupState,
    NamedActor,
    Value,
)


class Delivery(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    """Base of what a node sends to a client."""


class Tenancy(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a task has on the node that runs it, or the actor that it creates for life."""

    devices: tuple[tuple[str, int], ...] = ()
    """The accelerators that it may use: kind and index."""
    group: bytes = b""
    """The placement group that it runs in."""
    captures: bool = False
    """What it submits runs in that group too, unless it says otherwise."""
    env_vars: EnvVars = ()
    """What its worker's environment has besides; and that of what it submits."""
    threads: int = 1
    """How many threads the libraries that it uses may compute with."""


TASK, CREATION, CALL = range(3)
"""Kinds of ``RunTask``: a function; the creation of an actor; a call of the worker's actor."""


class RunTask(Delivery, tag="R", frozen=True):
    """Run a task. ``function`` comes with the first task of that function a worker is given."""

    task_id: bytes
    payload: bytes
    depth: int
    name: str
    function_id: bytes
    function: bytes | None
    extras: bytes
    kind: int = TASK
    method: str = ""
    """The method that is called."""
    group: str = ""
    """The concurrency group of a call; empty: the default one."""
    tenancy: Tenancy | None = None
    num_returns: int = 1
    attempt: int = 0
    creation: ActorOptions | None = None
    """What the actor that it creates is started with."""
    dep_ids: tuple[bytes, ...] = ()
    deps: tuple[Value, ...] = ()
    lent: tuple[bytes, ...] = ()
    """Every ref that the payload and the deps contain, once per containing value: counted as lent
    to the client.
    """


class RunTasks(Delivery, tag="B", frozen=True):
    """Run tasks: the ``first``, and others that are like it but for their ids and payloads."""

    first: RunTask
    task_ids: tuple[bytes, ...]
    payloads: tuple[bytes, ...]

    def each(self) -> Iterator[RunTask]:
        """One by one; only the first has the function."""
        first = self.first
        yield first
        shared = (
            first.depth,
            first.name,
            first.function_id,
            None,
            first.extras,
            first.kind,
            first.method,
            first.group,
            first.tenancy,
        )
        for task_id, payload in zip(self.task_ids, self.payloads, strict=True):
            yield RunTask(task_id, payload, *shared)


class ObjectsReply(Delivery, tag="O", frozen=True):
    """The values asked for, or (``timed_out``) the ids that were still missing."""

    op: int
    object_ids: tuple[bytes, ...]
    values: tuple[Value, ...]
    lent: tuple[bytes, ...]
    timed_out: bool = False
    error: ErrorInfo | None = None


class WaitReply(Delivery, tag="W", frozen=True):
    """The ready ids."""

    op: int
    ready: tuple[bytes, ...]


class NextReply(Delivery, tag="T", frozen=True):
    """How things are with items of a stream (as in ``ReplyNext``)."""

    op: int
    object_id: bytes
    state: int
    count: int = 1
    values: tuple[bytes | None, ...] = ()
    """Of those items, as far as they are small and nothing but values."""


class ConsumptionReply(Delivery, tag="C", frozen=True):
    """So many items of a stream are consumed: its generator may go on."""

    op: int
    consumed: int


class AllocationReply(Delivery, tag="A", frozen=True):
    """Room for an object, or why there is none."""

    op: int
    offset: int
    error: ErrorInfo | None = None


class GroupsReply(Delivery, tag="PG", frozen=True):
    """The placement groups asked for, or why there is none."""

    op: int
    groups: tuple[GroupState, ...]
    error: str = ""


class FunctionReply(Delivery, tag="F", frozen=True):
    """A pickled function."""

    op: int
    function: bytes


class NameReply(Delivery, tag="NA", frozen=True):
    """Whose a name is (``rsim.core.effects.ReplyName``)."""

    op: int
    named: NamedActor | None
    lent: tuple[bytes, ...] = ()
    claimed: bool = False


class NamesReply(Delivery, tag="NS", frozen=True):
    """The names that actors have."""

    op: int
    names: tuple[ActorName, ...]


class StateReply(Delivery, tag="ST", frozen=True):
    """The facts asked for. ``missing``: nodes that have not answered in time."""

    op: int
    facts: tuple[AnyFact, ...]
    missing: tuple[str, ...] = ()


class SessionFacts(msgspec.Struct, frozen=True, array_like=True):
    """What a client may know of the session that it is part of."""

    address: str = ""
    """Of its backend."""
    name: str = ""
    job: bytes = b""
    """The id of the driver's task."""
    namespace: str = ""
    driver_node: str = ""
    driver_pid: int = 0
    epoch_ns: int = 0
    """Wall-clock time where the clock of the nodes is zero, in nanoseconds since 1970."""
    started_ns: int = 0
    """When it began, by the clock of the nodes."""
    entrypoint: str = ""
    """The driver's command line."""
    env_vars: EnvVars = ()
    """What the environment of all workers has besides the driver's."""


class SessionReply(Delivery, tag="SE", frozen=True):
    """What a client may know of its session, and its node's name."""

    op: int
    node: str
    session: SessionFacts


class Recall(Delivery, tag="K", frozen=True):
    """Give back what has not begun."""


class Interrupt(Delivery, tag="I", frozen=True):
    """Raise KeyboardInterrupt if this task is running; of a call, see ``InterruptTask``."""

    task_id: bytes
    recursive: bool = False


class Stop(Delivery, tag="S", frozen=True):
    """Leave when idle."""


class Nudge(Delivery, tag="N", frozen=True):
    """Nothing: it only wakes a thread of the process that it is made in."""

    op: int


Reply = (
    ObjectsReply
    | WaitReply
    | NextReply
    | ConsumptionReply
    | AllocationReply
    | GroupsReply
    | FunctionReply
    | NameReply
    | NamesReply
    | StateReply
    | SessionReply
)
"""The answer to a request, which carries the request's number."""

AnyDelivery = RunTask | RunTasks | Reply | Recall | Interrupt | Stop


class FunctionExported(events.Event, tag="x", frozen=True):
    """A client made a function known to the cluster (the shell's business, not the core's)."""

    client: int
    function_id: bytes
    blob: bytes


class FunctionRequested(events.Event, tag="y", frozen=True):
    """A client needs a function that it was not sent (the shell's business, not the core's)."""

    client: int
    op: int
    function_id: bytes


class NameClaimed(events.Event, tag="nc", frozen=True):
    """A client wants to give a name to an actor that it is about to create; ``reuse``: or the actor
    that has it. Answered by ``NameReply``. The shell asks the control store, and fills in the node
    and, where it is empty, the namespace.
    """

    client: int
    op: int
    named: NamedActor
    reuse: bool


class NameSought(events.Event, tag="ns", frozen=True):
    """A client wants the actor of a name. Answered by ``NameReply``."""

    client: int
    op: int
    name: ActorName


class NamesRequested(events.Event, tag="nr", frozen=True):
    """A client wants to know all names, or those of the driver's namespace. Answered by
    ``NamesReply``.
    """

    client: int
    op: int
    all_namespaces: bool


class SessionRequested(events.Event, tag="se", frozen=True):
    """A client wants to know about its session (the shell's business, not the core's)."""

    client: int
    op: int


ClientEvent = (
    events.TaskSubmitted
    | events.TaskDone
    | events.TaskFinished
    | events.ItemYielded
    | events.ConsumptionAwaited
    | events.NextRequested
    | events.ItemReturned
    | events.ObjectPut
    | events.AllocationRequested
    | events.AllocationDropped
    | events.ResultWritten
    | events.ObjectsRequested
    | events.WaitRequested
    | events.RefsReleased
    | events.PinsReleased
    | events.CancelRequested
    | events.CallInterrupted
    | events.ActorKilled
    | events.ActorExited
    | events.GroupsRequested
    | events.NameDropped
    | events.TasksReturned
    | events.StateRequested
    | events.WorkerStarted
    | FunctionExported
    | FunctionRequested
    | NameClaimed
    | NameSought
    | NamesRequested
    | SessionRequested
)

_encode = msgspec.msgpack.Encoder().encode
decode_deliveries = msgspec.msgpack.Decoder(list[AnyDelivery]).decode
decode_client_events = msgspec.msgpack.Decoder(list[ClientEvent]).decode

_HEADER = struct.Struct("<II")
HEADER_BYTES = _HEADER.size
_ARRAY = struct.Struct(">BI")
_ARRAY32 = 0xDD
"""How a msgpack array begins whose length takes four bytes."""


def frame_of(messages: Sequence[msgspec.Struct]) -> bytes:
    """A frame: the size of what follows, the number of messages, and these as a msgpack array."""
    body = _encode(messages)
    return _HEADER.pack(len(body), len(messages)) + body


def frame_size(view: memoryview) -> int:
    """How many bytes the frame at the front of ``view`` takes in all; 0: that is not known yet."""
    return HEADER_BYTES + _HEADER.unpack_from(view)[0] if len(view) >= HEADER_BYTES else 0


def join_frames(view: memoryview) -> tuple[bytes, int, int]:
    """The messages of the complete frames at the front of ``view`` as one msgpack array, how many
    bytes these frames take, and how many the next one does (0: not known yet, or there is none).
    """
    bodies: list[bytes | memoryview] = [b""]
    total = position = wanted = 0
    end = len(view)
    while end - position >= HEADER_BYTES:
        size, count = _HEADER.unpack_from(view, position)
        start = position + HEADER_BYTES
        stop = start + size
        if stop > end:
            wanted = stop - position
            break
        start += 1 if count < 1 << 4 else 3 if count < 1 << 16 else 5  # where its array begins
        bodies.append(view[start:stop])
        position = stop
        total += count
    bodies[0] = _ARRAY.pack(_ARRAY32, total)
    return b"".join(bodies), position, wanted
