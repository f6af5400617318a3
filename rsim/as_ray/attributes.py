"""What Ray's functions, actors and refs have that rsim's have not, mostly private, and tests use.

Decides which. Must never change what is there already, but for three that Ray has as well and that
are different there. Owns what it has put on rsim's classes,
while it is there.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable
from types import GenericAlias, SimpleNamespace
from typing import Any, NoReturn

import rsim
from rsim.api.handles import ActorMethod
from rsim.api.runtime_context import RuntimeContext
from rsim.as_ray.annotations import RayDeprecationWarning
from rsim.as_ray.exceptions import OufOfBandObjectRefSerializationException
from rsim.as_ray.ids import ActorID, NodeID, PlacementGroupID, TaskID, current_job
from rsim.core.ids import TASK_ID_BYTES
from rsim.core.records import STREAMING
from rsim.exceptions import RsimActorError, RsimTaskError, type_name
from rsim.runtime.refs import NIL_ID


def _remote(remote: Any, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
    """Ray's older way to call, with options."""
    chosen = remote.options(**options) if options else remote
    return chosen.remote(*(args or ()), **(kwargs or {}))


def _bind(_self: Any, *args: Any, **kwargs: Any) -> NoReturn:
    raise NotImplementedError("bind(), of Ray's DAGs and compiled graphs, is not in rsim")


_OPTIONS = property(lambda it: dict(it._options._given))
"""Of functions and classes: those that were given."""
_REF: dict[str, Any] = {
    "nil": staticmethod(lambda: rsim.ObjectRef(NIL_ID)),
    "from_binary": staticmethod(rsim.ObjectRef),
    "from_hex": staticmethod(lambda digits: rsim.ObjectRef(bytes.fromhex(digits))),
    "from_random": staticmethod(lambda: rsim.ObjectRef(ActorID.from_random().binary())),
    "size": staticmethod(lambda: len(NIL_ID)),
    "task_id": lambda ref: TaskID(ref.binary()[:TASK_ID_BYTES]),
    "job_id": lambda _ref: current_job(),
    "tensor_transport": lambda _ref: None,
    "owner_address": lambda _ref: b"",
    "call_site": lambda _ref: "",
}
_HANDLE: dict[str, Any] = {
    "__class_getitem__": classmethod(GenericAlias),
    "_actor_id": property(lambda handle: ActorID(handle._rsim_ref.binary())),
    "_ray_actor_id": property(lambda handle: ActorID(handle._rsim_ref.binary())),
}
_GENERATOR: dict[str, Any] = {"_generator_ref": property(lambda stream: stream.completed())}
_CLASS: dict[str, Any] = {
    "_default_options": _OPTIONS,
    "__class_getitem__": classmethod(GenericAlias),
    "_remote": _remote,
    "bind": _bind,
    "__ray_actor_class__": property(lambda actor_class: actor_class._cls),
    "__ray_metadata__": property(
        lambda actor_class: SimpleNamespace(
            modified_class=actor_class._cls, class_name=actor_class._definition.name
        )
    ),
}


def _in_worker(context: RuntimeContext, name: str) -> None:
    assert context.get_task_id() is not None, f"{name} is available in a task or an actor only"


def _old(name: str, value_of: Callable[[RuntimeContext], Any]) -> property:
    """An attribute of the runtime context that Ray keeps for older programs."""

    def get(context: RuntimeContext) -> Any:
        message = f"Use get_{name.removeprefix('current_')}() instead of {name}"
        warnings.warn(message, RayDeprecationWarning, stacklevel=2)
        return value_of(context)

    return property(get)


def _task_id(context: RuntimeContext) -> TaskID:
    _in_worker(context, "task_id")
    return TaskID.from_hex(str(context.get_task_id()))


def _actor_id(context: RuntimeContext) -> ActorID | None:
    _in_worker(context, "actor_id")
    digits = context.get_actor_id()
    return None if digits is None else ActorID.from_hex(digits)


def _group_id(context: RuntimeContext) -> PlacementGroupID:
    digits = context.get_placement_group_id()
    return PlacementGroupID.nil() if digits is None else PlacementGroupID.from_hex(digits)


def _ids(context: RuntimeContext) -> dict[str, Any]:
    """The ids that there are, by name, and the namespace."""
    found = {
        "job_id": current_job(),
        "node_id": NodeID.from_hex(context.get_node_id()),
        "namespace": context.namespace,
    }
    if context.get_task_id() is not None:
        found["task_id"] = _task_id(context)
        if context.get_actor_id() is not None:
            found["actor_id"] = _actor_id(context)
    return found


