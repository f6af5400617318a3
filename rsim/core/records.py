"""The plain data that events, effects and messages are made of.

Decides nothing. Must never hold behaviour or anything that cannot cross a wire. Owns no state:
every record is immutable and may be shared.

Quantities of resources are integers in units of 1/10000, so that sums of fractions are exact.
"""

from __future__ import annotations

import msgspec

RESOURCE_UNITS = 10_000
"""Units in one whole resource (the finest fraction is 0.0001)."""

Demand = tuple[tuple[str, int], ...]
"""Resources asked for, as (name, units) sorted by name; zero quantities are left out."""

LabelSelector = tuple[tuple[str, str, tuple[str, ...]], ...]
"""Conditions on a node's labels that must all hold, as (key, operator, values); the operators are
in ``core.labels``.
"""

EnvVars = tuple[tuple[str, str], ...]
"""Environment variables by name, in the order in which they are set."""

DRIVER = 0
"""The client number of a node's driver; workers count up from 1."""

STREAMING = -1
"""The number of results of a generator whose items are objects of their own, counted from 1. Its
one result, object 0, stands for its end; so ``abs(num_returns)`` is how many results there are.
"""

PENDING_ITEM, READY_ITEM, LENT_ITEM, NO_ITEM = range(4)
"""How things are with the next item of a stream: not there yet; there; lent to who asked for it; it
will never be there, as the stream has ended.
"""


