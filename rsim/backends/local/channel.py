"""The driver's way to the node that it embeds: a function call.

Decides how often a thread that submits lets the event loop take a turn, so that workers stay fed.
Must never re-enter the node. Owns the events that finalisers sent in the middle of a step.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from time import monotonic_ns
from typing import Any, Final

from rsim.backends.local.pump import Pump
from rsim.backends.local.reactor import Reactor
from rsim.backends.local.segment import Segment
from rsim.core.events import CancelRequested, Event
from rsim.core.records import DRIVER, ErrorInfo, Inline
from rsim.exceptions import RsimError
from rsim.runtime.late import give_back
from rsim.runtime.wire import AllocationReply, Delivery, FunctionExported

_SENDS_PER_TURN: Final = 64


class DriverChannel:
    """``receive`` takes an event into the node; ``settle`` ends the step."""

    def __init__(
        self,
        reactor: Reactor,
        segment: Segment,
        receive: Callable[[Event], None],
        settle: Callable[[], None],
        values: dict[bytes, bytes | Inline | ErrorInfo],
    ) -> None:
        self.peek = values.get
        self.now_ns = monotonic_ns
        self.closed = ""
        """Why this channel can no longer be used."""
        self._reactor = reactor
        self._parking = reactor.parking
        self._parking.discard = lambda reply: give_back(DRIVER, reply, self.send)
        self.pump = Pump(self._parking, reactor.lock)
        self._lock = reactor.lock
        self._stepping = reactor.lock._is_owned  # type: ignore[attr-defined]
        self._receive = receive
        self._settle = settle
        self._segment = segment
        self._late: deque[Event] = deque()
        self._sent = 0
        self._allocated = -1

    def send(self, event: Event) -> None:
        """Hand an event to the node."""
        if self._stepping():
            self._late.append(event)  # a finaliser, run in the middle of a step
            return
        if type(event) is CancelRequested:
            self._reactor.turn(0)  # what the task has submitted so far is to be cancelled with it
        with self._lock:
            if self.closed:
                raise RsimError(self.closed)
            self._receive(event)
            while self._late:
                self._receive(self._late.popleft())
            self._settle()
        self._sent += 1
        if not self._sent % _SENDS_PER_TURN:
            self._reactor.turn(0)
            if self._parking.background_leads:
                self._parking.relieve()
        if self._parking.interrupted:
            self._parking.see_to_interrupt()

    def park(self, op: int) -> Delivery:
        """Block until the node answers request ``op``; return the answer."""
        reply = self._parking.replies.pop(op, None)
        if reply is None:
            if self.closed:
                raise RsimError(self.closed)
            reply = self._parking.wait(op)
        if type(reply) is AllocationReply:
            self._allocated = reply.offset
        return reply

    def subscribe(self, op: int, callback: Callable[[Any], None]) -> None:
        """Hand the answer to ``op`` to ``callback``."""
        if self.closed:
            raise RsimError(self.closed)
        self.pump.subscribe(op, callback)

    def run(self, callback: Callable[[], object]) -> None:
        """Call ``callback`` in a thread of its own."""
        self.pump.run(callback)

    def view(self, offset: int, size_bytes: int) -> memoryview:
        """A writable view of the node's shared memory."""
        try:
            if offset == self._allocated:
                self._allocated = -1
                self._segment.populate(offset, size_bytes)
            return self._segment.view(offset, size_bytes)
        except ValueError:  # another thread has ended the session: the memory is gone
            raise RsimError(self.closed) from None

    def export_function(self, function_id: bytes, blob: bytes) -> None:
        """Make a function known to the cluster."""
        self.send(FunctionExported(DRIVER, function_id, blob))

    def spend(self, duration_ns: int) -> None:
        """Real time passes by itself."""
