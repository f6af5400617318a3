"""Drives simulated sessions without the public API: remote functions on a bare client."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import blake2b
from typing import Any

from rsim.core.records import RESOURCE_UNITS, TaskOptions
from rsim.runtime import current
from rsim.runtime.client import Client
from rsim.runtime.refs import ObjectRef
from rsim.runtime.serialization import serialize_function
from rsim.runtime.session import SessionConfig
from rsim.sim.backend import SimSession, start
from rsim.sim.sources import Source


@contextmanager
def simulation(source: Source | None = None, **config: Any) -> Iterator[SimSession]:
    """A session that is shut down at the end, whatever happens."""
    session = start(SessionConfig(address="sim", **config), source)
    try:
        yield session
    finally:
        session.shutdown()


def client() -> Client:
    assert current.client is not None
    return current.client


def submit(
    function: Callable[..., Any], *args: Any, num_cpus: float = 1, **options: Any
) -> ObjectRef[Any]:
    """Submit a task; `options` are fields of TaskOptions."""
    demand = (("CPU", round(num_cpus * RESOURCE_UNITS)),) if num_cpus else ()
    mine = client()
    blob = serialize_function(function)
    function_id = blake2b(blob, digest_size=16).digest()
    mine.channel.export_function(function_id, blob)
    name = function.__name__
    context = mine.context
    template = mine.template(context, function_id, name, TaskOptions(demand=demand, **options))
    (ref,) = mine.submit(context, template, args, {})
    return ref


def get(ref: ObjectRef[Any], timeout_s: float | None = None) -> Any:
    return client().get([ref], timeout_s)[0]


def get_all(refs: list[ObjectRef[Any]]) -> list[Any]:
    return client().get(refs)
