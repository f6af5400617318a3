"""Checks of what users hand in that every layer shares: numbers, quantities of resources, labels.

Decides what counts as a number, a whole number, a quantity of a resource. Must never coerce
silently what is likely a mistake (a bool, a string). Owns no state.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from numbers import Real

__tracebackhide__ = True  # pytest shows the caller's line instead

_FINEST = 1e-4
_MOST = 9e14
"""What still fits 64 bits when counted in units of 1/10000."""

_MOST_DEVICES = 100_000
"""Of one kind: each has a number of its own."""

_MOST_WHOLE = (1 << 63) - 1

FOREVER_S = 9e9
"""What does not fit 64 bits when counted in nanoseconds; 285 years."""

_SHOWN = 200
"""How many characters of a bad value an error shows."""

_OPTION_OF = {"CPU": "num_cpus", "GPU": "num_gpus", "memory": "memory"}
_OWN_LABELS = "rsim.io/"
_NO_RESOURCE = "object_store_memory"


def name(what: str, value: object) -> str:
    """A str that is not empty. Raises TypeError or ValueError."""
    given = text(what, value)
    if not given:
        raise ValueError(f"{what} cannot be an empty string")
    return given


def number(name: str, value: object) -> float:
    """A finite number, 0 or more. Raises TypeError or ValueError."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, not {value!r}")
    amount = as_float(value)
    if not (math.isfinite(amount) and amount >= 0):
        raise ValueError(f"{name} must be a finite number, 0 or more, not {shown(value)}")
    return amount


def seconds(name: str, value: object) -> float:
    """A time that can be counted in nanoseconds. Raises TypeError or ValueError."""
    duration_s = number(name, value)
    if duration_s >= FOREVER_S:
        raise ValueError(f"{name} must be less than {FOREVER_S:.0e}, not {shown(value)}")
    return duration_s


def as_float(value: Real) -> float:
    """The number as a float; infinity for what is too large for one."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf  # type: ignore[operator]


def shown(value: object) -> str:
    """A value in an error; not each of the digits of a number that has hundreds."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def integer(name: str, value: object, least: int, most: int = _MOST_WHOLE) -> int:
    """A whole number from `least` to `most`. Raises TypeError or ValueError."""
    if isinstance(value, bool) or not hasattr(type(value), "__index__"):
        raise TypeError(f"{name} must be an int, not {value!r}")
    count = operator.index(value)  # type: ignore[arg-type]  # as just seen
    if count < least:
        raise ValueError(f"{name} must be {least} or more, not {shown(value)}")
    if count > most:
        raise ValueError(f"{name} must be at most {most}, not {shown(value)}")
    return count


def flag(name: str, value: object) -> bool:
    """True or False. Raises TypeError."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, not {shown(value)}")
    return value


def quantity(name: str, value: object) -> float:
    """How much of a resource: 0, or 0.0001 at least; what is finer than that counts for nothing.

    Raises TypeError or ValueError.
    """
    amount = number(name, value)
    if amount > _MOST:
        raise ValueError(f"{name} must be at most {_MOST:.0e}, not {shown(value)}")
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
    if amount > _MOST_DEVICES:
        raise ValueError(f"{name} must be at most {_MOST_DEVICES}, not {value!r}")
    if amount > 1 and amount != int(amount):
        raise ValueError(f"{name} must be a whole number or below 1, not {value!r}")
    return amount


def text(name: str, value: object) -> str:
    """A str that can be sent elsewhere: a plain one, and not numpy's, or of an enumeration. Raises
    TypeError or ValueError.
    """
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {value!r}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name} must be text, and {shown(value)} has no UTF-8 encoding") from None
    return str.__str__(value)


def by_name(name: str, value: object, contents: str) -> dict[str, object]:
    """A dict with names as keys; `contents` says of what. Raises TypeError or ValueError."""
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} must be a dict of {contents}, not {value!r}")
    found: dict[str, object] = {}
    for key in value:
        if not isinstance(key, str) or not key:
            raise TypeError(f"{name} must have names as keys, not {key!r}")
        found[text(f"a key of {name}", key)] = value[key]
    return found


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
    found = {}
    for key, label in value.items():
        found[text(f"a key of {name}", key)] = text(f"{name}[{key!r}]", label)
        if not key:
            raise ValueError(f"{name} must not have an empty key")
        if key.startswith(_OWN_LABELS):
            raise ValueError(f"{name} must not contain {key!r}: {_OWN_LABELS}* are given by rsim")
    return found
