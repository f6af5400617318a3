"""The way of a simulated client, driver or worker, to its node.

Decides when an answer resumes the one who waits for it, and what becomes of answers that nobody
waits for any more. Must never run the node in a worker's strand: a worker's events happen one after
another in the world. Owns the request that the client waits for.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from rsim.core import events
from rsim.core.records import PENDING_ITEM, ErrorInfo, Inline
from rsim.runtime import wire
from rsim.runtime.late import give_back
from rsim.runtime.wire import (
    Delivery,
    FunctionExported,
    FunctionRequested,
    NameClaimed,
    NameSought,
    NamesRequested,
    SessionRequested,
)
from rsim.sim.context import StrandContext
from rsim.sim.engine import Lane
from rsim.sim.greenlets import Hub, Strand
from rsim.sim.site import Site

__tracebackhide__ = True  # pytest shows the caller's line instead

_FREE_POLLS = 10
_POLL_NS = 100_000
"""Who asks again and again whether something is there, in no time at all, would never let time
pass: after some vain questions at one instant, each takes so long."""

_FREE_REQUESTS = 10_000
_REQUEST_NS = 100_000
"""Nor would who waits, again and again, for answers that take no time: after so many requests, each
takes so long, less what has passed by itself."""


REQUESTS = (
    events.ObjectsRequested,
    events.WaitRequested,
    events.AllocationRequested,
    events.NextRequested,
    events.ConsumptionAwaited,
    events.GroupsRequested,
    FunctionRequested,
    NameClaimed,
    NameSought,
    NamesRequested,
    SessionRequested,
    events.StateRequested,
)


class SimChannel:
    """The channel of one client; also what the node's answers come in by."""

    def __init__(
        self,
        site: Site,
        hub: Hub,
        strand: Strand,
        client: int,
        memory: Any,
        seed: int,
        forget: Callable[[StrandContext], None],
    ) -> None:
        self.offshoots: dict[Strand, None] = {}
        """Strands beside the client's own, which run callbacks."""
        self._offshoots_made = 0
        self._seed = seed
        self._forget = forget
        self._site = site
        self._hub = hub
        self._strand = strand
        self._client = client
        self._memory = memory
        self._world = hub.world
        self._early: dict[int, Delivery] = {}
        self._parked: dict[int, tuple[Strand, events.Event | None]] = {}
        """Who is stopped until which request is answered."""
        self._subscriptions: dict[int, Callable[[Any], None]] = {}
        self._abandoned: dict[int, events.Event | None] = {}
        """Requests whose answers are still to come, though nobody waits for them any more."""
        self._vain_at_ns = -1
        self._vain_polls = 0
        self._asked_at_ns = 0
        self._asked = 0
        self.request: events.Event | None = None
        """The last one sent."""
        self.inbox = Lane()
        """Of what the node sends."""

    def send(self, event: events.Event) -> None:
        if type(event) in REQUESTS:
            self.asking(event)
        self._site.receive(event)

    def asking(self, request: events.Event) -> None:
        """A request is about to be sent."""
        self._asked += 1
        if self._asked > _FREE_REQUESTS:
            self._keep_pace()
        self.request = request

    def park(self, op: int) -> Delivery:
        reply = self._early.pop(op, None)
        if reply is None:
            reply = self._wait(op)
        if _is_vain(reply, self.request):
            self._let_time_pass()
        return reply

    def subscribe(self, op: int, callback: Callable[[Any], None]) -> None:
        self._subscriptions[op] = callback

    def run(self, callback: Callable[[], object], beside: Strand | None = None) -> None:
        """Run a callback soon; `beside`: as a thread of what runs there."""
        self._offshoots_made += 1
        parent = self._strand
        kind = "callback" if beside is None else "started"
        name = f"{parent.name}.{kind}-{self._offshoots_made}"
        offshoot = Strand(name, name, parent.streams)
        if beside is not None:
            offshoot.streams, offshoot.label = (sys.stdout, sys.stderr), beside.label
        offshoot.process, offshoot.client = parent.process, parent.client
        context = offshoot.virtual = StrandContext(self._hub, offshoot, name, self._seed)
        self.offshoots[offshoot] = None

        def live() -> None:
            nonlocal callback
            try:
                callback()
            finally:
                del callback  # at once, and not when the cycle that it is part of is collected
                self._forget(context)
                del self.offshoots[offshoot]

        self._world.post(None, name, self._launch, offshoot, live)

    def peek(self, object_id: bytes) -> bytes | Inline | ErrorInfo | None:
        value: bytes | Inline | ErrorInfo | None = self._site.host.peek(object_id)
        return value

    def view(self, offset: int, size_bytes: int) -> memoryview:
        view: memoryview = self._memory.view(offset, size_bytes)
        return view

    def export_function(self, function_id: bytes, blob: bytes) -> None:
        self.send(FunctionExported(self._client, function_id, blob))

    def now_ns(self) -> int:
        return self._world.now_ns

    def spend(self, duration_ns: int) -> None:
        self._hub.sleep(round(duration_ns / self._site.speed))

    def _launch(self, offshoot: Strand, live: Callable[[], None]) -> None:
        if offshoot.alive:
            self._hub.launch(offshoot, live)

    def answer(self, reply: Any) -> None:
        """An answer of the node has come in (called in the hub)."""
        op = reply.op
        if op in self._parked:
            self._hub.resume(self._parked[op][0], reply)
        elif op in self._subscriptions:
            self._subscriptions.pop(op)(reply)
        elif op in self._abandoned:
            self._give_back(reply, self._abandoned.pop(op))
        else:
            self._early[op] = reply

    @property
    def waiting(self) -> list[tuple[Strand, events.Event | None]]:
        """Who is stopped until a request is answered."""
        return list(self._parked.values())

    def wait_of(self, strand: Strand) -> object:
        """What a strand is stopped in: another object each time; None if in nothing."""
        for waiter, request in self._parked.values():
            if waiter is strand:
                return request
        return strand.wake or strand.napping or None

    @property
    def awaits(self) -> bool:
        """Whether any answer is awaited, by somebody who is stopped or not."""
        return bool(self._parked or self._subscriptions)

    def _wait(self, op: int) -> Delivery:
        request = self.request
        self._hub.pause()
        strand = self._hub.running
        assert strand is not None
        self._parked[op] = strand, request
        try:
            reply: Delivery = self._hub.suspend()
        except BaseException:
            self._abandoned[op] = request
            raise
        finally:
            del self._parked[op]
        return reply

    def _give_back(self, reply: Delivery, request: events.Event | None) -> None:
        """An answer came to a client that does not want it any more."""
        if not isinstance(reply, wire.AllocationReply):
            give_back(self._client, reply, self.send)
        elif reply.error is None:
            assert isinstance(request, events.AllocationRequested)
            self.send(events.AllocationDropped(self._client, request.object_id))

    def _keep_pace(self) -> None:
        now_ns = self._world.now_ns
        self._asked -= min(self._asked, (now_ns - self._asked_at_ns) // _REQUEST_NS)
        self._asked_at_ns = now_ns
        if self._asked > _FREE_REQUESTS and self._hub.running is not None:
            self._hub.sleep(_REQUEST_NS)

    def _let_time_pass(self) -> None:
        now_ns = self._world.now_ns
        if now_ns != self._vain_at_ns:
            self._vain_at_ns, self._vain_polls = now_ns, 0
        self._vain_polls += 1
        if self._vain_polls > _FREE_POLLS:
            self._hub.sleep(_POLL_NS)


def _is_vain(reply: Delivery, request: events.Event | None) -> bool:
    """Whether the time limit came before what was asked for."""
    if isinstance(reply, wire.ObjectsReply):
        return reply.timed_out
    if isinstance(reply, wire.NextReply):
        return reply.state == PENDING_ITEM
    return (
        isinstance(reply, wire.WaitReply)
        and isinstance(request, events.WaitRequested)
        and len(reply.ready) < request.num_returns
    )
