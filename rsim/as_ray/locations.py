"""`ray.experimental.get_object_locations`: which nodes have an object in their store.

Decides nothing: what the nodes tell, in Ray's form. To Ray whatever was put is in a store, however
small it is. Owns no state.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import rsim
from rsim.api import session
from rsim.core import facts
from rsim.core.ids import is_put
from rsim.core.objects import INLINE, STATE_NAMES
from rsim.runtime import state

_WITHOUT_LIMIT = -1


def get_object_locations(
    obj_refs: Sequence[rsim.ObjectRef[Any]], timeout_ms: int = _WITHOUT_LIMIT
) -> dict[rsim.ObjectRef[Any], dict[str, Any]]:
    """By ref: the ids of the nodes whose store has the object (none, where it is a result so small
    that its owner keeps it), and its size in bytes, None while it is not known.

    Raises GetTimeoutError when the nodes have not answered in time, RuntimeError before ray.init().
    """
    if not rsim.is_initialized():
        raise RuntimeError("Ray hasn't been initialized: call ray.init() first")
    timeout_s = None if timeout_ms < 0 else timeout_ms / 1000
    found = state.ask(session.running_client(), facts.OBJECTS, timeout_s=timeout_s)
    told = {fact.object_id: fact for fact in found}
    return {ref: _location(told.get(ref.binary())) for ref in obj_refs}


get_local_object_locations = get_object_locations


def _location(fact: facts.ObjectFact | None) -> dict[str, Any]:
    if fact is None:
        return {"node_ids": [], "object_size": None, "did_spill": False}
    size = fact.size_bytes if fact.size_bytes >= 0 else None
    small = fact.place == STATE_NAMES[INLINE] and is_put(fact.object_id)
    nodes = [fact.node] if small else list(fact.copies)
    return {"node_ids": nodes, "object_size": size, "did_spill": False}