def may_leave(ref: rsim.ObjectRef[Any]) -> None:
    """Whether Ray's setting allows that a ref is pickled by hand, or captured by a function."""
    if os.environ.get(_PICKLING, "1").lower() not in ("1", "true"):
        raise OufOfBandObjectRefSerializationException(
            f"{ref!r} is pickled outside of a value or an argument, which {_PICKLING}="
            f"{os.environ[_PICKLING]} forbids"
        )


_PICKLING = "RAY_allow_out_of_band_object_ref_serialization"
_task_error = RsimTaskError.__init__
_as_cause = RsimTaskError.as_instanceof_cause
_logger = logging.getLogger("ray.exceptions")


def _as_instanceof_cause(error: RsimTaskError) -> RsimTaskError:
    """Say, as Ray does, when it cannot be of the user's type, too."""
    dual = _as_cause(error)
    if type(dual) is RsimTaskError and isinstance(error.cause, Exception):
        _logger.warning(
            "The class %s cannot be subclassed. This exception is raised as RayTaskError only. You "
            "can use `ray_task_error.cause` to access the user exception.",
            type_name(error.cause),
        )
    return dual


def _init_task_error(error: RsimTaskError, *args: Any, **kwargs: Any) -> None:
    """Take Ray's arguments (function_name, traceback_str, cause, ...), or rsim's own."""
    if "traceback_str" in kwargs or (args and isinstance(args[0], str)):
        given = {
            **dict(zip(("function_name", "traceback_str", "cause"), args, strict=False)),
            **kwargs,
        }
        args = given["cause"], given["function_name"], given["traceback_str"]
        kwargs = {}
    _task_error(error, *args, **kwargs)


_actor_error = RsimActorError.__init__


def _init_actor_error(
    error: RsimActorError, message: str = "", actor_id: str | bytes | None = ""
) -> None:
    """Take the actor's id by position, too, and as bytes."""
    shown = actor_id.hex() if isinstance(actor_id, bytes) else actor_id or ""
    _actor_error(error, message, actor_id=shown)


def _init_failed(error: RsimActorError) -> bool:
    return "error raised in its creation task" in str(error)


_CONTEXT: dict[str, Any] = {
    "get": _ids,
    "get_resource_ids": lambda context: context.get_accelerator_ids(),
    "job_id": _old("job_id", lambda _context: current_job()),
    "node_id": _old("node_id", lambda context: NodeID.from_hex(context.get_node_id())),
    "task_id": _old("task_id", _task_id),
    "actor_id": _old("actor_id", _actor_id),
    "current_placement_group_id": _old("current_placement_group_id", _group_id),
}
_INSTEAD = ("task_id", "get", "__init__", "as_instanceof_cause")
_ADDED: dict[type, dict[str, Any]] = {
    rsim.ActorClass: _CLASS,
    rsim.ActorHandle: _HANDLE,
    rsim.ObjectRef: _REF,
    rsim.ObjectRefGenerator: _GENERATOR,
    rsim.RemoteFunction: {"_remote": _remote, "bind": _bind, "_default_options": _OPTIONS},
    ActorMethod: {
        "_remote": _remote,
        "bind": _bind,
        "_method_name": property(lambda method: method._name),
        "_num_returns": property(
            lambda method: "streaming" if method._results == STREAMING else method._results
        ),
    },
    RuntimeContext: _CONTEXT,
    RsimActorError: {
        "__init__": _init_actor_error,
        "preempted": False,
        "actor_init_failed": property(_init_failed),
    },
    RsimTaskError: {
        "__init__": _init_task_error,
        "as_instanceof_cause": _as_instanceof_cause,
        "make_dual_exception_instance": lambda error: error.as_instanceof_cause(),
        "traceback_str": property(lambda error: error.remote_traceback),
    },
}

_attached: list[tuple[type, str, Any]] = []
"""Where what is, and what was there before: None if nothing."""


def attach() -> None:
    """Put them on rsim's classes, but for those that are there, unless they are Ray's own way."""
    for owner, added in _ADDED.items():
        for name, value in added.items():
            if name in vars(owner) and name not in _INSTEAD:
                continue
            _attached.append((owner, name, vars(owner).get(name)))
            setattr(owner, name, value)


def detach() -> None:
    """Take them away again."""
    while _attached:
        owner, name, before = _attached.pop()
        if before is None:
            delattr(owner, name)
        else:
            setattr(owner, name, before)
