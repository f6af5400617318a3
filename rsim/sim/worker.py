"""The simulated workers of a node.

Decides when a worker begins the task it was sent, gives it back, or dies. Must never let a dead
worker's code run again, nor lose what it had sent before its death. Owns the workers of one node,
dead ones until the session ends.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, NoReturn, TextIO, cast

from greenlet import GreenletExit

from rsim.core import events
from rsim.core.records import DRIVER
from rsim.runtime import wire
from rsim.runtime.async_calls import abandon
from rsim.runtime.client import Client
from rsim.runtime.executor import Executor
from rsim.runtime.trace import BLOCKED, DIED, FAILED, FINISHED, Trace
from rsim.runtime.wire import Delivery, RunTask, RunTasks
from rsim.sim.channel import REQUESTS, SimChannel
from rsim.sim.context import CALL_CONTEXT, StrandContext
from rsim.sim.departures import Departure, depart
from rsim.sim.engine import Lane
from rsim.sim.faults import AT_END, AT_PAUSE, AT_START, NODE, Doom, Injector
from rsim.sim.greenlets import Hub, Strand
from rsim.sim.output import TaskOutput
from rsim.sim.process import Processes
from rsim.sim.site import SimMemory, Site
from rsim.sim.tracing import Names
from rsim.sim.virtual.environ import Variables
from rsim.sim.virtual.loop import VirtualEventLoop

_FREE_ITEMS = 10_000
_ITEM_NS = 10_000
"""After so many items at one instant, each one more takes so long."""


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
    environ: Variables
    """What a new worker's environment is."""
    worker_start_ns: int
    kill_node: Callable[[str], None]
    forget: Callable[[StrandContext], None]
    """Told of every context that ended."""


