"""The executor, with a channel that only takes notes."""

from __future__ import annotations

from typing import Any

from rsim.core.events import Event, TaskFinished
from rsim.core.ids import child_task_id, driver_task_id
from rsim.runtime.client import Client
from rsim.runtime.errors import deserialize_error
from rsim.runtime.executor import Executor
from rsim.runtime.serialization import pack, serialize_call, serialize_function
from rsim.runtime.wire import RunTask

TASK = child_task_id(driver_task_id(0), 0)


class Notes:
    """A channel that remembers what it was sent."""

    def __init__(self) -> None:
        self.sent: list[Event] = []

    def send(self, event: Event) -> None:
        self.sent.append(event)

    def now_ns(self) -> int:
        return 10 + len(self.sent)


def ran() -> str:
    return "ran"


def run(executor: Executor, function: Any, task_id: bytes = TASK) -> TaskFinished:
    payload = pack(serialize_call((), {}).payload)
    blob = serialize_function(function)
    task = RunTask(task_id, "f", b"f" * 16, blob, payload, (), (), (), 1, b"", 0, 0)
    executor.run(task)
    finished = executor._client.channel.sent[-1]  # type: ignore[attr-defined]
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
    assert isinstance(error.cause, KeyboardInterrupt)


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
