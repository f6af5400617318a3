"""The report of a deadlock: who waits for what.

Decides the words, and when the user is told that the driver waits for long. Must never change
anything, nor end a run by the real time that it took. Owns how long the driver has been waiting.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator

from rsim.core import events
from rsim.exceptions import DeadlockError
from rsim.sim.channel import SimChannel
from rsim.sim.engine import World
from rsim.sim.greenlets import Strand
from rsim.sim.network import NS_PER_S
from rsim.sim.site import Site
from rsim.sim.tracing import DRIVER_NAME, Names
from rsim.sim.virtual.escapes import user_line

PATIENCE_S = 30.0
"""How long the driver waits, in real time, before the user is told; then twice as long."""

_MAX_NAMED = 5


def waiting_report(
    clients: Iterable[tuple[Strand, SimChannel]], sites: Iterable[Site], names: Names
) -> str:
    """Who waits for what. `clients`: the driver and all workers."""
    lines = [
        line
        for strand, channel in clients
        if strand.alive
        for line in (_asleep(strand, names), *_waiting(channel, names))
    ]
    for site in sites:
        if site.alive:
            lines += getattr(site.host.machine, "waiting_report", list)()
    return "\n".join(f"  {line}" for line in lines if line)


def deadlock(world: World, report: str) -> DeadlockError:
    """The error of a driver that waits when nothing is left to happen."""
    now = f"virtual time {world.now_ns / NS_PER_S:.9g} s"
    if world.is_over:
        why = f"the time limit of {world.limit_ns / NS_PER_S:.9g} s has come ({now})"
    else:
        why = f"nothing can ever run again ({now})"
    return DeadlockError(f"{why}; who waits for what:", report=report)


class Watch:
    """Tells the user of a driver that waits for long in one place, though time may go on for ever:
    something ticks. `report`: who waits for what.
    """

    def __init__(self, world: World, report: Callable[[], str]) -> None:
        self._world = world
        self._report = report
        self._wait: object = None
        self._began_s = self._due_s = 0.0
        self._began_ns = 0

    def look(self, wait: object) -> None:
        """`wait` stands for what the driver is stopped in; called now and then, by the hub."""
        now_s = time.monotonic()
        if wait is not self._wait:
            self._wait, self._began_s, self._due_s = wait, now_s, now_s + PATIENCE_S
            self._began_ns = self._world.now_ns
        elif wait is not None and now_s >= self._due_s:
            waited_s = now_s - self._began_s
            self._due_s = now_s + waited_s
            then_s, virtual_s = self._began_ns / NS_PER_S, self._world.now_ns / NS_PER_S
            print(
                f"rsim: the driver has been waiting for {waited_s:.0f} s, while virtual time has "
                f"gone from {then_s:.9g} to {virtual_s:.9g} s (rsim.init(time_limit_s=...) ends "
                f"such a run); who waits for what:\n{self._report()}",
                file=sys.stderr,
            )


def _asleep(strand: Strand, names: Names) -> str:
    if not strand.napping:
        return ""
    place = "" if " at " in strand.napping else _place(strand)
    return f"{_who(strand, names)} is asleep: {strand.napping}{place}"


def _place(strand: Strand) -> str:
    """Where the user's code is that has stopped."""
    frame = None if strand.greenlet is None else strand.greenlet.gr_frame
    return "" if frame is None else f" at {user_line(frame)}"


def _who(strand: Strand, names: Names) -> str:
    if strand.name == DRIVER_NAME:
        return f"{DRIVER_NAME} (the driver)"
    who = names(strand.key)
    return f"{strand.name} (task {who})" if who != strand.name else who


def _waiting(channel: SimChannel, names: Names) -> Iterator[str]:
    for strand, request in channel.waiting:
        if request is not None:
            yield _stopped(_who(strand, names), request, names) + _place(strand)


def _stopped(who: str, request: events.Event, names: Names) -> str:
    if isinstance(request, events.NextRequested):
        return f"{who} is stopped in its next, for the item {names(request.object_id)}"
    verb = {events.ObjectsRequested: "get", events.WaitRequested: "wait for"}.get(type(request))
    if verb is None:
        return f"{who} waits for the answer to its {type(request).__name__}"
    keys = request.object_ids  # type: ignore[attr-defined]
    listed = ", ".join(names(key) for key in keys[:_MAX_NAMED])
    more = f" and {len(keys) - _MAX_NAMED} more" if len(keys) > _MAX_NAMED else ""
    return f"{who} is stopped in its {verb} {listed}{more}"