def _complain(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Of what nobody retrieves, the end of the session is not worth a word."""
    if not isinstance(context.get("exception"), GreenletExit):
        loop.default_exception_handler(context)


_FREE_CRASHES = 100
_CRASH_PAUSE_NS = 1_000_000
"""A program that crashes again and again would let no time pass: after so many workers in a row
that died in the instant of their start, the next takes so long to start."""


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
        self._crashes = 0

    def start(self, client: int) -> None:
        worker = Worker(self._site, self._memory, self._shared, client)
        last = next(reversed(self.by_client.values()), None)
        self.by_client[client] = worker
        world = self._site.world
        crashed = last is not None and not last.alive and last.begun_ns == world.now_ns
        self._crashes = self._crashes + 1 if crashed else 0
        pause_ns = _CRASH_PAUSE_NS if self._crashes > _FREE_CRASHES else 0
        at_ns = world.now_ns + max(self._shared.worker_start_ns, pause_ns)
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

    def run(self, client: int, tasks: RunTask | RunTasks) -> None:
        for task in (tasks,) if isinstance(tasks, RunTask) else tasks.each():
            self.deliver(client, task)

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
        self._yielded_at_ns = -1
        self._items_now = 0

    def send(self, event: events.Event) -> None:
        if type(event) in REQUESTS:
            self.asking(event)
        worker = self._worker
        if isinstance(event, events.TaskDone | events.TaskFinished):
            worker.reporting(event)
            worker.post(event)
            worker.reported(event)
        else:
            worker.post(event)
        if type(event) is events.ItemYielded:
            self._let_others_run()

    def _let_others_run(self) -> None:
        """After an item: its consumer may want it now. An endless generator must let time pass."""
        now_ns = self._world.now_ns
        if now_ns != self._yielded_at_ns:
            self._yielded_at_ns, self._items_now = now_ns, 0
        self._items_now += 1
        free = self._items_now <= _FREE_ITEMS
        self._hub.sleep(0 if free else _ITEM_NS)
        if not free:
            self._yielded_at_ns = self._world.now_ns

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


class _Run:
    """One execution of a task or call."""

    __slots__ = ("context", "doom", "path", "span")

    def __init__(self, path: str, context: StrandContext, span: int, doom: Doom | None) -> None:
        self.path = path
        self.context = context
        self.span: int | None = span
        """None once it is over."""
        self.doom = doom


class Worker:
    """A simulated worker process; also the stage of its actor's calls: their threads are strands,
    and an event loop sleeps in virtual time.
    """

    def __init__(
        self, site: Site, memory: SimMemory, shared: Surroundings, client_number: int
    ) -> None:
        self.site = site
        self.client_number = client_number
        self.begun_ns = -1
        self.pid = shared.processes.new_pid()
        self.environ = dict(shared.environ)
        self.folder = ""
        shared.processes.add(self)
        self.shared = shared
        self._hub = hub = shared.hub
        name = f"{site.name}.w{client_number}"
        self.strand = self._new_strand(name)
        self.channel = WorkerChannel(self, memory, hub)
        self.strand.client = client = Client(self.channel, client_number, b"")
        self._executor = Executor(client, self)
        self._outbox = Lane()
        self._tasks: deque[RunTask] = deque()
        """Sent to it, and not begun."""
        self.departures: list[Departure] = []
        self._idle = True
        self._stopping = False
        self._loop: VirtualEventLoop | None = None
        self._threads = 0
        self._runs: dict[bytes, _Run] = {}

    def _new_strand(self, name: str) -> Strand:
        strand = Strand(name, name, cast(tuple[TextIO, TextIO], self.shared.outputs))
        strand.process = self
        strand.pausing = self._pausing
        return strand

    # -- in the hub ----------------------------------------------------------------------------

    def begin(self) -> None:
        """The process has started."""
        self.begun_ns = self._hub.world.now_ns
        if self.strand.alive and self.site.alive:
            self.post(events.WorkerStarted(self.client_number, self.pid))
            self._hub.launch(self.strand, self._live)

    def deliver(self, message: Delivery) -> None:
        """The node's message has arrived."""
        if not self.strand.alive:
            return
        if isinstance(message, RunTask):
            if self._executor.calls is not None:
                self._hand(self._executor.run, message)
                return
            self._tasks.append(message)
            if self._idle:
                self._hub.resume(self.strand)
            elif self.channel.awaits:
                self.give_back()
        elif isinstance(message, wire.Recall):
            self.give_back()
        elif isinstance(message, wire.Interrupt):
            self._interrupt(message.task_id, message.recursive)
        elif isinstance(message, wire.Stop):
            self._stopping = True
            if self._loop is not None:
                self._hand(self._executor.leave)
            elif self._idle:
                self._hub.resume(self.strand)
        else:
            self.channel.answer(message)

    def _hand(self, take: Callable[..., object], *args: object) -> None:
        """Call ``take`` where the calls of a concurrent actor are begun."""
        if self._loop is None:
            take(*args)
        else:
            self._loop.call_soon_threadsafe(take, *args)

    def interrupt(self) -> None:
        """Raise KeyboardInterrupt in the task that runs, wherever it waits."""
        running = self._executor.running
        if running is not None:
            self._hub.world.post(None, self.strand.key, self._interrupt, running)

    def _interrupt(self, task_id: bytes, recursive: bool = False) -> None:
        if self._executor.interrupt(task_id, recursive):
            self._hub.throw(self.strand, KeyboardInterrupt)

    def tidy(self) -> None:
        """Tell the node what garbage the worker was found to hold, if nothing else will soon."""
        client = self.strand.client
        rests = (self._idle or self._loop is not None) and not self._executor.busy
        if client.has_dropped and self.alive and rests:
            client.flush()

    @property
    def alive(self) -> bool:
        """Whether the process has not ended yet."""
        return self.strand.alive

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
        sender = self._hub.running or self.strand
        self._hub.world.post(self._outbox, sender.key, self.site.receive, event)

    def give_back(self) -> None:
        """Return the tasks that have not begun, but not calls of an actor."""
        if self._tasks and not self._executor.hosts_actor:
            returned = tuple(task.task_id for task in self._tasks)
            self._tasks.clear()
            self.post(events.TasksReturned(self.client_number, returned))

    def _die(self) -> None:
        for strand in (self.strand, *self.channel.offshoots):
            self._hub.kill(strand)
            for output in self.shared.outputs:
                output.finish(strand)
        for run in self._runs.values():
            self._end_span(run, DIED)

    # -- in the strand -------------------------------------------------------------------------

    def exit(self, reason: str) -> NoReturn:
        """The process ends itself."""
        self.kill(reason)
        self._hub.perish()

    def _live(self) -> None:
        """The life of the process: one task after another."""
        self._executor.begin()
        while True:
            while not self._tasks:
                if self._stopping and not self._executor.busy:
                    self._executor.farewell()
                    depart(self)
                    self._executor.part()
                    self.kill("stopped")
                    return
                self._hub.suspend()
            self._idle = False
            task = self._tasks.popleft()
            self.began(task)
            self._executor.run(task)
            self.ended(task)
            self._idle = True

    def reporting(self, event: events.TaskDone | events.TaskFinished) -> None:
        """The worker is about to send what came of a task."""
        run = self._runs.get(event.task_id)
        if run is not None:
            self._strike(run, AT_PAUSE)
            self._strike(run, AT_END)

    def reported(self, event: events.TaskDone | events.TaskFinished) -> None:
        """It has sent that."""
        run = self._runs.get(event.task_id)
        if run is not None:
            failed = isinstance(event, events.TaskFinished) and event.error
            self._end_span(run, FAILED if failed else FINISHED)

    def waited(self, since_ns: int) -> None:
        """The worker's task has waited for an answer."""
        now_ns = self._hub.world.now_ns
        if now_ns > since_ns:
            place = (self.site.name, self.client_number)
            span = self.shared.trace.span_started(*place, "waiting", since_ns, BLOCKED)
            self.shared.trace.span_ended(span, now_ns)

    def _pausing(self) -> None:
        strand = self._hub.running
        assert strand is not None
        own = self._runs.get(cast(bytes, strand.key))
        for run in list(self._runs.values()) if self._loop is not None else [own]:
            if run is not None:
                self._strike(run, AT_PAUSE)

    def _strike(self, run: _Run, when: int) -> None:
        """Die now, if this is the moment."""
        doom = run.doom
        if doom is None or doom.when != when:
            return
        run.doom = None
        now_ns = self._hub.world.now_ns
        slot = None if doom.victim == NODE else self.client_number
        name = f"kill {doom.victim}"
        self.shared.trace.instant(self.site.name, slot, name, now_ns, args={"task": run.path})
        if doom.victim == NODE:
            self.shared.kill_node(self.site.name)
            self._hub.perish()
        self.exit(f"fault injected by the simulation: {name}")

    def _end_span(self, run: _Run, outcome: str) -> None:
        if run.span is not None:
            self.shared.trace.span_ended(run.span, self._hub.world.now_ns, outcome)
            run.span = None

    # -- the stage -----------------------------------------------------------------------------

    def hosts(self, name: str) -> None:
        """No list of processes shows it."""

    def spawn(self, work: Callable[[], None]) -> None:
        self._threads += 1
        strand = self._new_strand(f"{self.strand.name}.thread-{self._threads}")
        strand.client = self.strand.client
        self.channel.offshoots[strand] = None

        def live() -> None:
            try:
                work()
            finally:
                del self.channel.offshoots[strand]

        self._hub.launch(strand, live)

    def run_loop(self, life: Coroutine[Any, Any, None]) -> None:
        loop = self._loop = VirtualEventLoop(self.strand.virtual)
        loop.set_exception_handler(_complain)
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(life)
        except (KeyboardInterrupt, SystemExit) as error:
            self.exit(f"{error!r} was raised in a task of its event loop")
        except RuntimeError as error:  # a method has stopped it
            self.exit(f"its event loop has ended: {error}")
        finally:
            self._loop = None
            asyncio.set_event_loop(None)
            abandon(loop)

    def began(self, task: RunTask) -> None:
        self._hub.insist_on_life()
        shared, strand = self.shared, self._hub.running
        assert strand is not None
        path = shared.names(task.task_id)
        context = StrandContext(self._hub, strand, path, shared.seed, task.attempt)
        if self._loop is not None:
            CALL_CONTEXT.set(context)
            if self._executor.title:
                self._mark(strand, self._executor.title)
        else:
            strand.key, strand.virtual = task.task_id, context
            self._mark(strand, self._executor.title or task.name)
        span = shared.trace.span_started(
            self.site.name, self.client_number, task.name, self._hub.world.now_ns, "task", path
        )
        doom = shared.injector.doom(task.task_id, exempt_node=self.site.is_drivers)
        run = self._runs[task.task_id] = _Run(path, context, span, doom)
        self._strike(run, AT_START)

    def _mark(self, strand: Strand, name: str) -> None:
        strand.label = f"({name} pid={self.pid}, node={self.site.name}) "
        self._hub.refresh()

    def ended(self, task: RunTask) -> None:
        shared, strand = self.shared, self._hub.running
        assert strand is not None
        run = self._runs.pop(task.task_id)
        self._end_span(run, FINISHED)
        run.context.is_over = True
        shared.forget(run.context)
        if self._loop is not None:
            return
        for output in shared.outputs:
            output.finish(strand)
        sys.stdout, sys.stderr = cast(tuple[TextIO, TextIO], shared.outputs)
        strand.key, strand.virtual = strand.name, None
        self._hub.refresh()

    def fell_idle(self) -> None:
        if not self._stopping:
            return
        if self._loop is not None:
            self._executor.leave()
        else:
            self._hub.world.post(None, self.strand.name, self._hub.resume, self.strand)

    def withdraw(self, task_id: bytes) -> bool:
        for task in self._tasks:
            if task.task_id == task_id:
                self._tasks.remove(task)
                return True
        return False
