"""What machines say to each other across nodes: nouns.

Decides nothing. Delivery is at least once and in order per pair of machines; late, duplicate and
unknown answers are ignored by rule. Every ref that travels comes as an ``OwnedRef`` and is *lent*:
the receiver registers with the owner before the sender gives up its own hold (``core.borrowing``).
"""

from __future__ import annotations

import msgspec

from rsim.core.facts import AnyFact
from rsim.core.records import (
    Demand,
    GroupRequest,
    GroupState,
    OwnedRef,
    Result,
    Strategy,
    TaskSpec,
)

GLOBAL = "global"
"""The address of the cluster's global scheduler."""


class Message(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    """Base of all messages."""


# -- local scheduler <-> global scheduler ----------------------------------------------------------


class PlacementRequest(Message, frozen=True):
    """A local scheduler asks where a task should run; the task stays in its own queue meanwhile."""

    task_id: bytes
    demand: Demand
    strategy: Strategy
    locality: tuple[tuple[str, int], ...]
    """Bytes of the task's deps that each node already holds, by node."""
    op: int = 0
    """Numbers the requests of a node: answers and withdrawals carry the same number."""


class PlacementWithdrawal(Message, frozen=True):
    """The task needs no place any more: forget the request, or give the reservation back."""

    task_id: bytes
    op: int = 0


class TaskPlacement(Message, frozen=True):
    """Answer to ``PlacementRequest``: run it on ``node``, where ``demand`` is reserved in the
    global view.
    """

    task_id: bytes
    node: str
    op: int = 0


class PlacementFailure(Message, frozen=True):
    """Answer to ``PlacementRequest``: no node can. ``final``: none ever will (dead hard affinity):
    fail the task.

    Not final: the request stays queued until a fitting node joins.
    """

    task_id: bytes
    reason: str
    final: bool
    op: int = 0
    removed: bool = False
    """It was to run in a placement group that was removed."""


class ResourceReport(Message, frozen=True):
    """What has changed of a node's free resources, and its queue. ``seq`` orders reports of one
    node.
    """

    seq: int
    changes: Demand
    """What is free of these from now on; it is as before of all others."""
    queued: int
    accepted: tuple[bytes, ...]
    """Tasks placed here that the node took in, or refused, since its last report: their
    reservations end.

    ``changes`` and ``queued`` account for them from now on.
    """


# -- placement groups -----------------------------------------------------------------------------


class GroupQuestion(Message, frozen=True):
    """To the global scheduler: what client ``client`` of the sender asks by its request ``op``."""

    client: int
    op: int
    request: GroupRequest


class GroupAnswer(Message, frozen=True):
    """Answer to ``GroupQuestion``: the groups asked for; ``error``: why there is none."""

    client: int
    op: int
    groups: tuple[GroupState, ...]
    error: str = ""


class BundleReservation(Message, frozen=True):
    """The global scheduler wants resources set apart for bundles: all of them, or none.

    ``op`` numbers the reservations: one with a number that is not new is a repetition.
    """

    group_id: bytes
    bundles: tuple[tuple[int, Demand], ...]
    """By index in the group."""
    op: int


class BundleReply(Message, frozen=True):
    """Answer to ``BundleReservation``. Not ``reserved``: there is not enough free."""

    group_id: bytes
    op: int
    reserved: bool


class BundleCommit(Message, frozen=True):
    """All bundles of the group are reserved: those of reservation ``op`` may be used."""

    group_id: bytes
    op: int


class BundleReturn(Message, frozen=True):
    """Give back what reservation ``op`` has set apart for a group. 0: end all of the group."""

    group_id: bytes
    op: int = 0


# -- owner <-> executing node ----------------------------------------------------------------------


class TaskForward(Message, frozen=True):
    """The owner hands a task to the node that shall run it. The refs in it are lent."""

    spec: TaskSpec
    attempt: int
    refs: tuple[OwnedRef, ...]


class TaskOutcome(Message, frozen=True):
    """The executing node's answer to ``TaskForward``. ``failure`` (an ``ErrorInfo`` kind) or
    results.

    A result without a payload lies in the executing node's store.
    """

    task_id: bytes
    attempt: int
    results: tuple[Result, ...]
    refs: tuple[OwnedRef, ...]
    error: bool = False
    retryable: bool = False
    failure: str = ""
    message: str = ""
    subject: bytes = b""
    """What the failure is about."""


class CancelForward(Message, frozen=True):
    """The owner wants a forwarded task cancelled."""

    task_id: bytes
    force: bool
    recursive: bool


# -- streams: owner <-> executing node ------------------------------------------------------------


class ItemReport(Message, frozen=True):
    """A forwarded generator has yielded an item. A result without a payload lies in the sender's
    store. ``error`` and ``retryable`` as in ``ItemYielded``.
    """

    task_id: bytes
    attempt: int
    index: int
    result: Result
    refs: tuple[OwnedRef, ...]
    error: bool = False
    retryable: bool = False


class ConsumptionQuery(Message, frozen=True):
    """A forwarded generator is paused until ``count`` of its items are consumed; answered then by
    ``ConsumptionReport``.
    """

    task_id: bytes
    attempt: int
    count: int


class ConsumptionReport(Message, frozen=True):
    """So many items of a generator are consumed, or will never be wanted."""

    task_id: bytes
    consumed: int


# -- objects ---------------------------------------------------------------------------------------


class ObjectQuery(Message, frozen=True):
    """Ask an object's owner for it; answered by ``ObjectLocation`` as soon as the object exists,
    and before that by ``ObjectAwaited`` if it does not yet.

    ``lost_at``: nodes that turned out not to hold it.
    """

    object_id: bytes
    lost_at: tuple[str, ...] = ()


class ObjectAwaited(Message, frozen=True):
    """The object that was asked for does not exist yet, or has to be made again."""

    object_id: bytes
    refuses: bool = False
    """It is an actor that is being created again: calls without retries need not wait."""


class ObjectLocation(Message, frozen=True):
    """Where an object is: with it (``inline``), at ``nodes``, or never (``failure``)."""

    object_id: bytes
    size_bytes: int
    nodes: tuple[str, ...]
    contained: tuple[OwnedRef, ...]
    inline: bytes | None = None
    is_error: bool = False
    failure: str = ""
    message: str = ""
    actor_at: str = ""
    """The object stands for an actor that lives on this node."""
    subject: bytes = b""
    """What the failure is about."""


class ObjectPull(Message, frozen=True):
    """Ask a node for the bytes of an object in its store."""

    object_id: bytes


class ObjectAbsence(Message, frozen=True):
    """Answer to ``ObjectPull``: not here (any more)."""

    object_id: bytes


class ObjectCopy(Message, frozen=True):
    """Tell the owner that a copy of its object was added to (``present``), or dropped from, the
    sender's store.
    """

    object_id: bytes
    present: bool


class ObjectDeletion(Message, frozen=True):
    """The owner freed the objects: holders of copies drop them."""

    object_ids: tuple[bytes, ...]


# -- actors --------------------------------------------------------------------------------------


class ActorDeath(Message, frozen=True):
    """The worker of an actor that the receiver owns is gone. ``intended``: do not restart it."""

    actor_id: bytes
    reason: str
    intended: bool


class ActorKill(Message, frozen=True):
    """To an actor's owner: end it now. ``no_restart``: for good."""

    actor_id: bytes
    no_restart: bool


class ActorStop(Message, frozen=True):
    """From an actor's owner to where it lives: end it, now (``kill``) or when idle."""

    actor_id: bytes
    kill: bool


class ActorQuery(Message, frozen=True):
    """To the owner of an actor that was found by its name: lend a ref to it, if it is alive."""

    actor_id: bytes
    op: int


class ActorAnswer(Message, frozen=True):
    """Answer to ``ActorQuery``: the actor, or nothing if it is dead."""

    op: int
    refs: tuple[OwnedRef, ...]


# -- references ------------------------------------------------------------------------------------


class RefBorrow(Message, frozen=True):
    """The sender holds a ref that ``lender`` (neither sender nor owner) lent it: the owner
    registers the sender.
    """

    object_id: bytes
    lender: str


class BorrowNote(Message, frozen=True):
    """The owner has registered a borrower: the lender may give up the hold it kept for it."""

    object_id: bytes
    borrower: str


class RefReturn(Message, frozen=True):
    """The sender dropped its last hold; ``counts``: how often the receiver had lent it each ref."""

    object_ids: tuple[bytes, ...]
    counts: tuple[int, ...]


class PutNote(Message, frozen=True):
    """A task of the receiver, run again by the sender, put an object again: the sender owns it
    now.
    """

    ref: OwnedRef


# -- inspection ------------------------------------------------------------------------------------


class StateQuery(Message, frozen=True):
    """Ask a node for its facts of a kind (``core.facts``)."""

    op: int
    kind: str


class StateAnswer(Message, frozen=True):
    """Answer to ``StateQuery``, with its number."""

    op: int
    facts: tuple[AnyFact, ...]


# -- the death of an owner -------------------------------------------------------------------------


class OrphanReport(Message, frozen=True):
    """To the global scheduler, after a node died: the refs owned by it that the sender still holds.

    ``copies``: which of them the sender has the bytes of.
    """

    dead: str
    object_ids: tuple[bytes, ...]
    copies: tuple[bytes, ...]


class Adoption(Message, frozen=True):
    """From the global scheduler to the new owner of orphans.

    ``holders`` and ``copies`` run parallel to ``object_ids``; ``specs``: the lineage on record, by
    task.
    """

    object_ids: tuple[bytes, ...]
    holders: tuple[tuple[str, ...], ...]
    copies: tuple[tuple[str, ...], ...]
    specs: tuple[TaskSpec, ...]


class Inheritance(Message, frozen=True):
    """From the new owner of an orphan to one who holds it, or may: it is lent to it."""

    object_id: bytes
