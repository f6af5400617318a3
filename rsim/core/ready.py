"""The ready queues of a node: tasks whose inputs exist, until a worker has them.

Decides in which order they are looked at. Tasks queue by demand and depth; deeper tasks go first,
because shallower ones wait for them (a breadth-first order would block a worker for each inner node
of a recursion). Within a queue: first come, first served. Where there are very many queues,
``rows.py`` says which of them need not be looked at. Must never hold a task that has a worker. Owns
the queues.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterable, Iterator, Sequence

from rsim.core.records import Demand
from rsim.core.rows import Queue, Rows
from rsim.core.work import READY, Task

MANY = 64


class ReadyQueues:
    """All queues of a node. ``in_rows`` makes rows of them, if there are many."""

    def __init__(self, in_rows: Callable[[Sequence[Queue]], Rows]) -> None:
        self.queues: list[Queue] = []
        """In the order in which they are to be looked at."""
        self.worth_a_look: Iterable[Queue] = self.queues
        """Those from which perhaps something can be started: all, but where there are many."""
        self.count = 0
        """How many tasks there are."""
        self._by_shape: dict[tuple[Demand, int], Queue] = {}
        self._in_rows = in_rows
        self._rows: Rows | None = None
        self._many = MANY
        """So many queues, and the empty ones are forgotten."""
        self._latest: Queue | None = None

    def _queue_of(self, task: Task) -> Queue:
        template = task.spec.template
        options, depth = template.options, template.depth
        queue = self._latest
        if queue is not None and queue.options is options and queue.depth == depth:
            return queue
        queue = self._by_shape.get((options.demand, depth)) or self._add(options.demand, depth)
        queue.options = options
        if queue.row is None:
            self._latest = queue
        else:
            queue.row.changed()
        return queue

    def _add(self, demand: Demand, depth: int) -> Queue:
        if len(self.queues) >= self._many:
            self._keep([queue for queue in self.queues if queue.tasks])
        queue = self._by_shape[demand, depth] = Queue(demand, depth)
        insort(self.queues, queue, key=lambda each: -each.depth)
        if self._rows is not None:
            self._rows.add(queue)
        return queue

    def _keep(self, queues: list[Queue]) -> None:
        """Look no more at others."""
        self.queues = queues
        self._by_shape = {(queue.demand, queue.depth): queue for queue in queues}
        self._many = 2 * len(queues) + MANY
        self._latest = None
        for queue in queues:
            queue.row = None
        self._rows = self._in_rows(queues) if len(queues) >= MANY // 2 else None
        self.worth_a_look = queues if self._rows is None else self._rows

    def append(self, tasks: Sequence[Task]) -> Queue:
        """Queue tasks of the same demand and depth; where they are now."""
        queue = self._queue_of(tasks[0])
        queue.tasks.extend(tasks)
        self.count += len(tasks)
        return queue

    def put_back(self, tasks: list[Task]) -> None:
        """Put tasks that were sent ahead back to the front, in order."""
        for task in reversed(tasks):
            task.state = READY
            self._queue_of(task).tasks.appendleft(task)
        self.count += len(tasks)

    def remove(self, task: Task) -> None:
        """Take a task out of its queue."""
        self._queue_of(task).tasks.remove(task)
        self.count -= 1

    def drop(self, unwanted: Callable[[Demand], bool]) -> list[Task]:
        """Some resources are no more: forget the queues of such demands. The tasks in them."""
        dropped = [each for each in self.queues if unwanted(each.demand)]
        if dropped:
            self._keep([each for each in self.queues if not unwanted(each.demand)])
        self.count -= sum(len(queue.tasks) for queue in dropped)
        return [task for queue in dropped for task in queue.tasks]

    def tasks(self) -> Iterator[Task]:
        """All tasks, in the order of the queues."""
        for queue in self.queues:
            yield from queue.tasks

    def check(self) -> None:
        """All that is queued is counted, and can run."""
        assert self.count == sum(len(queue.tasks) for queue in self.queues)
        for task in self.tasks():
            assert task.state == READY and not task.missing
