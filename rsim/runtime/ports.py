"""The narrow waist between the shell and a backend: everything a backend has to bring.

Decides the names and rules of the ports, nothing else. Must never contain an implementation. A
node's side is ``Timers``, ``Transport``, ``Workers``, ``Memory``, ``SpillDisk``, ``ControlStore``
and ``Tracer``; a client's side is ``Channel``, whose ``park`` is the one call that blocks, and a
worker's ``Stage``.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from rsim.core.events import Event
from rsim.core.records import ActorName, ErrorInfo, Inline, NamedActor, TaskSpec
from rsim.runtime.wire import Delivery, RunTask, RunTasks, SessionFacts


class Timers(Protocol):
    """Time as one node sees it."""

    def now_ns(self) -> int:
        """Nanoseconds since some fixed point; never goes back."""

    def set_timer(self, op: int, at_ns: int) -> None:
        """Hand ``TimerFired(op)`` to the host at ``at_ns``."""

    def cancel_timer(self, op: int) -> None:
        """Forget a timer (unknown and fired ones are ignored)."""


class Transport(Protocol):
    """Messages and object bytes to other machines, in order per destination."""

    def send(self, node: str, message: msgspec.Struct) -> None:
        """Send a message (there: ``MessageArrived``)."""

    def send_object(self, node: str, object_id: bytes, data: memoryview) -> None:
        """Send an object's bytes (there: ``Host.receive_object``). The view is valid during the
        call only.
        """


class Workers(Protocol):
    """The worker processes of one node, and the way to every client (0 is the driver)."""

    def start(self, client: int) -> None:
        """Begin to start a worker; never blocks."""

    def stop(self, client: int, kill: bool) -> None:
        """End a worker: now (``kill``) or when idle. ``WorkerExited`` follows in either case."""

    def deliver(self, client: int, message: Delivery) -> None:
        """Send a message to a client; never blocks; a client that is gone is ignored."""

    def run(self, client: int, tasks: RunTask | RunTasks) -> None:
        """The same for tasks, and a worker."""


class Memory(Protocol):
    """The node's shared-memory segment."""

    def reserve(self, end: int) -> None:
        """Make sure that the first ``end`` bytes are really there (raises MemoryError when they
        cannot be).
        """

    def view(self, offset: int, size_bytes: int) -> memoryview:
        """A writable view."""


class SpillDisk(Protocol):
    """Files for spilled objects. ``write`` and ``read`` answer with ``SpillFinished`` /
    ``RestoreFinished``.
    """

    def write(self, object_id: bytes, data: memoryview) -> None:
        """Begin to write the object; the bytes stay unchanged until the answer."""

    def read(self, object_id: bytes, data: memoryview) -> None:
        """Begin to read the object back into ``data``."""

    def drop(self, object_id: bytes) -> None:
        """Delete it."""


class ControlStore(Protocol):
    """What the whole cluster knows. What one node asks for takes place in order."""

    namespace: str
    """The driver's: of the names that are given without one."""

    def put_function(self, function_id: bytes, blob: bytes) -> None:
        """Make a pickled function known to all nodes."""

    def get_function(self, function_id: bytes) -> bytes:
        """The pickled function. KeyError when nobody exported it."""

    def record_lineage(self, op: int, specs: Sequence[TaskSpec], owner: str) -> None:
        """Write specs down durably, then hand ``LineageRecorded(op)`` to the host."""

    def forget_lineage(self, task_ids: Sequence[bytes]) -> None:
        """Drop specs."""

    def claim_name(self, named: NamedActor, answer: Callable[[NamedActor | None], None]) -> None:
        """Note the actor's name if it is free; then answer with the actor that has it."""

    def find_name(self, name: ActorName, answer: Callable[[NamedActor | None], None]) -> None:
        """Answer with the actor of that name, or None."""

    def release_name(self, name: ActorName, actor_id: bytes, owner: str) -> None:
        """Forget the name, if it is that of this actor, and this is the actor's owner."""

    def release_names(self, owner: str) -> None:
        """Forget the names of all actors of this owner."""

    def list_names(self, namespace: str | None) -> tuple[ActorName, ...]:
        """The names of a namespace, or of all, in the order in which they were given."""


class Tracer(Protocol):
    """Sees every step of a node."""

    def step(self, node: str, at_ns: int, event: Event, effects: Sequence[object]) -> None:
        """Called after a machine has handled ``event`` and before its effects are carried out."""


@dataclass(slots=True)
class Ports:
    """All that a host needs."""

    timers: Timers
    transport: Transport
    workers: Workers
    memory: Memory
    spill: SpillDisk
    control: ControlStore
    tracer: Tracer | None = None
    """None: steps are not observed, and cost nothing."""
    session: SessionFacts = field(default_factory=SessionFacts)

    def warn(self, message: str) -> None:
        """Tell the user; replaced by the backend."""
        raise NotImplementedError


class Stage(Protocol):
    """What a worker runs the calls of its actor on. One per worker."""

    def hosts(self, name: str) -> None:
        """The worker is from now on that of an actor of this class. In its main thread."""

    def spawn(self, work: Callable[[], None]) -> None:
        """Run ``work`` in a thread of its own."""

    def run_loop(self, life: Coroutine[Any, Any, None]) -> None:
        """Run ``life`` to its end on a new event loop of this thread; meanwhile the worker goes on
        receiving, and hands calls to the executor on that loop.
        """

    def began(self, task: RunTask) -> None:
        """A concurrent call begins, in the thread or asyncio task that runs it."""

    def ended(self, task: RunTask) -> None:
        """It has ended, and its end is reported."""

    def fell_idle(self) -> None:
        """No call runs or waits any more: the worker may end if it is to."""

    def withdraw(self, task_id: bytes) -> bool:
        """Take a call that was received, but not handed to the executor, out of the queue. False:
        there is none.
        """


class Channel(Protocol):
    """A client's way to its node. One per driver or worker."""

    def send(self, event: Event) -> None:
        """Hand an event to the node: in order, without waiting for any effect of it."""

    def park(self, op: int) -> Delivery:
        """Block until the node answers request ``op``; return the answer.

        The time limit of a request is the node's business (it always answers). While a worker is
        parked, tasks sent to it are given back. Raises KeyboardInterrupt when the task is cancelled
        or the user presses Ctrl-C, and ``DeadlockError`` when the backend can show that no answer
        will ever come.
        """

    def subscribe(self, op: int, callback: Callable[[Any], None]) -> None:
        """Hand the answer to request ``op``, which is sent next, to ``callback`` instead of to
        ``park``.

        The callback is called once, wherever the answer comes in, perhaps under a lock: it may
        only hand the answer on. When the backend ends, or no answer can come, the answer is an
        error.
        """

    def run(self, callback: Callable[[], object]) -> None:
        """Call ``callback`` soon, in a thread of this client's that may block."""

    def peek(self, object_id: bytes) -> bytes | Inline | ErrorInfo | None:
        """The inline value of an object if it is at hand in this very process, else None."""

    def view(self, offset: int, size_bytes: int) -> memoryview:
        """A writable view of the node's shared memory."""

    def export_function(self, function_id: bytes, blob: bytes) -> None:
        """Make a function known to the cluster."""

    def now_ns(self) -> int:
        """Nanoseconds by the clock of the client's node."""

    def spend(self, duration_ns: int) -> None:
        """Let a task's declared cost pass, where time is virtual; elsewhere nothing."""
