"""Finds the copies of replaced functions that other code already holds, and exchanges them.

`from time import sleep`, `def f(clock=time.time)`, `class C: clock = time.time`,
`field(default_factory=datetime.now)`: each holds the original, which no change of the module
`time` reaches. Decides which modules are user code. Must never touch the standard library (bar
the few modules listed), the test runner, or rsim. Owns the list of what it changed inside functions
and classes; module globals need none: on removal every module is searched for stand-ins, so that
modules imported meanwhile are cleaned too.

A module's own lists, dicts, tuples and `functools.partial` objects are looked into, one level deep.

Not found: copies inside instances, deeper containers and C extensions.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from types import FunctionType, ModuleType
from typing import Any

from rsim.sim.virtual.patching import Key, Patcher, key_of

IGNORED_ROOTS = frozenset(
    "rsim pytest _pytest pluggy iniconfig py xdist execnet coverage hypothesis sortedcontainers"
    " simpy greenlet numpy msgspec cloudpickle click psutil redis fakeredis"
    " mypy pip setuptools pkg_resources _distutils_hack".split()
)
IGNORED_PREFIXES = ("pytest_", "_virtualenv", "__editable__")

# These hold clocks as globals or as defaults of arguments.
STDLIB_MODULES = frozenset({"threading", "queue", "sched", "timeit"})


class Aliases:
    """The aliases of one patcher's originals."""

    def __init__(self, patcher: Patcher) -> None:
        self._patcher = patcher
        self._undo: list[Callable[[], object]] = []

    def install(self) -> None:
        """Exchange the aliases held by all imported user modules."""
        for module in _user_modules():
            _exchange(vars(module), self._patcher.stand_ins)
            if not _installed(vars(module)):
                self._exchange_in_containers(module)
                for owner in _owners(module):
                    self._exchange_within(owner)

    def rebind(self, namespace: dict[str, Any]) -> None:
        """Exchange the aliases in a dict of globals, as of a function just unpickled."""
        _exchange(namespace, self._patcher.stand_ins)

    def remove(self) -> None:
        """Put every original back. Does nothing the second time."""
        while self._undo:
            self._undo.pop()()
        for module in list(sys.modules.values()):
            if isinstance(module, ModuleType):
                _exchange(vars(module), self._patcher.originals)

    def _exchange_in_containers(self, module: ModuleType) -> None:
        for name, value in list(vars(module).items()):
            kind = type(value)
            if kind is list or kind is dict:
                if not name.startswith("__"):
                    self._exchange_items(value)
            elif kind is tuple and any(map(self._is_original, value)):
                self._set(module, name, tuple(map(self._stand_in, value)))
            elif kind is partial and self._is_original(value.func):
                stand_in = self._stand_in(value.func)
                self._set(module, name, partial(stand_in, *value.args, **value.keywords))

    def _exchange_items(self, container: Any) -> None:
        keys = list(container) if type(container) is dict else range(len(container))
        for key in keys:
            if self._is_original(container[key]):
                self._undo.append(partial(container.__setitem__, key, container[key]))
                container[key] = self._stand_in(container[key])

    def _is_original(self, value: Any) -> bool:
        return key_of(value) in self._patcher.stand_ins

    def _stand_in(self, value: Any) -> Any:
        return self._patcher.stand_ins.get(key_of(value), value)

    def _exchange_within(self, owner: type | FunctionType) -> None:
        """A function's defaults and closure; a class's own attributes and methods."""
        if isinstance(owner, FunctionType):
            self._exchange_in_function(owner)
            return
        for name, value in list(vars(owner).items()):
            function = getattr(value, "__func__", value)  # also static and class methods
            if self._is_original(value):
                self._set(owner, name, self._stand_in(value))
            elif isinstance(function, FunctionType):
                self._exchange_in_function(function)

    def _exchange_in_function(self, function: FunctionType) -> None:
        if function.__globals__.get("__name__", "").startswith("rsim."):
            return  # a stand-in, whose closure must keep the original
        defaults, named = function.__defaults__ or (), function.__kwdefaults__ or {}
        if any(map(self._is_original, defaults)):
            exchanged = tuple(map(self._stand_in, defaults))
            self._set(function, "__defaults__", exchanged)
        if any(map(self._is_original, named.values())):
            renamed = {name: self._stand_in(value) for name, value in named.items()}
            self._set(function, "__kwdefaults__", renamed)
        for cell in function.__closure__ or ():
            try:
                content = cell.cell_contents
            except ValueError:  # not filled yet
                continue
            if self._is_original(content):
                self._set(cell, "cell_contents", self._stand_in(content))

    def _set(self, owner: Any, name: str, value: Any) -> None:
        self._undo.append(partial(setattr, owner, name, getattr(owner, name)))
        setattr(owner, name, value)


def _exchange(namespace: dict[str, Any], table: dict[Key, Any]) -> None:
    for name, value in list(namespace.items()):
        replacement = table.get(key_of(value))
        if replacement is not None:
            namespace[name] = replacement


def _user_modules() -> Iterator[ModuleType]:
    imported: list[tuple[str, Any]] = list(sys.modules.items())  # anything can be in there
    for name, module in imported:
        if isinstance(module, ModuleType) and (name in STDLIB_MODULES or _is_user_code(name)):
            yield module


def _is_user_code(name: str) -> bool:
    """Whether the module of that name is a user's or a third party's."""
    root = name.partition(".")[0]
    return not (
        root in IGNORED_ROOTS
        or root in sys.stdlib_module_names
        or root.startswith(IGNORED_PREFIXES)
    )


def is_own_code(namespace: dict[str, Any]) -> bool:
    """Whether the globals are those of a module that is neither installed nor one of Python's."""
    return _is_user_code(namespace.get("__name__") or "") and not _installed(namespace)


def _installed(namespace: dict[str, Any]) -> bool:
    """Whether it is a third-party package: too many functions to look into each."""
    return "-packages" in (namespace.get("__file__") or "")


def _owners(module: ModuleType) -> Iterator[type | FunctionType]:
    for value in list(vars(module).values()):
        if isinstance(value, type | FunctionType) and value.__module__ == module.__name__:
            yield value
