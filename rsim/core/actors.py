"""Actors: who owns them, where they live, and when their calls are sent to their workers.

Decides when an actor is created again and what becomes of the calls that have come to it when it
dies. Must never send calls in another order than that of their arrival, unless they may overtake
each other (``out_of_order``), nor lose a call without an answer; which calls run at a time is the
worker's business, and the order in which they come that of ``lanes.py``. Owns two tables: the
actors that this node owns, and those that live here.

An actor is the first result of the task that creates it: handles are refs to that object, so it
ends when the last handle goes. The object exists while the actor is alive, is pending while it is
being created (again), and is an error once it is dead; callers learn where it lives, and what
became of it, as they learn of any object.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import msgspec

from rsim.core.calls import CALLS_AHEAD, CallQueue, LocalActor
from rsim.core.events import ActorExited, ActorKilled
from rsim.core.facts import ENDED_ITSELF
from rsim.core.ids import creator, return_id
from rsim.core.messages import ActorDeath, ActorKill, ActorStop
from rsim.core.objects import PENDING, Entry
from rsim.core.records import ErrorInfo, TaskSpec
from rsim.core.work import DONE, SENT, Task, cancellation

if TYPE_CHECKING:
    from rsim.core.node import Node

ACTOR_LOST = "ActorLost"
"""Failure of a call: the actor is not, or no longer, where the call was sent."""

DEADLY = ("WorkerCrashedError", "NodeDiedError", "TaskCancelledError", "OutOfMemoryError")
"""Failures of a creation that are the actor's death to who calls it."""


class OwnedActor(msgspec.Struct, gc=False, eq=False):
    """An actor that this node owns."""

    task: Task
    """Creates it; its retries are what is left of ``max_restarts``."""
    at: str = ""
    """The node it lives on; empty: it is being created."""
    ended: str = ""
    """Why it must not be created again."""
    holding: bool = False
    """The arguments of its creation are held, to create it again."""


