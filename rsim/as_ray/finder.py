"""The modules of Ray, found before any other, with names that are looked up when they are used.

Decides which modules of Ray there are and what a name in one stands for, by the table in `names`.
Must never import more of rsim than a program uses. Owns the modules it has put into sys.modules and
those of a real Ray that it has put aside.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

from rsim.as_ray import names
from rsim.as_ray.absent import Absent, AbsentModuleError

_put_aside: dict[str, ModuleType] = {}


class RayModule(ModuleType):
    """One of Ray's modules."""

    def __getattr__(self, name: str) -> Any:
        path = f"{self.__name__}.{name}"
        targets = names.MODULES.get(self.__name__, {}).get(name)
        if targets is not None:
            for target in targets:
                found = _find(target)
                if found is not None:
                    vars(self)[name] = found
                    return found
            return Absent(path)
        if name.startswith("__"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        if names.is_module(path):
            return importlib.import_module(path)
        if names.is_private(self.__name__):
            return Absent(path)
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        # importing a submodule sets it here, where Ray has a function of the same name
        if isinstance(value, RayModule) and name in names.MODULES.get(self.__name__, {}):
            return
        super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*vars(self), *names.MODULES.get(self.__name__, {})})

    def __reduce__(self) -> tuple[Any, ...]:
        return imported, (self.__name__,)


def imported(name: str) -> ModuleType:
    """A module of Ray, also in a process where nothing is installed yet."""
    from rsim.as_ray import install

    install()
    return importlib.import_module(name)


def _find(target: str) -> Any:
    """What `module:name` stands for; None: rsim has no such thing."""
    module_name, _, attribute = target.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not module_name.startswith(error.name):
            raise
        return None
    return getattr(module, attribute, None) if attribute else module


class _Finder:
    """The finder and loader of Ray's modules."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != "ray" and not name.startswith("ray."):
            return None
        if name.startswith("ray.tests.") and path:
            found = PathFinder.find_spec(name, path, target)
            if found is not None:
                return found
        library = ".".join(name.split(".")[:2])
        if library in names.ABSENT_LIBRARIES or not (names.is_served(name)):
            absent = library if library in names.ABSENT_LIBRARIES else name
            raise AbsentModuleError(f"rsim does not have {absent}, of Ray", name=name)
        return ModuleSpec(name, _Finder, origin="rsim.as_ray", is_package=True)  # type: ignore[arg-type]

    @staticmethod
    def create_module(spec: ModuleSpec) -> RayModule:
        return RayModule(spec.name)

    @staticmethod
    def exec_module(module: ModuleType) -> None:
        table = names.MODULES.get(module.__name__, {})
        module.__doc__ = f"{module.__name__}, by rsim."
        module.__file__ = __file__
        module.__all__ = [name for name in table if not name.startswith("_")]  # type: ignore[attr-defined]


def insert() -> None:
    """Find Ray's modules here from now on."""
    _put_aside.update(_taken_out())
    sys.meta_path.insert(0, _Finder)


def remove() -> None:
    """Find them here no longer; those of a real Ray are back."""
    sys.meta_path.remove(_Finder)
    _taken_out()
    sys.modules.update(_put_aside)
    _put_aside.clear()


def _taken_out() -> dict[str, ModuleType]:
    taken = [name for name in sys.modules if name == "ray" or name.startswith("ray.")]
    return {name: sys.modules.pop(name) for name in taken}
