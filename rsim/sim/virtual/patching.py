"""Replaces attributes of modules and classes, and puts every one back.

Decides how a replacement looks like what it stands for (name, pickling, binding). Must never
change what an attribute means: that is the caller's function. Owns the list of what it replaced.
"""

from __future__ import annotations

import ctypes
import functools
import gc
from collections.abc import Callable
from types import BuiltinFunctionType, MethodType, ModuleType
from typing import Any

Function = Callable[..., Any]
Key = int | tuple[int, int | str]

_ABSENT = object()
_IMMUTABLE_TYPE = 1 << 8  # Py_TPFLAGS_IMMUTABLETYPE


def key_of(value: Any) -> Key:
    """Identity of a callable; equal for the many objects that `random.choice` et al. make."""
    kind = type(value)
    if kind is BuiltinFunctionType:
        return id(value.__self__), value.__name__
    if kind is MethodType:
        return id(value.__self__), id(value.__func__)
    return id(value)


class _BoundStandIn:
    """Stands for a C function or a bound method: not a descriptor, pickled by its name."""

    def __reduce__(self) -> str:
        return self.__qualname__  # type: ignore[no-any-return, attr-defined]

    def __repr__(self) -> str:
        return f"<virtual {self.__module__}.{self.__qualname__}>"  # type: ignore[attr-defined]


def _stand_in(original: Any, function: Function, module: str, qualname: str) -> Any:
    """`function`, dressed as `original` found at `module`.`qualname`."""
    dressed: Any = function
    if isinstance(original, BuiltinFunctionType | MethodType):
        # A Python function would bind when it becomes a class attribute; a builtin does not.
        dressed = type("stand_in", (_BoundStandIn,), {"__call__": staticmethod(function)})()
    functools.update_wrapper(dressed, original)
    dressed.__module__, dressed.__qualname__ = module, qualname
    return dressed


def _own_dict(owner: Any) -> dict[str, Any] | None:
    """The writable dict of a C type that refuses setattr; None where setattr works."""
    if isinstance(owner, type) and owner.__flags__ & _IMMUTABLE_TYPE:
        return gc.get_referents(owner.__dict__)[0]  # type: ignore[no-any-return]
    return None


class Patcher:
    """What was replaced: `stand_ins` maps the key of each original to what stands for it."""

    def __init__(self) -> None:
        self._undo: list[tuple[Any, str, Any]] = []
        self.stand_ins: dict[Key, Any] = {}
        self.originals: dict[Key, Any] = {}

    def set(self, owner: Any, name: str, value: Any) -> None:
        """Set one attribute of a module or class until `restore`."""
        self._undo.append((owner, name, vars(owner).get(name, _ABSENT)))
        _assign(owner, name, value)

    def replace(self, module: ModuleType, path: str, make: Callable[[Any], Function]) -> None:
        """Put `make(original)` in the place of `module.path`; `path` may go through classes.

        Does nothing where the platform or the Python version lacks it.
        """
        owner: Any = module
        *parents, name = path.split(".")
        for parent in parents:
            owner = getattr(owner, parent, None)
        original = getattr(owner, name, None)
        if original is None:
            return
        dressed = _stand_in(original, make(original), module.__name__, path)
        self.set(owner, name, dressed)
        if not parents:
            self.register(original, dressed)

    def replace_classmethod(self, owner: type, name: str, make: Callable[[Any], Function]) -> None:
        """Like `replace`, for a class method of a C type; `make` gets its raw descriptor.

        The type stays the one that it is, so isinstance, pickling and C code notice nothing.
        """
        raw, bound = vars(owner).get(name), getattr(owner, name)
        self.set(owner, name, classmethod(make(raw)))
        self.register(bound, getattr(owner, name))

    def register(self, original: Any, stand_in: Any) -> None:
        """Note that aliases of `original` are to become `stand_in`."""
        self.stand_ins[key_of(original)] = stand_in
        self.originals[key_of(stand_in)] = original

    def restore(self) -> None:
        """Put everything back, last first. Does nothing the second time."""
        while self._undo:
            _assign(*self._undo.pop())


def _assign(owner: Any, name: str, value: Any) -> None:
    own = _own_dict(owner)
    if own is None:
        if value is _ABSENT:
            delattr(owner, name)
        else:
            setattr(owner, name, value)
        return
    if value is _ABSENT:
        del own[name]
    else:
        own[name] = value
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(owner))
