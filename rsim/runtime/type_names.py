"""The names that a program gives to types, on their way to another process.

Decides how aliases, `NewType`s and the parameters of generic code travel: by name where their
module can be imported and has them under it; else by value, as cloudpickle does with classes and
`TypeVar`. All of that is in the annotations of what is sent. Must never evaluate what cannot be:
an alias of a name that only type checkers import comes over unevaluated. Owns no state.
"""

from __future__ import annotations

import contextlib
import functools
import operator
import sys
import typing
from collections.abc import Callable
from typing import Any

import cloudpickle

_VALUE = "value"


def reduce_name(name: Any, reduced: Any) -> Any:
    """How pickle is to take it apart, in place of `reduced`."""
    return reduced if _is_importable(name) else _BY_VALUE[type(name)](name)


def _is_importable(name: Any) -> bool:
    module = getattr(name, "__module__", None)
    if module is None or module == "__main__" or _travels_by_value(module):
        return False
    path = getattr(name, "__qualname__", name.__name__)
    try:
        return operator.attrgetter(path)(sys.modules[module]) is name
    except (AttributeError, KeyError):
        return False


def _travels_by_value(module: str) -> bool:
    named = cloudpickle.list_registry_pickle_by_value()
    return any(module == each or module.startswith(f"{each}.") for each in named)


def _of_new_type(name: Any) -> Any:
    return _new_type, (name.__qualname__, name.__module__, name.__supertype__)


def _new_type(path: str, module: str, of: Any) -> Any:
    made = typing.NewType(path, of)  # type: ignore[misc]
    made.__module__ = module
    return made


def _of_param_spec(name: Any) -> Any:
    options = {"covariant": name.__covariant__, "contravariant": name.__contravariant__}
    return _call(typing.ParamSpec, name, bound=name.__bound__, **options)


def _of_type_var_tuple(name: Any) -> Any:
    return _call(typing.TypeVarTuple, name)


def _call(kind: Callable[..., Any], name: Any, **options: Any) -> Any:
    """With the default, if it has one, as it can since Python 3.13."""
    if getattr(name, "has_default", bool)():
        options["default"] = name.__default__
    return functools.partial(kind, name.__name__, **options), ()


def _of_alias(name: Any) -> Any:
    """One without parameters, made before its value, of which it may be a part."""
    if name.__type_params__:
        kind: Callable[..., Any] = type(name)
        value, parameters = name.__value__, name.__type_params__
        return functools.partial(kind, name.__name__, value, type_params=parameters), ()
    namespace = {"__name__": name.__module__}
    with contextlib.suppress(NameError):
        value = name.__value__
        return _alias, (name.__name__, namespace), (namespace, value), None, None, _evaluate
    return _alias, (name.__name__, namespace)


def _alias(name: str, namespace: dict[str, Any]) -> Any:
    exec(f"type {name} = {_VALUE}", namespace)  # no syntax of Python 3.11's
    return namespace[name]


def _evaluate(_: object, state: tuple[dict[str, Any], Any]) -> None:
    namespace, value = state
    namespace[_VALUE] = value


_BY_VALUE: dict[type, Callable[[Any], Any]] = {
    typing.NewType: _of_new_type,
    typing.ParamSpec: _of_param_spec,
    typing.TypeVarTuple: _of_type_var_tuple,
}
if sys.version_info >= (3, 12):
    _BY_VALUE[typing.TypeAliasType] = _of_alias

KINDS = frozenset(_BY_VALUE)
