"""Ready tasks of very many demands: looking at rows of queues starts the same tasks, in the same
order, as looking at every queue.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import pytest

from rsim.core import events, ready, rows, waiting
from rsim.core.choices import FirstChoice
from rsim.core.config import NodeConfig
from rsim.core.ids import driver_task_id
from rsim.core.machine import Step
from rsim.core.records import Demand
from rsim.core.resources import Pool
from rsim.core.scheduler import LocalScheduler
from rsim.core.work import BUSY, READY, STARTING, Task, Worker
from tests.core.clients import Client
from tests.core.cluster import Cluster
from tests.core.specs import like

TOTAL = (("CPU", 40_000), ("GPU", 20_000), ("mem", 100))


class AllQueues(rows.Rows):
    """Every queue is looked at, each time."""

    def __init__(self, queues: list[rows.Queue]) -> None:
        self._queues = queues

    def add(self, queue: rows.Queue) -> None: ...

    def __iter__(self) -> Iterator[rows.Queue]:
        return iter(self._queues)


class Site:
    """A scheduler, and all that it has said."""

    def __init__(self, seed: int, pipeline: int, in_rows: bool) -> None:
        config = NodeConfig(pipeline_depth=pipeline, tiny_task_ns=10**9, max_starting=4)
        self.step = Step()
        self.pool = Pool(TOTAL)
        self.said: list[Any] = []
        self.abandoned: list[Task] = []
        self.demands: list[Demand] = [(("CPU", 10_000),)]
        self.growth = 0.0
        """How often tasks are added."""
        self.rng = random.Random(seed)
        self.client = Client("n0", 0, driver_task_id(0), -1)
        self.scheduler = LocalScheduler(self.step, self.pool, config, FirstChoice(), self.start)
        self.looked_at_rows = False
        if not in_rows:
            self.scheduler.ready = ready.ReadyQueues(AllQueues)  # type: ignore[arg-type]

    def start(self, worker: Worker, tasks: Sequence[Task]) -> None:
        self.said.append((worker.client, [task.spec.index for task in tasks]))
        task = tasks[0]
        if task.spec.index % 9 == 0 and len(worker.tasks) == 1 and task.attempt == 0:
            task.attempt = 1
            self.scheduler.abandon(task)  # an input turns out to be missing
            if self.abandoned:
                self.scheduler.enqueue(self.abandoned.pop())
            self.abandoned.append(task)

    def demand(self) -> Demand:
        rng = self.rng
        names = [("CPU", rng.choice((0, 0, 1, 10, 100)) * 100 or 10 * rng.randrange(4000))]
        if rng.random() < 0.3:
            names.append(("GPU", rng.choice((2500, 5000, 7000, 10_000, 20_000))))
        if rng.random() < 0.3:
            names.append(("mem", rng.randrange(1, 100)))
        return tuple(rng.sample(names, rng.randint(1, len(names))))

    def tasks(self) -> list[Task]:
        """Some that are alike, of a demand that is new or not."""
        spec = self.client.spec((), (), 0)
        demand = self.rng.choice(self.demands) if self.rng.random() < 0.5 else self.demand()
        self.demands.append(demand)
        options = msgspec.structs.replace(spec.options, demand=tuple(sorted(demand)))
        depth, number = self.rng.choice((0, 0, 0, 1, 2)), self.rng.choice((1, 1, 1, 5))
        specs = [spec] + [self.client.spec((), (), 0) for _ in range(number - 1)]
        return [
            Task(spec=like(each, options=options, depth=depth), retries_left=0) for each in specs
        ]

    def turn(self) -> None:
        """One random thing happens."""
        rng, scheduler = self.rng, self.scheduler
        self.step.now_ns += rng.choice((1000, 10**9))
        clients = [each.client for each in scheduler.workers.values() if each.state == BUSY]
        starting = [each.client for each in scheduler.workers.values() if each.state == STARTING]
        what = rng.random()
        if what < self.growth:
            tasks = self.tasks()
            for task in tasks:
                task.state = READY
            scheduler.enqueue_all(tasks)
        elif what < self.growth + 0.1 and starting:
            scheduler.worker_started(rng.choice(starting))
        elif clients:
            self.happen(rng.choice(clients))
        if scheduler.ready.count and rng.random() < 0.02:
            task = rng.choice(list(scheduler.ready.tasks()))
            scheduler.ready.remove(task)
        if rng.random() < 0.003:
            scheduler.ready.drop(lambda demand: demand[0][1] % 7 == 0)
        while scheduler.due:
            scheduler.dispatch()
        scheduler.check()
        self.looked_at_rows |= scheduler.ready.worth_a_look is not scheduler.ready.queues
        self.said += [repr(each) for each in self.step.take()]

    def happen(self, client: int) -> None:
        """To a busy worker."""
        rng, scheduler = self.rng, self.scheduler
        worker = scheduler.workers[client]
        what = rng.random()
        if worker.blocked:
            scheduler.unblock(client, worker.stint)
        elif what < 0.1:
            scheduler.block(client)
        elif what < 0.15 and len(worker.tasks) > 1:
            ahead = list(worker.tasks)[1:]
            scheduler.returned(client, tuple(task.spec.task_id for task in ahead))
        elif what < 0.2:
            scheduler.ready.put_back(scheduler.worker_exited(client))
            scheduler.replace_workers()
        else:
            scheduler.finished(client, worker.tasks[0].spec.task_id, False, 1000)


@pytest.mark.parametrize("pipeline", [1, 8])
@pytest.mark.parametrize("seed", range(8))
def test_rows_change_nothing(seed: int, pipeline: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if seed % 2:
        monkeypatch.setattr(ready, "MANY", 8)
        monkeypatch.setattr(rows, "LONGEST_ROW", 3)
    sites = [Site(seed, pipeline, in_rows) for in_rows in (True, False)]
    for site in sites:
        for turn in range(600):
            site.growth = 0.6 if turn < 350 else 0.2
            site.turn()
    assert sites[0].looked_at_rows
    for mine, plain in zip(sites[0].said, sites[1].said, strict=True):
        assert mine == plain
    assert sites[0].rng.random() == sites[1].rng.random()


@pytest.mark.parametrize("pipeline", [1, 8])
def test_few_of_many_queues_are_looked_at(pipeline: int, monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(0, pipeline, in_rows=True)
    looked_at = [0]
    lacks = Pool.lacks

    def count(pool: Pool, demand: Demand) -> tuple[str, int] | None:
        looked_at[0] += 1
        return lacks(pool, demand)

    monkeypatch.setattr(Pool, "lacks", count)
    scheduler = site.scheduler
    for number in range(3000):
        spec = site.client.spec((), (), 0)
        options = msgspec.structs.replace(spec.options, demand=(("CPU", 10_000 + number),))
        task = Task(spec=like(spec, options=options), retries_left=0, attempt=1)
        scheduler.enqueue(task)
        scheduler.dispatch()
    ran = 0
    while scheduler.workers and (ran or scheduler.ready.count):
        for worker in list(scheduler.workers.values()):
            if worker.state == STARTING:
                scheduler.worker_started(worker.client)
            elif worker.state == BUSY:
                ran += 1
                scheduler.finished(worker.client, worker.tasks[0].spec.task_id, False, 10**10)
        if not scheduler.ready.count and not scheduler.active:
            break
    assert ran == 3000
    assert looked_at[0] < 150 * ran  # 4500000, if each dispatch looked at all


def test_a_report_names_some_of_the_tasks_that_wait() -> None:
    cluster = Cluster(0, nodes=1, cpus=1)
    for _ in range(100):
        cluster.step("n0", events.TaskSubmitted(0, cluster.driver.spec((), (), 0)))
    lines = waiting.report(cluster.nodes["n0"])
    assert len(lines) == 21
    assert lines[-1] == "n0: 80 more tasks are ready and wait"
