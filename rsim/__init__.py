"""Tasks, actors and object refs: one scheduling core under a simulated and a real cluster."""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING
from typing import Any as _Any

from rsim import exceptions
from rsim.api.actor_options import method
from rsim.api.actors import ActorClass, kill
from rsim.api.calls import cancel, get, put, wait
from rsim.api.groups import get_gpu_ids
from rsim.api.handles import ActorHandle
from rsim.api.names import get_actor
from rsim.api.remote import RemoteFunction, remote
from rsim.api.runtime_context import RuntimeContext, get_runtime_context
from rsim.api.session import Session, init, is_initialized, shutdown
from rsim.api.state import available_resources, cluster_resources, nodes, timeline
from rsim.runtime.generators import DynamicObjectRefGenerator, ObjectRefGenerator
from rsim.runtime.refs import ObjectRef

if TYPE_CHECKING:
    from . import actor as actor
    from . import sim as sim
    from . import util as util

__version__ = "0.1.0"

__all__ = [
    "ActorClass",
    "ActorHandle",
    "DynamicObjectRefGenerator",
    "ObjectRef",
    "ObjectRefGenerator",
    "RemoteFunction",
    "RuntimeContext",
    "Session",
    "__version__",
    "available_resources",
    "cancel",
    "cluster_resources",
    "exceptions",
    "get",
    "get_actor",
    "get_gpu_ids",
    "get_runtime_context",
    "init",
    "is_initialized",
    "kill",
    "method",
    "nodes",
    "put",
    "remote",
    "shutdown",
    "timeline",
    "wait",
]

_ON_DEMAND = ("actor", "sim", "util")


def __getattr__(name: str) -> _Any:
    """The packages that are imported when they are first used."""
    if name in _ON_DEMAND:
        return _import_module(f"rsim.{name}")
    raise AttributeError(f"module 'rsim' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, *_ON_DEMAND]
