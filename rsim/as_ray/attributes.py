"""What Ray's functions, actors and refs have that rsim's have not, mostly private, and tests use.

Decides which. Must never change what is there already, but for two that Ray has as well and that
are different there. Owns what it has put on rsim's classes,
while it is there.
"""

from __future__ import annotations

from types import GenericAlias, SimpleNamespace
from typing import Any, NoReturn

import rsim
from rsim.api.handles import ActorMethod
from rsim.as_ray.ids import ActorID, JobID, TaskID
from rsim.core.ids import TASK_ID_BYTES
from rsim.exceptions import RsimTaskError
from rsim.runtime.refs import NIL_ID


def _remote(remote: Any, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
    """Ray's older way to call, with options."""
    chosen = remote.options(**options) if options else remote
    return chosen.remote(*(args or ()), **(kwargs or {}))


def _bind(_self: Any, *args: Any, **kwargs: Any) -> NoReturn:
    raise NotImplementedError("bind(), of Ray's DAGs and compiled graphs, is not in rsim")


class _NoCounter:
    """Counts the refs that are to no object."""

    def added(self, object_id: bytes) -> None: ...

    def dropped(self, object_id: bytes) -> None: ...


def _made_up(object_id: bytes) -> rsim.ObjectRef[Any]:
    return rsim.ObjectRef(object_id, _NoCounter())


def _random_ref() -> rsim.ObjectRef[Any]:
    return _made_up(ActorID.from_random().binary())


_REF: dict[str, Any] = {
    "nil": staticmethod(lambda: _made_up(NIL_ID)),
    "from_random": staticmethod(_random_ref),
    "size": staticmethod(lambda: len(NIL_ID)),
    "task_id": lambda ref: TaskID(ref.binary()[:TASK_ID_BYTES]),
    "job_id": lambda _ref: JobID.from_int(1),
    "owner_address": lambda _ref: b"",
    "call_site": lambda _ref: "",
}
_HANDLE: dict[str, Any] = {
    "__class_getitem__": classmethod(GenericAlias),
    "_actor_id": property(lambda handle: ActorID(handle._rsim_ref.binary())),
    "_ray_actor_id": property(lambda handle: ActorID(handle._rsim_ref.binary())),
}
_CLASS: dict[str, Any] = {
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
_INSTEAD = ("task_id",)
_ADDED: dict[type, dict[str, Any]] = {
    rsim.ActorClass: _CLASS,
    rsim.ActorHandle: _HANDLE,
    rsim.ObjectRef: _REF,
    rsim.RemoteFunction: {"_remote": _remote, "bind": _bind},
    ActorMethod: {"_remote": _remote, "bind": _bind},
    RsimTaskError: {"traceback_str": property(lambda error: error.remote_traceback)},
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
