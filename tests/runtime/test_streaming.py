"""Runs of generators, with a channel that only takes notes."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any

import pytest

from rsim.core.events import ConsumptionAwaited, Event, ItemYielded, TaskDone, TaskFinished
from rsim.core.records import STREAMING
from rsim.runtime.client import Client
from rsim.runtime.errors import deserialize_error
from rsim.runtime.executor import Executor
from rsim.runtime.serialization import deserialize
from tests.runtime.notes import TASK, Notes, task_of


def three() -> Iterator[int]:
    yield from range(3)


def broken() -> Iterator[int]:
    yield 0
    raise ValueError("broken")


def run(function: Any, num_returns: int = STREAMING, **extras: Any) -> list[Event]:
    notes = Notes()
    task = task_of(function, TASK, num_returns, pickle.dumps(extras) if extras else b"")
    Executor(Client(notes, 1, b""), None).run(task)  # type: ignore[arg-type]
    return notes.sent


def test_items_come_one_by_one_and_then_the_end() -> None:
    *items, end = run(three)
    for index, event in enumerate(items):
        assert isinstance(event, ItemYielded) and event.index == index + 1 and not event.error
        assert event.result.payload is not None
        assert deserialize(event.result.payload) == index
    assert isinstance(end, TaskDone)


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
    assert kinds == [ItemYielded, *pair, *pair, TaskDone]
    requests = [event for event in run(three, backpressure=2) if type(event) is ConsumptionAwaited]
    assert [request.count for request in requests] == [1, 2]


def test_a_fixed_number() -> None:
    (end,) = run(three, 2)
    assert isinstance(end, TaskFinished)
    values = [deserialize(result.payload) for result in end.results if result.payload]
    assert values == [0, 1]
