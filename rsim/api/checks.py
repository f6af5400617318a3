"""Checks of what users hand in, shared by `init`, the calls and the options.

Decides what counts as a number, a quantity of a resource, a time limit. Must never coerce silently
what is likely a mistake (a bool, a string). Owns no state.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from numbers import Real

from rsim.exceptions import ActorHandleNotFoundError
from rsim.runtime.refs import ForeignRefError, ObjectRef, RefCounter

_FINEST = 1e-4
_MOST = 9e14
"""What still fits 64 bits when counted in units of 1/10000."""

_FOREVER_S = 9e9
"""What does not fit 64 bits when counted in nanoseconds; 285 years."""

_OPTION_OF = {"CPU": "num_cpus", "GPU": "num_gpus", "memory": "memory"}
_OWN_LABELS = "rsim.io/"
_NO_RESOURCE = "object_store_memory"


def name(what: str, value: object) -> str:
    """A str that is not empty. Raises TypeError or ValueError."""
    if not isinstance(value, str):
        raise TypeError(f"{what} must be a str, not {value!r}")
    if not value:
        raise ValueError(f"{what} cannot be an empty string")
    return value


def number(name: str, value: object) -> float:
    """A finite number, 0 or more. Raises TypeError or ValueError."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, not {value!r}")
    amount = float(value)
    if not (math.isfinite(amount) and amount >= 0):
        raise ValueError(f"{name} must be a finite number, 0 or more, not {value!r}")
    return amount


def integer(name: str, value: object, least: int) -> int:
    """A whole number, `least` or more. Raises TypeError or ValueError."""
    if isinstance(value, bool) or not hasattr(type(value), "__index__"):
        raise TypeError(f"{name} must be an int, not {value!r}")
    count = operator.index(value)  # type: ignore[arg-type]  # as just seen
    if count < least:
        raise ValueError(f"{name} must be {least} or more, not {value!r}")
    return count


def quantity(name: str, value: object) -> float:
    """How much of a resource: 0, or 0.0001 at least; what is finer than that counts for nothing.

    Raises TypeError or ValueError.
    """
    amount = number(name, value)
    if amount > _MOST:
        raise ValueError(f"{name} must be at most {_MOST:.0e}, not {value!r}")
    if 0 < amount < _FINEST:
        raise ValueError(f"{name} must be 0, or {_FINEST:.4f} or more, not {value!r}")
    return amount


def amount_of(resource: str, name: str, value: object) -> float:
    """How much of this resource. Raises TypeError or ValueError."""
    from rsim.core.devices import KINDS

    return devices(name, value) if resource in KINDS else quantity(name, value)


def devices(name: str, value: object) -> float:
    """How many GPUs, or other accelerators: a whole number, or a part of one. Raises TypeError or
    ValueError.
    """
    amount = quantity(name, value)
    if amount > 1 and amount != int(amount):
        raise ValueError(f"{name} must be a whole number or below 1, not {value!r}")
    return amount


def text(name: str, value: object) -> str:
    """A str. Raises TypeError."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {value!r}")
    return value


def by_name(name: str, value: object, contents: str) -> dict[str, object]:
    """A dict with names as keys; `contents` says of what. Raises TypeError."""
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} must be a dict of {contents}, not {value!r}")
    for key in value:
        if not isinstance(key, str) or not key:
            raise TypeError(f"{name} must have names as keys, not {key!r}")
    return dict(value)


def resources(name: str, value: object) -> dict[str, float]:
    """Quantities by the names of custom resources. Raises TypeError or ValueError."""
    amounts = by_name(name, value, "quantities by name")
    for key in amounts:
        if key in _OPTION_OF:
            raise ValueError(f"{name} must not contain {key!r}: use {_OPTION_OF[key]}=")
        if key == _NO_RESOURCE:
            raise ValueError(f"{name} must not contain {key!r}: it cannot be asked for")
    return {key: amount_of(key, f"{name}[{key!r}]", amount) for key, amount in amounts.items()}


def labels(name: str, value: object) -> dict[str, str]:
    """Labels of a node: str by str. Raises TypeError or ValueError."""
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} must be a dict of str, not {value!r}")
    for key, label in value.items():
        text(f"a key of {name}", key)
        text(f"{name}[{key!r}]", label)
        if not key:
            raise ValueError(f"{name} must not have an empty key")
        if key.startswith(_OWN_LABELS):
            raise ValueError(f"{name} must not contain {key!r}: {_OWN_LABELS}* are given by rsim")
    return dict(value)


def timeout(value: object) -> float | None:
    """Seconds, 0 or more; None for no limit. Raises TypeError or ValueError."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"timeout must be a number of seconds or None, not {value!r}")
    seconds = float(value)
    if not seconds >= 0:
        raise ValueError(f"timeout must be 0 or more, not {value!r}")
    return seconds if seconds < _FOREVER_S else None


foreign = ForeignRefError
"""The error for a ref whose counter is not the client that it is used with."""


def foreign_handle(handle: object) -> ActorHandleNotFoundError:
    """The same for the handle of an actor."""
    return ActorHandleNotFoundError(
        f"the handle {handle!r} cannot be used here: it was made in an earlier session, whose "
        "actors are gone, or in another process and not passed on as an argument or a result"
    )


def refs_of(caller: str, refs: list[object], client: RefCounter) -> None:
    """Check a list of refs: TypeError for what is none, ValueError for what is not `client`'s."""
    for index, ref in enumerate(refs):
        if type(ref) is not ObjectRef:
            raise TypeError(
                f"{caller} takes ObjectRefs, but item {index} of the list is {ref!r}, "
                f"of type {type(ref).__name__}"
            )
        if ref._counter is not client:
            raise foreign(ref)
