"""Which part of a value cannot be pickled.

Decides where the search goes: into containers, attributes, and what functions capture, always
along what pickle itself would follow. Never changes the value. Owns no state. It pickles parts
again and again, so it is for use after a failure only.
"""

from __future__ import annotations

import copyreg
import dis
import functools
import io
import reprlib
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cloudpickle

from rsim.exceptions import text_of, type_name
from rsim.runtime import type_names
from rsim.runtime.refs import ObjectRef, recipe

_MAX_DEPTH = 64
_MAX_TRIALS = 2000
_MAX_CULPRITS = 8
_SHOWN = 3

Parts = list[tuple[str, Any]]


@dataclass(frozen=True, slots=True)
class Culprit:
    """A smallest part that cannot be pickled, the path to it, and what pickle says about it."""

    path: str
    value: object
    error: Exception

    def __str__(self) -> str:
        name, reason = type_name(self.value), text_of(self.error)
        article = "an" if name[0] in "aeiouAEIOU" else "a"
        sentence = f"{self.path} is {article} {name}, which cannot be pickled"
        # pickle's own "cannot pickle 'x' object" has nothing to add
        return sentence if reason.lower().startswith("cannot pickle") else f"{sentence}: {reason}"


def find_unpicklable(value: object, name: str = "value") -> list[Culprit]:
    """The smallest parts of a value that cannot be pickled; [] if all of it can.

    `name` begins their paths. Past a few culprits the search ends.
    """
    error = _failure(value)
    if error is None:
        return []
    search = _Search()
    search.visit(name, value, error, 0)
    return search.found or [Culprit(name, value, error)]


def describe(culprits: Sequence[Culprit]) -> str:
    """The culprits in a sentence."""
    text = "; ".join(map(str, culprits[:_SHOWN]))
    return f"{text}; and more" if len(culprits) > _SHOWN else text


class _Trial(cloudpickle.Pickler):  # type: ignore[misc]
    """cloudpickle's, to find out whether it works: what it writes is never read."""

    def reducer_override(self, obj: Any) -> Any:
        if type(obj) is ObjectRef:
            return recipe(obj)
        reduced = super().reducer_override(obj)
        return type_names.reduce_name(obj, reduced) if type(obj) in type_names.KINDS else reduced


def _failure(value: object) -> Exception | None:
    try:
        _Trial(io.BytesIO(), 5, buffer_callback=lambda buffer: None).dump(value)
    except Exception as error:
        return error
    return None


class _Search:
    def __init__(self) -> None:
        self.found: list[Culprit] = []
        self._visited: dict[int, object] = {}  # keeps what it has seen, so that ids stay unique
        self._trials = 0

    def visit(self, path: str, value: object, error: Exception, depth: int) -> None:
        self._visited[id(value)] = value
        explained = False
        if depth < _MAX_DEPTH and "recursion" not in text_of(error):
            for part_path, part, part_error in self._failing(_parts(path, value)):
                explained = True
                if id(part) not in self._visited:
                    self.visit(part_path, part, part_error, depth + 1)
        if not explained:
            self.found.append(Culprit(path, value, error))

    def _failing(self, parts: Parts) -> Iterator[tuple[str, Any, Exception]]:
        """The parts that fail, found by halving: most parts of a large value are fine."""
        if not parts or self._trials >= _MAX_TRIALS or len(self.found) >= _MAX_CULPRITS:
            return
        self._trials += 1
        error = _failure([part for _, part in parts])
        if error is None:
            return
        if len(parts) == 1:
            yield *parts[0], error
            return
        middle = len(parts) // 2
        yield from self._failing(parts[:middle])
        yield from self._failing(parts[middle:])


def _parts(path: str, value: Any) -> Parts:
    """What pickle would pickle for the value, each part with its path."""
    kind = type(value)
    if kind is dict:
        return _entries(path, value)
    if kind in (list, tuple):
        return _items(path, value)
    if kind in (set, frozenset):
        return [(f"an item of {path}", item) for item in value]
    if kind is types.FunctionType:
        return _captured(path, value)
    if kind is types.MethodType:
        return [(f"{path}.__self__", value.__self__), (f"{path}.__func__", value.__func__)]
    if kind is functools.partial:
        return [(f"{path}.{name}", getattr(value, name)) for name in ("func", "args", "keywords")]
    if isinstance(value, type):
        skipped = ("__dict__", "__weakref__", "_abc_impl")
        return _attributes(path, {k: v for k, v in vars(value).items() if k not in skipped})
    return _reduced(path, value)


def _items(path: str, items: Sequence[Any]) -> Parts:
    return [(f"{path}[{index}]", item) for index, item in enumerate(items)]


def _entries(path: str, entries: Mapping[Any, Any]) -> Parts:
    keys = [(f"a key of {path}", key) for key in entries]
    return keys + [(f"{path}[{reprlib.repr(key)}]", item) for key, item in entries.items()]


def _attributes(path: str, attributes: Mapping[str, Any]) -> Parts:
    return [(f"{path}.{name}", item) for name, item in attributes.items()]


def _captured(path: str, function: types.FunctionType) -> Parts:
    parts: Parts = []
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            parts.append((f"{path}, captured variable {name}", cell.cell_contents))
        except ValueError:  # not assigned yet
            continue
    namespace = function.__globals__
    for name in _global_names(function.__code__):
        if name in namespace:
            parts.append((f"{path}, global variable {name}", namespace[name]))
    for index, default in enumerate(function.__defaults__ or ()):
        parts.append((f"{path}, default value {index + 1}", default))
    for name, default in (function.__kwdefaults__ or {}).items():
        parts.append((f"{path}, default of {name}", default))
    return parts + _attributes(path, function.__dict__)


def _global_names(code: types.CodeType) -> dict[str, None]:
    """Names of the globals that the code and the functions in it use."""
    names = dict.fromkeys(
        instruction.argval
        for instruction in dis.get_instructions(code)
        if instruction.opname.endswith("_GLOBAL")
    )
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= _global_names(constant)
    return names


def _reduced(path: str, value: Any) -> Parts:
    """Parts of an object as its own __reduce__ gives them."""
    if getattr(getattr(value, "dtype", None), "hasobject", False):  # a numpy array of objects
        return _items(path, value.ravel().tolist())
    reducer = copyreg.dispatch_table.get(type(value))
    try:
        reduced = reducer(value) if reducer else value.__reduce_ex__(5)
    except Exception:
        return []
    if not isinstance(reduced, tuple):
        return []
    function, arguments, state, items, entries = (*reduced, None, None, None)[:5]
    labels = [f"constructor argument {index + 1} of {path}" for index in range(len(arguments))]
    if function is getattr(copyreg, "__newobj__", None):
        labels[0] = f"the type of {path}"
    parts = [*zip(labels, arguments, strict=True), *_state(path, state)]
    return parts + _items(path, list(items or ())) + _entries(path, dict(entries or ()))


def _state(path: str, state: Any) -> Parts:
    if state is None or isinstance(state, dict):
        return _attributes(path, state or {})
    match state:  # an object with __slots__
        case (None | dict() as attributes, dict() as slots):
            return _attributes(path, {**(attributes or {}), **slots})
    return [(f"the state of {path}", state)]
