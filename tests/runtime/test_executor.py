"""The executor, with a channel that only takes notes."""

from __future__ import annotations

from typing import Any

from rsim.core.events import TaskDone, TaskFinished
from rsim.core.ids import child_task_id, driver_task_id
from rsim.exceptions import TaskCancelledError
from rsim.runtime.client import Client
from rsim.runtime.errors import deserialize_error
from rsim.runtime.executor import Executor
from tests.runtime.notes import TASK, Notes, task_of


def ran() -> str:
    return "ran"


def run(executor: Executor, function: Any, task_id: bytes = TASK) -> TaskFinished:
    executor.run(task_of(function, task_id))
    finished = executor._client.channel.sent[-1]  # type: ignore[attr-defined]
    if isinstance(finished, TaskDone):
        return finished.in_full()
    assert isinstance(finished, TaskFinished)
    return finished


def executor() -> Executor:
    return Executor(Client(Notes(), 1, b""), None)  # type: ignore[arg-type]


def test_a_task_runs() -> None:
    assert not run(executor(), ran).error


def test_an_interrupt_that_comes_before_its_task_begins_is_not_lost() -> None:
    one = executor()
    assert not one.interrupt(TASK)
    finished = run(one, ran)
    assert finished.error
    assert finished.results[0].payload is not None
    error = deserialize_error(finished.results[0].payload)
    assert isinstance(error.cause, TaskCancelledError)


def test_an_interrupt_is_for_one_task_and_one_time() -> None:
    one = executor()
    one.interrupt(TASK)
    assert not run(one, ran, child_task_id(driver_task_id(0), 1)).error
    assert run(one, ran).error
    assert not run(one, ran).error


def test_interrupts_of_tasks_that_never_come_are_forgotten() -> None:
    one = executor()
    one.interrupt(TASK)
    for index in range(1, 200):
        one.interrupt(child_task_id(driver_task_id(0), index))
    assert not run(one, ran).error
