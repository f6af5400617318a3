"""The ready queues of a node: tasks whose inputs exist, until a worker has them.

Decides in which order they are looked at. Tasks queue by demand and depth; deeper tasks go first,
because shallower ones wait for them (a breadth-first order would block a worker for each inner node
of a recursion). Within a queue: first come, first served. Must never hold a task that has a worker.
Owns the queues.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from rsim.core.records import Demand, TaskOptions
from rsim.core.work import READY, Task

MANY = 64


class Queue:
    """Ready tasks of one demand and depth."""

    __slots__ = ("demand", "depth", "options", "stalled", "tasks")

    def __init__(self, demand: Demand, depth: int) -> None:
        self.demand = demand
        self.depth = depth
        self.options: TaskOptions | None = None
        """Of the last task that it was looked up for: the next one mostly has the same."""
        self.tasks: deque[Task] = deque()
        self.stalled = False
        """Nothing can be dispatched from it until a worker's state changes."""


class ReadyQueues:
    """All queues of a node."""

    def __init__(self) -> None:
        self.queues: list[Queue] = []
        """In the order in which they are to be looked at."""
        self.count = 0
        """How many tasks there are."""
        self._by_shape: dict[tuple[Demand, int], Queue] = {}
        self._many = MANY
        """So many queues, and the empty ones are forgotten."""
        self._latest: Queue | None = None

    def _queue_of(self, task: Task) -> Queue:
        spec = task.spec
        options, depth = spec.options, spec.depth
        queue = self._latest
        if queue is not None and queue.options is options and queue.depth == depth:
            return queue
        shape = (options.demand, depth)
        queue = self._by_shape.get(shape)
        if queue is None:
            if len(self.queues) >= self._many:
                self._forget_empty()
            queue = self._by_shape[shape] = Queue(*shape)
            insort(self.queues, queue, key=lambda each: -each.depth)
        queue.options = options
        self._latest = queue
        return queue

    def _forget_empty(self) -> None:
        """There have been many demands: look no more at queues in which nothing waits."""
        self.queues = [queue for queue in self.queues if queue.tasks]
        self._by_shape = {(queue.demand, queue.depth): queue for queue in self.queues}
        self._many = 2 * len(self.queues) + MANY

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
        for queue in dropped:
            self.queues.remove(queue)
            del self._by_shape[queue.demand, queue.depth]
            self.count -= len(queue.tasks)
        self._latest = None
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
