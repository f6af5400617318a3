"""The machine of one node: local scheduler, tasks, objects, store, requests and the talk with other
nodes, composed.

Decides nothing by itself: it hands every event to the part that decides, and settles what follows
from it before the step ends (announcing objects that are ready, fetching or recomputing those that
are wanted, freeing those that nobody holds). Must never know which backend it is in. Owns the parts
and the work lists of the step.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from hashlib import blake2b
from itertools import groupby
from typing import Any

from rsim.core import events, waiting
from rsim.core.actors import Actors
from rsim.core.arena import Arena
from rsim.core.bulk import Bulk
from rsim.core.cancellation import Cancellation
from rsim.core.choices import Choices
from rsim.core.config import NodeConfig
from rsim.core.deaths import Deaths
from rsim.core.disposal import Disposal
from rsim.core.effects import Effect, ReplyAllocation
from rsim.core.history import History
from rsim.core.ids import return_id
from rsim.core.inspection import Inspection
from rsim.core.intake import Intake
from rsim.core.labels import labels_of, meets
from rsim.core.lanes import Lane, Lanes
from rsim.core.lineage import Lineage
from rsim.core.machine import Step
from rsim.core.messages import TaskOutcome
from rsim.core.names import Names
from rsim.core.objects import FREED, INLINE, LOST, PENDING, REMOTE, STORED, Entry, ObjectTable
from rsim.core.peers import Peers
from rsim.core.records import DRIVER, STREAMING, Demand, ErrorInfo, Located, TaskOptions, TaskSpec
from rsim.core.requests import Requests
from rsim.core.reserved import Reserved
from rsim.core.resources import Pool, gpus_in
from rsim.core.scheduler import LocalScheduler
from rsim.core.shelf import Shelf
from rsim.core.shortage import Shortage
from rsim.core.store import ObjectStore
from rsim.core.streams import Stream, Streams
from rsim.core.tasks import Tasks
from rsim.core.work import DONE, FORWARDED, READY, SENT, Task


class Node:
    """One node. ``total``: its resources; ``capacity_bytes``: its object store."""

    def __init__(
        self,
        name: str,
        total: Demand,
        *,
        capacity_bytes: int,
        spill_limit_bytes: int | None,
        choices: Choices,
        config: NodeConfig | None = None,
        labels: tuple[tuple[str, str], ...] = (),
    ) -> None:
        self.name = name
        self.config = config = config or NodeConfig()
        self.choices = choices
        self.labels = labels_of(name, labels)
        self.step = Step()
        self.bulk = bulk = Bulk(self)
        self.disposal = gone = Disposal(self)
        self.objects = ObjectTable(
            gone.freed, gone.unheld, gone.removed, bulk.removed, gone.missing
        )
        store = ObjectStore(Arena(capacity_bytes), spill_limit_bytes)
        known = self.objects.entries.__contains__
        self.shelf = Shelf(self.step, store, config.store_grace_ns, gone.evicted, known)
        self.history = History(name)
        self.started_ns = 0
        self.tasks = Tasks(self)
        self.intake = Intake(self)
        self.cancellation = Cancellation(self)
        self.lineage = Lineage(self)
        self.requests = Requests(self)
        self.streams = Streams(self)
        self.actors = Actors(self)
        self.lanes = Lanes(self)
        self.reserved = Reserved(self)
        self.names = Names(self)
        self.shortage = Shortage(self)
        self.inspection = Inspection(self)
        self.peers = Peers(self)
        self.deaths = Deaths(self)
        self.scheduler = LocalScheduler(self.step, Pool(total), config, choices, self.tasks.start)
        self.objects.open_account(DRIVER)
        self._announced: deque[Entry] = deque()
        self._needed: deque[tuple[Entry, bool]] = deque()
        self._fits: dict[Demand, bool] = {}
        self.unbound: TaskOptions | None = None
        """Tasks with these may run here, whatever else: the last such ones."""
        self._handlers = self._by_event()
        self._together: dict[type, Callable[[Any], None]] = {
            events.TaskSubmitted: bulk.submitted,
            events.TaskDone: bulk.done,
        }
        """What handles those of a kind that come one after the other."""

    def _by_event(self) -> dict[type, Callable[[Any], object]]:
        """What handles each kind of event."""
        return {
            events.TaskSubmitted: self.intake.submitted,
            events.TaskDone: lambda e: self.bulk.done((e,)),
            events.TaskFinished: self.tasks.finished,
            events.ItemYielded: self.streams.yielded,
            events.ConsumptionAwaited: self.streams.pauses.awaited,
            events.NextRequested: self.streams.requested,
            events.ItemReturned: self.streams.item_returned,
            events.ObjectPut: self._object_put,
            events.AllocationRequested: self._allocation_requested,
            events.AllocationDropped: lambda e: self.shelf.abort(e.client, e.object_id),
            events.ResultWritten: lambda e: self.shelf.release(e.client, e.object_id),
            events.ObjectsRequested: self.requests.get,
            events.WaitRequested: self.requests.wait,
            events.RefsReleased: self._refs_released,
            events.PinsReleased: self._pins_released,
            events.CancelRequested: self.cancellation.requested,
            events.CallInterrupted: self.cancellation.interrupted,
            events.ActorKilled: self.actors.killed,
            events.ActorExited: self.actors.exited,
            events.GroupsRequested: self.reserved.requested,
            events.NameDropped: self.names.dropped,
            events.NameFound: self.names.found,
            events.TasksReturned: lambda e: self.tasks.returned(e.client, e.task_ids),
            events.StateRequested: self.inspection.requested,
            events.WorkerStarted: self._worker_started,
            events.WorkerExited: self.deaths.worker_exited,
            events.MemoryRanShort: self.shortage.ran_short,
            events.TimerFired: self._timer_fired,
            events.SpillFinished: lambda e: self.shelf.spilled(e.object_id, e.ok),
            events.RestoreFinished: lambda e: self.shelf.restored(e.object_id, e.ok),
            events.MessageArrived: self.peers.message_arrived,
            events.ObjectReceived: self.peers.object_received,
            events.NodeJoined: self.peers.node_joined,
            events.NodeDied: self.deaths.node_died,
            events.LineageRecorded: self.peers.lineage_recorded,
        }

    def start(self, now_ns: int) -> list[Effect]:
        """The first step: start the workers that are to be there from the beginning."""
        self.step.now_ns = self.started_ns = now_ns
        self.scheduler.prestart()
        return self.step.take()

    def handle(self, event: events.Event, now_ns: int) -> list[Effect]:
        """One step: what the event leads to, in order."""
        self.step.now_ns = now_ns
        self._handlers[type(event)](event)
        if self._announced or self._needed:
            self.settle()
        return self._end_step()

    def handle_all(self, together: Sequence[events.Event], now_ns: int) -> list[Effect]:
        """One step for events that came together, in order: ready tasks are dispatched, and what
        nobody holds any more is freed, when all have been taken in.
        """
        self.step.now_ns = now_ns
        for kind, alike in groupby(together, type):
            bulk = self._together.get(kind)
            if bulk is not None:
                bulk(list(alike))
                self.settle()
                continue
            handler = self._handlers[kind]
            for event in alike:
                handler(event)
                if self._announced or self._needed:
                    self.settle()
        return self._end_step()

    def _end_step(self) -> list[Effect]:
        step, scheduler = self.step, self.scheduler
        while scheduler.due:
            scheduler.dispatch()
            self.settle()
        if self.objects.garbage:
            self.objects.collect()
        if self.disposal.forgotten:
            self.disposal.end_step()
        if self.peers.watched or self.peers.unplaced:  # else nobody needs to know what is free
            self.peers.end_step()
        return step.take()

    # -- work lists --------------------------------------------------------------------------------

    def announce(self, entry: Entry) -> None:
        """An object exists (or has come here): tell those who wait, before the step ends."""
        if entry.waiters is not None:
            self._announced.append(entry)

    def need(self, entry: Entry, local: bool) -> None:
        """Somebody waits for the object, here (``local``) or anywhere: see to it that it comes."""
        if entry.state != PENDING or entry.owner:
            self._needed.append((entry, local))

    def gone(self, entry: Entry) -> None:
        """The object is gone: tell those who counted on it, before the step ends."""
        self._needed.append((entry, False))

    def settle(self) -> None:
        """Work the lists off; what follows from an event, before the next is handled."""
        announced, needed = self._announced, self._needed
        if announced or needed:
            self._settle(announced, needed)

    def _settle(self, announced: deque[Entry], needed: deque[tuple[Entry, bool]]) -> None:
        landed = self.peers.directory.landed
        while announced or needed or landed:
            if announced:
                entry = announced.popleft()
                for waiter in self.objects.announce(entry):
                    waiter.missing -= 1
                    if isinstance(waiter, Task):
                        self.tasks.input_ready(waiter, entry)
                    elif isinstance(waiter, Lane):
                        self.lanes.entry_ready(waiter)
                    elif isinstance(waiter, Stream):
                        self.streams.ended(waiter, entry)
                    else:
                        self.peers.entry_ready(waiter, entry)
                if entry.waiters is not None:
                    self.need(entry, local=True)
                continue
            if not needed:
                landed.pop(object_id := next(iter(landed)))
                if not self.requests.keeps(object_id):
                    self.shelf.set_evictable(object_id, True)
                continue
            entry, local = needed.popleft()
            if not entry.exists:
                self.requests.receded(entry)
            if entry.state in (FREED, LOST) and not entry.owner:
                self.lineage.reconstruct(entry)
            elif not entry.exists and entry.owner:
                self.peers.query(entry)
            elif entry.state == REMOTE and local:
                self.peers.fetch(entry)

    # -- placement ---------------------------------------------------------------------------------

    def place(self, task: Task) -> None:
        """A task's inputs exist: queue it here, ask the global scheduler, or both."""
        options = task.spec.template.options
        if task.spec.template.actor:
            self.lanes.call_ready(task)
            return
        far = bool(task.spec.deps) and self._is_drawn_away(task)
        if options is self.unbound and not far:
            self.scheduler.enqueue(task)
            return
        demand = options.demand
        fits = self._fits.get(demand)
        if fits is None:
            fits = self._fits[demand] = self.scheduler.pool.fits_total(demand)
        default = options.strategy.kind == "DEFAULT" and not self.peers.spares_gpus
        if fits and (task.owner or (not far if default else self._stays(task))):
            if default:
                self.unbound = options
            self.scheduler.enqueue(task)
        elif task.owner:  # a bundle that it was placed in is not here any more
            self.tasks.give_back(task)
        else:
            self.peers.ask_placement(task)

    def _is_drawn_away(self, task: Task) -> bool:
        """Whether another node may be better for the task, as it has large inputs of it."""
        if task.owner or not self.peers.others:
            return False
        entries = map(self.objects.get, task.spec.deps)
        return any(entry is not None and entry.state == REMOTE for entry in entries)

    def _stays(self, task: Task) -> bool:
        demand, strategy = task.spec.options.demand, task.spec.options.strategy
        if strategy.kind == "DEFAULT":  # and here GPUs are to be spared
            return gpus_in(demand) > 0
        if strategy.spills or strategy.fails or not meets(self.labels, strategy.selector):
            return False
        if strategy.kind == "GROUP":
            return True
        if strategy.kind == "AFFINITY":
            return strategy.node == self.name
        return not self.peers.others

    def places_changed(self) -> None:
        """The node has got resources by new names, or has lost some; or other nodes have."""
        self._fits.clear()
        self.unbound = None

    def withdraw(self, task: Task) -> None:
        """A ready task, or any call, is not to run: take it out of wherever it is queued."""
        if task.spec.actor:
            self.lanes.withdraw(task)
        elif not self.peers.withdraw_unplaced(task):
            self.scheduler.ready.remove(task)

    # -- events ------------------------------------------------------------------------------------

    def _object_put(self, event: events.ObjectPut) -> None:
        objects = self.objects
        known = objects.get(event.object_id)
        entry = objects.declare(event.object_id)
        objects.lend_entry(event.client, entry)
        if known is None or (entry.owner and not entry.exists):
            self.peers.succession.take(entry)
            self.lineage.object_put(entry)
        if entry.exists:
            if event.stored:
                self.shelf.abort(event.client, event.object_id)
            return
        entry.size_bytes = event.size_bytes
        objects.set_contained(entry, event.contained)
        if event.stored:
            entry.state = STORED if self.shelf.seal(event.client, event.object_id) else LOST
        else:
            entry.state = INLINE
            entry.is_error = event.is_error
        self.announce(entry)

    def _allocation_requested(self, event: events.AllocationRequested) -> None:
        def answer(offset: int, error: ErrorInfo | None) -> None:
            self.step.out.append(ReplyAllocation(event.client, event.op, offset, error))

        self.shelf.allocate(event.client, event.object_id, event.size_bytes, answer)

    def _refs_released(self, event: events.RefsReleased) -> None:
        self.objects.returned_all(event.client, event.object_ids, event.counts)

    def _pins_released(self, event: events.PinsReleased) -> None:
        for object_id in event.object_ids:
            self.shelf.unpin(event.client, object_id)

    def _worker_started(self, event: events.WorkerStarted) -> None:
        self.objects.open_account(event.client)
        self.scheduler.worker_started(event.client, event.pid)

    def _timer_fired(self, event: events.TimerFired) -> None:
        op = event.op
        _ = (
            self.requests.timer_fired(op)
            or self.scheduler.timer_fired(op)
            or self.shelf.timer_fired(op)
            or self.peers.succession.timer_fired(op)
            or self.shortage.timer_fired(op)
            or self.inspection.timer_fired(op)
        )

    def would_queue(self, spec: TaskSpec) -> bool:
        """Whether a task that the driver submitted now would only wait, behind others on this node,
        until one of them ends.
        """
        options = spec.template.options
        if spec.template.actor:
            return self.actors.would_queue(spec)
        return (
            spec.template.creation is None
            and options.strategy.kind == "DEFAULT"
            and self._fits.get(options.demand, False)
            and not self.peers.others
            and not self.scheduler.pool.fits_now(options.demand)
        )

    # -- what the shell must know to look after values ---------------------------------------------

    def wants_results(self, client: int, task_id: bytes) -> bool:
        """Whether the results that a worker reports are those of a task of this node's own, now
        running there.
        """
        task = self.tasks.table.get(task_id)
        if task is None or task.owner or task.state != SENT or task.executor != client:
            return False
        return task.spec.num_returns != STREAMING or self._lacks_end(task)

    def _lacks_end(self, task: Task) -> bool:
        """Whether it is not known yet that a generator has ended; it may run again, for items."""
        end = self.objects.get(return_id(task.spec.task_id, 0))
        return end is not None and not end.exists

    def wants_outcome(self, source: str, message: TaskOutcome) -> bool:
        """The same for results that another node reports."""
        task = self.tasks.table.get(message.task_id)
        return (
            task is not None
            and task.state == FORWARDED
            and task.executor == source
            and task.attempt == message.attempt
            and (task.spec.num_returns != STREAMING or self._lacks_end(task))
        )

    def located(self, object_id: bytes) -> Located | None:
        """Where in this node's memory an object is."""
        offset = self.shelf.store.offset_of(object_id)
        if offset is None:
            return None
        return Located(offset, self.shelf.store.size_of(object_id) or 0)

    # -- what the shell may ask --------------------------------------------------------------------

    def quiescent(self) -> bool:
        """Whether nothing will ever happen here without an event from outside."""
        elsewhere = self.peers.active or self.names.active or self.inspection.active
        return not (self.busy or elsewhere)

    @property
    def busy(self) -> bool:
        """Whether something goes on in this node itself, whatever others do."""
        return self.scheduler.active or self._is_under_way()

    @property
    def seems_busy(self) -> bool:
        """The same, if no event loop waits for something else than the node."""
        return self.scheduler.seems_active or self._is_under_way()

    def _is_under_way(self) -> bool:
        return self.requests.timed or self.shelf.active or self.shortage.active

    def infeasible(self) -> list[str]:
        """Tasks that no node can ever run, in words."""
        return waiting.infeasible(self)

    def waiting_report(self) -> list[str]:
        """Who waits for what, in words."""
        return waiting.report(self)

    def check(self) -> None:
        """Derive what is kept twice again, and compare. AssertionError when a part contradicts
        another.
        """
        self.scheduler.check(self.reserved.demands())
        self.reserved.check()
        self.shelf.check()
        self.actors.check()
        self.lanes.check()
        self.streams.check()
        held = self.actors.holds(self.tasks.holds())
        self.streams.add_holds(held)
        self.objects.check(held)
        for entry in self.objects.entries.values():
            if entry.state == STORED:
                assert self.shelf.store.contains(entry.object_id), entry.object_id.hex()
        for task in self.tasks.table.values():
            if task.state == READY:
                assert not task.missing
            if task.state != DONE and task.result is not None and not task.attempt:
                assert self.objects.get(task.result.object_id) is task.result

    def fingerprint(self) -> str:
        """A digest of the state, equal for equal histories."""
        digest = blake2b(digest_size=16)
        for item in (*self.objects.fingerprint_items(), *self.shelf.fingerprint_items()):
            digest.update(repr(item).encode())
        for task_id, task in self.tasks.table.items():
            digest.update(repr((task_id, task.state, task.attempt, task.retries_left)).encode())
        for stream in self.streams.table.values():
            digest.update(repr((stream.task_id, stream.produced, stream.consumed)).encode())
        return digest.hexdigest()
