"""Who waits for what on a node, in words: for the one who wonders why nothing goes on.

Decides how it is said. Must never change anything, nor be asked while a step is under way. Owns no
state.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from rsim.core.ids import creator
from rsim.core.records import DRIVER
from rsim.core.resources import format_demand

if TYPE_CHECKING:
    from rsim.core.node import Node

_SHOWN = 5
"""How many of the objects that a client waits for are named."""

_TASKS = 20
"""How many of the tasks that wait for resources are named."""


def report(node: Node) -> list[str]:
    """Clients that wait for objects or consumers, and tasks that wait for resources."""
    lines = []
    for client, object_ids in node.requests.waiting():
        shown = ", ".join(_describe(node, object_id) for object_id in object_ids[:_SHOWN])
        others = len(object_ids) - _SHOWN
        more = f" and {others} more" if others > 0 else ""
        lines.append(f"{_name_of(node, client)} waits for {shown}{more}")
    for client, task_id in node.streams.pauses.waiting():
        name = node.tasks.table[task_id].spec.name
        lines.append(f"{name} (worker {client}) waits for its items to be consumed")
    free = format_demand(node.scheduler.pool.available())
    for task in islice(node.scheduler.ready.tasks(), _TASKS):
        need = format_demand(task.spec.options.demand)
        lines.append(f"{task.spec.name} is ready and waits for {need} of {free}")
    if node.scheduler.ready.count > _TASKS:
        lines.append(f"{node.scheduler.ready.count - _TASKS} more tasks are ready and wait")
    lines += [f"infeasible: {line}" for line in infeasible(node)]
    return [f"{node.name}: {line}" for line in lines]


def infeasible(node: Node) -> list[str]:
    """Tasks that no node can ever run."""
    return [
        f"{task.spec.name} asks for {format_demand(task.spec.options.demand)}, which {reason}"
        for task, reason in node.peers.infeasible()
    ]


def _name_of(node: Node, client: int) -> str:
    if client == DRIVER:
        return "the driver"
    worker = node.scheduler.workers.get(client)
    if worker is None:
        return f"worker {client}"
    running = [*worker.tasks, *worker.calls.values()]
    return f"{running[0].spec.name if running else 'nothing'} (worker {client})"


def _describe(node: Node, object_id: bytes) -> str:
    task = node.tasks.table.get(creator(object_id))
    made = f" of {task.spec.name}" if task is not None else ""
    return f"{object_id.hex()[:12]}…{made}"
