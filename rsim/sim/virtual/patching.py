"""Replaces attributes of modules and classes, and puts every one back.

Decides how a replacement looks like what it stands for (name, pickling, binding). Must never
change what an attribute means: that is the caller's function. Owns the list of what it replaced.
"""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Callable, MutableMapping
from functools import partial, update_wrapper
from types import BuiltinFunctionType, MethodType, ModuleType
from typing import Any

Function = Callable[..., Any]
Key = int | tuple[int, int | str]

_ABSENT = object()
_IMMUTABLE_TYPE = 1 << 8  # Py_TPFLAGS_IMMUTABLETYPE
_FLAGS_OFFSET = 21 * ctypes.sizeof(ctypes.c_void_p)  # of tp_flags in a PyTypeObject


def key_of(value: Any) -> Key:
    """Identity of a callable; equal for the many objects that `random.choice` et al. make."""
    kind = type(value)
    if kind is BuiltinFunctionType:
        return id(value.__self__), value.__name__
    if kind is MethodType:
        return id(value.__self__), id(value.__func__)
    return id(value)


class BoundStandIn:
    """Stands for a C function or a bound method: not a descriptor, pickled by its name."""

    def __reduce__(self) -> str | tuple[Any, ...]:
        home, name = self.__module__, self.__qualname__  # type: ignore[attr-defined]
        return name if named(home, name) is self else (named, (home, name))

    def __repr__(self) -> str:
        return f"<virtual {self.__module__}.{self.__qualname__}>"  # type: ignore[attr-defined]


def named(module: str, name: str) -> Any:
    """The function of that name."""
    __import__(module)
    return getattr(sys.modules[module], name)


def _stand_in(original: Any, function: Function, module: str, qualname: str) -> Any:
    """`function`, dressed as `original` found at `module`.`qualname`."""
    dressed: Any = function
    if isinstance(original, BuiltinFunctionType | MethodType | BoundStandIn):
        # A Python function would bind when it becomes a class attribute; a builtin does not.
        dressed = type("stand_in", (BoundStandIn,), {"__call__": staticmethod(function)})()
    update_wrapper(dressed, original)
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
        self._undo: list[Callable[[], None]] = []
        self.stand_ins: dict[Key, Any] = {}
        self.originals: dict[Key, Any] = {}

    def set(self, owner: Any, name: str, value: Any) -> None:
        """Set one attribute of a module or class until `restore`."""
        self._undo.append(partial(_assign, owner, name, vars(owner).get(name, _ABSENT)))
        _assign(owner, name, value)

    def refresh(self, owner: type, name: str, within: str) -> None:
        """Let `owner.name`, which each instance keeps a copy of from another object, its attribute
        `within`, be looked up there each time.
        """

        def keep(instance: Any, value: Any) -> None:
            vars(instance)[name] = value

        fresh = property(lambda instance: getattr(getattr(instance, within), name), keep)
        self.set(owner, name, fresh)

    def set_item(self, table: MutableMapping[Any, Any], key: Any, value: Any) -> None:
        """Set one item of a mapping until `restore`."""
        self._undo.append(partial(_put, table, key, table.get(key, _ABSENT)))
        table[key] = value

    def replace(self, module: ModuleType, path: str, make: Callable[[Any], Function]) -> None:
        """Put `make(original)` in the place of `module.path`; `path` may go through classes.

        A function is also replaced in the C module where it was made, under which name it pickles
        (`os.fork` is `posix.fork`). The second replacement of a function replaces the first. Does
        nothing where the platform or the Python version lacks it.
        """
        owner: Any = module
        *parents, name = path.split(".")
        for parent in parents:
            owner = getattr(owner, parent, None)
        original = getattr(owner, name, None)
        if original is None:
            return
        first = self.originals.get(key_of(original), original)
        dressed = _stand_in(first, make(first), module.__name__, path)
        self.set(owner, name, dressed)
        if not parents:
            self.register(first, dressed)
            home = sys.modules.get(first.__module__)
            if home is not module and getattr(home, name, None) is original:
                self.set(home, name, dressed)

    def replace_classmethod(self, owner: type, name: str, make: Callable[[Any], Function]) -> None:
        """Like `replace`, for a class method of a C type; `make` gets its raw descriptor.

        The type stays the one that it is, so isinstance, pickling and C code notice nothing.
        """
        raw, bound = vars(owner).get(name), getattr(owner, name)
        self.set(owner, name, classmethod(make(raw)))
        self.register(bound, getattr(owner, name))

    def replace_slot(self, owner: type, name: str, make: Callable[[Any], Function]) -> None:
        """Like `replace`, for a special method of a C type, which Python looks up in a slot."""
        original = vars(owner)[name]
        self._undo.append(partial(_assign_slot, owner, name, original))
        _assign_slot(owner, name, make(original))

    def register(self, original: Any, stand_in: Any) -> None:
        """Note that aliases of `original` are to become `stand_in`."""
        self.stand_ins[key_of(original)] = stand_in
        self.originals[key_of(stand_in)] = original

    def restore(self) -> None:
        """Put everything back, last first. Does nothing the second time."""
        while self._undo:
            self._undo.pop()()


def _put(table: MutableMapping[Any, Any], key: Any, value: Any) -> None:
    if value is _ABSENT:
        del table[key]
    else:
        table[key] = value


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


def _assign_slot(owner: type, name: str, value: Any) -> None:
    """Set a special method of a C type that refuses it; its slot and its subclasses' follow."""
    flags = ctypes.c_ulong.from_address(id(owner) + _FLAGS_OFFSET)
    if flags.value != owner.__flags__:
        raise RuntimeError(f"the layout of {owner} is unknown")
    flags.value &= ~_IMMUTABLE_TYPE
    try:
        setattr(owner, name, value)
    finally:
        flags.value |= _IMMUTABLE_TYPE
