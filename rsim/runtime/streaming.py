"""Runs generators: what they yield is sent as they yield it.

Decides when a generator waits for its consumer. Must never keep a value that was sent, nor go on
with a generator whose task is cancelled. Owns no state.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Generator
from itertools import islice
from typing import Any

from rsim.core.events import ConsumptionAwaited, ItemYielded
from rsim.core.records import Result
from rsim.runtime import errors
from rsim.runtime.client import Client
from rsim.runtime.generators import DynamicObjectRefGenerator
from rsim.runtime.wire import ConsumptionReply, RunTask

ResultOf = Callable[[RunTask, int, Any], Result]
"""Makes the ``index``-th result of a task out of a value."""


class Production:
    """One run of a generator: numbers its items, and lets it run ahead only so far."""

    def __init__(self, client: Client, task: RunTask, result_of: ResultOf) -> None:
        self.task = task
        self._client = client
        self._context = client.context
        self._result_of = result_of
        self._ahead = option(task.extras, "backpressure") or 0
        """Most items that are not consumed; 0: any number."""
        self._count = 0
        self._consumed = 0

    def run(self, values: Generator[Any, None, Any]) -> None:
        """Send all that the generator yields. Raises what it raises."""
        channel = self._client.channel
        try:
            for value in values:
                self.send(value)
                del value
                if self.must_wait:
                    request = self.request()
                    channel.send(request)
                    reply = channel.park(request.op)
                    assert isinstance(reply, ConsumptionReply)
                    self.resume(reply)
                if self.cancelled:
                    return
        finally:
            values.close()

    @property
    def cancelled(self) -> bool:
        """Whether somebody has cancelled a call, which sees to it itself."""
        return self._context.cancelled

    def send(self, value: Any) -> None:
        """Send an item. UnserializableError, ObjectStoreFullError."""
        index = self._count + 1
        result = self._result_of(self.task, index, value)
        self._report(ItemYielded(self._client.number, self.task.task_id, index, result))

    def fail(self, error: BaseException, retryable: bool) -> None:
        """Send what the generator has raised, as its last item."""
        blob = errors.serialize_error(error, self.task.name)
        result = Result(blob, len(blob))
        index, task_id = self._count + 1, self.task.task_id
        self._report(ItemYielded(self._client.number, task_id, index, result, True, retryable))

    def _report(self, event: ItemYielded) -> None:
        self._client.channel.send(event)
        self._count += 1
        self._client.flush_if_due()

    @property
    def must_wait(self) -> bool:
        """Whether as many items as may be are not consumed."""
        return bool(self._ahead) and self._count - self._consumed >= self._ahead

    def request(self) -> ConsumptionAwaited:
        """Asks for what is consumed, as soon as it suffices to go on."""
        count = self._count - self._ahead + 1
        op, task_id = self._client.next_op(), self.task.task_id
        return ConsumptionAwaited(self._client.number, op, task_id, count)

    def resume(self, reply: ConsumptionReply) -> None:
        """The answer to ``request``."""
        self._consumed = reply.consumed


def collect(client: Client, task: RunTask, values: Generator[Any, None, Any]) -> Any:
    """What a task returns whose generator is not to be streamed: as many values as it was declared
    with, one by itself; or the refs of all.
    """
    try:
        if is_dynamic(task):
            return DynamicObjectRefGenerator(client.put_all(values))
        return as_declared(task, list(islice(values, task.num_returns)))
    finally:
        values.close()


def as_declared(task: RunTask, found: list[Any]) -> Any:
    """What a task returns whose generator has yielded these values. ValueError: too few."""
    if len(found) < task.num_returns:
        raise ValueError(
            f"{task.name} was declared with num_returns={task.num_returns}, but yielded "
            f"{len(found)} value(s)"
        )
    return found[0] if task.num_returns == 1 else found


def is_dynamic(task: RunTask) -> bool:
    """Whether the task returns the refs of all that its generator yields."""
    return bool(option(task.extras, "dynamic"))


def option(extras: bytes, name: str) -> Any:
    """One of the pickled options that only the executor reads; None: it is not given."""
    return pickle.loads(extras).get(name) if extras else None
