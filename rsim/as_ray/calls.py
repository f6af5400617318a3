"""Calls by the names, and with the defaults, that Ray gives to their parameters.

Decides nothing: rsim's do the work. Owns no state.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from typing import Any

import rsim
from rsim import util
from rsim.api import groups
from rsim.api.session import running_client
from rsim.core.labels import NODE_ID
from rsim.exceptions import ForeignRefError
from rsim.runtime import checks, current


def put(value: Any, *, _owner: Any = None, _tensor_transport: str | None = None) -> Any:
    """As `rsim.put`."""
    if _owner is not None:
        raise ValueError("_owner was removed from ray.put: the process that puts an object owns it")
    if _tensor_transport is not None:
        raise NotImplementedError("ray.put(_tensor_transport=...) is not in rsim: no GPU objects")
    return rsim.put(value)


def get(object_refs: Any, *, timeout: float | None = None) -> Any:
    """As `rsim.get`; a timeout of -1 is none."""
    return rsim.get(object_refs, timeout=None if timeout == -1 else timeout)


def wait(
    ray_waitables: list[Any],
    *,
    num_returns: int = 1,
    timeout: float | None = None,
    fetch_local: bool = True,
) -> tuple[list[Any], list[Any]]:
    """As `rsim.wait`, but refs of an earlier session are never ready, if there are others."""
    try:
        return rsim.wait(
            ray_waitables, num_returns=num_returns, timeout=timeout, fetch_local=fetch_local
        )
    except ForeignRefError:
        known = [
            each for each in ray_waitables if getattr(each, "_counter", None) is current.client
        ]
        if not known:
            raise
    wanted = min(num_returns, len(known))
    ready, _ = rsim.wait(known, num_returns=wanted, timeout=timeout, fetch_local=fetch_local)
    taken = set(map(id, ready))
    return ready, [each for each in ray_waitables if id(each) not in taken]


def cancel(ray_waitable: Any, *, force: bool = False, recursive: bool = True) -> None:
    """As `rsim.cancel`; before ray.init, that is called first."""
    running_client()
    rsim.cancel(ray_waitable, force=force, recursive=recursive)


def kill(actor: Any, *, no_restart: bool = True) -> None:
    """As `rsim.kill`; before ray.init, that is called first."""
    running_client()
    rsim.kill(actor, no_restart=no_restart)


def nodes() -> list[dict[str, Any]]:
    """The nodes of the cluster, without the label that only rsim's own programs know."""
    found = rsim.nodes()
    for node in found:
        node["Labels"].pop(NODE_ID, None)
    return found


def timeline(filename: str | os.PathLike[str] | None = None) -> list[dict[str, Any]] | None:
    """As `rsim.timeline`, and, as in Ray, an event "task:execute" for each task."""
    if filename is not None and not isinstance(filename, str | os.PathLike):
        raise TypeError(f"filename must be a path or None, not {filename!r}")
    events = [
        shown
        for event in rsim.timeline() or ()
        for shown in (event, {**event, "cat": "task:execute", "name": "task:execute", "args": {}})
    ]
    if filename is None:
        return events
    with open(filename, "w", encoding="utf-8") as file:
        json.dump(events, file)
    return None


def placement_group(
    bundles: list[dict[str, float]],
    strategy: str | None = None,
    name: str = "",
    lifetime: str | None = None,
    _soft_target_node_id: str | None = None,
    bundle_label_selector: list[dict[str, str]] | None = None,
    topology_strategy: Any = None,
) -> groups.PlacementGroup:
    """As `rsim.util.placement_group`."""
    if topology_strategy is not None:
        raise NotImplementedError("placement_group(topology_strategy=...) of Ray is not in rsim")
    return groups.placement_group(
        bundles, strategy or "PACK", name, lifetime, _soft_target_node_id, bundle_label_selector
    )


def inspect_serializability(
    base_obj: Any, name: str | None = None, depth: int = 3, print_file: Any = None
) -> tuple[bool, set[Any]]:
    """As `rsim.util.inspect_serializability`."""
    fits, failures = util.inspect_serializability(base_obj, name, depth, print_file)
    return fits, set(failures)


def _check_wait(timeout: float | None, fetch_local: bool) -> None:
    if timeout is not None:
        checks.seconds("timeout", timeout)
    checks.flag("fetch_local", fetch_local)


def as_completed(
    refs: list[Any],
    *,
    chunk_size: int = 10,
    yield_obj_refs: bool = False,
    timeout: float | None = None,
    fetch_local: bool = True,
) -> Iterator[Any]:
    """As `rsim.util.as_completed`. How long Ray looks at a time, and what it fetches meanwhile,
    makes no difference to what is yielded.
    """
    _check_wait(timeout, fetch_local)
    return util.as_completed(refs, chunk_size=chunk_size, yield_obj_refs=yield_obj_refs)


def map_unordered(
    fn: Any,
    items: Iterable[Any],
    *,
    backpressure_size: int | None = 100,
    chunk_size: int = 10,
    yield_obj_refs: bool = False,
    timeout: float | None = None,
    fetch_local: bool = True,
) -> Iterator[Any]:
    """As `rsim.util.map_unordered`, but that 100 tasks at most are unfinished at once."""
    _check_wait(timeout, fetch_local)
    return util.map_unordered(
        fn,
        items,
        backpressure_size=backpressure_size,
        chunk_size=chunk_size,
        yield_obj_refs=yield_obj_refs,
    )
