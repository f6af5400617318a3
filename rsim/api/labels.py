"""Labels of nodes, as users select by them: in options, and in `NodeLabelSchedulingStrategy`.

Decides how selectors are written (as in Ray) and which are valid. Must never know the labels of a
node. Owns no state.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rsim.api import checks

if TYPE_CHECKING:
    from rsim.core.records import LabelSelector

_VALUE = r"[a-zA-Z0-9](?:[a-zA-Z0-9_.-]{0,61}[a-zA-Z0-9])?"
_ONE = re.compile(f"(!?)({_VALUE})?")
_SOME = re.compile(rf"(!?)in\(({_VALUE}(?:, ?{_VALUE})*)\)")
_KEY = re.compile(rf"(?:{_VALUE}/)?{_VALUE}")


class _Checked(tuple[Any, ...]):
    """What was found to be right: the options of a class are looked at again when they change."""

    __slots__ = ()


def selector(name: str, value: object) -> LabelSelector:
    """A selector as the core knows it: `{"region": "us", "zone": "!x", "disk": "in(ssd,nvme)"}`;
    one that was checked before stays as it is. Raises TypeError or ValueError.
    """
    if isinstance(value, _Checked):
        return value
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} must be a dict of str, not {value!r}")
    return _Checked(sorted(_condition(name, key, wanted) for key, wanted in value.items()))


def _condition(name: str, key: object, wanted: object) -> tuple[str, str, tuple[str, ...]]:
    key = checks.text(f"a key of {name}", key)
    if not _KEY.fullmatch(key):
        raise ValueError(
            f"{name} has the key {key!r}: it must be letters, digits, '-', '_' and '.', 63 at most "
            "and from letter or digit to letter or digit, after a prefix with '/' if need be"
        )
    if not isinstance(wanted, str):
        raise ValueError(f"{name}[{key!r}] must be a str, not {wanted!r}")
    match = _SOME.fullmatch(wanted) or _ONE.fullmatch(wanted)
    if match is None or wanted == "!":
        raise ValueError(
            f"{name}[{key!r}] must be a value, '!value', 'in(value,...)' or '!in(value,...)', "
            f"where a value is letters, digits, '-', '_' and '.', 63 at most; not {wanted!r}"
        )
    operator = "not in" if match[1] else "in"
    return key, operator, tuple(each.strip() for each in (match[2] or "").split(","))


def fallback(name: str, value: object) -> tuple[LabelSelector, ...]:
    """Selectors to try one after the other: `[{"label_selector": {...}}]`; what was checked before
    stays as it is. Raises TypeError or ValueError.
    """
    if isinstance(value, _Checked):
        return value
    if not isinstance(value, list):
        raise TypeError(f"{name} must be a list of dicts, not {value!r}")
    found = []
    for index, options in enumerate(value):
        if not isinstance(options, Mapping):
            raise TypeError(f"{name}[{index}] must be a dict, not {options!r}")
        for option in options:
            if option != "label_selector":
                raise ValueError(
                    f"{name}[{index}] has the option {option!r}; only label_selector can be there"
                )
        if "label_selector" in options:
            found.append(selector(f"{name}[{index}]", options["label_selector"]))
    return _Checked(found)


class _Operator:
    """What a label must be like."""

    operator = ""

    def __init__(self, *values: str) -> None:
        self.values = values

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.values))})"


class _WithValues(_Operator):
    def __init__(self, *values: str) -> None:
        kind = type(self).__name__
        if not values:
            raise ValueError(
                f"The variadic parameter of the {kind} operator must be a non-empty tuple: give "
                f"one value or more, as in {kind}('ssd', 'nvme')"
            )
        for place, value in enumerate(values):
            if not isinstance(value, str):
                raise ValueError(
                    f"Type of value in position {place} for the {kind} operator must be str, not "
                    f"{type(value).__name__}: {value!r}"
                )
        super().__init__(*(checks.text(f"a value of {kind}", value) for value in values))


class In(_WithValues):
    """The label is there, and one of the values."""

    operator = "in"


class NotIn(_WithValues):
    """The label is none of the values, or not there."""

    operator = "not in"


class _WithoutValues(_Operator):
    def __init__(self) -> None:
        super().__init__()


class Exists(_WithoutValues):
    """The label is there."""

    operator = "exists"


class DoesNotExist(_WithoutValues):
    """The label is not there."""

    operator = "absent"


class NodeLabelSchedulingStrategy:
    """Run on a node whose labels meet `hard`, if possible one whose labels meet `soft` too.

    Both are dicts of In, NotIn, Exists or DoesNotExist by label, or None. Raises ValueError.
    """

    def __init__(
        self, hard: Mapping[str, _Operator] | None, *, soft: Mapping[str, _Operator] | None = None
    ) -> None:
        self.hard = _conditions("hard", hard or {})
        self.soft = _conditions("soft", soft or {})
        if not self.hard and not self.soft:
            raise ValueError("hard and soft must not both be empty")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, NodeLabelSchedulingStrategy):
            return NotImplemented
        return (self.hard, self.soft) == (other.hard, other.soft)

    def __hash__(self) -> int:
        return hash((self.hard, self.soft))


def _conditions(name: str, given: Mapping[str, _Operator] | None) -> LabelSelector:
    if not isinstance(given, Mapping):
        raise ValueError(
            f"The {name} parameter must be a map, of labels to In, NotIn, Exists or DoesNotExist; "
            f"not {given!r}"
        )
    for key, condition in given.items():
        if not isinstance(key, str):
            raise ValueError(
                f"The map key of the {name} parameter must be of type str, not {key!r}"
            )
        if not isinstance(condition, _Operator):
            raise ValueError(
                f"{name}[{key!r}] must be one of the `In`, `NotIn`, `Exists` or `DoesNotExist` "
                f"operators, not {condition!r}"
            )
    return tuple(
        sorted(
            (checks.text(f"a key of {name}", key), each.operator, each.values)
            for key, each in given.items()
        )
    )
