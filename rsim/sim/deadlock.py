"""The report of a deadlock: who waits for what.

Decides only the words. Must never change anything. Owns nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

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
    lines = [_waiting(strand, channel, names) for strand, channel in clients if strand.alive]
    for site in sites:
        if site.alive:
            lines += getattr(site.host.machine, "waiting_report", list)()
    report = "\n".join(f"  {line}" for line in lines if line)
    return DeadlockError(
        f"nothing can ever run again (virtual time {now_ns / 1e9:.9g} s); who waits for what:",
        report=report,
    )


def _waiting(strand: Strand, channel: SimChannel, names: Names) -> str:
    who = names(strand.key)
    who = f"{strand.name} (task {who})" if who != strand.name else who
    if strand.napping:
        return f"{who} is asleep: {strand.napping}"
    request = channel.request
    if channel.awaited is None or request is None:
        return ""
    verb = {events.ObjectsRequested: "get", events.WaitRequested: "wait for"}.get(type(request))
    if verb is None:
        return f"{who} waits for the answer to its {type(request).__name__}"
    keys = request.object_ids  # type: ignore[attr-defined]
    listed = ", ".join(names(key) for key in keys[:_MAX_NAMED])
    more = f" and {len(keys) - _MAX_NAMED} more" if len(keys) > _MAX_NAMED else ""
    return f"{who} is stopped in its {verb} {listed}{more}"
