"""What a node has to do with other nodes: tasks placed elsewhere, results, and who is there.

Decides when to ask the global scheduler for a place, and which outcomes still count. Must never
assume that a message arrives, or arrives once. Owns the tasks that wait for a place, the view of
who is alive, and the parts ``borrowing``, ``directory`` and ``succession``.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec

from rsim.core import messages as m
from rsim.core.actors import ACTOR_LOST
from rsim.core.borrowing import Borrowing
from rsim.core.directory import Directory, RemoteWaiter
from rsim.core.effects import WarnDriver
from rsim.core.events import (
    ItemYielded,
    LineageRecorded,
    MessageArrived,
    NodeJoined,
    ObjectReceived,
    TaskFinished,
)
from rsim.core.ids import creator, return_id
from rsim.core.objects import PENDING, REMOTE, STORED, Entry, Waiter
from rsim.core.records import STREAMING, Demand, ErrorInfo, Result
from rsim.core.resources import format_demand, gpus_in
from rsim.core.shortage import OUT_OF_MEMORY
from rsim.core.succession import Succession
from rsim.core.work import FORWARDED, READY, SETTLED, Task

if TYPE_CHECKING:
    from rsim.core.node import Node

INPUT_FAILED = "InputFailed"
"""Failure of a forwarded task that the owner should look at its inputs again, and place it anew."""

OWNED_HERE = "OwnedHere"
"""Failure of a forwarded task: the node that it was forwarded to owns it."""


class Peers:
    """Other nodes, as one node sees them."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.borrowing = Borrowing(node)
        self.directory = Directory(node)
        self.succession = Succession(node)
        self.others: dict[str, Demand] = {}
        self.unplaced: dict[bytes, Task] = {}
        self.spares_gpus = False
        """This node has GPUs, and another one has none: tasks without GPUs had rather run there."""
        self.watched = False
        """There are other nodes, or were: the global scheduler needs to know what is free here,
        always; and what a task makes may be known already, as another node's.
        """
        self._infeasible: dict[bytes, str] = {}
        self._warned: dict[str, None] = {}
        """What the driver has been told: once, however many tasks ask for the same."""
        self._accepted: list[bytes] = []
        self._requests = 0
        self._report_seq = 0
        self._reported: dict[str, int] = {}
        """What the global scheduler knows to be free here, without zeros."""
        self._reported_queue = -1
        self.query = self.directory.query
        self.fetch = self.directory.fetch
        self.delete_copies = self.directory.delete_copies
        self.landing_offset = self.directory.landing_offset
        self.return_ref = self.borrowing.return_ref
        self.forget_lineage = self.borrowing.forget_lineage
        self._handlers: dict[type[msgspec.Struct], Any] = {
            m.TaskPlacement: self._placed,
            m.PlacementFailure: self._placement_failed,
            m.TaskForward: self._forwarded,
            m.TaskOutcome: self._outcome,
            m.CancelForward: lambda _source, message: node.cancellation.forwarded(message),
            m.ItemReport: self._item_reported,
            m.ConsumptionQuery: node.streams.pauses.asked,
            m.ConsumptionReport: lambda _source, message: node.streams.pauses.told(message),
            m.ObjectQuery: self.directory.queried,
            m.ObjectAwaited: self.directory.awaited,
            m.ObjectLocation: self.directory.located,
            m.ObjectPull: self.directory.pulled,
            m.ObjectAbsence: self.directory.absent,
            m.ObjectCopy: self.directory.copy_changed,
            m.ObjectDeletion: lambda _source, message: self.directory.deleted(message),
            m.RefBorrow: self.borrowing.borrowed,
            m.BorrowNote: lambda _source, message: self.borrowing.noted(message),
            m.RefReturn: self.borrowing.returned,
            m.PutNote: self._put_noted,
            m.Adoption: self.succession.adopted,
            m.Inheritance: self.succession.inherited,
            m.GroupAnswer: lambda _source, message: node.reserved.answered(message),
            m.BundleReservation: lambda _source, message: node.reserved.reserve(message),
            m.BundleCommit: lambda _source, message: node.reserved.commit(message),
            m.BundleReturn: lambda _source, message: node.reserved.give_back(message),
            m.StateQuery: node.inspection.queried,
            m.StateAnswer: node.inspection.answered,
            m.ActorDeath: lambda _source, message: node.actors.death_reported(message),
            m.ActorKill: lambda _source, message: node.actors.kill_asked(message),
            m.ActorQuery: node.names.queried,
            m.ActorAnswer: node.names.answered,
            m.ActorStop: lambda _source, message: node.actors.stop_asked(message),
        }

    def message_arrived(self, event: MessageArrived) -> None:
        """A message from another node or the global scheduler."""
        if event.source == m.GLOBAL or event.source in self.others:
            self._handlers[type(event.message)](event.source, event.message)

    def entry_ready(self, waiter: Waiter, entry: Entry) -> None:
        """An object that a request or another node waits for is ready."""
        if isinstance(waiter, RemoteWaiter):
            self.directory.entry_ready(waiter, entry)
        else:
            self._node.requests.entry_ready(waiter, entry)

    def object_received(self, event: ObjectReceived) -> None:
        """Bytes came in."""
        self.directory.received(event)

    def lineage_recorded(self, event: LineageRecorded) -> None:
        """The control store has lineage that we sent it."""
        self.borrowing.lineage_recorded(event.op)

    # -- places ------------------------------------------------------------------------------------

    def ask_placement(self, task: Task) -> None:
        """This node cannot, or should not, run the task by itself."""
        if not self.watched:
            self._report()
        task.state = READY
        self.unplaced[task.spec.task_id] = task
        self._request(task)

    def _request(self, task: Task) -> None:
        spec = task.spec
        task.requested = self._node.step.next_op()
        self._requests += 1
        locality: dict[str, int] = {}
        for object_id in spec.deps:
            entry = self._node.objects.entries[object_id]
            if entry.state == STORED:
                locality[self._node.name] = locality.get(self._node.name, 0) + entry.size_bytes
            for where in entry.locations or ():
                locality[where] = locality.get(where, 0) + entry.size_bytes
        options = spec.options
        self.borrowing.send(
            m.GLOBAL,
            m.PlacementRequest(
                spec.task_id,
                options.demand,
                options.strategy,
                tuple(locality.items()),
                task.requested,
            ),
        )

    def withdraw_request(self, task: Task) -> None:
        """The task needs no place any more: it has got one, or will not run."""
        op, task.requested = task.requested, 0
        if op < 0:
            self._accepted.append(task.spec.task_id)
            return
        self._requests -= 1
        self.borrowing.send(m.GLOBAL, m.PlacementWithdrawal(task.spec.task_id, op))

    def withdraw_unplaced(self, task: Task) -> bool:
        """Forget a ready task that waits for a place; whether it was in no local queue."""
        self._infeasible.pop(task.spec.task_id, None)
        if task.requested:
            self.withdraw_request(task)
        return self.unplaced.pop(task.spec.task_id, None) is not None

    def _placed(self, _source: str, message: m.TaskPlacement) -> None:
        node = self._node
        task = node.tasks.table.get(message.task_id)
        if task is None or task.requested != message.op:
            self.borrowing.send(m.GLOBAL, m.PlacementWithdrawal(message.task_id, message.op))
            return
        task.requested = 0
        self._requests -= 1
        self._infeasible.pop(message.task_id, None)
        queued = self.unplaced.pop(message.task_id, None) is None
        if message.node == node.name:
            task.requested = SETTLED
            if not queued:
                node.scheduler.enqueue(task)
            return
        if queued:
            node.scheduler.ready.remove(task)
        if message.node in self.others:
            self.forward(task, message.node)
        else:
            self.borrowing.send(m.GLOBAL, m.PlacementWithdrawal(message.task_id, message.op))
            node.place(task)

    def _placement_failed(self, _source: str, message: m.PlacementFailure) -> None:
        task = self._node.tasks.table.get(message.task_id)
        if task is None or task.requested != message.op:
            return
        if message.final:
            task.requested = 0
            self._requests -= 1
            if self.unplaced.pop(message.task_id, None) is None:
                self._node.scheduler.ready.remove(task)
            kind = "PlacementGroupRemoved" if message.removed else "UnschedulableError"
            kind = f"{'Task' if task.spec.creation is None else 'Actor'}{kind}"
            text = f"{task.spec.name} cannot be scheduled: {message.reason}"
            self._node.tasks.fail(task, ErrorInfo(kind, text))
            return
        demand = task.spec.options.demand
        self._infeasible[message.task_id] = message.reason
        text = f"{task.spec.name} asks for {format_demand(demand)}, which {message.reason}"
        if text not in self._warned:
            self._warned[text] = None
            self._node.step.out.append(WarnDriver(text, message.task_id, demand))

    def infeasible(self) -> list[tuple[Task, str]]:
        """Tasks that fit no node of the cluster, with the reason."""
        table = self._node.tasks.table
        return [(table[task_id], reason) for task_id, reason in self._infeasible.items()]

    def end_step(self) -> None:
        """Report what is free, and ask for places for what cannot start here soon."""
        node = self._node
        self._report()
        window = node.config.placement_window
        if self.others and node.scheduler.ready.count and self._requests < window:
            for task in islice(node.scheduler.ready.tasks(), window):
                if not task.owner and self._may_ask(task):
                    self._request(task)

    def _report(self) -> None:
        """Tell the global scheduler what is free, if it does not know."""
        node = self._node
        queued, reported = node.scheduler.ready.count, self._reported
        touched = node.scheduler.pool.changes()
        first = not self._report_seq
        changes = tuple(each for each in touched if first or reported.get(each[0], 0) != each[1])
        if changes or queued != self._reported_queue or self._accepted:
            for name, units in changes:
                if units:
                    reported[name] = units
                else:
                    reported.pop(name, None)
            self._reported_queue = queued
            self._report_seq += 1
            accepted, self._accepted = tuple(self._accepted), []
            report = m.ResourceReport(self._report_seq, changes, queued, accepted)
            self.borrowing.send(m.GLOBAL, report)

    def _may_ask(self, task: Task) -> bool:
        """Whether a queued task may be better off elsewhere: so is one that was given a place here
        which others were quicker to take, and perhaps for good.
        """
        options = task.spec.options
        if options.strategy.kind not in ("DEFAULT", "GROUP"):
            return False
        if task.requested == SETTLED:
            return not self._node.scheduler.pool.fits_now(options.demand)
        return not task.requested

    # -- tasks that run elsewhere ------------------------------------------------------------------

    def forward(self, task: Task, to: str) -> None:
        """Hand a task of this node's own to the node that shall run it."""
        task.state = FORWARDED
        task.executor = to
        spec = task.spec
        held = (*spec.deps, *spec.borrows, spec.actor) if spec.actor else spec.deps + spec.borrows
        refs = self.borrowing.lend(to, held)
        self.borrowing.send(to, m.TaskForward(task.spec, task.attempt, refs), refs)

    def _forwarded(self, source: str, message: m.TaskForward) -> None:
        self.borrowing.receive(source, message.refs)
        self._node.intake.accept(message.spec, source, message.attempt)

    def accepted(self, task: Task) -> None:
        """A task from another node has its resources here (or needs none any more): the next report
        says so.
        """
        self._accepted.append(task.spec.task_id)

    def bundles_accepted(self, key: bytes) -> None:
        """Resources were set apart for bundles: the next report says so."""
        self._accepted.append(key)

    def send_outcome(self, task: Task, event: TaskFinished) -> None:
        """Tell the owner the results; large ones stay here, for it."""
        contained: list[bytes] = []
        for index, result in enumerate(event.results):
            contained += result.contained
            if result.payload is None:
                self._keep_stored(task, event.client, index, result)
        refs = self.borrowing.lend(task.owner, contained)
        outcome = m.TaskOutcome(
            task.spec.task_id,
            task.attempt,
            event.results,
            refs,
            event.error,
            event.retryable,
            message=event.message,
        )
        self.borrowing.send(task.owner, outcome, refs)

    def _keep_stored(self, task: Task, client: int, index: int, result: Result) -> None:
        """Seal a large result, which a worker wrote, for its owner."""
        node, object_id = self._node, return_id(task.spec.task_id, index)
        if task.owner not in self.others:  # nobody would ever delete it
            node.shelf.abort(client, object_id)
            return
        entry = node.objects.declare_foreign(object_id, task.owner)
        if node.shelf.seal(client, entry.object_id) and entry.state != STORED:
            entry.state = STORED
            entry.size_bytes = result.size_bytes
            entry.primary = True
            node.objects.set_contained(entry, result.contained)
            node.announce(entry)

    def send_item(self, task: Task, event: ItemYielded) -> None:
        """Tell the owner of a generator an item; a large one stays here, for it."""
        result = event.result
        self._node.objects.hold(result.contained)
        if result.payload is None:
            self._keep_stored(task, event.client, event.index, result)
        refs = self.borrowing.lend(task.owner, result.contained)
        report = m.ItemReport(
            event.task_id, task.attempt, event.index, result, refs, event.error, event.retryable
        )
        self.borrowing.send(task.owner, report, refs)
        self._node.objects.release(result.contained)

    def _item_reported(self, source: str, message: m.ItemReport) -> None:
        self.borrowing.receive(source, message.refs)
        self._node.streams.reported(source, message)

    def send_failure(self, task: Task, error: ErrorInfo) -> None:
        """Tell the owner that the system failed to run its task."""
        self.borrowing.send(
            task.owner,
            m.TaskOutcome(
                task.spec.task_id,
                task.attempt,
                (),
                (),
                failure=error.kind,
                message=error.message,
                subject=error.subject,
            ),
        )

    def send_error_of(self, task: Task, source: Entry) -> None:
        """Tell the owner that an input turned out to be an error."""
        self.send_failure(task, ErrorInfo(INPUT_FAILED, source.object_id.hex()))

    def send_back(self, task: Task) -> None:
        """Tell the owner that the task cannot run here after all."""
        self.send_failure(task, ErrorInfo(INPUT_FAILED, ""))

    def claim(self, task: Task, rival: str, object_ids: list[bytes]) -> None:
        """A forwarded task is this node's own already: its other owner may borrow the results from
        here.
        """
        refs = self.borrowing.lend(rival, object_ids)
        outcome = m.TaskOutcome(task.spec.task_id, task.attempt, (), refs, failure=OWNED_HERE)
        self.borrowing.send(rival, outcome, refs)

    def ask_again(self, task_id: bytes, owner: str, attempt: int) -> None:
        """The task runs here already, for another owner: this one may try again."""
        self.borrowing.send(owner, m.TaskOutcome(task_id, attempt, (), (), failure=INPUT_FAILED))

    def refuse_result(self, object_id: bytes, executor: str) -> None:
        """A stored result that is not needed: there is one already."""
        entry = self._node.objects.get(object_id)
        if entry is None or executor not in (entry.locations or ()):
            self.borrowing.send(executor, m.ObjectDeletion((object_id,)))

    def _outcome(self, source: str, message: m.TaskOutcome) -> None:
        node = self._node
        task = node.tasks.table.get(message.task_id)
        current = task is not None and task.state == FORWARDED and task.executor == source
        if task is not None and current and message.failure == OWNED_HERE:
            if task.spec.num_returns == STREAMING:
                node.streams.contested(task)
                return
            node.tasks.surrender(task, source)
            self.borrowing.receive(source, message.refs)
            return
        self.borrowing.receive(source, message.refs)
        if task is None or not current or task.attempt != message.attempt:
            stray = tuple(
                return_id(message.task_id, index)
                for index, result in enumerate(message.results)
                if result.payload is None
            )
            if stray:
                self.borrowing.send(source, m.ObjectDeletion(stray))
            return
        if message.failure == INPUT_FAILED:
            self._input_failed(task)
        elif message.failure == ACTOR_LOST:
            node.lanes.call_lost(task)
        elif message.failure:
            error = ErrorInfo(message.failure, message.message, message.subject)
            if message.failure in ("WorkerCrashedError", OUT_OF_MEMORY):
                node.deaths.interrupted(task, error)
            elif node.streams.is_cut(task):
                node.tasks.retry(task)
            else:
                node.tasks.fail(task, error)
        else:
            node.tasks.outcome(task, message, source)

    def _input_failed(self, task: Task) -> None:
        """Look at the inputs again: what this node believed of them is out of date."""
        for object_id in task.spec.deps:
            entry = self._node.objects.get(object_id)
            if entry is not None and entry.owner and entry.state == REMOTE:
                entry.state = PENDING
                entry.locations = None
        self._node.tasks.await_inputs(task)

    def note_put(self, object_id: bytes, to: str) -> None:
        """A task of another node's, run again, has put an object: that node may wait for it."""
        refs = self.borrowing.lend(to, (object_id,))
        self.borrowing.send(to, m.PutNote(refs[0]), refs)

    def _put_noted(self, source: str, message: m.PutNote) -> None:
        entry = self._node.objects.get(message.ref.object_id)
        if entry is not None and not entry.owner and not entry.exists:
            self._node.lineage.object_removed(entry.object_id)
            task = self._node.tasks.table.get(creator(entry.object_id))
            if task is not None:
                task.recorded = False  # the record is for the new owner now, who needs it longer
            entry.owner = source
            entry.state = PENDING
        self.borrowing.receive(source, (message.ref,))
        if entry is not None and entry.owner and not entry.exists and entry.waiters is not None:
            self.query(entry)

    def borrow_put(self, entry: Entry, owner: str) -> None:
        """Another node turned out to own the task that makes the object: have it made there."""
        entry.owner = owner
        entry.received = 1
        self.borrowing.send(owner, m.RefBorrow(entry.object_id, self._node.name))

    def result_stored(self, entry: Entry, where: str) -> None:
        """A result of our task lies in another node's store."""
        entry.state = REMOTE
        entry.locations = [where]

    def copy_dropped(self, entry: Entry) -> None:
        """Our store evicted a copy of another node's object."""
        entry.cached = False
        self._node.objects.touch(entry)
        self.borrowing.send(entry.owner, m.ObjectCopy(entry.object_id, False))

    # -- births and deaths -------------------------------------------------------------------------

    def node_joined(self, event: NodeJoined) -> None:
        """A node is there (this one, too, hears of itself)."""
        if event.node != self._node.name:
            self.watched = True
            self.others[event.node] = event.total
            self._others_changed()
            self._node.objects.open_account(event.node)

    def _others_changed(self) -> None:
        mine = gpus_in(self._node.scheduler.pool.total)
        self.spares_gpus = mine > 0 and not all(map(gpus_in, self.others.values()))
        self._node.places_changed()

    def node_left(self, dead: str) -> Demand | None:
        """A node is gone. The resources that it had, unless it was gone already."""
        total = self.others.pop(dead, None)
        self._others_changed()
        return total

    @property
    def active(self) -> bool:
        """Whether something is under way to or from another node."""
        return (
            self.directory.active
            or self.borrowing.active
            or len(self.unplaced) > len(self._infeasible)
            or any(task.state == FORWARDED for task in self._node.tasks.table.values())
        )
