"""The life of tasks: waiting for inputs, run, retried, failed, run again when a result is lost.

Decides what happens to a task next, once it has come (``intake.py``), and unless somebody stops it
(``cancellation.py``) or dies (``deaths.py``). Must never recurse along chains of tasks: whatever
follows from an object that is ready or wanted goes through the node's work lists. Owns the task
table, which is also the lineage: a finished task stays as long as one of its objects is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rsim.core.actors import actor_of
from rsim.core.effects import CopyError, StartTask, StartTasks, StoreError
from rsim.core.events import TaskFinished
from rsim.core.facts import UNMADE
from rsim.core.history import INPUT_ERROR, NO_ATTEMPT, user_error
from rsim.core.ids import return_id
from rsim.core.lineage import results_of
from rsim.core.messages import TaskOutcome
from rsim.core.objects import INLINE, LOST, STORED, Entry
from rsim.core.records import STREAMING, ErrorInfo, Result, TaskSpec
from rsim.core.work import DONE, WAITING, Task, Worker, cancellation

if TYPE_CHECKING:
    from rsim.core.node import Node


class Tasks:
    """The task table of a node."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.table: dict[bytes, Task] = {}

    def await_inputs(self, task: Task) -> None:
        """Let the task run once all its inputs exist."""
        node = self._node
        task.state = WAITING
        task.missing = 0
        failed: Entry | None = None
        for object_id in task.spec.deps:
            entry = node.objects.entries[object_id]
            if entry.is_error:
                failed = entry
            elif not entry.exists:
                node.objects.wait(entry, task)
                node.need(entry, local=False)
        if failed is not None:
            self.fail_by(task, failed)
        elif not task.missing:
            node.place(task)
        elif task.owner and node.peers.directory.awaits(task.spec.deps):
            self.give_back(task)

    def give_back(self, task: Task) -> None:
        """A task of another node's cannot run here as things are: its owner is to look at its
        inputs and place it again.
        """
        self._node.peers.send_back(task)
        self.conclude(task, NO_ATTEMPT)

    def input_ready(self, task: Task, entry: Entry) -> None:
        """One of the objects that a task waits for exists (the caller has counted it)."""
        if task.state != WAITING:
            return
        if entry.is_error:
            self.fail_by(task, entry)
        elif not task.missing:
            self._node.place(task)

    # -- running -----------------------------------------------------------------------------------

    def start(self, worker: Worker, tasks: Sequence[Task]) -> None:
        """The local scheduler has assigned tasks to a worker."""
        node, client = self._node, worker.client
        plain = not node.scheduler.grants
        first: list[TaskSpec] = []
        for task in tasks:
            if plain and task.plain and not (task.attempt or task.requested):
                first.append(task.spec)
                continue
            if first:
                node.step.out.append(StartTasks(client, tuple(first)))
                first = []
            if task.requested:
                node.peers.withdraw_request(task)
            if task.owner:
                node.peers.accepted(task)
            if not task.spec.deps or node.requests.gather_for(task, client):
                self.send(task, client)
        if first:
            node.step.out.append(StartTasks(client, tuple(first)))

    def send(self, task: Task, client: int) -> None:
        """All is in memory: send the task."""
        node, spec = self._node, task.spec
        lent: tuple[bytes, ...] = ()
        devices: tuple[tuple[str, int], ...] = ()
        if not task.plain:
            for object_id in spec.borrows:
                node.objects.lend(client, object_id)
            lent = spec.borrows + node.requests.lend_contained(client, spec.deps)
        if node.scheduler.grants:
            grant = node.scheduler.grants.get(client, ())
            devices = tuple((kind, index) for kind, index, _ in grant)
        node.step.out.append(StartTask(client, spec, task.attempt, lent, devices))

    def returned(self, client: int, task_ids: tuple[bytes, ...]) -> None:
        """A worker gave tasks back unopened: what was lent and pinned with them comes back too."""
        node = self._node
        back = node.scheduler.returned(client, task_ids)
        for task in back:
            for object_id in task.spec.deps:
                node.shelf.unpin(client, object_id)
                entry = node.objects.get(object_id)
                for contained in entry.contained if entry is not None else ():
                    node.objects.returned(client, contained, 1)
            for object_id in task.spec.borrows:
                node.objects.returned(client, object_id, 1)
            if task.cancelled and task.state != DONE:  # before the interrupt could reach it
                self.fail(task, cancellation(task))
        node.actors.returned(client, back)

    def start_failed(
        self, task: Task, object_ids: tuple[bytes, ...], error: ErrorInfo | None
    ) -> None:
        """A task has a worker, but an input cannot be had."""
        if task.executor in self._node.scheduler.workers:
            self._node.scheduler.abandon(task)
        if error is not None:
            self.fail(task, error)
        else:
            self.fail_by(task, self._node.objects.entries[object_ids[0]])
        if task.spec.actor:
            self._node.actors.call_dropped(task)

    def finished(self, event: TaskFinished) -> None:
        """A worker has run a task to its end."""
        took_ns = event.ended_ns - event.started_ns
        scheduler = self._node.scheduler
        task = scheduler.finished(event.client, event.task_id, not event.error, took_ns)
        self.ended(task, event)

    def ended(self, task: Task | None, event: TaskFinished) -> None:
        """What came of a task, or of one that the worker does not have (any more)."""
        node = self._node
        if task is not None and task.spec.num_returns == STREAMING:
            node.streams.pauses.end(event.task_id)
        if event.error and task is not None:  # it may have written results before it failed
            kept = sum(result.is_value for result in event.results)  # the first ones
            for object_id in results_of(task.spec)[kept:]:
                node.shelf.abort(event.client, object_id)
        if task is None or task.state == DONE:
            for index in range(len(event.results)):
                node.shelf.abort(event.client, return_id(event.task_id, index))
            if task is not None and task.spec.actor:
                node.actors.call_finished(task)
            return
        task.started_ns, task.ended_ns = event.started_ns, event.ended_ns
        if task.spec.creation is not None:
            if event.error:
                self._creation_failed(task, event)
                return
            node.actors.settled(task, event.client)
            if event.title:
                node.scheduler.workers[event.client].title = event.title
        if event.cancelled:
            self.fail(task, cancellation(task))
        elif not task.owner:
            self.outcome(task, event, event.client)
        elif task.cancelled and _breaks_off(task, event):
            self._discard(task, event.results, event.client)
            self.fail(task, cancellation(task))
        else:
            for result in event.results:
                node.objects.hold(result.contained)
            node.peers.send_outcome(task, event)
            for result in event.results:
                node.objects.release(result.contained)
            failed = event.error or event.message
            self.conclude(task, user_error(event.message) if failed else None)
        if task.spec.actor:
            node.actors.call_finished(task)

    def _creation_failed(self, task: Task, event: TaskFinished) -> None:
        text = f"{task.spec.name} is dead: its constructor raised {event.message}"
        worker = self._node.scheduler.workers[event.client]
        worker.why = f"{UNMADE} {event.message}"
        self.fail(task, ErrorInfo("ActorDiedError", text, actor_of(task)))

    def outcome(self, task: Task, event: TaskFinished | TaskOutcome, executor: int | str) -> None:
        """A task that this node owns has run, at the worker or the node ``executor``."""
        if event.retryable and self.may_retry(task):
            self._discard(task, event.results, executor)
            self.retry(task, user_error(event.message))
        elif event.error and self._node.streams.is_cut(task):
            self._discard(task, event.results, executor)
            self.retry(task)
        elif task.cancelled and _breaks_off(task, event):
            self._discard(task, event.results, executor)
            self.fail(task, cancellation(task))
        else:
            failed = event.error or event.message
            error = user_error(event.message) if failed else None
            if event.error and task.cancelled and not task.spec.actor:
                error = cancellation(task)
                for entry in self._node.lineage.unfinished(task):
                    entry.seen = True  # by who has cancelled it
            self.complete(task, event.results, error, executor)

    def complete(
        self,
        task: Task,
        results: tuple[Result, ...],
        error: ErrorInfo | None,
        executor: int | str,
    ) -> None:
        """The task's results are known; ``error``: what it has raised. ``executor``: the node whose
        store has the large ones, or the worker that wrote them here.
        """
        node = self._node
        spec = task.spec
        if spec.num_returns == STREAMING and not node.streams.run_ended(task):
            return
        for index, result in enumerate(results):
            object_id = return_id(spec.task_id, index)
            entry = node.objects.entries.get(object_id)
            if entry is None or entry.exists:
                self.refuse(object_id, result, executor)
                continue
            failed = error is not None and not result.is_value
            if self.fill(entry, result, failed, executor) and spec.creation is not None:
                node.actors.created(entry, executor if isinstance(executor, str) else node.name)
        if task.attempt or (spec.num_returns == STREAMING and node.streams.looks_back(task)):
            missing = node.lineage.unfinished_others(task)
            if missing and node.streams.runs_again(task):
                self.retry(task)
                return
            for entry in missing:
                self.fail_object(entry, node.lineage.omission(task, entry))
        self.conclude(task, error)

    def fill(self, entry: Entry, result: Result, is_error: bool, executor: int | str) -> bool:
        """An object that a task makes is there (``executor`` as in ``complete``); False: it is lost
        already.
        """
        node = self._node
        entry.size_bytes = result.size_bytes
        node.objects.set_contained(entry, result.contained)
        if result.payload is not None:
            entry.is_error = is_error
            entry.state = INLINE
        elif isinstance(executor, str):
            node.peers.result_stored(entry, executor)
        elif node.shelf.seal(executor, entry.object_id):
            entry.state = STORED
        else:
            entry.state = LOST
            node.need(entry, local=False)
            return False
        node.announce(entry)
        if not entry.holds:
            node.objects.touch(entry)
        return True

    def _discard(self, task: Task, results: tuple[Result, ...], executor: int | str) -> None:
        """Nothing that this run has made counts."""
        for index, result in enumerate(results):
            self.refuse(return_id(task.spec.task_id, index), result, executor)

    def refuse(self, object_id: bytes, result: Result, executor: int | str) -> None:
        """An object that a task made is not needed: drop it where it is stored."""
        if result.payload is not None:
            return
        if isinstance(executor, str):
            self._node.peers.refuse_result(object_id, executor)
        else:
            self._node.shelf.abort(executor, object_id)

    def conclude(self, task: Task, error: ErrorInfo | None) -> None:
        """Nothing more will come of this run; keep the task as lineage if something came of it."""
        if error is not NO_ATTEMPT:
            self._node.history.attempt_ended(task, error, self._node.step.now_ns)
        task.state = DONE
        if task.owner:
            self._node.peers.accepted(task)
        spec = task.spec
        if not (spec.creation is not None and self._node.actors.holds_on(task)):
            self.let_go_of_inputs(task)
        if spec.actor:
            if task.queued:  # it failed before its turn: the next must not wait for it
                self._node.lanes.withdraw(task)
            self._node.objects.release((spec.actor,))
        if not task.live:
            self._node.lineage.forget(task)

    def let_go_of_inputs(self, task: Task) -> None:
        """They are held no more, but for lineage."""
        spec = task.spec
        inputs = spec.deps + spec.borrows if spec.borrows else spec.deps
        if inputs:
            if task.live:
                self._node.objects.hold_lineage(inputs)
            self._node.objects.release(inputs)

    # -- failure -----------------------------------------------------------------------------------

    def fail(self, task: Task, error: ErrorInfo) -> None:
        """Let the error be the task's result."""
        if task.owner:
            self._node.peers.send_failure(task, error)
            self.conclude(task, error)
            return
        if task.spec.creation is not None:
            error = self._node.actors.never_created(task, error) or error
        for entry in self._node.lineage.unfinished(task):
            self.fail_object(entry, error)
        self.conclude(task, error)

    def fail_by(self, task: Task, source: Entry) -> None:
        """An input is an error, or the actor is: so is each result."""
        objects, history = self._node.objects, self._node.history
        to_actor = task.spec.actor == source.object_id
        error = history.actors_end(source.object_id) if to_actor else INPUT_ERROR
        if task.spec.creation is not None:
            self._node.actors.never_created(task)
        for object_id in task.spec.deps:
            entry = objects.get(object_id)
            if entry is not None:
                entry.seen = True
                objects.unwait(entry, task)
        if task.owner:
            self._node.peers.send_error_of(task, source)
            self.conclude(task, error)
            return
        spec = task.spec
        dependent, is_actor = "" if to_actor else spec.name, spec.creation is not None
        for entry in self._node.lineage.unfinished(task):
            copy = CopyError(source.object_id, entry.object_id, dependent, is_actor)
            self._node.step.out.append(copy)
            objects.set_contained(entry, source.contained)
            self.resolve_error(entry)
        self.conclude(task, error)

    def resolve_error(self, entry: Entry) -> None:
        """The object is an error; the shell has been told which."""
        entry.state = INLINE
        entry.is_error = True
        self._node.announce(entry)
        if not entry.holds:
            self._node.objects.touch(entry)

    def surrender(self, task: Task, owner: str) -> None:
        """Another node turned out to own this very task (its parent ran there once): its results
        are borrowed.
        """
        node = self._node
        unfinished = node.lineage.unfinished_results(task)
        puts = node.lineage.unfinished_others(task)
        if task.spec.creation is not None:
            node.actors.disown(actor_of(task))
        task.live = 0
        self.conclude(task, NO_ATTEMPT)
        for entry in unfinished:
            entry.owner = owner
            if entry.waiters is not None:
                node.need(entry, local=False)
            node.objects.touch(entry)
        for entry in puts:
            node.peers.borrow_put(entry, owner)
            node.need(entry, local=False)
            node.objects.touch(entry)

    def fail_object(self, entry: Entry, error: ErrorInfo) -> None:
        """The object can never be had again."""
        self._node.step.out.append(StoreError(entry.object_id, error))
        self.resolve_error(entry)

    def may_retry(self, task: Task) -> bool:
        """Whether the task may run once more; to create an actor, only if somebody holds it."""
        if task.retries_left == 0 or task.cancelled:
            return False
        if task.spec.creation is None:
            return True
        entry = self._node.objects.get(return_id(task.spec.task_id, 0))
        return entry is not None and bool(entry.holds or entry.lineage_holds)

    def retry(self, task: Task, error: ErrorInfo | None = None, charged: bool = True) -> None:
        """Run the task once more, for a retry if ``charged``. ``error``: why it failed, or None."""
        if error is not None:
            self._node.history.attempt_ended(task, error, self._node.step.now_ns)
        if charged and task.retries_left > 0:
            task.retries_left -= 1
        task.attempt += 1
        self.await_inputs(task)

    # -- checks ------------------------------------------------------------------------------------

    def holds(self) -> dict[bytes, int]:
        """What unfinished tasks hold, by object."""
        held: dict[bytes, int] = {}
        for task in (*self.table.values(), *self._node.intake.superseded_runs):
            if task.state != DONE:
                actor = (task.spec.actor,) if task.spec.actor else ()
                for object_id in (*task.spec.deps, *task.spec.borrows, *actor):
                    held[object_id] = held.get(object_id, 0) + 1
        for object_id in self._node.actors.held():
            held[object_id] = held.get(object_id, 0) + 1
        return held


def _breaks_off(task: Task, event: TaskFinished | TaskOutcome) -> bool:
    """Whether a cancelled task has left its stream, or its results, unfinished: how it was stopped
    is an error of the system's then. Otherwise what it has raised says that.
    """
    if task.spec.actor:
        return False
    return event.retryable or (event.error and task.spec.num_returns == STREAMING)
