"""What a client learns of its cluster by asking: facts of all nodes, put together.

Decides which of two nodes to believe where they tell of the same thing. Must never ask twice what
cannot change. Owns no state.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec

from rsim.core import facts
from rsim.core.events import StateRequested
from rsim.core.facts import ActorFact, Fact, NodeFact, TaskFact
from rsim.core.records import DRIVER
from rsim.exceptions import GetTimeoutError
from rsim.runtime.client import Client
from rsim.runtime.trace import natural_key
from rsim.runtime.wire import SessionReply, SessionRequested, StateReply

F = TypeVar("F", bound=Fact)

DEFAULT_TIMEOUT_S = 30.0


def session_of(client: Client) -> SessionReply:
    """What the client may know of its session, and its node's name."""
    if client.session is None:
        client.session = client.request(lambda op: SessionRequested(client.number, op))
    return client.session


def ask(
    client: Client,
    kind: str,
    *,
    here: bool = False,
    timeout_s: float | None = DEFAULT_TIMEOUT_S,
    partial: bool = False,
) -> list[Any]:
    """The facts of a kind that the client's node (``here``), or every node, tells; by node.

    GetTimeoutError when nodes have not answered in time, unless that may be (``partial``).
    """
    timeout_ns = -1 if timeout_s is None else int(timeout_s * 1e9)
    reply: StateReply = client.request(
        lambda op: StateRequested(client.number, op, kind, here, timeout_ns)
    )
    if reply.missing and not partial:
        names = ", ".join(reply.missing)
        raise GetTimeoutError(
            f"no answer within {timeout_s} s to what {kind} there are, of {names}"
        )
    nodes = sorted({fact.node for fact in reply.facts}, key=natural_key)
    rank = {name: place for place, name in enumerate(nodes)}
    return sorted(reply.facts, key=lambda fact: rank[fact.node])


def tasks(found: Iterable[TaskFact]) -> list[TaskFact]:
    """One fact for each attempt, by the time of submission. Its ``node`` is where it ran or will
    run; empty: not known.
    """
    told: dict[tuple[bytes, int], list[TaskFact]] = {}
    for fact in sorted(found, key=lambda fact: fact.owner != fact.node):
        told.setdefault((fact.task_id, fact.attempt), []).append(fact)
    merged = [_as_it_ended(_one_attempt(each)) for each in told.values()]
    return sorted(merged, key=lambda fact: fact.submitted_ns)


def _one_attempt(told: list[TaskFact]) -> TaskFact:
    owner = next((fact for fact in told if fact.owner == fact.node), None)
    ran = _where_it_ran(told, owner)
    if owner is None or ran is owner:
        return ran if ran.executor else msgspec.structs.replace(ran, node="")
    state, error = ran.state, ran.error
    if owner.state in (facts.FINISHED, facts.FAILED):
        state, error = owner.state, owner.error
    return msgspec.structs.replace(ran, state=state, error=error, submitted_ns=owner.submitted_ns)


def _as_it_ended(fact: TaskFact) -> TaskFact:
    """A task that was interrupted while it ran, and a call that has ended its actor, have FINISHED,
    as in Ray, though their refs are errors.
    """
    ends_well = "ActorDiedError" if fact.actor else "TaskCancelledError"
    if fact.error is None or fact.creates or fact.started_ns < 0 or fact.error.kind != ends_well:
        return fact
    return msgspec.structs.replace(fact, state=facts.FINISHED, error=None)


def _where_it_ran(told: list[TaskFact], owner: TaskFact | None) -> TaskFact:
    if owner is None:
        return told[-1]
    if isinstance(owner.executor, str) and owner.executor:
        ran = [fact for fact in told if fact.node == owner.executor and fact is not owner]
        if ran:
            return ran[-1]
        return msgspec.structs.replace(owner, node=owner.executor)
    return owner


def actors(found: Iterable[ActorFact]) -> list[ActorFact]:
    """One fact for each actor, by the time of its creation, with the place where it lives, or
    lived last.
    """
    told: dict[bytes, list[ActorFact]] = {}
    for fact in found:
        told.setdefault(fact.actor_id, []).append(fact)
    merged = []
    for each in told.values():
        owner = next((fact for fact in each if fact.state), None)
        if owner is None:
            continue
        places = [fact for fact in each if fact.worker and owner.at in ("", fact.at)]
        if places and owner.state not in (facts.UNCREATED, facts.CREATING):
            last = max(places, key=lambda place: place.created_ns)
            owner = msgspec.structs.replace(
                owner, at=last.at, worker=last.worker, pid=last.pid, title=last.title
            )
        merged.append(owner)
    return sorted(merged, key=lambda fact: fact.created_ns)


def titles(found: Iterable[ActorFact]) -> dict[bytes, str]:
    """How actors write themselves, of those whose classes say how."""
    return {fact.actor_id: fact.title for fact in found if fact.title}


def nodes(found: Iterable[NodeFact]) -> list[NodeFact]:
    """One fact for each node, by name."""
    by_name: dict[str, NodeFact] = {}
    for fact in found:
        if fact.alive or fact.node not in by_name:
            by_name[fact.node] = fact
    return [by_name[name] for name in sorted(by_name, key=natural_key)]


def task_name(fact: TaskFact) -> str:
    """What a task is called."""
    return f"{fact.name}.__init__" if fact.creates else fact.name


def worker_name(node: str, client: int) -> str:
    """The id of a client."""
    return f"{node}.driver" if client == DRIVER else f"{node}.w{client}"


def job_name(job: bytes) -> str:
    """The id of a job, from that of its driver's task."""
    return job.hex()[:8]
