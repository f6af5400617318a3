"""The trace of a simulated run, and the names in it.

Decides how ids become stable paths ("d/0/3" is the fourth task that the driver's first task
submitted, "d/0/3.r0" its first result, "d/0/3.p1" the second object it put) and what a step's
record says. Must never show bytes of payloads, addresses, or ids where a path is known. Owns the
family tree of the tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

import msgspec

from rsim.core import ids
from rsim.core.events import Event, MessageArrived, TaskSubmitted
from rsim.core.records import DRIVER
from rsim.runtime.trace import Trace
from rsim.sim.engine import Key, World

DRIVER_NAME = "d"

_MAX_NAMED = 8
"""How many of an event's objects a record names; the rest is only counted."""


class Names:
    """Paths of tasks and objects by their ids."""

    def __init__(self, driver_task_id: bytes) -> None:
        self._paths = {driver_task_id: DRIVER_NAME}

    def submitted(self, task_id: bytes, parent_id: bytes, index: int) -> str:
        """Note a task; its path."""
        path = self._paths[task_id] = f"{self._paths.get(parent_id, '?')}/{index}"
        return path

    def __call__(self, key: object) -> str:
        """The path of a task or an object by its id; a name is its own path."""
        if isinstance(key, str):
            return key
        if not isinstance(key, bytes):
            return str(key)
        if len(key) != ids.OBJECT_ID_BYTES:
            return self._paths.get(key) or key.hex()
        index = int.from_bytes(key[ids.TASK_ID_BYTES :], "big")
        kind, number = ("p", index - ids.PUT_BASE) if ids.is_put(key) else ("r", index)
        return f"{self(ids.creator(key))}.{kind}{number}"


def key_getter(kind: type[msgspec.Struct]) -> Callable[[Any], Key] | None:
    """What finds, in events or messages of this kind, the task or object they are about."""
    fields = kind.__struct_fields__
    if "spec" in fields:
        return lambda about: about.spec.task_id
    for field in ("task_id", "object_id"):
        if field in fields:
            return attrgetter(field)
    return None


class MessageKeys:
    """The key of each message: the task or object it is about, else its kind."""

    def __init__(self) -> None:
        self._getters: dict[type, Callable[[Any], Key]] = {}

    def __call__(self, message: msgspec.Struct) -> Key:
        kind = type(message)
        getter = self._getters.get(kind)
        if getter is None:
            name = kind.__name__
            getter = self._getters[kind] = key_getter(kind) or (lambda _: name)
        return getter(message)


class StepTracer:
    """Records every step of every machine, with the step that caused it."""

    def __init__(self, trace: Trace, world: World, names: Names) -> None:
        self._trace = trace
        self._world = world
        self._names = names
        self._subjects: dict[type, Callable[[Any], str]] = {}

    def step(self, node: str, at_ns: int, event: Event, effects: Sequence[object]) -> None:
        world = self._world
        subject: msgspec.Struct = event
        detail = ""
        if type(event) is MessageArrived:
            subject, detail = event.message, event.source
        elif type(event) is TaskSubmitted:
            spec = event.spec
            path = self._names.submitted(spec.task_id, spec.parent_id, spec.index)
            slot = event.client if event.client != DRIVER else "driver"
            self._trace.submitted(path, node, slot, at_ns)
            detail = spec.name
        kind = type(subject)
        describe = self._subjects.get(kind)
        if describe is None:
            describe = self._subjects[kind] = self._describer(kind)
        world.cause = self._trace.record(
            at_ns, node, kind.__name__, describe(subject), world.cause, detail
        )

    def _describer(self, kind: type[msgspec.Struct]) -> Callable[[Any], str]:
        """How to name what an event or message of this kind is about."""
        names, fields = self._names, kind.__struct_fields__
        key_of = key_getter(kind)
        if key_of is not None:
            return lambda about: names(key_of(about))
        for field in ("object_ids", "task_ids"):
            if field in fields:
                return lambda about: self._list(getattr(about, field))
        for field in ("node", "client", "op"):
            if field in fields:
                return lambda about: f"{field} {getattr(about, field)}"
        return lambda about: ""

    def _list(self, keys: Sequence[bytes]) -> str:
        listed = ",".join(map(self._names, keys[:_MAX_NAMED]))
        return listed if len(keys) <= _MAX_NAMED else f"{listed},+{len(keys) - _MAX_NAMED}"
