"""Looks into the machines of a running session: what no program sees, but tests must."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import rsim
from rsim.core.node import Node
from tests.conformance import marks


@contextmanager
def machines(session: Any) -> Iterator[list[Node]]:
    """The machines of all living nodes, at rest."""
    inner = session._backend
    if session.address == "sim":
        found = [site.host.machine for site in inner.sites.values() if site.alive]
        yield [machine for machine in found if isinstance(machine, Node)]
    else:
        with inner._reactor.lock:
            yield [site.node for site in inner.sites.values()]


def machine(session: Any, name: str) -> Node:
    """The machine of one node."""
    with machines(session) as nodes:
        (found,) = [node for node in nodes if node.name == name]
        return found


def node_of(session: Any, pid: int) -> str:
    """The name of the node on which a worker runs."""
    inner = session._backend
    if session.address == "sim":
        return next(
            name
            for name, workers in inner._machines.workers.items()
            if pid in [worker.pid for worker in workers.by_client.values()]
        )
    with inner._reactor.lock:
        return next(
            site.name
            for site in inner.sites.values()
            if pid in [worker.outputs[0].pid for worker in site.workers._workers.values()]
        )


def used_bytes(session: Any) -> int:
    """Bytes in use in the object stores of all nodes."""
    with machines(session) as nodes:
        return sum(node.shelf.store.arena.used_bytes for node in nodes)


def spilled_bytes(session: Any) -> int:
    """Bytes of spilled objects on all nodes."""
    with machines(session) as nodes:
        return sum(node.shelf.store.spilled_bytes for node in nodes)


def known_objects(session: Any) -> int:
    """How many objects, large and small, the nodes know of."""
    with machines(session) as nodes:
        return sum(len(node.objects.entries) for node in nodes)


def faults(session: Any, task_id: bytes) -> int:
    """How many deaths a simulation has drawn for the executions of a task."""
    draws = session.tape.draws if session.address == "sim" else ()
    return sum(
        draw.entity == task_id and draw.choice == 1
        for draw in draws
        if draw.label in ("fault.kill_worker", "fault.kill_node")
    )


def check(session: Any) -> None:
    """Check every machine's invariants."""
    with machines(session) as nodes:
        for node in nodes:
            node.check()


def await_used_bytes(session: Any, at_most: int = 0) -> None:
    """Return when no more than that is in use. The driver's dropped refs are told to its node."""

    def holds() -> bool:
        session.client.flush()
        rsim.wait([rsim.put(None)])
        return used_bytes(session) <= at_most

    marks.await_that(holds, f"at most {at_most} bytes in the object stores")


def leftovers(session: Any) -> list[str]:
    """What the nodes still know of, hold or run, in words; empty after a program's last ref."""
    found = []
    with machines(session) as nodes:
        for node in nodes:
            tables = {
                "objects": node.objects.entries,
                "tasks": node.tasks.table,
                "actors owned": node.actors.owned,
                "actors": node.actors._living,
                "lanes of calls": node.lanes._lanes,
                "bytes": range(node.shelf.store.arena.used_bytes),
            }
            found += [f"{node.name}: {len(t)} {what}" for what, t in tables.items() if len(t)]
            pool = node.scheduler.pool
            if pool.available() != pool.total:
                found.append(f"{node.name}: {pool.available()} of {pool.total}")
    return found


def await_nothing_left(session: Any) -> None:
    """Return when the nodes know of nothing any more. The driver has dropped its refs."""
    gc.collect()

    def holds() -> bool:
        session.client.flush()
        return not leftovers(session)

    try:
        marks.await_that(holds)
    except TimeoutError:
        raise AssertionError(f"left behind: {leftovers(session)}") from None
