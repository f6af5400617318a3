"""`threading.local` objects: each simulated thread has attributes of its own in them.

Decides whose attributes are seen. The driver's main thread has those of the object itself; every
other simulated thread has, for each object that it uses, another one of the same class, made from
the same arguments, to which its accesses go. Must never let a real thread see any of those. Owns
them.

A worker's thread keeps its attributes from task to task, as that of a real one does.
"""

from __future__ import annotations

import _thread
import gc
import weakref
from typing import Any

from rsim.sim.virtual.context import Current, VirtualContext
from rsim.sim.virtual.locks import thread_of
from rsim.sim.virtual.patching import Function, Patcher

_Own = dict[int, Any]
"""What a thread has in place of objects, by their ids."""


class ThreadLocals:
    """What the simulated threads have in place of the objects that they use."""

    def __init__(self, current: Current) -> None:
        self._current = current
        self._main: object = None
        self._of: dict[object, _Own] = {}
        self._stand_ins: dict[int, None] = {}
        """The ids of all values of all of them."""
        self._used: dict[int, weakref.ref[Any]] = {}

    def install(self, patcher: Patcher) -> None:
        """Replace what reads, sets and deletes the attributes."""
        kind = _thread._local
        patcher.replace_slot(kind, "__getattribute__", lambda _: self._make(_get))
        patcher.replace_slot(kind, "__setattr__", lambda _: self._make(_set))
        patcher.replace_slot(kind, "__delattr__", lambda _: self._make(_delete))

    def hand_over(self, context: VirtualContext) -> None:
        """This is the context of the driver's main thread."""
        self._main = thread_of(context)

    def bury(self, thread: object) -> None:
        """Drop what a thread has that will never run again."""
        for stand_in in self._of.pop(thread, {}).values():
            self._stand_ins.pop(id(stand_in), None)

    def clear(self) -> None:
        """Drop everything."""
        self._of.clear()
        self._stand_ins.clear()
        self._used.clear()

    def _make(self, do: Function) -> Function:
        current = self._current

        def access(local: Any, *args: Any) -> Any:
            context = current()
            return do(local if context is None else self._here(local, context), *args)

        return access

    def _here(self, local: Any, context: VirtualContext) -> Any:
        """What the running thread has in place of `local`."""
        thread, key = thread_of(context), id(local)
        if thread is self._main or key in self._stand_ins:
            return local
        own = self._of.setdefault(thread, {})
        found = own.get(key)
        return self._add(local, own) if found is None else found

    def _add(self, local: Any, own: _Own) -> Any:
        kind, key = type(local), id(local)
        args, kwargs = _arguments(local)
        stand_in = _thread._local.__new__(kind, *args, **kwargs)
        if key not in self._used:
            self._used[key] = weakref.ref(local, lambda _: self._forget(key))
        self._stand_ins[id(stand_in)] = None
        own[key] = stand_in
        if kind.__init__ is not object.__init__:
            kind.__init__(stand_in, *args, **kwargs)
        return stand_in

    def _forget(self, key: int) -> None:
        self._used.pop(key, None)
        for own in self._of.values():
            stand_in = own.pop(key, None)
            if stand_in is not None:
                self._stand_ins.pop(id(stand_in), None)


_get: Function = _thread._local.__getattribute__


def _set(local: Any, name: str, value: Any) -> None:
    found = _of_class(local, name)
    if hasattr(type(found), "__set__"):
        type(found).__set__(found, local, value)
    else:
        _get(local, "__dict__")[name] = value


def _delete(local: Any, name: str) -> None:
    found, own = _of_class(local, name), _get(local, "__dict__")
    if hasattr(type(found), "__delete__"):
        type(found).__delete__(found, local)
    elif name in own:
        del own[name]
    else:
        raise AttributeError(f"{type(local).__name__!r} object has no attribute {name!r}")


def _of_class(local: Any, name: str) -> Any:
    """What the class has by a name. C has functions of its own for both of the above, which refuse
    an object whose type has others.
    """
    if name == "__dict__":
        raise AttributeError(f"{type(local).__name__!r} object attribute '__dict__' is read-only")
    return next((vars(kind)[name] for kind in type(local).__mro__ if name in vars(kind)), None)


def _arguments(local: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What an object was made from, which it keeps for the threads that are to come."""
    args: tuple[Any, ...] = ()
    for found in gc.get_referents(local):
        if type(found) is tuple:
            args = found
        elif type(found) is dict and found and all(type(name) is str for name in found):
            return args, found
    return args, {}