class Actors:
    """The part of a node that knows actors."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.owned: dict[bytes, OwnedActor] = {}
        """The actors that this node owns, alive or on their way."""
        self._living: dict[bytes, LocalActor] = {}
        self._by_client: dict[int, LocalActor] = {}

    # -- where the actor lives ---------------------------------------------------------------------

    def settled(self, task: Task, client: int) -> None:
        """A worker has created an actor, and is its worker from now on."""
        actor_id = actor_of(task)
        creation = task.spec.creation
        assert creation is not None
        limits = {"": creation.max_concurrency, **dict(creation.groups)}
        queues = {name: CallQueue(limit + CALLS_AHEAD, deque()) for name, limit in limits.items()}
        living = LocalActor(actor_id, client, task.owner, queues)
        self._living[actor_id] = self._by_client[client] = living
        if task.owner and task.owner not in self._node.peers.others:
            self.stop(actor_id, kill=True)

    def arrive(self, task: Task) -> None:
        """A call comes to the node where its actor should live."""
        living = self._living.get(task.spec.actor)
        if living is None:
            if task.owner:
                text = "the actor does not live here"
                self._node.peers.send_failure(task, ErrorInfo(ACTOR_LOST, text))
                self._node.tasks.conclude(task, ErrorInfo("ActorDiedError", text))
            else:
                self._node.lanes.call_lost(task)
            return
        self.arrive_all((task,))

    def arrive_all(self, tasks: Sequence[Task]) -> None:
        """Calls, alike but for their arguments, come to an actor that lives here."""
        living = self._living[tasks[0].spec.template.actor]
        queue = living.queue_of(tasks[0])
        queue.arrived.extend(tasks)
        self._feed(living, queue)

    def would_queue(self, spec: TaskSpec) -> bool:
        """Whether a call would find as many others at the worker as can run at a time."""
        living = self._living.get(spec.template.actor)
        if living is None or living.ended:
            return False
        queue = living.queues.get(spec.template.options.group) or living.queues[""]
        return queue.room <= CALLS_AHEAD

    def withdraw(self, task: Task) -> None:
        """A call is not to be sent to the worker."""
        living = self._living.get(task.spec.actor)
        if living is not None and task in living.queue_of(task).arrived:
            living.queue_of(task).arrived.remove(task)

    def _feed(self, living: LocalActor, queue: CallQueue) -> None:
        """Send calls to the worker, in order of arrival; if it is ending, its exit decides."""
        if living.ended:
            return
        worker = self._node.scheduler.workers[living.client]
        at_worker = worker.calls
        plain: list[Task] = []
        while queue.room and (task := queue.next()) is not None:
            if task.spec.task_id in at_worker:
                queue.arrived.appendleft(task)
                break  # an earlier run, for another owner, is still to end
            queue.room -= 1
            at_worker[task.spec.task_id] = task
            task.state = SENT
            task.executor = living.client
            if task.plain:
                plain.append(task)
                continue
            if plain:
                self._node.tasks.start(worker, plain)
                plain = []
            if task.owner:
                self._node.peers.accepted(task)
            if not task.spec.deps or self._node.requests.gather_for(task, living.client):
                self._node.tasks.send(task, living.client)
            elif not task.spec.options.out_of_order and self._node.requests.is_starting(
                task.spec.task_id
            ):
                queue.gathering.append(task)
        if plain:
            self._node.tasks.start(worker, plain)

    def call_sent(self, task: Task) -> None:
        """The inputs of a call were missing, but it is sent now."""
        living = self._living.get(task.spec.actor)
        if living is not None and not task.spec.options.out_of_order:
            queue = living.queue_of(task)
            if task in queue.gathering:
                queue.gathering.remove(task)
            self._feed(living, queue)

    def call_dropped(self, task: Task) -> None:
        """The inputs of a call were missing, and it will not be sent."""
        self._leave(task)
        self.call_sent(task)

    def call_finished(self, task: Task) -> None:
        """The worker has answered a call."""
        self._leave(task)

    def calls_finished(self, tasks: Sequence[Task]) -> None:
        """The worker has answered calls of this node's own, of which nothing more will come."""
        actor_id = tasks[0].spec.template.actor
        self._node.objects.release_one(actor_id, len(tasks))
        living = self._living.get(actor_id)
        if living is None:
            return
        for task in tasks:
            living.queue_of(task).room += 1
        for queue in living.queues.values():
            if queue.arrived:
                self._feed(living, queue)

    def _leave(self, task: Task) -> None:
        """A call is no longer at the worker: there is room for another."""
        living = self._living.get(task.spec.actor)
        if living is not None:
            queue = living.queue_of(task)
            queue.room += 1
            if queue.arrived:
                self._feed(living, queue)

    def returned(self, client: int, back: list[Task]) -> None:
        """The worker gave calls back unopened, as they are cancelled."""
        if client not in self._by_client:
            return
        for task in back:
            if task.state != DONE:
                self._node.tasks.fail(task, cancellation(task))
            self._leave(task)

    def exited(self, event: ActorExited) -> None:
        """An actor ends itself."""
        living = self._by_client.get(event.client)
        if living is not None:
            living.ended = ENDED_ITSELF
            living.exited = True
            call = self._node.scheduler.workers[event.client].calls.get(event.task_id)
            if call is not None:
                call.started_ns, call.ended_ns = event.started_ns, event.ended_ns
            self._node.scheduler.stop_worker(event.client, kill=False)

    def lives_here(self, actor_id: bytes) -> bool:
        """Whether it is an actor of this node."""
        return actor_id in self._living

    def end_of(self, client: int) -> str:
        """Why the actor of a worker is ending, if it is."""
        living = self._by_client.get(client)
        return "" if living is None else living.ended

    def condemn(self, client: int, reason: str) -> None:
        """The actor of this worker is about to be killed, and is not to be created again."""
        living = self._by_client.get(client)
        if living is not None:
            living.ended = living.ended or reason
            living.exited = True

    def stop(self, actor_id: bytes, kill: bool) -> None:
        """The owner ends an actor that lives here."""
        living = self._living.get(actor_id)
        if living is not None:
            living.ended = living.ended or ("it was killed" if kill else "all its handles are gone")
            self._node.scheduler.stop_worker(living.client, kill)

    def worker_exited(self, client: int, lost: list[Task], reason: str) -> bool:
        """Whether the dead worker was an actor's; then its calls and its owner are told."""
        living = self._by_client.pop(client, None)
        if living is None:
            return False
        self._living.pop(living.actor_id, None)
        node = self._node
        reason = living.ended or f"its worker died: {reason}"
        if living.owner:
            death = ActorDeath(living.actor_id, reason, living.exited)
            node.peers.borrowing.send(living.owner, death)
        else:
            self.died(living.actor_id, reason, living.exited)
        waiting = [task for queue in living.queues.values() for task in queue.arrived]
        for task in (*lost, *waiting):
            if task.owner:
                node.peers.send_failure(task, ErrorInfo(ACTOR_LOST, reason))
                node.tasks.conclude(task, ErrorInfo("ActorDiedError", reason))
            else:
                self._node.lanes.call_lost(task)
        return True

    # -- the owner's side --------------------------------------------------------------------------

    def own(self, task: Task) -> None:
        """A client of this node creates an actor."""
        assert task.spec.creation is not None
        actor_id = actor_of(task)
        task.retries_left = task.spec.creation.max_restarts
        self.owned[actor_id] = OwnedActor(task)
        if task.spec.creation.detached:
            self._node.objects.hold((actor_id,))
        self._node.names.submitted(task.spec)

    def disown(self, actor_id: bytes) -> OwnedActor | None:
        """The actor will not live again, or is not this node's own: forget it, free its name."""
        owned = self.owned.pop(actor_id, None)
        if owned is not None:
            self._let_go(owned)
            creation = owned.task.spec.creation
            assert creation is not None
            self._node.names.release(creation.name, actor_id)
            if creation.detached:
                self._node.objects.release((actor_id,))
        return owned

    def created(self, entry: Entry, at: str) -> None:
        """The actor is alive, on the node ``at``."""
        owned = self.owned.get(entry.object_id)
        entry.actor_at = at
        if owned is None:
            self._stop_at(entry.object_id, at, kill=False)
            return
        owned.at = at
        if owned.ended:
            self._stop_at(entry.object_id, at, kill=True)

    def died(self, actor_id: bytes, reason: str, intended: bool) -> None:
        """The actor's worker is gone: create it again, or let its object be the error."""
        owned = self.owned.get(actor_id)
        entry = self._node.objects.get(actor_id)
        if owned is None or entry is None or not owned.at:
            return
        owned.at = entry.actor_at = ""
        task = owned.task
        if not intended and not owned.ended and task.retries_left:
            task.retries_left -= task.retries_left > 0
            entry.state = PENDING
            owned.holding = False  # the task holds them itself while it runs
            task.attempt += 1
            self._node.tasks.await_inputs(task)
            return
        self.disown(actor_id)
        self._ended(actor_id, owned, owned.ended or reason)
        text = f"{task.spec.name} is dead: {owned.ended or reason}"
        self._node.tasks.fail_object(entry, ErrorInfo("ActorDiedError", text, actor_id))
        self._node.lanes.actor_died(actor_id)

    def refuses(self, actor_id: bytes) -> bool:
        """Whether calls without retries need not wait for the actor: it is being created again."""
        owned = self.owned.get(actor_id)
        if owned is None:
            return self._node.peers.directory.refuses(actor_id)
        creation = owned.task.spec.creation
        assert creation is not None
        return not owned.at and owned.task.attempt > 0 and not creation.patient

    def node_died(self, dead: str) -> None:
        """Actors that lived there are gone, and those that it owned have nobody left."""
        for actor_id, owned in list(self.owned.items()):
            if owned.at == dead:
                self.died(actor_id, f"its node {dead} died", intended=False)
        for living in list(self._living.values()):
            if living.owner == dead:
                self.stop(living.actor_id, kill=True)

    def killed(self, event: ActorKilled) -> None:
        """A client wants an actor's end."""
        entry = self._node.objects.get(event.actor_id)
        if entry is not None and entry.owner:
            kill = ActorKill(event.actor_id, event.no_restart)
            self._node.peers.borrowing.send(entry.owner, kill)
        else:
            self.kill(event.actor_id, event.no_restart)

    def kill(self, actor_id: bytes, no_restart: bool) -> None:
        """End an actor that this node owns."""
        owned = self.owned.get(actor_id)
        if owned is None:
            return
        if not owned.at and not owned.task.retries_left:
            no_restart = True  # being created counts as living
        if no_restart:
            owned.ended = "it was killed by rsim.kill()"
            assert owned.task.spec.creation is not None
            self._node.names.release(owned.task.spec.creation.name, actor_id)
        if owned.at:
            self._stop_at(actor_id, owned.at, kill=True)
        elif no_restart:
            self._node.cancellation.cancel(owned.task, force=True, recursive=False)

    def abandoned(self, actor_id: bytes) -> None:
        """The last handle is gone: the actor ends when it has done what it was asked to."""
        owned = self.disown(actor_id)
        if owned is not None:
            self._ended(actor_id, owned, "all its handles are gone")
            if owned.at:
                self._stop_at(actor_id, owned.at, kill=False)

    def holds_on(self, task: Task) -> bool:
        """Whether the inputs of a task that has created an actor stay held: they cannot be made
        again as a matter of course, and it may have to be.
        """
        owned = self.owned.get(actor_of(task))
        if owned is None or not owned.at or not task.retries_left:
            return False
        owned.holding = True
        return True

    def _let_go(self, owned: OwnedActor) -> None:
        """The actor will not be created again."""
        if owned.holding:
            owned.holding = False
            inputs = owned.task.spec.deps + owned.task.spec.borrows
            self._node.objects.hold_lineage(inputs)
            self._node.objects.release(inputs)

    def held(self) -> Iterator[bytes]:
        """What living actors hold in order to be created again."""
        for owned in self.owned.values():
            if owned.holding:
                yield from owned.task.spec.deps + owned.task.spec.borrows

    def _stop_at(self, actor_id: bytes, at: str, kill: bool) -> None:
        if at == self._node.name:
            self.stop(actor_id, kill)
        else:
            self._node.peers.borrowing.send(at, ActorStop(actor_id, kill))

    # -- messages ----------------------------------------------------------------------------------

    def death_reported(self, message: ActorDeath) -> None:
        """From the node where our actor lived."""
        self.died(message.actor_id, message.reason, message.intended)

    def kill_asked(self, message: ActorKill) -> None:
        """From the node of a client with a handle."""
        self.kill(message.actor_id, message.no_restart)

    def stop_asked(self, message: ActorStop) -> None:
        """From the owner of an actor that lives here."""
        self.stop(message.actor_id, message.kill)

    def check(self) -> None:
        """Tables agree with each other."""
        for living in self._living.values():
            assert self._by_client.get(living.client) is living
            worker = self._node.scheduler.workers[living.client]
            assert worker.creation is not None
            for name, calls in living.queues.items():
                limit = dict(worker.creation.groups).get(name, worker.creation.max_concurrency)
                sent = sum(living.queue_of(task) is calls for task in worker.calls.values())
                assert calls.room == limit + CALLS_AHEAD - sent, (name, calls.room, sent)

    def never_created(self, task: Task, error: ErrorInfo | None = None) -> ErrorInfo | None:
        """The task that was to create an actor has failed. What its calls are told."""
        owned = self.disown(actor_of(task))
        ended = owned.ended if owned is not None else ""
        if owned is not None:
            failure = (
                error.message if error is not None else "an argument of its constructor failed"
            )
            self._ended(actor_of(task), owned, ended or failure)
        if error is None or not (ended or error.kind in DEADLY):
            return error
        text = f"{task.spec.name} is dead: {ended or error.message}"
        return ErrorInfo("ActorDiedError", text, actor_of(task))

    def is_callable(self, actor_id: bytes) -> bool:
        """Whether this node owns such an actor, and does not end it."""
        owned = self.owned.get(actor_id)
        return owned is not None and not owned.ended

    def holds(self, held: dict[bytes, int]) -> dict[bytes, int]:
        """``held``, and what keeps detached actors alive."""
        for actor_id, owned in self.owned.items():
            if owned.task.spec.creation is not None and owned.task.spec.creation.detached:
                held[actor_id] = held.get(actor_id, 0) + 1
        return held

    def recalled(self, actor_id: bytes) -> Entry | None:
        """The entry, made anew, of an actor that runs here, whom nobody on this node held."""
        living = self._living.get(actor_id)
        task = self._node.tasks.table.get(creator(actor_id))
        if living is not None:
            owner = living.owner
        elif task is not None and task.owner and task.spec.creation is not None:
            owner = task.owner
        else:
            return None
        entry = self._node.objects.declare_foreign(actor_id, owner)
        if owner in self._node.peers.others:
            self._node.peers.borrow_put(entry, owner)
        else:
            entry.owner = ""
            error = ErrorInfo("ActorDiedError", "the actor is ending: all its handles are gone")
            self._node.tasks.fail_object(entry, error)
        return entry

    # -- for inspection ----------------------------------------------------------------------------

    def actor_at(self, client: int) -> bytes:
        """The actor whose worker it is; empty: none's."""
        living = self._by_client.get(client)
        return b"" if living is None else living.actor_id

    def _ended(self, actor_id: bytes, owned: OwnedActor, reason: str) -> None:
        self._node.history.actor_ended(actor_id, owned, reason)


def actor_of(task: Task) -> bytes:
    """The id of the actor that a creation task creates."""
    return return_id(task.spec.task_id, 0)
