"""Runs of generators, with a channel that only takes notes."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any

import pytest

from rsim.core.events import ConsumptionAwaited, Event, ItemYielded, TaskFinished
from rsim.core.ids import child_task_id, driver_task_id
from rsim.core.records import STREAMING
from rsim.runtime.client import Client
from rsim.runtime.errors import deserialize_error
from rsim.runtime.executor import Executor
from rsim.runtime.serialization import deserialize, pack, serialize_call, serialize_function
from rsim.runtime.wire import ConsumptionReply, RunTask

TASK = child_task_id(driver_task_id(0), 0)


class Notes:
    """A channel that remembers what it was sent; every consumer takes what there is."""

    def __init__(self) -> None:
        self.sent: list[Event] = []

    def send(self, event: Event) -> None:
        self.sent.append(event)

    def now_ns(self) -> int:
        return 0

    def park(self, op: int) -> ConsumptionReply:
        request = self.sent[-1]
        assert isinstance(request, ConsumptionAwaited) and request.op == op
        return ConsumptionReply(op, request.count)


def three() -> Iterator[int]:
    yield from range(3)


def broken() -> Iterator[int]:
    yield 0
    raise ValueError("broken")


def run(function: Any, num_returns: int = STREAMING, **extras: Any) -> list[Event]:
    notes = Notes()
    payload = pack(serialize_call((), {}).payload)
    blob = serialize_function(function)
    packed = pickle.dumps(extras) if extras else b""
    task = RunTask(TASK, "f", b"f" * 16, blob, payload, (), (), (), num_returns, packed, 0, 0)
    Executor(Client(notes, 1, b""), None).run(task)  # type: ignore[arg-type]
    return notes.sent


def test_items_come_one_by_one_and_then_the_end() -> None:
    *items, end = run(three)
    for index, event in enumerate(items):
        assert isinstance(event, ItemYielded) and event.index == index + 1 and not event.error
        assert event.result.payload is not None
        assert deserialize(event.result.payload) == index
    assert isinstance(end, TaskFinished) and not end.error and len(end.results) == 1


@pytest.mark.parametrize("retried", [False, True])
def test_an_error_is_an_item(retried: bool) -> None:
    _, last, end = run(broken, retry_exceptions=retried)
    assert isinstance(last, ItemYielded) and last.index == 2
    assert (last.error, last.retryable) == (True, retried)
    assert last.result.payload is not None
    assert isinstance(deserialize_error(last.result.payload).cause, ValueError)
    assert isinstance(end, TaskFinished) and (end.error, end.retryable) == (False, retried)


def test_it_asks_before_it_runs_ahead_too_far() -> None:
    kinds = [type(event) for event in run(three, backpressure=2)]
    pair = [ItemYielded, ConsumptionAwaited]
    assert kinds == [ItemYielded, *pair, *pair, TaskFinished]
    requests = [event for event in run(three, backpressure=2) if type(event) is ConsumptionAwaited]
    assert [request.count for request in requests] == [1, 2]


def test_a_fixed_number() -> None:
    (end,) = run(three, 2)
    assert isinstance(end, TaskFinished)
    values = [deserialize(result.payload) for result in end.results if result.payload]
    assert values == [0, 1]
