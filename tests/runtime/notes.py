"""A worker without a node: what it sends is noted down."""

from __future__ import annotations

from typing import Any

from rsim.core.events import ConsumptionAwaited, Event
from rsim.core.ids import child_task_id, driver_task_id
from rsim.runtime.serialization import pack, serialize_call, serialize_function
from rsim.runtime.wire import ConsumptionReply, RunTask

TASK = child_task_id(driver_task_id(0), 0)


class Notes:
    """A channel that remembers what it was sent; every consumer of a stream takes what there is."""

    def __init__(self) -> None:
        self.sent: list[Event] = []

    def send(self, event: Event) -> None:
        self.sent.append(event)

    def now_ns(self) -> int:
        return 10 + len(self.sent)

    def park(self, op: int) -> ConsumptionReply:
        request = self.sent[-1]
        assert isinstance(request, ConsumptionAwaited) and request.op == op
        return ConsumptionReply(op, request.count)


def task_of(
    function: Any, task_id: bytes = TASK, num_returns: int = 1, extras: bytes = b""
) -> RunTask:
    """A task that calls a function without arguments."""
    payload, blob = pack(serialize_call((), {}).payload), serialize_function(function)
    return RunTask(task_id, payload, 0, "f", b"f" * 16, blob, extras, num_returns=num_returns)
