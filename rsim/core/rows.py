"""Rows of ready queues: which of very many queues are worth a look.

Decides which queues dispatch may pass over, when there are so many that to look at each whenever
something becomes free would take longer than the tasks do. Must never pass over one for which
something could be done, nor change the order of the others. Owns what is remembered of the rows.

Some queues in a row are a row. When dispatch has looked at all of them, what it had to leave waits
either for a resource of which there is too little, or for a worker. The row remembers the least
amount that a queue asks for of each such resource, and the length of the longest queue that waits
for a worker. Until one can be had, or tasks are added, nothing can be started from the row, and it
is passed over: so a dispatch looks at each row and at the queues of one or two, not at every queue.
Where tasks are sent ahead, busy workers take more of what they run: rows that have queues of the
same demand are looked at, too.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import deque
from collections.abc import Iterator, Mapping, Sequence

from rsim.core.config import NodeConfig
from rsim.core.records import Demand, TaskOptions
from rsim.core.resources import Pool
from rsim.core.work import BUSY, STARTING, Task, Worker

LONGEST_ROW = 64


class Queue:
    """Ready tasks of one demand and depth."""

    __slots__ = ("demand", "depth", "options", "row", "stalled", "tasks")

    def __init__(self, demand: Demand, depth: int) -> None:
        self.demand = demand
        self.depth = depth
        self.options: TaskOptions | None = None
        """Of the last task that it was looked up for: the next one mostly has the same."""
        self.tasks: deque[Task] = deque()
        self.stalled = False
        """Nothing can be dispatched from it until a worker's state changes."""
        self.row: Row | None = None
        """Where it stands, if there are rows."""


class Row:
    """Queues that follow each other, and what their tasks wait for."""

    __slots__ = ("changes", "demands", "known", "least", "longest", "queues")

    def __init__(self, queues: list[Queue]) -> None:
        self.queues = queues
        self.changes = 0
        """How often tasks may have been added."""
        self.known = False
        """Whether ``least`` and ``longest`` say what all of the tasks wait for."""
        self.least: dict[str, int] = {}
        """Of resources of which there was too little: what the most modest queue asks for."""
        self.longest = 0
        """The most tasks in a queue that waits for a worker."""
        self.demands = {queue.demand for queue in queues}
        for queue in queues:
            queue.row = self

    def changed(self) -> None:
        """Tasks may be added."""
        self.changes += 1
        self.known = False


class Rows:
    """All queues of a node, in rows; iterating goes through those that are worth a look."""

    def __init__(
        self,
        queues: Sequence[Queue],
        pool: Pool,
        workers: Mapping[int, Worker],
        idle: Sequence[Worker],
        config: NodeConfig,
    ) -> None:
        self._pool = pool
        self._workers = workers
        self._idle = idle
        self._most = config.max_starting
        self._pipelines = config.pipeline_depth > 1
        starts = range(0, len(queues), LONGEST_ROW)
        self._rows = [Row(list(queues[start : start + LONGEST_ROW])) for start in starts]

    def add(self, queue: Queue) -> None:
        """A new queue: behind all that are as deep."""
        after = bisect_right(self._rows, -queue.depth, key=lambda each: -each.queues[0].depth)
        index = max(after - 1, 0)
        queues = list(self._rows[index].queues)
        insort(queues, queue, key=lambda each: -each.depth)
        if len(queues) <= LONGEST_ROW:
            parts = [Row(queues)]
        else:
            middle = LONGEST_ROW if queues[-1] is queue else LONGEST_ROW // 2
            parts = [Row(queues[:middle]), Row(queues[middle:])]
        self._rows[index : index + 1] = parts

    def __iter__(self) -> Iterator[Queue]:
        workers, lacks = self._workers, self._pool.lacks
        running, starting = self._labour()
        for row in self._rows:
            if row.known and self._is_stuck(row, running, starting):
                continue
            changes, longest = row.changes, 0
            least: dict[str, int] = {}
            for queue in row.queues:
                tasks, demand = queue.tasks, queue.demand
                if not tasks:
                    continue
                lacking = lacks(demand)
                if lacking is None or (running and demand in running):
                    before = len(tasks), len(workers)
                    yield queue
                    if before != (len(tasks), len(workers)):
                        running, starting = self._labour()
                    if not tasks:
                        continue
                    lacking = lacks(demand)
                else:
                    queue.stalled = True
                if lacking is None:
                    longest = max(longest, len(tasks))
                else:
                    name, units = lacking
                    least[name] = min(units, least.get(name, units))
            if row.changes == changes:
                row.known, row.least, row.longest = True, least, longest

    def _is_stuck(self, row: Row, running: set[Demand], starting: int) -> bool:
        """Whether nothing can be done for any of the row's tasks."""
        if row.longest and (self._idle or starting < min(row.longest, self._most)):
            return False
        return self._pool.lacks_all(row.least) and running.isdisjoint(row.demands)

    def _labour(self) -> tuple[set[Demand], int]:
        """The demands of tasks behind which others can be sent ahead, and how many workers are
        starting.
        """
        running: set[Demand] = set()
        starting = 0
        for worker in self._workers.values():
            if worker.state == BUSY and self._pipelines:
                running.add(worker.demand)
            elif worker.state == STARTING:
                starting += 1
        return running, starting
