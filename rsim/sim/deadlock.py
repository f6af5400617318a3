"""The report of a deadlock: who waits for what.

Decides only the words. Must never change anything. Owns nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rsim.core import events
from rsim.exceptions import DeadlockError
from rsim.sim.channel import SimChannel
from rsim.sim.greenlets import Strand
from rsim.sim.site import Site
from rsim.sim.tracing import Names

_MAX_NAMED = 5


def deadlock(
    now_ns: int,
    clients: Iterable[tuple[Strand, SimChannel]],
    sites: Iterable[Site],
    names: Names,
) -> DeadlockError:
    """The error that says so. `clients`: the driver and all workers."""
    lines = [
        line
        for strand, channel in clients
        if strand.alive
        for line in (_asleep(strand, names), *_waiting(channel, names))
    ]
    for site in sites:
        if site.alive:
            lines += getattr(site.host.machine, "waiting_report", list)()
    report = "\n".join(f"  {line}" for line in lines if line)
    return DeadlockError(
        f"nothing can ever run again (virtual time {now_ns / 1e9:.9g} s); who waits for what:",
        report=report,
    )


def _asleep(strand: Strand, names: Names) -> str:
    return f"{_who(strand, names)} is asleep: {strand.napping}" if strand.napping else ""


def _who(strand: Strand, names: Names) -> str:
    who = names(strand.key)
    return f"{strand.name} (task {who})" if who != strand.name else who


def _waiting(channel: SimChannel, names: Names) -> Iterator[str]:
    for strand, request in channel.waiting:
        if request is not None:
            yield _stopped(_who(strand, names), request, names)


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
