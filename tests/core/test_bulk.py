"""What is handled together means what it does one by one."""

from __future__ import annotations

import random

import pytest

from rsim.core import events
from rsim.core.choices import FirstChoice
from rsim.core.config import NodeConfig
from rsim.core.ids import driver_task_id, return_id
from rsim.core.node import Node
from rsim.core.records import DRIVER, ActorOptions
from tests.core.clients import Client

WORKER = 1


class Twins:
    """Two nodes that hear the same, one of them event by event."""

    def __init__(self, pipeline: int) -> None:
        config = NodeConfig(pipeline_depth=pipeline, tiny_task_ns=10**12)
        self.together, self.singly = (
            Node(
                "n0",
                (("CPU", 10_000),),
                capacity_bytes=1 << 20,
                spill_limit_bytes=None,
                choices=FirstChoice(),
                config=config,
            )
            for _ in range(2)
        )
        self.now_ns = 0

    def hear(self, *heard: events.Event) -> None:
        self.now_ns += 1
        self.together.handle_all(heard, self.now_ns)
        for event in heard:
            self.singly.handle(event, self.now_ns)
        for node in (self.together, self.singly):
            node.check()

    def at_worker(self) -> list[bytes]:
        """The tasks that both have sent to the worker."""
        sent = []
        for node in (self.together, self.singly):
            worker = node.scheduler.workers[WORKER]
            sent.append([*(task.spec.task_id for task in worker.tasks), *worker.calls])
        return min(sent, key=len)

    def assert_alike(self) -> None:
        sizes = [
            {each.object_id: each.size_bytes for each in node.objects.entries.values()}
            for node in (self.together, self.singly)
        ]
        assert sizes[0] == sizes[1]
        assert self.together.fingerprint() == self.singly.fingerprint()
        assert list(self.together.history.attempts) == list(self.singly.history.attempts)


def run(seed: int, *, actor: bool) -> Twins:
    """A driver submits, a worker runs and refs are dropped, some together, until all is over."""
    rng = random.Random(seed)
    twins = Twins(pipeline=1 + seed % 5)
    driver = Client("n0", DRIVER, driver_task_id(0), -1)
    creation = ActorOptions() if actor else None
    first = driver.spec((), (), 0, creation=creation)
    handle = return_id(first.task_id, 0)
    twins.hear(events.TaskSubmitted(DRIVER, first))
    twins.hear(events.WorkerStarted(WORKER, 1))
    twins.hear(events.TaskDone(WORKER, first.task_id, b"v"))
    held = [handle]
    left = 60

    def some_of(count: int) -> int:
        return rng.randint(1, min(9, count))

    while left or twins.at_worker():
        kind = rng.randrange(3)
        if kind == 0 and left:
            specs = []
            for _ in range(some_of(left)):
                deps = (rng.choice(held),) if held[1:] and rng.random() < 0.1 else ()
                if deps == (handle,):
                    deps = ()
                specs.append(driver.spec(deps, (), 0, actor=handle if actor else b""))
            left -= len(specs)
            twins.hear(*(events.TaskSubmitted(DRIVER, spec) for spec in specs))
            held += [return_id(spec.task_id, 0) for spec in specs]
        elif kind == 1 and (ready := twins.at_worker()):
            ended = ready[: some_of(len(ready))]
            twins.hear(*(events.TaskDone(WORKER, each, b"v", 5, 9) for each in ended))
        elif kind == 2 and len(held) > 1:
            gone = rng.sample(held[1:], some_of(len(held) - 1))
            held = [each for each in held if each not in gone]
            dropped = [events.RefsReleased(DRIVER, (each,), (1,)) for each in gone]
            twins.hear(*dropped)
    twins.assert_alike()
    twins.hear(events.RefsReleased(DRIVER, tuple(held), (1,) * len(held)))
    return twins


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("actor", [False, True], ids=["tasks", "calls"])
def test_together_or_one_by_one(seed: int, actor: bool) -> None:
    twins = run(seed, actor=actor)
    twins.assert_alike()
    for node in (twins.together, twins.singly):
        assert not node.objects.entries
        assert not node.tasks.table
