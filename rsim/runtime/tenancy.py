"""What a worker has on its node beside its CPU: accelerators of its own, environment variables, and
a place in a placement group.

Decides that what code submits has the same variables, and may stay in the same group. Must never
wait but for an answer about groups, which the global scheduler gives at once. Owns nothing: each
client keeps the tenancy of its worker, and the bundles of the groups that it has met.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from rsim.core import events
from rsim.core.bundles import demand_in, placed_in
from rsim.core.records import (
    ActorOptions,
    Demand,
    GroupQuery,
    GroupRequest,
    GroupState,
    TaskOptions,
)
from rsim.core.resources import fits, format_demand
from rsim.runtime import wire
from rsim.runtime.environment import merged

if TYPE_CHECKING:
    from rsim.runtime.client import Client


_NOTHING = wire.Tenancy()


def enter(client: Client, task: wire.RunTask) -> None:
    """A worker is about to run a task, or to become an actor's, with another tenancy than it had
    before.
    """
    tenancy = task.tenancy or _NOTHING
    before = client.tenancy or _NOTHING
    shown = tenancy.env_vars, tenancy.devices, tenancy.threads
    if shown != (before.env_vars, before.devices, before.threads):
        client.environment.show(*shown)
    client.tenancy = task.tenancy


def ask(client: Client, request: GroupRequest) -> tuple[GroupState, ...]:
    """What the global scheduler answers about groups. ValueError when there is no such group."""
    op = client.next_op()
    client.channel.send(events.GroupsRequested(client.number, op, request))
    reply = client.channel.park(op)
    assert isinstance(reply, wire.GroupsReply)
    if reply.error:
        raise ValueError(reply.error)
    for group in reply.groups:
        client.bundles[group.spec.group_id] = group.spec.bundles
    return reply.groups


def bundles_of(client: Client, group_id: bytes) -> tuple[Demand, ...]:
    """The bundles of a group. ValueError when there is none of that id."""
    known = client.bundles.get(group_id)
    return known if known is not None else ask(client, GroupQuery(group_id))[0].spec.bundles


def check_fit(name: str, demand: Demand, bundles: tuple[Demand, ...], index: int) -> None:
    """ValueError when the bundle ``index`` (-1: when no bundle) is large enough for the demand."""
    candidates = bundles if index < 0 else bundles[index : index + 1]
    if not any(fits(dict(bundle), demand) for bundle in candidates):
        which = "any bundle" if index < 0 else f"bundle {index}"
        listed = ", ".join(map(format_demand, bundles))
        raise ValueError(
            f"{name} cannot be scheduled in its placement group: {format_demand(demand)} does not "
            f"fit into {which} of [{listed}]"
        )


def inherited(
    client: Client, name: str, options: TaskOptions, creation: ActorOptions | None
) -> tuple[TaskOptions, ActorOptions | None]:
    """The options of a task that is submitted by one with a tenancy: it has the same environment
    variables, and runs in the same group if that captures what says nothing of its place.

    ValueError when no bundle of the group is large enough for it.
    """
    tenancy, strategy = client.tenancy, options.strategy
    if tenancy is None:
        return options, creation
    if tenancy.env_vars:
        env_vars = merged(tenancy.env_vars, options.env_vars)
        options = msgspec.structs.replace(options, env_vars=env_vars)
    if not tenancy.captures or strategy.apart:
        return options, creation
    check_fit(name, options.demand, bundles_of(client, tenancy.group), -1)
    demand, strategy = placed_in(tenancy.group, -1, True, options.demand, strategy)
    if creation is not None:
        held = demand_in(creation.held, tenancy.group, -1)
        creation = msgspec.structs.replace(creation, held=held)
    return msgspec.structs.replace(options, demand=demand, strategy=strategy), creation
