"""Functions as the cluster knows them: exported once per client, under an id made of their content.

Decides the ids. An id follows from the pickled function, so that whoever exports the same function
(a task that is run again, another worker) gets the same id, and another function never does.
Functions that refer to each other, or to themselves, are pickled as a group, with a mark in place
of each id, as the ids follow from the whole. Must never pickle a function that another process
defined: it has the id only. Owns the group that is being pickled.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from functools import WRAPPER_ASSIGNMENTS
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from rsim.api.parameters import Parameters
from rsim.runtime import current

if TYPE_CHECKING:
    from rsim.runtime.client import Client
    from rsim.runtime.refs import ObjectRef

_ID_BYTES = 16

_lock = threading.RLock()
_group: _Group | None = None


class Definition:
    """One function; shared by the remote functions that differ in their options only.

    `function_id` is valid for `client()`, the client that it was last bound to. Each client exports
    on its own, even where several share this process: one may die before its export arrives.
    """

    __slots__ = (
        "__weakref__",
        "_ids",
        "captured",
        "client",
        "function",
        "function_id",
        "name",
        "parameters",
        "qualified",
    )

    def __init__(
        self, name: str, parameters: Parameters, function: Callable[..., Any] | None = None
    ) -> None:
        self.name = self.qualified = name
        """The second: a class's name with those of what it is defined in."""
        self.parameters = parameters
        self.function = function
        """None: it is defined in another process."""
        self.function_id = b""
        self.captured: tuple[ObjectRef[Any], ...] = ()
        """The refs that it, or a function of its group, had captured when it was exported last:
        whoever calls it lends them with each call, as if they were among the arguments.
        """
        self.client: Callable[[], Client | None] = _nobody
        self._ids: weakref.WeakKeyDictionary[Client, bytes] = weakref.WeakKeyDictionary()

    def bind(self, client: Client, function_id: bytes = b"") -> None:
        """Set `function_id` to that for `client`, exporting the function if need be."""
        known = function_id or self._ids.get(client) or _export(self, client)
        if known == client.loading and not function_id:
            client.regress = self.name
        self._ids[client] = self.function_id = known
        self.client = weakref.ref(client)
        if self.captured:
            client.captured[known] = tuple(ref.binary() for ref in self.captured)

    def id_here(self, pickled: object) -> bytes:
        """The id for the client that acts now. RuntimeError when no runtime is running."""
        if current.client is None:
            raise RuntimeError(
                f"cannot pickle {pickled!r}: no runtime is running; call rsim.init() first"
            )
        return self.id_for(current.client)

    def id_for(self, client: Client) -> bytes:
        """The id to be pickled: while functions are being pickled for export, theirs are marks."""
        known = self._ids.get(client)
        if known is not None:
            return known
        with _lock:  # held by a thread that exports: no other one ever sees a group
            if _group is not None and _group.client is client:
                return _group.mark_of(self)
            self.bind(client)
            return self.function_id

    def describe(self, remote: object) -> None:
        """Give what is called in its place its name, docstring and module, for help() and such."""
        described = vars(remote)
        described["__name__"] = described["__qualname__"] = self.name
        if self.function is not None:
            for attribute in WRAPPER_ASSIGNMENTS:
                if hasattr(self.function, attribute):
                    described[attribute] = getattr(self.function, attribute)
            described["__wrapped__"] = self.function


def rebuilt(
    kind: str,
    name: str,
    parameters: Parameters,
    function_id: bytes,
    captured: tuple[ObjectRef[Any], ...],
) -> Definition:
    """The definition that a pickled `kind` of callable had. RuntimeError without a runtime."""
    client = current.client
    if client is None:
        raise RuntimeError(
            f"cannot unpickle the {kind} {name}: no runtime is running in this process; "
            "call rsim.init() first"
        )
    definition = Definition(name, parameters)
    definition.captured = captured
    definition.bind(client, function_id)
    return definition


def _nobody() -> None:
    return None


def _export(definition: Definition, client: Client) -> bytes:
    global _group
    with _lock:
        outer, _group = _group, _Group(client)
        try:
            _group.add(definition)
            return _group.export()[definition]
        finally:
            _group = outer


class _Group:
    """Functions that are pickled together, as each refers to the next."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._marks: dict[Definition, bytes] = {}
        self._blobs: dict[Definition, bytes] = {}
        self._captured: dict[bytes, ObjectRef[Any]] = {}

    def add(self, definition: Definition) -> None:
        """Pickle the function, and those to which it refers; twice if there are refs among what
        they capture, which are told with the name of each.
        """
        self.mark_of(definition)
        refs = self._captured.values()
        captured = tuple(ref for ref in refs if ref._counter is self.client)  # of this session
        for each in self._marks:
            each.captured = captured
        if captured:
            for each in self._marks:
                self._blobs[each] = _pickled(each, {})

    def mark_of(self, definition: Definition) -> bytes:
        """What stands for the function's id until all of the group are pickled."""
        mark = self._marks.get(definition)
        if mark is None:
            mark = self._marks[definition] = _digest(b"rsim mark", len(self._marks))
            self._blobs[definition] = _pickled(definition, self._captured)
        return mark

    def export(self) -> dict[Definition, bytes]:
        """Export the functions and return their ids."""
        content = _digest(b"".join(self._blobs[each] for each in self._marks), len(self._marks))
        ids = {each: _digest(content, place) for place, each in enumerate(self._marks)}
        for definition, marked in self._blobs.items():
            blob = marked
            for other, mark in self._marks.items():
                blob = blob.replace(mark, ids[other])
            self.client.channel.export_function(ids[definition], blob)
        for definition, function_id in ids.items():
            definition.bind(self.client, function_id)
        return ids


def _digest(content: bytes, number: int) -> bytes:
    return blake2b(content + number.to_bytes(8, "big"), digest_size=_ID_BYTES).digest()


def _pickled(definition: Definition, captured: dict[bytes, ObjectRef[Any]]) -> bytes:
    from rsim.runtime.serialization import serialize_function

    if definition.function is None:
        raise ValueError(
            f"the remote function {definition.name} cannot be used here: it came from a task of an "
            "earlier session, or from another process and not as an argument or a result"
        )
    return serialize_function(definition.function, captured)
