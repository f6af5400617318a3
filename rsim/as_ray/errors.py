"""The errors that Ray publishes to its drivers, as tests subscribe to them.

Decides which events are such errors: a worker that died though nobody ended it, a node that was
lost, an actor with thousands of calls in wait. Must never miss one between two polls; it asks the
state API, which remembers. Owns what each subscriber has been told of.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterator
from typing import Any

import rsim
from rsim.api.state import client_of, node_facts
from rsim.as_ray import cluster
from rsim.core.facts import FAILED, FINISHED, RUNS, TASKS, WORKERS, TaskFact, WorkerFact
from rsim.runtime.state import ask

WORKER_DIED_PUSH_ERROR = "worker_died"
REMOVED_NODE_ERROR = "node_removed"
EXCESS_QUEUEING_WARNING = "excess_queueing_warning"

_POLL_S = 0.05
_MANY_CALLS = 5000

Published = dict[str, str]


class ErrorSubscriber:
    """Errors since it was made, one after another."""

    def __init__(self) -> None:
        self._untold: deque[Published] = deque()
        self._known: set[tuple[str, object]] = set()
        self._warned: Counter[bytes] = Counter()
        self.subscribe()

    def subscribe(self) -> None:
        """Tell nothing of what has happened by now."""
        self._look()
        self._untold.clear()

    def poll(self, timeout: float | None = None) -> tuple[str | None, Published | None]:
        """The next error, and whom it is about; (None, None) if none comes in time."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            if not self._untold:
                self._look()
            if self._untold:
                error = self._untold.popleft()
                return error["job_id"], error
            if deadline is not None and time.monotonic() >= deadline:
                return None, None
            time.sleep(_POLL_S)

    def close(self) -> None:
        """There is nothing to close."""

    def _look(self) -> None:
        if not rsim.is_initialized():
            return
        for subject, kind, message in (*_dead_workers(), *_dead_nodes(), *self._long_queues()):
            if (kind, subject) not in self._known:
                self._known.add((kind, subject))
                job_id = rsim.get_runtime_context().get_job_id()
                self._untold.append({"job_id": job_id, "type": kind, "error_message": message})

    def _long_queues(self) -> Iterator[tuple[object, str, str]]:
        """Ray warns of an actor's queue at 5000 calls, and each time that it has doubled."""
        tasks: list[TaskFact] = ask(client_of("nodes"), TASKS)
        gone = (FINISHED, FAILED, RUNS)
        waiting = Counter(
            task.actor
            for task in tasks
            if task.actor and task.node == task.owner and task.state not in gone
        )
        for actor, count in waiting.items():
            limit = self._warned[actor] or _MANY_CALLS
            while count > limit:
                yield (
                    (actor, limit),
                    EXCESS_QUEUEING_WARNING,
                    f"Warning: More than {limit} tasks are pending submission to actor "
                    f"{actor.hex()}: wait for some before submitting more",
                )
                limit *= 2
            self._warned[actor] = limit


def _dead_workers() -> Iterator[tuple[object, str, str]]:
    workers: list[WorkerFact] = ask(client_of("nodes"), WORKERS)
    for worker in workers:
        if not worker.alive and not worker.stopped:
            yield (
                (worker.node, worker.client),
                WORKER_DIED_PUSH_ERROR,
                f"A worker died or was killed while executing a task: {worker.reason} "
                f"(node {worker.node}, pid {worker.pid}, actor {worker.actor.hex() or None})",
            )


def _dead_nodes() -> Iterator[tuple[object, str, str]]:
    for node in node_facts(client_of("nodes")):
        if not node.alive and not cluster.has_left(node.node):
            message = f"The node with node id: {node.node} has been marked dead: {node.reason}"
            yield node.node, REMOVED_NODE_ERROR, message


def init_error_pubsub() -> ErrorSubscriber:
    """Subscribe to the errors that come from now on."""
    return ErrorSubscriber()


def get_error_message(
    subscriber: ErrorSubscriber,
    num: float = 1e6,
    error_type: str | None = None,
    timeout: float = 20,
) -> list[dict[str, Any]]:
    """At most `num` errors (of this type), of those that come within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    found: list[dict[str, Any]] = []
    while len(found) < num:
        _, error = subscriber.poll(max(0.0, deadline - time.monotonic()))
        if error is None:
            break
        if error_type in (None, error["type"]):
            found.append(error)
    return found
