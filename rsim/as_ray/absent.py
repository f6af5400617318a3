"""What stands in the place of a thing that Ray has and rsim does not.

Decides that an import of it succeeds, as files of tests import more than most of their tests use,
and that every use raises NotImplementedError with its name: not that in an annotation, and not
that as a base of a class, whose instances nobody can make. Must never pass for the real thing.
"""

from __future__ import annotations

import functools
from typing import Any, ClassVar, NoReturn, Union


class AbsentModuleError(ModuleNotFoundError, NotImplementedError):
    """A module of Ray that rsim does not have."""


class AbsentAttributeError(AttributeError, NotImplementedError):
    """An attribute that something of Ray has and rsim's does not."""


class Partial:
    """Something of Ray of which rsim has a part: `hasattr` says which."""

    PATH: ClassVar[str]

    def __getattr__(self, name: str) -> NoReturn:
        path = f"{self.PATH}.{name}"
        raise AbsentAttributeError(f"rsim does not have {path}, of Ray", name=name, obj=self)


class Absent:
    """A name of Ray that rsim does not have; `absent.x` is one, too."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __getattr__(self, name: str) -> Absent:
        if name.startswith("_"):
            raise AttributeError(f"rsim does not have {self._path}, of Ray", name=name, obj=self)
        return Absent(f"{self._path}.{name}")

    def _refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise NotImplementedError(f"rsim does not have {self._path}, of Ray")

    __call__ = __iter__ = __len__ = __bool__ = __int__ = __float__ = __index__ = _refuse
    __getitem__ = __contains__ = __enter__ = __exit__ = __aenter__ = __aexit__ = _refuse
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __and__ = _refuse
    __lt__ = __le__ = __gt__ = __ge__ = __fspath__ = _refuse
    __reduce__ = __reduce_ex__ = _refuse

    def __or__(self, other: Any) -> Any:
        return Union[self, other]  # noqa: UP007

    def __ror__(self, other: Any) -> Any:
        return Union[other, self]  # noqa: UP007

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[type, ...]:
        return (_base(self._path),)

    def __instancecheck__(self, instance: object) -> bool:
        return False

    def __subclasscheck__(self, subclass: type) -> bool:
        return _base(self._path) in subclass.__mro__

    def __repr__(self) -> str:
        return f"<{self._path}, of Ray: not in rsim>"


@functools.cache
def _base(path: str) -> type:
    """What a class has for a base that is derived from an absent one."""

    def refuse(cls: type, *args: Any, **kwargs: Any) -> NoReturn:
        raise NotImplementedError(f"rsim does not have {path}, of Ray, the base of {cls.__name__}")

    return type(path.rpartition(".")[2], (), {"__new__": refuse, "__module__": __name__})
