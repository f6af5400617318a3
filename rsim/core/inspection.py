"""What a node answers when it is asked for its tasks, actors, objects, workers, or itself, and how
it asks the others.

Decides the state of each thing by Ray's names, and when an answer is complete: when every living
node has answered, or the time is up. Must never change what it looks at. Owns the open questions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import msgspec

from rsim.core import facts
from rsim.core.effects import CancelTimer, ReplyState, Send, SetTimer
from rsim.core.events import StateRequested
from rsim.core.facts import ActorFact, AnyFact, NodeFact, ObjectFact, TaskFact, WorkerFact
from rsim.core.history import Attempt
from rsim.core.ids import creator, is_put, return_id
from rsim.core.messages import StateAnswer, StateQuery
from rsim.core.objects import STATE_NAMES, STORED, Entry
from rsim.core.work import DONE, READY, SENT, WAITING, Task, Worker

if TYPE_CHECKING:
    from rsim.core.node import Node


class Question(msgspec.Struct, gc=False, eq=False):
    """A client's question that other nodes have not all answered."""

    client: int
    op: int
    kind: str
    found: list[AnyFact]
    """What the others have told so far."""
    missing: dict[str, None]
    timer: int = 0


class Inspection:
    """The part of a node that answers questions about it."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._open: dict[int, Question] = {}
        self._timers: dict[int, int] = {}
        self._tellers: dict[str, Callable[[Node], Iterator[AnyFact]]] = {
            facts.TASKS: task_facts,
            facts.ACTORS: actor_facts,
            facts.OBJECTS: object_facts,
            facts.WORKERS: worker_facts,
            facts.NODES: node_facts,
        }

    # -- questions ---------------------------------------------------------------------------------

    def requested(self, event: StateRequested) -> None:
        """A client wants to know."""
        step, others = self._node.step, self._node.peers.others
        if event.here or not others:
            step.out.append(ReplyState(event.client, event.op, self._tell(event.kind)))
            return
        number = step.next_op()
        question = Question(event.client, event.op, event.kind, [], dict.fromkeys(others))
        self._open[number] = question
        for name in others:
            step.out.append(Send(name, StateQuery(number, event.kind)))
        if event.timeout_ns >= 0:
            question.timer = step.next_op()
            self._timers[question.timer] = number
            step.out.append(SetTimer(question.timer, step.now_ns + event.timeout_ns))

    def queried(self, source: str, message: StateQuery) -> None:
        """Another node wants to know."""
        answer = StateAnswer(message.op, self._tell(message.kind))
        self._node.step.out.append(Send(source, answer))

    def _tell(self, kind: str) -> tuple[AnyFact, ...]:
        return tuple(self._tellers[kind](self._node))

    def answered(self, source: str, message: StateAnswer) -> None:
        """Another node has answered."""
        question = self._open.get(message.op)
        if question is not None and source in question.missing:
            question.found += message.facts
            self._strike_off(message.op, question, source)

    def node_died(self, dead: str) -> None:
        """A node will not answer any more."""
        for number, question in list(self._open.items()):
            if dead in question.missing:
                self._strike_off(number, question, dead)

    def _strike_off(self, number: int, question: Question, name: str) -> None:
        del question.missing[name]
        if not question.missing:
            if question.timer:
                del self._timers[question.timer]
                self._node.step.out.append(CancelTimer(question.timer))
            self._answer(number)

    def timer_fired(self, op: int) -> bool:
        """Whether the timer was ours; then answer with what is known."""
        number = self._timers.pop(op, None)
        if number is not None:
            self._answer(number)
        return number is not None

    def _answer(self, number: int) -> None:
        question = self._open.pop(number)
        found = (*self._tell(question.kind), *question.found)
        missing = tuple(question.missing)
        self._node.step.out.append(ReplyState(question.client, question.op, found, missing))

    @property
    def active(self) -> bool:
        """Whether an answer is under way."""
        return bool(self._open)


class _Glance:
    """What many facts of one answer need: taken once."""

    def __init__(self, node: Node) -> None:
        self.node = node
        dead, living = node.history.workers, node.scheduler.workers.values()
        self.pids: dict[int | str, int] = {worker.client: worker.pid for worker in dead}
        """Of the workers of this node, dead ones included."""
        self.pids.update((worker.client, worker.pid) for worker in living)
        self._running = dict(_running(node))

    def state_of(self, task: Task) -> str:
        """The state of a task that is not over."""
        if task.state == WAITING:
            return facts.WAITS_FOR_INPUTS
        if task.state == READY:
            here = self.node.actors.lives_here(task.spec.actor)
            return facts.WAITS_FOR_TURN if here else facts.WAITS_FOR_PLACE
        if task.state == SENT and self.node.requests.is_starting(task.spec.task_id):
            return facts.FETCHES_INPUTS
        queued = facts.WAITS_FOR_TURN if task.spec.actor else facts.SENT_TO_WORKER
        return self._running.get(task.spec.task_id, queued)


def _running(node: Node) -> Iterator[tuple[bytes, str]]:
    """What has begun, as far as the node can know, and its state: the first task at a worker, and
    of the calls of an actor as many as it may run at a time.
    """
    pauses = node.requests.pauses()
    for worker in node.scheduler.workers.values():
        state = pauses.get(worker.client, facts.RUNS)
        if worker.tasks:
            yield worker.tasks[0].spec.task_id, state
        creation = worker.creation
        if creation is None:
            continue
        if creation.is_concurrent:
            state = facts.RUNS  # one of them waits, and nobody knows which
        room = {"": creation.max_concurrency, **dict(creation.groups)}
        for task in worker.calls.values():
            group = task.spec.options.group if task.spec.options.group in room else ""
            if room[group]:
                room[group] -= 1
                yield task.spec.task_id, state


# -- tasks -----------------------------------------------------------------------------------------


def task_facts(node: Node) -> Iterator[TaskFact]:
    """Attempts that are over, then tasks that are not, but for those that are not to be told."""
    glance = _Glance(node)
    for attempt in node.history.attempts:
        if not attempt.template.options.untold:
            yield _ended_attempt(node.name, attempt, glance.pids)
    for task in node.tasks.table.values():
        if task.state != DONE and not task.spec.options.untold:
            yield _open_task(glance, task)


def _ended_attempt(node: str, attempt: Attempt, pids: dict[int | str, int]) -> TaskFact:
    template = attempt.template
    options, creates = template.options, template.creation is not None
    return TaskFact(
        node,
        attempt.task_id,
        attempt.attempt,
        template.name,
        options.function,
        facts.FINISHED if attempt.error is None else facts.FAILED,
        template.parent_id,
        creates,
        return_id(attempt.task_id, 0) if creates else template.actor,
        attempt.owner or node,
        attempt.executor,
        pids.get(attempt.executor, 0),
        attempt.error,
        options.demand,
        attempt.submitted_ns,
        attempt.started_ns,
        attempt.ended_ns,
        options.strategy.group,
        options.env_vars,
    )


def _open_task(glance: _Glance, task: Task) -> TaskFact:
    node, spec = glance.node, task.spec
    creates = spec.creation is not None
    state = glance.state_of(task)
    started_ns = -1
    if state in (facts.RUNS, facts.GETS, facts.WAITS) and not spec.actor:
        started_ns = node.scheduler.workers[int(task.executor)].since_ns
    executor = "" if task.state in (WAITING, READY) else task.executor
    return TaskFact(
        node.name,
        spec.task_id,
        task.attempt,
        spec.name,
        spec.options.function,
        state,
        spec.parent_id,
        creates,
        return_id(spec.task_id, 0) if creates else spec.actor,
        task.owner or node.name,
        executor,
        glance.pids.get(executor, 0),
        None,
        spec.options.demand,
        task.submitted_ns,
        started_ns,
        -1,
        spec.options.strategy.group,
        spec.options.env_vars,
    )


# -- actors ----------------------------------------------------------------------------------------


def actor_facts(node: Node) -> Iterator[ActorFact]:
    """Those that this node owns, dead ones first; then where actors lived, and live, on it."""
    yield from node.history.actors
    for actor_id, owned in node.actors.owned.items():
        task = owned.task
        creation = task.spec.creation
        assert creation is not None
        yield ActorFact(
            node.name,
            actor_id,
            task.spec.options.function or task.spec.name,
            _actor_state(task, owned.at),
            owned.at,
            0,
            0,
            task.attempt,
            creation.held,
            "",
            task.submitted_ns,
            creation.known_as,
            creation.detached,
            task.spec.options.strategy.group,
            task.spec.options.env_vars,
        )
    for ended in node.history.workers:
        if ended.actor:
            yield _place(node, ended.actor, ended)
    for worker in node.scheduler.workers.values():
        actor_id = node.actors.actor_at(worker.client)
        if actor_id:
            yield _place(node, actor_id, worker)


def _place(node: Node, actor_id: bytes, worker: Worker | WorkerFact) -> ActorFact:
    where = node.name, worker.client, worker.pid
    title, since_ns = worker.title, worker.started_ns
    return ActorFact(node.name, actor_id, "", "", *where, 0, (), "", since_ns, title=title)


def _actor_state(task: Task, at: str) -> str:
    if at:
        return facts.ALIVE
    if task.attempt:
        return facts.RESTARTING
    return facts.UNCREATED if task.state == WAITING else facts.CREATING


# -- objects ---------------------------------------------------------------------------------------


def object_facts(node: Node) -> Iterator[ObjectFact]:
    """The objects of this node's own that somebody holds."""
    objects = node.objects
    glance, used = _Glance(node), node.tasks.holds()
    contained = (each for entry in objects.entries.values() for each in entry.contained)
    captured = dict.fromkeys(contained)
    for object_id, entry in objects.entries.items():
        if entry.owner or not entry.holds:
            continue
        borrowers = objects.borrowers(object_id)
        holders = tuple(each for each in borrowers if isinstance(each, int))
        task = None if is_put(object_id) else node.tasks.table.get(creator(object_id))
        if task is not None and task.spec.creation is not None:
            held_as = facts.HANDLE
        elif node.shelf.is_pinned(object_id):
            held_as = facts.PINNED
        elif object_id in used:
            held_as = facts.USED
        elif borrowers:
            held_as = facts.REFERENCE
        else:
            held_as = facts.CAPTURED if object_id in captured else facts.UNKNOWN
        task_state = ""
        if task is not None:
            task_state = _state_of_maker(glance, task, entry)
        copies = [node.name] if entry.state == STORED else []
        yield ObjectFact(
            node.name,
            object_id,
            entry.size_bytes if entry.exists else -1,
            held_as,
            task_state,
            task.attempt if task is not None else 0,
            STATE_NAMES[entry.state],
            (*copies, *(entry.locations or ())),
            holders,
            glance.pids.get(holders[0], 0) if holders else 0,
            used.get(object_id, 0),
        )


def _state_of_maker(glance: _Glance, task: Task, entry: Entry) -> str:
    if task.state != DONE:
        return glance.state_of(task)
    return facts.FAILED if entry.is_error else facts.FINISHED


# -- workers and nodes -----------------------------------------------------------------------------


def worker_facts(node: Node) -> Iterator[WorkerFact]:
    """The dead ones first."""
    yield from node.history.workers
    for worker in node.scheduler.workers.values():
        yield WorkerFact(
            node.name,
            worker.client,
            worker.pid,
            True,
            node.actors.actor_at(worker.client),
            worker.demand,
            worker.started_ns,
            -1,
            worker.stopped,
            "",
            worker.title,
        )


def node_facts(node: Node) -> Iterator[NodeFact]:
    """This node, and the dead ones that it knew."""
    pool, store, config = node.scheduler.pool, node.shelf.store, node.config
    yield NodeFact(
        node.name,
        True,
        "",
        pool.total,
        pool.available(),
        store.arena.capacity_bytes,
        store.arena.used_bytes,
        config.address,
        config.hostname,
        tuple(node.labels.items()),
        node.started_ns,
        -1,
        store.stats().in_memory,
        node.shelf.written,
        node.shelf.read,
    )
    yield from node.history.nodes.values()
