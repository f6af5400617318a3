"""What a call of an actor calls: a method of its class, or one that every actor has.

Decides what a name stands for. Must never run anything. Owns nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any


class ActorExit(BaseException):
    """Raised in a method of an actor that wants to end."""


def _terminate(_actor: object) -> None:
    raise ActorExit


def _apply(actor: object, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return function(actor, *args, **kwargs)


def _method(actor: object, name: str) -> Callable[..., Any]:
    """A method of an actor's class: an attribute of the actor by the same name does not hide it."""
    if name in getattr(actor, "__dict__", ()):
        for cls in type(actor).__mro__:
            if name in cls.__dict__:
                found = cls.__dict__[name]
                bind = getattr(type(found), "__get__", None)
                method: Callable[..., Any] = bind(found, actor, type(actor)) if bind else found
                return method
    method = getattr(actor, name)
    return method


_HIDDEN: dict[str, Callable[..., Any]] = {
    "__ray_ready__": lambda _actor: True,
    "__ray_terminate__": _terminate,
    "__ray_call__": _apply,
}
"""Methods that every actor has."""


def method_of(actor: object, name: str) -> Callable[..., Any]:
    """What to call for a call by this name."""
    hidden = _HIDDEN.get(name)
    return _method(actor, name) if hidden is None else partial(hidden, actor)
