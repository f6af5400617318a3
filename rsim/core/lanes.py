"""The caller's side of actors: in which order the calls of this node's clients go out.

Decides when a call is sent to where its actor lives, and what becomes of one that was lost on the
way or with the actor. Must never let two calls of one caller overtake each other, unless they may
(``out_of_order``), nor lose a call without an answer. Owns the lanes: the calls that wait to be
sent, or to hear what became of their actor.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rsim.core.objects import PENDING, Entry, Waiter
from rsim.core.records import ErrorInfo
from rsim.core.work import DONE, READY, Task, cancellation

if TYPE_CHECKING:
    from rsim.core.node import Node


class Lane(Waiter, gc=False, eq=False, kw_only=True):
    """The calls of this node's clients to one actor, by caller. Waits for the actor to exist."""

    actor_id: bytes
    queues: dict[int, deque[Task]]
    loose: dict[bytes, Task]
    """Calls that are ready, and may overtake others."""
    lost: list[Task]
    """Calls that the actor's death has overtaken: what becomes of it decides what they raise."""


class Lanes:
    """The part of a node that sends the calls of its clients."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._lanes: dict[bytes, Lane] = {}
        self._calls = 0

    def enlist(self, task: Task) -> None:
        """A client of this node calls an actor: the call has its place from now on."""
        template = task.spec.template
        if template.options.out_of_order:
            return
        self._calls += 1
        task.order = self._calls
        actor = template.actor
        if task.spec.deps or actor in self._lanes:  # else it is sent before there can be another
            task.queued = True
            self._lane(actor).queues.setdefault(task.client, deque()).append(task)

    def is_open(self, actor_id: bytes) -> bool:
        """Whether calls of the actor can pass: it lives here, and none waits to be sent to it."""
        entry = self._node.objects.get(actor_id)
        passable = entry is not None and entry.exists and entry.actor_at == self._node.name
        return passable and actor_id not in self._lanes and self._node.actors.lives_here(actor_id)

    def pass_through(self, actor_id: bytes, tasks: Sequence[Task]) -> None:
        """Calls of this node's own pass, as the lane is open, and they have no inputs."""
        if not tasks[0].spec.template.options.out_of_order:
            for task in tasks:
                self._calls += 1
                task.order = self._calls
        self._node.objects.hold_one(actor_id, len(tasks))
        self._node.actors.arrive_all(tasks)

    def _lane(self, actor_id: bytes) -> Lane:
        lane = self._lanes.get(actor_id)
        if lane is None:
            lane = Lane(actor_id=actor_id, queues={}, loose={}, lost=[])
            self._lanes[actor_id] = lane
        return lane

    def call_ready(self, task: Task) -> None:
        """The inputs of a call exist."""
        task.state = READY
        if task.owner:
            self._node.actors.arrive(task)
            return
        actor_id = task.spec.template.actor
        if actor_id not in self._lanes:
            entry = self._node.objects.entries.get(actor_id)
            if entry is not None and entry.exists:
                self._send_on(task, entry)
                return
        lane = self._lane(actor_id)
        if not task.queued:
            self._line_up(lane, task)
        self._pump(lane)

    def _pump(self, lane: Lane) -> None:
        """Send what can be sent, caller by caller, in each one's order."""
        entry = self._node.objects.entries.get(lane.actor_id)
        if entry is None or self._close_if_idle(lane, entry):
            return
        if not entry.exists:
            if not lane.missing:
                self._node.objects.wait(entry, lane)
                self._node.need(entry, local=False)
            if self._node.actors.refuses(lane.actor_id):
                self._refuse(lane, entry)
            return
        self._judge_lost(lane, entry)
        for client in list(lane.queues):
            queue = lane.queues.get(client)
            while queue and entry.state != PENDING and queue[0].state in (READY, DONE):
                task = queue.popleft()
                task.queued = False
                if task.state != DONE:
                    self._send_on(task, entry)
            if not queue:
                lane.queues.pop(client, None)
        while lane.loose and entry.state != PENDING:  # which it is when a call comes back
            task = lane.loose.pop(next(iter(lane.loose)))
            task.queued = False
            self._send_on(task, entry)
        self._close_if_idle(lane, entry)

    def _close_if_idle(self, lane: Lane, entry: Entry) -> bool:
        if lane.queues or lane.loose or lane.lost:
            return False
        self._lanes.pop(lane.actor_id, None)
        self._node.objects.unwait(entry, lane)
        return True

    def _refuse(self, lane: Lane, entry: Entry) -> None:
        """The actor is being created again: calls without retries do not wait for it."""
        waiting = [task for queue in lane.queues.values() for task in queue]
        for task in (*waiting, *lane.loose.values()):
            if task.state == READY and not task.spec.options.max_retries:
                text = f"The actor is restarting, and {task.spec.name} has no retries"
                error = ErrorInfo("ActorUnavailableError", text, lane.actor_id)
                self._take_out(lane, task)
                self._node.tasks.fail(task, error)
        self._close_if_idle(lane, entry)

    @staticmethod
    def _take_out(lane: Lane, task: Task) -> None:
        task.queued = False
        queue = lane.queues.get(task.client)
        if queue and task in queue:
            queue.remove(task)
            if not queue:
                del lane.queues[task.client]
        else:
            lane.loose.pop(task.spec.task_id, None)

    def _send_on(self, task: Task, entry: Entry) -> None:
        """To where the actor lives, if it does."""
        if entry.is_error:
            self._node.tasks.fail_by(task, entry)
        elif not entry.actor_at:
            # Run again, the task that made it has not done the same, and this is the old result.
            text = f"{task.spec.name} is a call of what is no actor, but the result of a task"
            self._node.tasks.fail(task, ErrorInfo("ActorDiedError", text, entry.object_id))
        elif entry.actor_at == self._node.name:
            self._node.actors.arrive(task)
        else:
            self._node.peers.forward(task, entry.actor_at)

    def _judge_lost(self, lane: Lane, entry: Entry) -> None:
        lost, lane.lost = lane.lost, []
        for task in lost:
            if entry.is_error:
                self._node.tasks.fail_by(task, entry)
            else:
                text = f"the actor died while it ran {task.spec.name}, and is restarted"
                error = ErrorInfo("ActorUnavailableError", text, lane.actor_id)
                self._node.tasks.fail(task, error)

    def entry_ready(self, lane: Lane) -> None:
        """The actor exists, or is known to be dead."""
        self._pump(lane)

    def actor_awaited(self, actor_id: bytes) -> None:
        """The owner elsewhere is making the actor again."""
        lane = self._lanes.get(actor_id)
        if lane is not None:
            self._judge_lost(lane, self._node.objects.entries[actor_id])
            self._pump(lane)

    def actor_died(self, actor_id: bytes) -> None:
        """An actor of this node's own will not live again: its calls are answered."""
        lane = self._lanes.get(actor_id)
        if lane is not None:
            self._pump(lane)

    def call_lost(self, task: Task) -> None:
        """The actor died, or had moved, before it answered a call of this node's."""
        if task.state == DONE:
            return
        lane = self._lane(task.spec.actor)
        entry = self._node.objects.entries[task.spec.actor]
        if entry.owner and entry.exists and not entry.is_error:
            entry.state = PENDING  # what we knew of it is out of date: ask its owner again
        if task.cancelled:
            self._node.tasks.fail(task, cancellation(task))
        elif task.retries_left:
            task.retries_left -= task.retries_left > 0
            died = ErrorInfo("ActorDiedError", "the actor died, or had moved")
            self._node.history.attempt_ended(task, died, self._node.step.now_ns)
            task.attempt += 1
            task.state = READY
            self._line_up(lane, task)
        else:
            task.state = READY
            lane.lost.append(task)
            if not entry.owner:  # and so it is decided already whether the actor lives again
                self._judge_lost(lane, entry)
        self._pump(lane)

    @staticmethod
    def _line_up(lane: Lane, task: Task) -> None:
        """Put a call (back) in the place that its submission gave it, if it did."""
        task.queued = True
        if task.spec.options.out_of_order:
            lane.loose[task.spec.task_id] = task
            return
        queue = lane.queues.setdefault(task.client, deque())
        earlier = sum(each.order < task.order for each in queue)
        queue.insert(earlier, task)

    def withdraw(self, task: Task) -> None:
        """A call that is not sent yet, or was lost, is cancelled."""
        lane = self._lanes.get(task.spec.actor)
        if lane is not None:
            if task in lane.lost:
                lane.lost.remove(task)
            self._take_out(lane, task)
            self._pump(lane)
        self._node.actors.withdraw(task)

    def check(self) -> None:
        """Each lane holds the calls of its actor only."""
        for lane in self._lanes.values():
            for queue in lane.queues.values():
                assert all(task.spec.actor == lane.actor_id for task in queue)
