"""Tasks and workers as a node knows them.

Decides nothing: the local scheduler, the task table and the actors change these records. Must never
hold what a task's spec holds already. Owns no state.
"""

from __future__ import annotations

from collections import deque

from rsim.core.objects import Entry, Waiter
from rsim.core.records import ActorOptions, Demand, ErrorInfo, TaskSpec
from rsim.core.resources import cpu_part, less

WAITING, READY, SENT, FORWARDED, DONE = range(5)
"""States of a task: for inputs; queued; at a worker; at another node; over (kept as lineage)."""

SETTLED = -1
STAYS = -2

STARTING, IDLE, BUSY, ACTOR, DOOMED = range(5)
"""States of a worker; ACTOR: it is an actor's for life; DOOMED: it is to end."""


class Task(Waiter, gc=False, eq=False, kw_only=True):
    """A task that this node owns, or runs for another."""

    spec: TaskSpec
    retries_left: int
    client: int = 0
    """Who submitted it, on the owning node."""
    submitted_ns: int = 0
    state: int = WAITING
    live: int = 0
    """How many entries of its results and puts there are."""
    plain: bool = False
    """It is this node's own, has no inputs, one result, and creates no actor: as most tasks, of
    which little can become.
    """
    result: Entry | None = None
    """What it is to make, if it is this node's own, has one result and creates no actor; until it
    is over, as the result then knows the task.
    """
    owner: str = ""
    """The owning node; empty: this one."""
    attempt: int = 0
    order: int = 0
    """The place of a call of an actor among those of this node; 0: not queued for it."""
    queued: bool = False
    """A call that waits to be sent to its actor."""
    executor: int | str = ""
    """The worker, or the node, that has it."""
    requested: int = 0
    """The number of the open request to the global scheduler for a place; 0: none, ``SETTLED``: its
    answer was this node, ``STAYS``: it can run nowhere else.
    """
    cancelled: bool = False
    recorded: bool = False
    """Its lineage is in the control store."""
    shortages: int = 0
    """How often it died because its node ran out of memory."""
    started_ns: int = -1
    ended_ns: int = -1
    """When its last attempt ran, if the worker said so; negative: it did not."""


def cancellation(task: Task) -> ErrorInfo:
    """The error that a cancelled task's results are."""
    text = f"{task.spec.name} was cancelled"
    return ErrorInfo("TaskCancelledError", text, task.spec.task_id)


class Worker:
    """A worker of this node and the tasks at it, the running one first."""

    __slots__ = (
        "blocked",
        "calls",
        "client",
        "creation",
        "demand",
        "lends",
        "pid",
        "recalled",
        "since_ns",
        "spent",
        "started_ns",
        "state",
        "stint",
        "stopped",
        "tasks",
        "title",
        "why",
    )

    def __init__(self, client: int) -> None:
        self.client = client
        self.state = STARTING
        self.tasks: deque[Task] = deque()
        self.calls: dict[bytes, Task] = {}
        """Instead of tasks, once it is an actor's: in the order sent."""
        self.creation: ActorOptions | None = None
        """What its actor was started with."""
        self.title = ""
        """How its actor writes itself."""
        self.demand: Demand = ()
        self.lends: Demand = ()
        """What of it others may use while it is blocked."""
        self.blocked = 0
        """Requests of its task that are not answered yet."""
        self.stint = 0
        """Counts the tasks that it has done with: requests that one left open block no other."""
        self.recalled = False
        self.spent: dict[bytes, int] = {}
        """How many tasks it has run of functions that limit that."""
        self.since_ns = 0
        """When the running task began, as far as the node can know."""
        self.pid = 0
        self.started_ns = 0
        self.stopped = False
        """It was told to end."""
        self.why = ""
        """What for, unless that is its actor's end."""

    @property
    def lendable(self) -> Demand:
        """What it gives back while it is blocked: its CPUs, but not those that an actor holds for
        its life.
        """
        if self.state == ACTOR:
            return ()
        creation = self.tasks[0].spec.creation
        if creation is not None:
            return cpu_part(less(self.demand, creation.held))
        return cpu_part(self.demand)

    @property
    def runs(self) -> bool:
        """Whether some code that it runs may not be waiting."""
        if self.creation is not None and self.creation.asyncio:
            return bool(self.calls)  # one may wait for several things, and others go on
        return self.seems_to_run

    @property
    def seems_to_run(self) -> bool:
        """Whether it runs more than it waits for."""
        if self.creation is None:
            return bool(self.tasks) and not self.blocked
        return self.blocked < min(len(self.calls), self.creation.calls_at_a_time)
