"""Runs generators: what they yield is sent as they yield it.

Decides when a generator waits for its consumer. Must never keep a value that was sent, nor go on
with a generator whose task is cancelled. Owns no state.
"""

from __future__ import annotations

import pickle
import sys
import traceback
from collections.abc import Callable, Generator
from typing import Any, NamedTuple

from rsim.core.events import AllocationDropped, ConsumptionAwaited, ItemYielded, ResultWritten
from rsim.core.ids import return_id
from rsim.core.records import Result
from rsim.runtime import errors
from rsim.runtime.client import Client
from rsim.runtime.generators import DynamicObjectRefGenerator
from rsim.runtime.refs import ObjectRef
from rsim.runtime.wire import CALL, ConsumptionReply, RunTask

ResultOf = Callable[[RunTask, int, Any], Result]
"""Makes the ``index``-th result of a task out of a value."""


class Broken(NamedTuple):
    """How a generator whose items were sent has ended, if it raised."""

    retryable: bool
    message: str


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
        return self._context.cancelled and self.task.kind == CALL

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


class Declared:
    """The results of a task that was declared with their number: those made so far, and what its
    generator has raised before it had made all.
    """

    def __init__(self, client: Client, task: RunTask, result_of: ResultOf) -> None:
        self.results: list[Result] = []
        self.error: Exception | None = None
        self._client = client
        self._task = task
        self._result_of = result_of

    def add(self, value: Any) -> bool:
        """Make the next result of a value; False: there are enough. Raises what ``result_of``
        does.
        """
        client, task, index = self._client, self._task, len(self.results)
        if index == task.num_returns:
            text = "has yielded more values than its num_returns; they are dropped"
            print(f"rsim: {task.name} {text}", file=sys.stderr)
            return False
        result = self._result_of(task, index, value)
        self.results.append(result)
        if result.payload is None and index + 1 < task.num_returns:
            client.channel.send(ResultWritten(client.number, return_id(task.task_id, index)))
        return True

    def fail(self, error: Exception) -> None:
        """The generator has raised: if all results were made, there is nobody to tell but the
        user who reads stderr.
        """
        if len(self.results) == self._task.num_returns:
            traceback.print_exception(error)
        else:
            self.error = error

    def end(self) -> Declared:
        """The generator will yield no more. What its task returns."""
        task, count = self._task, len(self.results)
        if self.error is None and count < task.num_returns:
            self.error = ValueError(
                f"{task.name} was declared with num_returns={task.num_returns}, but yielded "
                f"{count} value(s)"
            )
        return self

    def drop(self) -> None:
        """Forget all results: the task has failed altogether."""
        client, task_id = self._client, self._task.task_id
        for index, result in enumerate(self.results):
            if result.payload is None:
                written = return_id(task_id, index)
                client.channel.send(AllocationDropped(client.number, written))
        self.results.clear()


class Kept:
    """The refs of all that a generator has yielded, which are to be its task's one result, and what
    it has raised.
    """

    def __init__(self, client: Client, task: RunTask) -> None:
        self._refs: list[ObjectRef[Any]] = []
        self._error: Exception | None = None
        self._client = client
        self._task = task

    def add(self, value: Any) -> bool:
        """Store a value. UnserializableError, ObjectStoreFullError."""
        self._refs.append(self._client.put_yielded(len(self._refs), value))
        return True

    def fail(self, error: Exception) -> None:
        """The generator has raised."""
        self._error = error

    def end(self) -> Kept:
        """The generator will yield no more. What its task returns."""
        return self

    def drop(self) -> None:
        """Forget all refs: the task has failed altogether."""
        self._refs.clear()

    def refs(self, is_retryable: Callable[[Exception], bool]) -> DynamicObjectRefGenerator:
        """What the task's caller gets: what the generator has raised is the last ref. Raises it
        instead if that asks for another try.
        """
        error, self._error = self._error, None
        if error is not None:
            if is_retryable(error):
                raise error
            packed = errors.serialize_error(error, self._task.name)
            self._refs.append(self._client.put_raised(len(self._refs), packed))
        return DynamicObjectRefGenerator(self._refs)


def collect(values: Generator[Any, None, Any], collected: Declared | Kept) -> Any:
    """What a task returns whose generator is not to be streamed."""
    try:
        for value in values:
            if not collected.add(value):
                break
    except Exception as error:
        collected.fail(error)
    except BaseException:
        collected.drop()
        raise
    finally:
        values.close()
    return collected.end()


def is_dynamic(task: RunTask) -> bool:
    """Whether the task returns the refs of all that its generator yields."""
    return bool(option(task.extras, "dynamic"))


def option(extras: bytes, name: str) -> Any:
    """One of the pickled options that only the executor reads; None: it is not given."""
    return pickle.loads(extras).get(name) if extras else None
