"""What is over: attempts to run tasks, actors, workers and nodes that are no more.

Decides how much of the past is remembered. Must never hold a payload, nor slow a task down: one
small record per attempt, made from what is at hand. Owns the four lists, the oldest first.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import msgspec

from rsim.core.facts import DEAD, ActorFact, NodeFact, WorkerFact
from rsim.core.records import Demand, ErrorInfo, TaskTemplate

if TYPE_CHECKING:
    from rsim.core.actors import OwnedActor
    from rsim.core.work import Task, Worker

ATTEMPTS = 100_000
"""Most attempts that a node remembers, as in Ray."""

ENDED = 10_000
"""Most dead actors, and dead workers, that a node remembers."""

USER_ERROR = ErrorInfo("UserError", "")
INPUT_ERROR = ErrorInfo("InputError", "an argument is an error")
"""Why an attempt failed, where the system was not to blame."""

NO_ATTEMPT = ErrorInfo("NoAttempt", "")
"""The end of what was no attempt of this node's."""


def user_error(message: str) -> ErrorInfo:
    """The function has raised what the message says."""
    return ErrorInfo(USER_ERROR.kind, message) if message else USER_ERROR


class Attempt(msgspec.Struct, gc=False):
    """One attempt to run a task that is over."""

    task_id: bytes
    template: TaskTemplate
    attempt: int
    owner: str
    executor: int | str
    error: ErrorInfo | None
    submitted_ns: int
    started_ns: int
    ended_ns: int


class History:
    """The past of one node."""

    def __init__(self, node: str) -> None:
        self._node = node
        self.attempts: deque[Attempt] = deque(maxlen=ATTEMPTS)
        self.actors: deque[ActorFact] = deque(maxlen=ENDED)
        self._actors_ends: dict[bytes, str] = {}
        """Why each of these has ended."""
        self.workers: deque[WorkerFact] = deque(maxlen=ENDED)
        self.nodes: dict[str, NodeFact] = {}
        """Names of dead nodes do not come back, so there is one entry for each."""

    def attempt_ended(self, task: Task, error: ErrorInfo | None, now_ns: int) -> None:
        """An attempt is over; ``error``: why it failed, if it did."""
        spec = task.spec
        self.attempts.append(
            Attempt(
                spec.task_id,
                spec.template,
                task.attempt,
                task.owner,
                task.executor,
                error,
                task.submitted_ns,
                task.started_ns,
                now_ns if task.ended_ns < 0 else task.ended_ns,
            )
        )
        task.started_ns = task.ended_ns = -1

    def ended_well(self, task: Task, started_ns: int, ended_ns: int, now_ns: int) -> None:
        """``attempt_ended`` for the first attempt of a task of this node's own that creates no
        actor.
        """
        spec = task.spec
        self.attempts.append(
            Attempt(
                spec.task_id,
                spec.template,
                0,
                "",
                task.executor,
                None,
                task.submitted_ns,
                started_ns,
                now_ns if ended_ns < 0 else ended_ns,
            )
        )

    def actors_end(self, actor_id: bytes) -> ErrorInfo:
        """Why calls of an actor fail that is dead."""
        reason = self._actors_ends.get(actor_id, "the actor is dead")
        return ErrorInfo("ActorDiedError", reason)

    def actor_ended(self, actor_id: bytes, owned: OwnedActor, reason: str) -> None:
        """An actor of this node's own will not be created again."""
        if len(self.actors) == ENDED:
            self._actors_ends.pop(self.actors[0].actor_id, None)
        self._actors_ends[actor_id] = reason
        task = owned.task
        creation = task.spec.creation
        assert creation is not None
        self.actors.append(
            ActorFact(
                self._node,
                actor_id,
                task.spec.options.function or task.spec.name,
                DEAD,
                "",
                0,
                0,
                task.attempt,
                creation.held,
                reason,
                task.submitted_ns,
                creation.known_as,
                creation.detached,
                task.spec.options.strategy.group,
                task.spec.options.env_vars,
            )
        )

    def worker_ended(self, worker: Worker, actor: bytes, reason: str, now_ns: int) -> None:
        """A worker of this node is gone."""
        if worker.tasks and not actor:
            worker.tasks[0].started_ns = worker.since_ns
        self.workers.append(
            WorkerFact(
                self._node,
                worker.client,
                worker.pid,
                False,
                actor,
                (),
                worker.started_ns,
                now_ns,
                worker.stopped,
                reason,
                worker.title,
            )
        )

    def node_died(self, name: str, total: Demand, now_ns: int) -> None:
        """Another node is gone."""
        self.nodes[name] = NodeFact(
            name, False, "the node died", total, (), 0, 0, "", "", (), -1, now_ns
        )
