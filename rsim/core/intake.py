"""How tasks come to a node: submitted by its clients, or handed over by other nodes.

Decides whose a task is when two nodes know it, because the task that submits it ran on both. Must
never have a task run twice at a time on one node for one owner. Owns the runs for another owner
that go on though the node has a record of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rsim.core.events import TaskSubmitted
from rsim.core.ids import return_id
from rsim.core.lineage import results_of
from rsim.core.objects import LOST
from rsim.core.records import STREAMING, TaskSpec
from rsim.core.work import DONE, FORWARDED, Task

if TYPE_CHECKING:
    from rsim.core.node import Node


class Intake:
    """The part of a node that takes tasks in."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.superseded_runs: list[Task] = []
        """Those for another owner that go on, though the node has a record of its own now."""

    def submitted(self, event: TaskSubmitted) -> None:
        """A client of this node submits a task: the node owns it and its results."""
        node = self._node
        client, spec = event.client, event.spec
        task_id, template = spec.task_id, spec.template
        table = node.tasks.table
        known = table.get(task_id)
        if (known is not None or node.peers.watched) and self._submitted_again(client, spec, known):
            return
        task = table[task_id] = Task(
            spec=spec,
            retries_left=template.options.max_retries,
            live=abs(template.num_returns) + (0 if known is None else self.superseded(known)),
            client=client,
            submitted_ns=node.step.now_ns,
        )
        if template.num_returns == 1:
            entry = node.objects.promise(client, return_id(task_id, 0))
            if template.creation is None:
                task.result = entry
                task.plain = not (spec.deps or spec.borrows)
            if task.plain and not template.actor:
                node.place(task)
                return
        else:
            for object_id in results_of(spec):
                node.objects.promise(client, object_id)
            if template.num_returns == STREAMING:
                node.streams.opened(task)
        if template.creation is not None:
            node.actors.own(task)
        elif template.actor:
            node.lanes.enlist(task)
        self._begin(task)

    def _submitted_again(self, client: int, spec: TaskSpec, known: Task | None) -> bool:
        """Whether the task was submitted before, as its parent ran before, and is not to be begun.
        Otherwise the node is to own it from now on.
        """
        node = self._node
        if known is not None and not known.owner:
            for object_id in self._claimed_results(known):
                node.objects.lend(client, object_id)
            if known.spec.num_returns == STREAMING:
                node.streams.opened(known)
            if spec.creation is not None:
                node.names.submitted(known.spec)
            return True
        owner = self._owner_of(spec, known)
        if not owner:
            for entry in filter(None, map(node.objects.get, results_of(spec))):
                node.peers.succession.take(entry)
            return False
        if known is not None and spec.num_returns == STREAMING:
            node.streams.take_over(client, known)
        else:
            self._join(client, spec, owner)
        return True

    def _owner_of(self, spec: TaskSpec, known: Task | None) -> str:
        """Who owns a task already that a client submits, as its parent ran there once: it runs here
        for that node, or this one has a ref to what it makes.
        """
        others = self._node.peers.others
        if known is not None and known.state != DONE and known.owner in others:
            return known.owner
        entry = None
        if spec.num_returns > 0:
            entry = self._node.objects.get(return_id(spec.task_id, 0))
        return entry.owner if entry is not None and entry.owner in others else ""

    def _join(self, client: int, spec: TaskSpec, owner: str) -> None:
        """The results are borrowed from the owner of the task."""
        node = self._node
        for index in range(spec.num_returns):
            entry = node.objects.declare_foreign(return_id(spec.task_id, index), owner)
            node.objects.lend_entry(client, entry)
            if entry.owner and not entry.received:
                node.peers.borrow_put(entry, owner)
        if spec.creation is not None:
            node.names.submitted(spec)

    def _claimed_results(self, task: Task) -> list[bytes]:
        """The results of a task of this node's own; those that were freed can be made again."""
        objects = self._node.objects
        found = results_of(task.spec)
        objects.revive(found)
        for object_id in found:
            if objects.get(object_id) is None:
                objects.declare(object_id).state = LOST
                task.live += 1
        return found

    def accept(self, spec: TaskSpec, owner: str, attempt: int) -> None:
        """Another node hands a task over to be run here."""
        node = self._node
        table = node.tasks.table
        task = table.get(spec.task_id)
        streams = spec.num_returns == STREAMING
        if task is not None and not streams and self._is_exchanged(task, owner):
            node.tasks.surrender(task, owner)
            task = table.get(spec.task_id)
        if task is not None and not task.owner:
            node.peers.claim(task, owner, [] if streams else self._claimed_results(task))
            return
        if task is not None and task.state != DONE:
            if task.owner != owner:
                node.peers.ask_again(spec.task_id, owner, attempt)
            return
        live = 0 if task is None else self.superseded(task)
        task = table[spec.task_id] = Task(spec=spec, retries_left=0, owner=owner)
        task.live = live
        task.attempt = attempt
        task.submitted_ns = node.step.now_ns
        self._begin(task)

    def _is_exchanged(self, task: Task, owner: str) -> bool:
        """Whether two nodes that own the same task have handed it to each other, and this one is
        to give way.
        """
        forwarded = task.state == FORWARDED and task.executor == owner and not task.owner
        return forwarded and owner < self._node.name

    def superseded(self, known: Task) -> int:
        """A run for another owner is not the record of the task any more; how many objects that it
        put are still known.
        """
        live, known.live = known.live, 0
        self.superseded_runs = [each for each in self.superseded_runs if each.state != DONE]
        if known.state != DONE:
            self.superseded_runs.append(known)
        if live and known.state == DONE:
            self._node.objects.release_lineage(known.spec.deps + known.spec.borrows)
        return live

    def _begin(self, task: Task) -> None:
        spec, actor = task.spec, task.spec.template.actor
        if spec.deps or spec.borrows:
            self._node.objects.hold(spec.deps + spec.borrows)
        if actor:
            self._node.objects.hold((actor,))
        if spec.deps and not (actor and task.owner):
            self._node.tasks.await_inputs(task)
        else:  # the owner of a call has waited; another wait here could let a later call overtake
            self._node.place(task)
