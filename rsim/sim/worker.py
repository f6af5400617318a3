"""The simulated workers of a node.

Decides when a worker begins the task it was sent, gives it back, or dies. Must never let a dead
worker's code run again, nor lose what it had sent before its death. Owns the workers of one node,
dead ones until the session ends.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn, TextIO, cast

from rsim.core import events
from rsim.core.records import DRIVER
from rsim.runtime import wire
from rsim.runtime.client import Client
from rsim.runtime.executor import Executor
from rsim.runtime.trace import BLOCKED, DIED, FAILED, FINISHED, Trace
from rsim.runtime.wire import Delivery, RunTask
from rsim.sim.channel import REQUESTS, SimChannel
from rsim.sim.context import StrandContext
from rsim.sim.engine import Lane
from rsim.sim.faults import AT_END, AT_PAUSE, AT_START, NODE, Doom, Injector
from rsim.sim.greenlets import Hub, Strand
from rsim.sim.output import TaskOutput
from rsim.sim.process import Processes
from rsim.sim.site import SimMemory, Site
from rsim.sim.tracing import Names


@dataclass(slots=True)
class Surroundings:
    """What the workers of all nodes share."""

    hub: Hub
    trace: Trace
    names: Names
    processes: Processes
    outputs: tuple[TaskOutput, TaskOutput]
    injector: Injector
    seed: int
    worker_start_ns: int
    kill_node: Callable[[str], None]
    forget: Callable[[StrandContext], None]
    """Told of every context that ended."""


class SimWorkers:
    """The workers port of one node. `driver`: the driver's channel, if it is on this node."""

    def __init__(
        self, site: Site, memory: SimMemory, shared: Surroundings, driver: SimChannel | None
    ) -> None:
        self._site = site
        self._memory = memory
        self._shared = shared
        self._driver = driver
        self.by_client: dict[int, Worker] = {}

    def start(self, client: int) -> None:
        worker = Worker(self._site, self._memory, self._shared, client)
        self.by_client[client] = worker
        world = self._site.world
        at_ns = world.now_ns + self._shared.worker_start_ns
        world.post_at(at_ns, None, worker.strand.name, worker.begin)

    def stop(self, client: int, kill: bool) -> None:
        if kill:
            self.by_client[client].kill("killed")
        else:
            self.deliver(client, wire.Stop())

    def deliver(self, client: int, message: Delivery) -> None:
        world = self._site.world
        if client == DRIVER:
            channel = self._driver
            if channel is not None:
                key = self._shared.hub.driver.key
                world.post(channel.inbox, key, channel.answer, message)
            return
        worker = self.by_client.get(client)
        if worker is not None:
            key = message.task_id if isinstance(message, RunTask) else worker.strand.key
            world.post(worker.channel.inbox, key, worker.deliver, message)

    def die(self) -> None:
        """The node died, and all its workers with it."""
        for worker in self.by_client.values():
            worker.vanish()


class WorkerChannel(SimChannel):
    """A worker's channel: what it sends happens in the world, in the order sent."""

    def __init__(self, worker: Worker, memory: SimMemory, hub: Hub) -> None:
        shared = worker.shared
        own = worker.site, hub, worker.strand, worker.client_number, memory
        super().__init__(*own, shared.seed, shared.forget)
        self._worker = worker

    def send(self, event: events.Event) -> None:
        if type(event) in REQUESTS:
            self.request = event
        if type(event) is events.TaskFinished:
            self._worker.reporting(event)
        self._worker.post(event)

    def park(self, op: int) -> Delivery:
        self._worker.give_back()
        now_ns = self._world.now_ns
        reply = super().park(op)
        self._worker.waited(now_ns)
        return reply

    def subscribe(self, op: int, callback: Callable[[Any], None]) -> None:
        super().subscribe(op, callback)
        self._worker.give_back()

    def peek(self, object_id: bytes) -> None:
        return None


