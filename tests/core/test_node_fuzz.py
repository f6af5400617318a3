"""Whatever event comes, in whatever state and from whomever, a node neither raises nor contradicts
itself.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from rsim.core import events, messages
from rsim.core.choices import FirstChoice
from rsim.core.config import NodeConfig
from rsim.core.effects import SetTimer
from rsim.core.ids import child_task_id, driver_task_id, put_id, return_id
from rsim.core.node import Node
from rsim.core.records import STREAMING, OwnedRef, Result, Strategy, TaskOptions, TaskSpec
from tests.core.specs import task_spec

ROOT = driver_task_id(0)
TASKS = [child_task_id(ROOT, index) for index in range(4)]
OBJECTS = [return_id(task, 0) for task in TASKS] + [put_id(ROOT, 0), put_id(TASKS[0], 0)]
ITEMS = [return_id(task, index) for task in TASKS[:2] for index in (1, 2, 3)]
OBJECTS += ITEMS

task_ids = st.sampled_from(TASKS)
object_ids = st.sampled_from(OBJECTS)
some_objects = st.lists(object_ids, max_size=2, unique=True).map(tuple)
clients = st.integers(0, 3)
peers = st.sampled_from(["n1", "n2", "gone"])
ops = st.integers(1, 6)
contained = some_objects
items = st.sampled_from(ITEMS + OBJECTS[:2])
indices = st.integers(0, 4)


@st.composite
def specs(draw: Any) -> TaskSpec:
    index = draw(st.integers(0, 3))
    earlier = OBJECTS[:index]  # results of the tasks before it
    deps = (
        tuple(draw(st.lists(st.sampled_from(earlier), max_size=2, unique=True))) if earlier else ()
    )
    strategy = draw(st.sampled_from([Strategy(), Strategy("SPREAD"), Strategy("AFFINITY", "n1")]))
    num_returns = draw(st.sampled_from([1, STREAMING]))
    cpus = draw(st.sampled_from([10_000, 20_000, 90_000]))
    options = TaskOptions((("CPU", cpus),), draw(st.integers(-1, 2)), False, strategy)
    return task_spec(
        TASKS[index],
        ROOT,
        index,
        0,
        b"f" * 16,
        f"t{index}",
        b"x",
        deps,
        draw(some_objects),
        num_returns,
        options,
    )


def result() -> st.SearchStrategy[Result]:
    payloads = st.sampled_from([b"v", None])
    return st.builds(Result, payloads, st.just(10), contained)


def results() -> st.SearchStrategy[tuple[Result, ...]]:
    return result().map(lambda one: (one,))


def refs() -> st.SearchStrategy[tuple[OwnedRef, ...]]:
    owners = st.sampled_from(["n0", "n1", "n2", "gone"])
    return st.lists(st.builds(OwnedRef, object_ids, owners), max_size=2).map(tuple)


from_peers = st.one_of(
    st.builds(messages.TaskPlacement, task_ids, st.sampled_from(["n0", "n1", "gone"]), ops),
    st.builds(messages.PlacementFailure, task_ids, st.just("no"), st.booleans(), ops),
    st.builds(messages.TaskForward, specs(), st.integers(0, 2), refs()),
    st.builds(
        messages.TaskOutcome, task_ids, st.integers(0, 2), results(), refs(), st.booleans(),
        st.booleans(), st.sampled_from(["", "WorkerCrashedError", "OwnedHere", "InputFailed"]),
    ),
    st.builds(
        messages.ItemReport, task_ids, st.integers(0, 2), indices, result(), refs(), st.booleans(),
        st.booleans(),
    ),
    st.builds(messages.ConsumptionQuery, task_ids, st.integers(0, 2), indices),
    st.builds(messages.ConsumptionReport, task_ids, indices),
    st.builds(messages.CancelForward, task_ids, st.booleans(), st.booleans()),
    st.builds(messages.ObjectQuery, object_ids, st.sampled_from([(), ("n1",)])),
    st.builds(messages.ObjectAwaited, object_ids),
    st.builds(
        messages.ObjectLocation, object_ids, st.just(10), st.sampled_from([(), ("n1",)]), refs(),
        st.sampled_from([None, b"v"]), st.booleans(), st.sampled_from(["", "ObjectLostError"]),
    ),
    st.builds(messages.ObjectPull, object_ids),
    st.builds(messages.ObjectAbsence, object_ids),
    st.builds(messages.ObjectCopy, object_ids, st.booleans()),
    st.builds(messages.ObjectDeletion, some_objects),
    st.builds(messages.RefBorrow, object_ids, peers),
    st.builds(messages.BorrowNote, object_ids, peers),
    st.builds(messages.RefReturn, object_ids.map(lambda one: (one,)), st.just((1,))),
)  # fmt: skip

any_event = st.one_of(
    st.builds(events.TaskSubmitted, clients, specs()),
    st.builds(events.TaskDone, clients, task_ids, st.just(b"v")),
    st.builds(events.TaskFinished, clients, task_ids, results(), st.booleans(), st.booleans()),
    st.builds(
        events.ItemYielded, clients, task_ids, indices, result(), st.booleans(), st.booleans()
    ),
    st.builds(events.ConsumptionAwaited, st.integers(1, 3), ops, task_ids, indices),
    st.builds(events.NextRequested, clients, ops, items, st.booleans()),
    st.builds(events.ItemReturned, clients, items),
    st.builds(events.ObjectPut, clients, object_ids, st.just(10), contained, st.booleans()),
    st.builds(events.AllocationRequested, clients, ops, object_ids, st.sampled_from([64, 4096])),
    st.builds(events.AllocationDropped, clients, object_ids),
    st.builds(events.ResultWritten, clients, object_ids),
    st.builds(events.ObjectsRequested, clients, ops, some_objects, st.sampled_from([-1, 0, 5])),
    st.builds(
        events.WaitRequested, clients, ops, some_objects, st.just(1), st.sampled_from([-1, 0, 5]),
        st.booleans(),
    ),
    st.builds(events.RefsReleased, clients, object_ids.map(lambda one: (one,)), st.just((1,))),
    st.builds(events.PinsReleased, clients, some_objects),
    st.builds(events.CancelRequested, clients, object_ids, st.booleans(), st.booleans()),
    st.builds(events.TasksReturned, clients, st.lists(task_ids, max_size=2).map(tuple)),
    st.builds(events.WorkerStarted, clients),
    st.builds(events.WorkerExited, st.integers(1, 3), st.just("test")),
    st.builds(events.TimerFired, st.integers(1, 30)),
    st.builds(events.SpillFinished, object_ids, st.booleans()),
    st.builds(events.RestoreFinished, object_ids, st.booleans()),
    st.builds(events.MessageArrived, st.sampled_from(["n1", "n2", "gone", "global"]), from_peers),
    st.builds(events.ObjectReceived, peers, object_ids, st.just(10), st.just(False), st.booleans()),
    st.builds(events.NodeJoined, st.sampled_from(["n1", "n2"]), st.just((("CPU", 20_000),))),
    st.builds(events.NodeDied, peers),
    st.builds(events.LineageRecorded, st.integers(1, 30)),
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.lists(any_event, max_size=60), st.sampled_from([1, 4]))
def test_any_event_in_any_state(sequence: list[events.Event], pipeline_depth: int) -> None:
    config = NodeConfig(prestart_workers=2, pipeline_depth=pipeline_depth)
    total = (("CPU", 20_000),)
    node = Node(
        "n0",
        total,
        capacity_bytes=8192,
        spill_limit_bytes=None,
        choices=FirstChoice(),
        config=config,
    )
    node.start(0)
    for now, event in enumerate(sequence):
        for effect in node.handle(event, now):
            if isinstance(effect, SetTimer):
                assert effect.at_ns >= now
        node.check()
    node.fingerprint()
    node.waiting_report()
