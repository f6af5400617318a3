"""What users import beside the calls themselves; named and arranged as in Ray.

Decides which names there are. Must never import a part before it is used. Owns no state.
"""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING
from typing import Any as _Any

if TYPE_CHECKING:
    from rsim.api.names import list_named_actors
    from rsim.util import dask, joblib, multiprocessing, queue, scheduling_strategies, state
    from rsim.util.actor_pool import ActorPool
    from rsim.util.completion import as_completed, map_unordered
    from rsim.util.executor import Executor
    from rsim.util.queue import Queue
    from rsim.util.serializability import inspect_serializability

# Now, as it is called like its module: an import of that would hide the function.
from rsim.util.placement_group import (
    get_current_placement_group,
    get_placement_group,
    placement_group,
    placement_group_table,
    remove_placement_group,
)

__all__ = [
    "ActorPool",
    "Executor",
    "Queue",
    "as_completed",
    "dask",
    "get_current_placement_group",
    "get_placement_group",
    "inspect_serializability",
    "joblib",
    "list_named_actors",
    "map_unordered",
    "multiprocessing",
    "placement_group",
    "placement_group_table",
    "queue",
    "remove_placement_group",
    "scheduling_strategies",
    "state",
]

_HOME = {
    "ActorPool": "rsim.util.actor_pool",
    "Executor": "rsim.util.executor",
    "Queue": "rsim.util.queue",
    "as_completed": "rsim.util.completion",
    "inspect_serializability": "rsim.util.serializability",
    "list_named_actors": "rsim.api.names",
    "map_unordered": "rsim.util.completion",
}


def __getattr__(name: str) -> _Any:
    """The names, each imported when it is first used."""
    if name in _HOME:
        return getattr(_import_module(_HOME[name]), name)
    if name in __all__:
        return _import_module(f"rsim.util.{name}")
    raise AttributeError(f"module 'rsim.util' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
