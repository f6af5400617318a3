"""The calls of a threaded actor, on a stage whose threads run when the test says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rsim.core.events import TasksReturned
from rsim.core.records import ActorOptions
from rsim.runtime.client import Client
from rsim.runtime.concurrency import ThreadedCalls
from rsim.runtime.executor import Executor
from rsim.runtime.wire import RunTask
from tests.runtime.notes import TASK, Notes, task_of


class Stage:
    """Keeps what is to run in threads."""

    def __init__(self) -> None:
        self.threads: list[Callable[[], None]] = []

    def hosts(self, name: str) -> None:
        pass

    def spawn(self, work: Callable[[], None]) -> None:
        self.threads.append(work)

    def began(self, task: RunTask) -> None:
        pass

    def ended(self, task: RunTask) -> None:
        pass

    def fell_idle(self) -> None:
        pass


class Bench:
    """What happens in the moment between a call's end and that of its thread is `meanwhile`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[Bench], None]) -> None:
        self.notes, self.stage = Notes(), Stage()
        client = Client(self.notes, 1, b"")  # type: ignore[arg-type]
        executor = Executor(client, None)  # type: ignore[arg-type]
        self.ran = 0
        options = ActorOptions(0, (), max_concurrency=2)
        self.calls = ThreadedCalls(executor, client, self.stage, options)  # type: ignore[arg-type]

        def perform(*_: Any) -> None:
            self.ran += 1
            if self.ran == 1:
                meanwhile(self)

        monkeypatch.setattr(executor, "perform", perform)

    def run(self) -> None:
        while self.stage.threads:
            self.stage.threads.pop(0)()


def again(bench: Bench) -> None:
    bench.calls.take(task_of(None))
    assert not bench.stage.threads


def test_a_call_is_run_again_when_its_last_run_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, again)
    bench.calls.take(task_of(None))
    bench.run()
    assert bench.ran == 2
    assert not bench.calls.busy


def test_a_call_that_is_to_run_again_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def cancelled(bench: Bench) -> None:
        again(bench)
        assert bench.calls.cancel(TASK, recursive=False)

    bench = Bench(monkeypatch, cancelled)
    bench.calls.take(task_of(None))
    bench.run()
    assert bench.ran == 1
    assert bench.notes.sent == [TasksReturned(1, (TASK,))]
