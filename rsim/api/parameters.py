"""The parameters of a remote function, so that a wrong call fails where it is made.

Decides whether arguments fit. Must never hold the values of defaults or annotations: it is pickled
with every remote function. Owns no state.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from inspect import Parameter, Signature
from typing import Any

__tracebackhide__ = True  # pytest shows the caller's line instead

Shape = tuple[tuple[str, int, bool], ...]
"""Name, kind and whether there is a default, of each parameter."""

_KINDS = {
    int(kind): kind
    for kind in (
        Parameter.POSITIONAL_ONLY,
        Parameter.POSITIONAL_OR_KEYWORD,
        Parameter.VAR_POSITIONAL,
        Parameter.KEYWORD_ONLY,
        Parameter.VAR_KEYWORD,
    )
}


class _Default:
    def __repr__(self) -> str:
        return "..."


_DEFAULT = _Default()


class Parameters:
    """Made of a shape; None: nothing is known of the parameters, and any arguments will do."""

    __slots__ = ("_signature", "fewest", "most", "names", "shape")

    def __init__(self, shape: Shape | None) -> None:
        self.shape = shape
        self._signature: Signature | None = None
        self.names: tuple[str, ...] = ()
        """Of those that can be given by position."""
        self.fewest, self.most = 0, sys.maxsize
        """How many positional arguments, and nothing else, certainly fit; most < fewest: none."""
        if shape is not None:
            self._measure(shape)

    def _measure(self, shape: Shape) -> None:
        positional = [each for each in shape if each[1] <= Parameter.POSITIONAL_OR_KEYWORD]
        self.names = tuple(name for name, _, _ in positional)
        self.fewest = sum(not has_default for _, _, has_default in positional)
        if all(kind != Parameter.VAR_POSITIONAL for _, kind, _ in shape):
            self.most = len(positional)
        if any(kind == Parameter.KEYWORD_ONLY and not has for _, kind, has in shape):
            self.most = -1

    @classmethod
    def of(cls, function: Callable[..., Any]) -> Parameters:
        """The parameters of a function; nothing is known of those of some written in C."""
        try:
            signature = inspect.signature(function)
        except (ValueError, TypeError):
            return cls(None)
        return cls(
            tuple(
                (each.name, int(each.kind), each.default is not Parameter.empty)
                for each in signature.parameters.values()
            )
        )

    @property
    def signature(self) -> Signature:
        """Without annotations, and with ... for every default."""
        if self._signature is None:
            self._signature = Signature(
                [
                    Parameter(name, _KINDS[kind], default=_DEFAULT if has else Parameter.empty)
                    for name, kind, has in self.shape or ()
                ]
            )
        return self._signature

    def check(self, function: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Raise TypeError, showing the signature, when the arguments do not fit."""
        if self.shape is None:
            return
        try:
            self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{function}{self.signature}: {error}") from None

    def __reduce__(self) -> tuple[Any, ...]:
        return Parameters, (self.shape,)
