"""The driver's way to the node that it embeds: a function call.

Decides how often a thread that submits lets the event loop take a turn, so that workers stay fed,
and which submissions the node can take in together. Must never re-enter the node, nor hold back a
task that the node could start, or what anybody waits for. Owns the submissions that are held back,
and the events that finalisers sent in the middle of a step.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from time import monotonic_ns
from typing import Any, Final

from rsim.backends.local.pump import Pump
from rsim.backends.local.reactor import Reactor
from rsim.backends.local.segment import Segment
from rsim.core.events import CancelRequested, Event, TaskSubmitted
from rsim.core.records import DRIVER, TaskTemplate
from rsim.exceptions import RsimError
from rsim.runtime.host import Host
from rsim.runtime.late import give_back
from rsim.runtime.wire import AllocationReply, Delivery, FunctionExported

_SENDS_PER_TURN: Final = 64


class DriverChannel:
    """``settle`` ends a step of the ``host``.

    While as many tasks run as can, another one like the last would only queue. Such submissions
    are held back, until there are some or anything else happens: the node cannot change meanwhile.
    They are added without the lock: whoever takes them in says so first, and a thread that has
    added one looks again.
    """

    def __init__(
        self,
        reactor: Reactor,
        segment: Segment,
        host: Host,
        settle: Callable[[], None],
    ) -> None:
        self.peek = host.values.get
        self.now_ns = monotonic_ns
        self.closed = ""
        """Why this channel can no longer be used."""
        self._reactor = reactor
        self._parking = reactor.parking
        self._parking.discard = lambda reply: give_back(DRIVER, reply, self.send)
        self.pump = Pump(self._parking, reactor.lock)
        self._lock = reactor.lock
        self._stepping = reactor.lock._is_owned  # type: ignore[attr-defined]
        self._receive = host.receive
        self._receive_all = host.receive_all
        self._would_queue = host.machine.would_queue
        self._settle = settle
        self._held: list[Event] = []
        self._last: TaskTemplate | None = None
        """Of the last submission, if nothing else has happened since."""
        self._alike: TaskTemplate | None = None
        """Of such submissions as would only queue now, if the node was asked."""
        self._segment = segment
        self._late: deque[Event] = deque()
        self._sent = 0
        self._allocated = -1

    def send(self, event: Event) -> None:
        """Hand an event to the node."""
        alike = self._alike
        if (
            alike is not None
            and type(event) is TaskSubmitted
            and ((spec := event.spec).template is alike or spec.template.queues_like(alike))
        ):
            held = self._held
            held.append(event)
            if self._alike is not alike or len(held) >= _SENDS_PER_TURN:
                self._take_turn(spec.template)
            return
        if self._stepping():
            self._late.append(event)  # a finaliser, run in the middle of a step
            return
        if type(event) is CancelRequested:
            self._reactor.turn(0)  # what the task has submitted so far is to be cancelled with it
        with self._lock:
            self._say(event)
        if self._sent >= _SENDS_PER_TURN:
            self._take_turn(self._last)
        elif self._parking.interrupted:
            self._parking.see_to_interrupt()

    def _take_turn(self, last: TaskTemplate | None) -> None:
        """Let the node have what is held back, and the event loop take a turn. ``last``: as it was,
        for another one like that is to be expected.
        """
        with self._lock:
            if self.closed:
                raise RsimError(self.closed)
            self._sent = 0
            self.take_in()
        self._reactor.turn(0)
        self._last = last
        if self._parking.background_leads:
            self._parking.relieve()
        if self._parking.interrupted:
            self._parking.see_to_interrupt()

    def _say(self, event: Event) -> None:
        """Let the node have an event, or be asked whether it is one to hold back."""
        if self.closed:
            raise RsimError(self.closed)
        self._sent += 1 + len(self._held)
        last = self._last
        if self._held or self._late:
            self.take_in()
        else:
            self._last = self._alike = None
        if type(event) is TaskSubmitted:
            template = self._last = event.spec.template
            if last is not None and template.queues_like(last) and self._would_queue(event.spec):
                self._alike = template
        if self._alike is not None:
            self._held.append(event)
        else:
            self._receive(event)
            self._receive_late()
            self._settle()

    def close(self, reason: str) -> None:
        """The session ends, for this reason: nothing is taken any more."""
        self.closed = reason
        self._alike = None

    def take_in(self) -> None:
        """Let the node have what is held back. The lock is held; to be called before anything else
        happens to the node.
        """
        self._last = self._alike = None
        count = len(self._held)
        if count:
            held = self._held[:count]  # others may add to it meanwhile
            del self._held[:count]
            if not self.closed:
                self._receive_all(held)
                self._settle()
        if self._late and not self.closed:
            self._receive_late()

    def _receive_late(self) -> None:
        while self._late:
            self._receive(self._late.popleft())

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
