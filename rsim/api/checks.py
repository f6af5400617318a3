"""Checks of what users hand in, shared by `init`, the calls and the options.

Decides what counts as a time limit, and which refs and handles can be used. Must never coerce
silently what is likely a mistake (a bool, a string). Owns no state.
"""

from __future__ import annotations

from numbers import Real
from operator import attrgetter

from rsim.exceptions import ActorHandleNotFoundError
from rsim.runtime.checks import (
    FOREVER_S,
    amount_of,
    as_float,
    by_name,
    devices,
    flag,
    integer,
    labels,
    name,
    number,
    quantity,
    resources,
    seconds,
    shown,
    text,
)
from rsim.runtime.refs import ObjectRef, RefCounter, foreign

_REFS = {ObjectRef}
_counter_of = attrgetter("_counter")

__tracebackhide__ = True  # pytest shows the caller's line instead

__all__ = [
    "amount_of",
    "by_name",
    "devices",
    "flag",
    "foreign",
    "foreign_handle",
    "integer",
    "labels",
    "name",
    "number",
    "quantity",
    "refs_of",
    "resources",
    "seconds",
    "shown",
    "text",
    "timeout",
]


def timeout(value: object) -> float | None:
    """Seconds, 0 or more; None for no limit. Raises TypeError or ValueError."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"timeout must be a number of seconds or None, not {value!r}")
    seconds = as_float(value)
    if not seconds >= 0:
        raise ValueError(f"timeout must be 0 or more, not {shown(value)}")
    return seconds if seconds < FOREVER_S else None


def foreign_handle(handle: object) -> ActorHandleNotFoundError:
    """The same for the handle of an actor."""
    return ActorHandleNotFoundError(
        f"the handle {handle!r} cannot be used here: it was made in an earlier session, whose "
        "actors are gone, or in another process and not passed on as an argument or a result"
    )


def refs_of(caller: str, refs: list[object], client: RefCounter) -> None:
    """Check a list of refs: TypeError for what is none, ValueError for what is not `client`'s."""
    if set(map(type, refs)) == _REFS and set(map(_counter_of, refs)) == {client}:
        return  # as mostly
    for index, ref in enumerate(refs):
        if type(ref) is not ObjectRef:
            raise TypeError(
                f"{caller} takes ObjectRefs, but item {index} of the list is {ref!r}, "
                f"of type {type(ref).__name__}"
            )
        if ref._counter is not client:
            raise foreign(ref)
