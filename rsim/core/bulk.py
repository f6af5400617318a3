"""Plain tasks, many at a time: how they are submitted, end and are forgotten.

Decides what is short to say of most tasks. Must never mean anything else than what ``intake.py``,
``tasks.py`` and ``lineage.py`` do for any task, one by one. Owns no state.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import TYPE_CHECKING

from rsim.core.effects import KeepValues
from rsim.core.events import TaskDone, TaskSubmitted
from rsim.core.ids import FIRST_RETURN
from rsim.core.objects import INLINE, PENDING, Entry
from rsim.core.work import DONE, READY, Task

if TYPE_CHECKING:
    from rsim.core.node import Node

_id_of = attrgetter("object_id")


class Bulk:
    """The part of a node that handles what is alike together."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def submitted(self, together: Sequence[TaskSubmitted]) -> None:
        """A client of this node submits tasks, which it owns. Those that are like the first one go
        the short way, if there is one: they only queue here, or for an actor that lives here.
        """
        node = self._node
        template, client = together[0].spec.template, together[0].client
        actor, options, now_ns = template.actor, template.options, node.step.now_ns
        is_short = template.num_returns == 1 and template.creation is None
        is_open = node.lanes.is_open(actor) if actor else options is node.unbound
        table = node.tasks.table
        tasks: list[Task] = []
        for event in together if is_open and is_short and not node.peers.watched else ():
            spec = event.spec
            if spec.template is not template and not spec.template.queues_like(template):
                break
            if spec.deps or spec.borrows:
                break
            task = Task(
                spec=spec,
                retries_left=options.max_retries,
                state=READY,
                live=1,
                client=client,
                plain=True,
                submitted_ns=now_ns,
            )
            if table.setdefault(spec.task_id, task) is not task:
                break
            tasks.append(task)
        if tasks:
            promise = node.objects.promise
            for task in tasks:
                task.result = promise(client, task.spec.task_id + FIRST_RETURN)
            if actor:
                node.lanes.pass_through(actor, tasks)
            else:
                node.scheduler.enqueue_all(tasks)
        for event in together[len(tasks) :]:
            node.intake.submitted(event)
            node.settle()

    def done(self, together: Sequence[TaskDone]) -> None:
        """A worker has run tasks to a good end."""
        node = self._node
        now_ns = node.step.now_ns
        ended = node.scheduler.finished_all(together)
        calls: list[Task] = []
        values: list[tuple[bytes, bytes]] = []
        for event, task in zip(together, ended, strict=True):
            entry = None if task is None else task.result
            if task is None or entry is None or task.attempt or task.state == DONE:
                if node.wants_results(event.client, event.task_id):
                    values.append((event.task_id + FIRST_RETURN, event.payload))
                self._keep(values)
                values = []
                node.tasks.ended(task, event.in_full())
                node.settle()
                continue
            if entry.state == PENDING:
                payload = event.payload
                values.append((entry.object_id, payload))
                entry.size_bytes = len(payload)
                entry.state = INLINE
                if task.plain:
                    entry.plain = task
                if entry.waiters is not None:
                    node.announce(entry)
                if not entry.holds:
                    node.objects.touch(entry)
            node.history.ended_well(task, event.started_ns, event.ended_ns, now_ns)
            task.state = DONE
            task.result = None
            if not task.plain:
                node.tasks.let_go_of_inputs(task)
            if task.spec.template.actor:
                calls.append(task)
            if not task.live:
                node.lineage.forget(task)
        self._keep(values)
        if calls:
            node.actors.calls_finished(calls)

    def _keep(self, values: list[tuple[bytes, bytes]]) -> None:
        if values:
            self._node.step.out.append(KeepValues(values))

    def removed(self, entries: Sequence[Entry]) -> None:
        """The results of plain tasks are gone, and the tasks with them, if they have not put
        anything that is still known.
        """
        table = self._node.tasks.table
        self._node.disposal.forget(map(_id_of, entries))
        for entry in entries:
            task = entry.plain
            if task is not None and task.live == 1 and task.state == DONE and not task.recorded:
                task_id = task.spec.task_id
                if table.get(task_id) is task:
                    del table[task_id]
                    continue
            self._node.lineage.object_removed(entry.object_id)
