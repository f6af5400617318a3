"""How what a function returns, or raises, becomes the results of its task.

Decides what travels inline and what through shared memory, and whether an error asks for another
attempt. Must never send anything but what it takes to write a large value. Owns nothing but its
client.
"""

from __future__ import annotations

import pickle
from typing import Any

from rsim.core.ids import return_id
from rsim.core.records import Result
from rsim.exceptions import UnserializableError
from rsim.runtime import errors
from rsim.runtime.client import INLINE_LIMIT_BYTES, Client
from rsim.runtime.serialization import pack, serialize
from rsim.runtime.streaming import Declared
from rsim.runtime.wire import RunTask


class Results:
    """Of the tasks that one executor runs."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def all_of(self, task: RunTask, value: Any) -> tuple[Result, ...]:
        """What a function has returned. TypeError when it is no collection although more values
        than one were declared, ValueError when it is not that many.
        """
        if type(value) is Declared:
            return tuple(value.results)
        if task.num_returns == 1:
            return (self.one(task, 0, value),)
        if task.num_returns == 0:
            return ()
        wrong = f"{task.name} was declared with num_returns={task.num_returns}, but returned"
        kind = type(value).__name__
        try:
            count = len(value)  # so that no endless iterator is listed
            values = list(value)
        except TypeError as error:
            raise TypeError(f"{wrong} {kind}, which is no collection: {error}") from None
        if isinstance(value, dict | str | bytes) or len(values) != task.num_returns:
            raise ValueError(f"{wrong} {kind} with {count} value(s)")
        declared = self.declared(task)
        try:
            for each in values:
                declared.add(each)
        except BaseException:
            declared.drop()
            raise
        return tuple(declared.results)

    def one(self, task: RunTask, index: int, value: Any) -> Result:
        """A value, as the ``index``-th result of the task or item of its stream."""
        payload = serialize(value, f"the result of {task.name}()")
        size_bytes = payload.total_bytes
        if size_bytes <= INLINE_LIMIT_BYTES:
            return Result(pack(payload), size_bytes, payload.contained)
        self._client.write(return_id(task.task_id, index), payload)
        return Result(None, size_bytes, payload.contained)

    def declared(self, task: RunTask) -> Declared:
        """For the results of a task that is declared with their number."""
        return Declared(self._client, task, self.one)


def errors_of(exception: BaseException, task: RunTask) -> tuple[Result, ...]:
    """The exception as each of the task's results."""
    blob = errors.serialize_error(exception, task.name)
    return tuple(Result(blob, len(blob)) for _ in range(abs(task.num_returns)))


def is_retryable(exception: BaseException, extras: bytes) -> bool:
    """Whether the task's options ask to retry this exception."""
    if not extras or isinstance(exception, UnserializableError | KeyboardInterrupt):
        return False
    wanted = pickle.loads(extras).get("retry_exceptions")
    if isinstance(wanted, bool) or wanted is None:
        return bool(wanted) and isinstance(exception, Exception)
    return isinstance(exception, wanted)