class Worker:
    """A simulated worker process."""

    def __init__(
        self, site: Site, memory: SimMemory, shared: Surroundings, client_number: int
    ) -> None:
        self.site = site
        self.client_number = client_number
        self.pid = shared.processes.new_pid()
        shared.processes.add(self)
        self.shared = shared
        self._hub = hub = shared.hub
        name = f"{site.name}.w{client_number}"
        self.strand = Strand(name, name, cast(tuple[TextIO, TextIO], shared.outputs))
        self.strand.process = self
        self.strand.pausing = self._pausing
        self.channel = WorkerChannel(self, memory, hub)
        self.strand.client = client = Client(self.channel, client_number, b"")
        self._executor = Executor(client)
        self._outbox = Lane()
        self._tasks: deque[RunTask] = deque()
        """Sent to it, and not begun."""
        self._idle = True
        self._stopping = False
        self._span: int | None = None
        self._outcome = FINISHED
        self._doom: Doom | None = None

    # -- in the hub ----------------------------------------------------------------------------

    def begin(self) -> None:
        """The process has started."""
        if self.strand.alive and self.site.alive:
            self.post(events.WorkerStarted(self.client_number))
            self._hub.launch(self.strand, self._live)

    def deliver(self, message: Delivery) -> None:
        """The node's message has arrived."""
        if not self.strand.alive:
            return
        if isinstance(message, RunTask):
            self._tasks.append(message)
            if self._idle:
                self._hub.resume(self.strand)
            elif self.channel.awaits:
                self.give_back()
        elif isinstance(message, wire.Recall):
            self.give_back(always=True)
        elif isinstance(message, wire.Interrupt):
            self._interrupt(message.task_id)
        elif isinstance(message, wire.Stop):
            self._stopping = True
            if self._idle:
                self._hub.resume(self.strand)
        else:
            self.channel.answer(message)

    def interrupt(self) -> None:
        """Raise KeyboardInterrupt in the task that runs, wherever it waits."""
        running = self._executor.running
        if running is not None:
            self._hub.world.post(None, self.strand.key, self._interrupt, running)

    def _interrupt(self, task_id: bytes) -> None:
        if self._executor.interrupt(task_id):
            self._hub.throw(self.strand, KeyboardInterrupt())

    def kill(self, reason: str) -> None:
        """End the process from outside; what it has sent still arrives."""
        if self.strand.alive:
            self._die()
            gone = self.site.worker_gone, self.client_number, reason
            self._hub.world.post(self._outbox, self.strand.key, *gone)

    def vanish(self) -> None:
        """End the process without a word, because its node is gone."""
        if self.strand.alive:
            self._die()

    def post(self, event: events.Event) -> None:
        """Let an event of this worker come to the node after all that it has sent before."""
        self._hub.world.post(self._outbox, self.strand.key, self.site.receive, event)

    def give_back(self, always: bool = False) -> None:
        """Return the tasks that have not begun."""
        if always or (self._tasks and not self._executor.hosts_actor):
            returned = tuple(task.task_id for task in self._tasks)
            self._tasks.clear()
            self.post(events.TasksReturned(self.client_number, returned))

    def _die(self) -> None:
        for strand in (self.strand, *self.channel.offshoots):
            self._hub.kill(strand)
        self._end_span(DIED)
        for output in self.shared.outputs:
            output.finish(self.strand)

    # -- in the strand -------------------------------------------------------------------------

    def exit(self, reason: str) -> NoReturn:
        """The process ends itself."""
        self.kill(reason)
        self._hub.perish()

    def _live(self) -> None:
        """The life of the process: one task after another."""
        while True:
            while not self._tasks:
                if self._stopping:
                    self.kill("stopped")
                    return
                self._hub.suspend()
            self._idle = False
            self._execute(self._tasks.popleft())
            self._idle = True

    def _execute(self, task: RunTask) -> None:
        shared, strand = self.shared, self.strand
        path = shared.names(task.task_id)
        context = StrandContext(self._hub, strand, path, shared.seed, task.attempt)
        strand.key, strand.virtual = task.task_id, context
        strand.label = f"({task.name} pid={self.pid}, node={self.site.name}) "
        self._hub.refresh()
        self._outcome = FINISHED
        self._span = shared.trace.span_started(
            self.site.name, self.client_number, task.name, self._hub.world.now_ns, "task", path
        )
        self._doom = shared.injector.doom(task.task_id, exempt_node=self.site.is_drivers)
        self._strike(AT_START)
        self._executor.run(task)
        self._end_span(self._outcome)
        for output in shared.outputs:
            output.finish(strand)
        sys.stdout, sys.stderr = cast(tuple[TextIO, TextIO], shared.outputs)
        strand.key, strand.virtual = strand.name, None
        shared.forget(context)
        self._hub.refresh()

    def reporting(self, event: events.TaskFinished) -> None:
        """The worker is about to send what came of its task."""
        self._outcome = FAILED if event.error else FINISHED
        self._strike(AT_PAUSE)
        self._strike(AT_END)

    def waited(self, since_ns: int) -> None:
        """The worker's task has waited for an answer."""
        now_ns = self._hub.world.now_ns
        if now_ns > since_ns:
            place = (self.site.name, self.client_number)
            span = self.shared.trace.span_started(*place, "waiting", since_ns, BLOCKED)
            self.shared.trace.span_ended(span, now_ns)

    def _pausing(self) -> None:
        self._strike(AT_PAUSE)

    def _strike(self, when: int) -> None:
        """Die now, if this is the moment."""
        doom = self._doom
        if doom is None or doom.when != when:
            return
        self._doom = None
        now_ns, path = self._hub.world.now_ns, self.shared.names(self.strand.key)
        slot = None if doom.victim == NODE else self.client_number
        name = f"kill {doom.victim}"
        self.shared.trace.instant(self.site.name, slot, name, now_ns, args={"task": path})
        if doom.victim == NODE:
            self.shared.kill_node(self.site.name)
            self._hub.perish()
        self.exit(f"fault injected by the simulation: {name}")

    def _end_span(self, outcome: str) -> None:
        if self._span is not None:
            self.shared.trace.span_ended(self._span, self._hub.world.now_ns, outcome)
            self._span = None
