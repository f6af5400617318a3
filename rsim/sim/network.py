"""The simulated network: when messages and object bytes arrive.

Decides delays. A message takes the latency, and a jitter that the choice tape draws; messages from
one machine to another arrive in the order sent. Objects share the bandwidth of the network cards
that they pass max-min fairly and do not hold up messages. Must never deliver anything from or to a
dead machine. Owns the objects under way.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil

import msgspec

from rsim.sim.engine import Happening, Key, Lane, World
from rsim.sim.tape import Tape

NS_PER_S = 1_000_000_000

_JITTER_STEPS = 16
"""Alternatives of one draw of a message's extra delay, from none to all of the jitter."""

MessageSink = Callable[[str, msgspec.Struct], None]
"""(source, message)"""

Arrived = Callable[[], None]


class Flow:
    """An object's bytes on their way."""

    __slots__ = ("arrived", "key", "left_bytes", "link", "rate")

    def __init__(self, link: Link, key: Key, size_bytes: int, arrived: Arrived) -> None:
        self.link = link
        self.key = key
        self.left_bytes = float(size_bytes)
        self.rate = 0.0
        """Bytes per nanosecond."""
        self.arrived = arrived


class Link:
    """The way from one machine to another."""

    __slots__ = ("last_arrival_ns", "messages", "name", "source", "target")

    def __init__(self, source: str, target: str) -> None:
        self.source = source
        self.target = target
        self.name = f"{source}->{target}"
        self.messages = Lane()
        self.last_arrival_ns = 0


class Network:
    """All machines by name, and what is under way between them.

    `home` maps a machine to the node that it runs on (the global scheduler shares one): messages
    within a node take no time.
    """

    def __init__(
        self,
        world: World,
        tape: Tape,
        *,
        latency_s: float,
        jitter_s: float,
        bandwidth_bytes_per_s: float,
    ) -> None:
        self._world = world
        self._tape = tape
        self._latency_ns = round(latency_s * NS_PER_S)
        self._jitter_ns = round(jitter_s * NS_PER_S)
        self._bandwidth = bandwidth_bytes_per_s / NS_PER_S
        self._sinks: dict[str, MessageSink] = {}
        self._home: dict[str, str] = {}
        self._links: dict[tuple[str, str], Link] = {}
        self._flows: dict[Flow, None] = {}
        self._settled_ns = 0
        self._next_arrival: Happening | None = None

    def attach(self, name: str, sink: MessageSink, *, home: str = "") -> None:
        """Connect a machine. `home`: the node that it runs on, if not a node itself."""
        self._sinks[name] = sink
        self._home[name] = home or name

    def detach(self, name: str) -> None:
        """A machine died: nothing from or to it arrives any more."""
        self._sinks.pop(name, None)
        for flow in list(self._flows):
            if name in (flow.link.source, flow.link.target):
                del self._flows[flow]
        self._reshare()

    def alive(self, name: str) -> bool:
        """Whether the machine is connected."""
        return name in self._sinks

    def send(self, source: str, target: str, key: Key, message: msgspec.Struct) -> None:
        """Send a message that concerns `key`."""
        link = self._link(source, target)
        delay_ns = 0
        if self._home.get(source) != self._home.get(target):
            delay_ns = self._latency_ns
            if self._jitter_ns:
                step = self._tape.draw("delay", _JITTER_STEPS, link.name)
                delay_ns += self._jitter_ns * step // (_JITTER_STEPS - 1)
        at_ns = max(self._world.now_ns + delay_ns, link.last_arrival_ns)
        link.last_arrival_ns = at_ns
        self._world.post_at(at_ns, link.messages, key, self._deliver, link, message)

    def send_object(
        self, source: str, target: str, key: Key, size_bytes: int, arrived: Arrived
    ) -> None:
        """Send so many bytes, and call `arrived` when the last is there."""
        flow = Flow(self._link(source, target), key, size_bytes, arrived)
        at_ns = self._world.now_ns + self._latency_ns
        self._world.post_at(at_ns, None, None, self._begin, flow)

    def _link(self, source: str, target: str) -> Link:
        link = self._links.get((source, target))
        if link is None:
            link = self._links[source, target] = Link(source, target)
        return link

    def _deliver(self, link: Link, message: msgspec.Struct) -> None:
        sink = self._sinks.get(link.target)
        if sink is not None and link.source in self._sinks:
            sink(link.source, message)

    # -- objects -------------------------------------------------------------------------------

    def _begin(self, flow: Flow) -> None:
        link = flow.link
        if link.source in self._sinks and link.target in self._sinks:
            self._settle()
            self._flows[flow] = None
            self._reshare()

    def _settle(self) -> None:
        """Count what has come through since the last change."""
        now_ns = self._world.now_ns
        elapsed_ns = now_ns - self._settled_ns
        if elapsed_ns:
            for flow in self._flows:
                flow.left_bytes -= flow.rate * elapsed_ns
        self._settled_ns = now_ns

    def _reshare(self) -> None:
        """Give every flow its share from now on, and wait for the first to end."""
        self._settle()
        if self._next_arrival is not None:
            self._world.cancel(self._next_arrival)
            self._next_arrival = None
        if self._flows:
            share_fairly(self._flows, self._bandwidth)
            left_ns = min(max(flow.left_bytes, 0.0) / flow.rate for flow in self._flows)
            at_ns = self._world.now_ns + ceil(left_ns)
            self._next_arrival = self._world.post_at(at_ns, None, None, self._finish)

    def _finish(self) -> None:
        """The first of the flows, and all that end with it, have arrived."""
        self._next_arrival = None
        self._settle()
        # Times are rounded up to whole nanoseconds, so an ended flow has less than nothing left,
        # up to the error of the sums.
        ended = [flow for flow in self._flows if flow.left_bytes <= flow.rate * 1e-3]
        for flow in ended:
            del self._flows[flow]
            self._world.post(None, flow.key, self._arrive, flow)
        self._reshare()

    def _arrive(self, flow: Flow) -> None:
        if flow.link.source in self._sinks and flow.link.target in self._sinks:
            flow.arrived()


def share_fairly(flows: dict[Flow, None], capacity: float) -> None:
    """Set the rates of all flows by max-min fairness.

    Every card sends at most `capacity` and receives at most `capacity`. No flow could get more
    without taking from one that has no more than it.
    """
    cards: dict[tuple[str, str], list[Flow]] = {}
    for flow in flows:
        cards.setdefault(("out", flow.link.source), []).append(flow)
        cards.setdefault(("in", flow.link.target), []).append(flow)
        flow.rate = 0.0
    free = dict.fromkeys(cards, capacity)
    unset = {card: len(users) for card, users in cards.items()}
    while unset:
        tightest = min(unset, key=lambda card: free[card] / unset[card])
        share = free[tightest] / unset[tightest]
        for flow in cards[tightest]:
            if flow.rate:
                continue
            flow.rate = share
            for card in (("out", flow.link.source), ("in", flow.link.target)):
                free[card] -= share
                unset[card] -= 1
        unset = {card: users for card, users in unset.items() if users}