class Strategy(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Where a task may be placed. ``kind`` is DEFAULT, SPREAD, AFFINITY (then ``node``, ``soft``,
    ``spills`` and ``fails`` count), LABELS (of the node; they may count for the others too) or
    GROUP (then ``group``, ``bundle`` and ``captures`` count).
    """

    kind: str = "DEFAULT"
    node: str = ""
    soft: bool = False
    spills: bool = False
    """Soft, and rather than wait for the node the task runs elsewhere."""
    fails: bool = False
    """Hard, and rather than wait for the node the task fails."""
    selector: LabelSelector = ()
    fallback: tuple[LabelSelector, ...] = ()
    """Selectors for when no node with the first one can run the task, in order."""
    preferred: LabelSelector = ()
    """Of the nodes selected, those that are better."""
    group: bytes = b""
    """The placement group; the task's demand is in terms of its bundles then."""
    bundle: int = -1
    """The index of the bundle; -1: any."""
    captures: bool = False
    """What the task submits runs in its placement group too, unless it says otherwise."""
    apart: bool = False
    """A strategy was asked for, so the task is not to run in the placement group of its parent."""


class TaskOptions(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What stays the same from call to call of a remote function; shared by its task specs."""

    demand: Demand = (("CPU", RESOURCE_UNITS),)
    max_retries: int = 3
    retry_exceptions: bool = False
    strategy: Strategy = Strategy()
    extras: bytes = b""
    """Pickled options that only the executor reads (cost, list of exceptions to retry); opaque
    here.
    """
    out_of_order: bool = False
    """Calls of an actor: one need not wait for those before it that wait for their inputs."""
    group: str = ""
    """Calls of an actor: the concurrency group; empty: the default one."""
    function: str = ""
    """The function's own name, if its tasks have another."""
    max_calls: int = 0
    """After so many of its tasks a worker ends; 0: never."""
    env_vars: EnvVars = ()
    """What its worker's environment has besides while it runs, or while the actor lives."""
    threads: int = 1
    """How many threads the libraries that it uses may compute with: one for each whole CPU."""
    untold: bool = False
    """Who asks for the tasks is not told of it."""


class ActorName(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What an actor is called; no two living ones of a cluster have the same."""

    namespace: str
    name: str


class NamedActor(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What the control store knows of an actor that has a name."""

    name: ActorName
    actor_id: bytes
    owner: str
    interface: bytes
    """What its handles must know of its class, pickled; opaque here."""


class ActorOptions(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What an actor is started with; part of the spec of the task that creates it."""

    max_restarts: int = 0
    """How often it is created again after its worker died; -1: always."""
    held: Demand = ()
    """Resources held while it lives (those of ``TaskOptions`` are only asked for to place it)."""
    max_concurrency: int = 1
    """Calls at a time in the default concurrency group."""
    asyncio: bool = False
    """Its calls run on an event loop."""
    groups: tuple[tuple[str, int], ...] = ()
    """The other concurrency groups, and the calls at a time in each."""
    name: ActorName | None = None
    detached: bool = False
    """It lives on without handles, until it is killed."""
    namespace: str = ""
    """What one without a name was given all the same; only told, when somebody asks."""
    patient: bool = False
    """While it is created again all its calls wait, not only those that have retries."""

    @property
    def known_as(self) -> ActorName | None:
        """Its name, of which but the namespace may be there."""
        return self.name or (ActorName(self.namespace, "") if self.namespace else None)

    @property
    def is_concurrent(self) -> bool:
        """Whether it may run several calls at a time, or must run them on a loop."""
        return self.asyncio or self.max_concurrency > 1 or bool(self.groups)

    @property
    def calls_at_a_time(self) -> int:
        """In all groups together."""
        return self.max_concurrency + sum(limit for _, limit in self.groups)


class TaskTemplate(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What the tasks have in common that one task submits by one remote function or method: they
    share it, so that what is the same for all of them is stored, compared and sent once.
    """

    parent_id: bytes
    depth: int
    function_id: bytes
    name: str
    num_returns: int
    options: TaskOptions
    creation: ActorOptions | None = None
    """The task creates an actor, which its first result stands for."""
    actor: bytes = b""
    """The task is a call of this actor (the object id of the creation's first result)."""
    method: str = ""
    """The method called."""

    def queues_like(self, other: TaskTemplate) -> bool:
        """Whether tasks of both wait in the same place, and for the same."""
        return self is other or (
            self.options is other.options
            and self.actor == other.actor
            and self.depth == other.depth
            and self.num_returns == other.num_returns
            and self.creation is other.creation is None
        )


class TaskSpec(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Everything needed to run a task, on any node, any number of times."""

    task_id: bytes
    index: int
    payload: bytes
    """The packed arguments; opaque here."""
    deps: tuple[bytes, ...]
    """Objects passed as top-level arguments: they must exist before the task starts, and are
    resolved.
    """
    borrows: tuple[bytes, ...]
    """Objects whose refs are nested inside the arguments: kept alive, not resolved."""
    template: TaskTemplate

    @property
    def parent_id(self) -> bytes:
        return self.template.parent_id

    @property
    def depth(self) -> int:
        return self.template.depth

    @property
    def function_id(self) -> bytes:
        return self.template.function_id

    @property
    def name(self) -> str:
        return self.template.name

    @property
    def num_returns(self) -> int:
        return self.template.num_returns

    @property
    def options(self) -> TaskOptions:
        return self.template.options

    @property
    def creation(self) -> ActorOptions | None:
        return self.template.creation

    @property
    def actor(self) -> bytes:
        return self.template.actor

    @property
    def method(self) -> str:
        return self.template.method


class GroupSpec(msgspec.Struct, frozen=True, array_like=True, tag="G", gc=False):
    """What a placement group is to reserve. As a request: create it."""

    group_id: bytes
    bundles: tuple[Demand, ...]
    strategy: str = "PACK"
    """PACK, SPREAD, STRICT_PACK or STRICT_SPREAD."""
    name: str = ""
    selectors: tuple[LabelSelector, ...] = ()
    """Of the nodes for each bundle; empty: any node for any."""
    node: str = ""
    """Where a STRICT_PACK group had best be."""
    detached: bool = False
    """It outlives the driver that created it."""


class GroupRemoval(msgspec.Struct, frozen=True, array_like=True, tag="R", gc=False):
    """A request: remove the placement group."""

    group_id: bytes


class GroupQuery(msgspec.Struct, frozen=True, array_like=True, tag="Q", gc=False):
    """A request: tell of a placement group, by its id or name; of all when neither is given."""

    group_id: bytes = b""
    name: str = ""


GroupRequest = GroupSpec | GroupRemoval | GroupQuery


class GroupStats(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """How a placement group's bundles came to have nodes, or why they have not."""

    stage: str
    """STARTED: nodes are asked for the bundles; FINISHED, REMOVED; NO_RESOURCES: they do not fit
    now; INFEASIBLE: no idle node could hold one of them, or what is to be together, or apart.
    """
    attempts: int
    """How often room was looked for: at first, and whenever there was some."""
    created_after_ns: int
    """Since its creation, until it could be used; 0: it never could."""
    placed_after_ns: int
    """The same, since the last attempt."""


class GroupState(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A placement group as users see it."""

    spec: GroupSpec
    state: str
    """PENDING, CREATED, RESCHEDULING (a node with some of its bundles died) or REMOVED."""
    nodes: tuple[str, ...]
    """The node of each bundle; empty: none yet."""
    stats: GroupStats


class ErrorInfo(msgspec.Struct, frozen=True, array_like=True, tag="E", gc=False):
    """A value that the system, not user code, failed to produce. ``kind`` names the exception's
    class.
    """

    kind: str
    message: str
    subject: bytes = b""
    """The id of the task, actor or object that it is about."""


class Located(msgspec.Struct, frozen=True, array_like=True, tag="L", gc=False):
    """A sealed object in the node's shared memory: ``size_bytes`` bytes from ``offset``."""

    offset: int
    size_bytes: int


class Inline(msgspec.Struct, frozen=True, array_like=True, tag="I", gc=False):
    """A small value (or a packed error of user code, then ``is_error``) that travels by itself."""

    payload: bytes
    is_error: bool = False


Value = Inline | Located | ErrorInfo
"""How a value reaches a client."""


class Result(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One result of a finished task. ``payload`` None: sealed in the executing node's store."""

    payload: bytes | None
    size_bytes: int
    contained: tuple[bytes, ...] = ()
    """Refs nested in the value."""
    is_value: bool = False
    """Of a task that failed: this it had made before."""


class OwnedRef(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A ref on its way to another node: the object and the node that owns it."""

    object_id: bytes
    owner: str
