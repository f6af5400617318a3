"""How Ray marks what is public, for developers, or deprecated: decorators.

Decides what a mark adds to a docstring and when it warns. Must never change what the marked thing
does otherwise. Owns no state.
"""

from __future__ import annotations

import functools
import inspect
import sys
import warnings
from collections.abc import Callable
from typing import Any

_DEPRECATED = "This API is deprecated and may be removed in future releases."
_NOT_YET_STABLE = ("alpha", "beta")
_STABILITIES = ("stable", *_NOT_YET_STABLE)


class RayDeprecationWarning(DeprecationWarning):
    """Of names that will be dropped."""


if not sys.warnoptions:
    warnings.filterwarnings("default", category=RayDeprecationWarning)  # not only in __main__


def PublicAPI(*args: Any, **options: Any) -> Any:
    """Mark what is public. stability: "stable", "alpha" or "beta"; api_group: for documents."""
    if _is_bare(args, options):
        return args[0]
    stability = options.get("stability", "stable")
    if stability not in _STABILITIES:
        raise AssertionError(f"stability must be one of {_STABILITIES}, not {stability!r}")
    if stability == "stable":
        return lambda marked: marked
    return lambda marked: _noted(
        marked, f"**PublicAPI ({stability}):** may change before it is stable."
    )


def DeveloperAPI(*args: Any, **options: Any) -> Any:
    """Mark what is for those who build upon the library."""

    def mark(marked: Any) -> Any:
        return _noted(marked, "**DeveloperAPI:** may change from release to release.")

    return mark(args[0]) if _is_bare(args, options) else mark


def Deprecated(*args: Any, **options: Any) -> Any:
    """Mark what will be dropped. message: what to use instead; warning: True: warn whoever calls
    it, by a RayDeprecationWarning. Raises ValueError for other options.
    """
    if _is_bare(args, options):
        return Deprecated()(args[0])
    message, warns = options.pop("message", ""), options.pop("warning", False)
    if options:
        raise ValueError(f"Unknown kwargs: {', '.join(options)}; valid are message and warning")
    text = f"{_DEPRECATED}\n{message}" if message else _DEPRECATED

    def mark(marked: Any) -> Any:
        _noted(marked, f".. warning::\n\n    **DEPRECATED**: {text}")
        if not warns:
            return marked
        if inspect.isclass(marked):
            marked.__init__ = _warning(marked.__init__, text)  # type: ignore[method-assign]
            return marked
        return _warning(marked, text)

    return mark


def _is_bare(args: tuple[Any, ...], options: dict[str, Any]) -> bool:
    """Whether the decorator stands without parentheses."""
    return len(args) == 1 and not options and callable(args[0])


def _noted(marked: Any, note: str) -> Any:
    marked.__doc__ = f"{inspect.cleandoc(marked.__doc__ or '')}\n\n{note}\n"
    return marked


def _warning(function: Callable[..., Any], text: str) -> Callable[..., Any]:
    @functools.wraps(function)
    def warn_first(*args: Any, **kwargs: Any) -> Any:
        warnings.warn(text, RayDeprecationWarning, stacklevel=2)
        return function(*args, **kwargs)

    return warn_first
