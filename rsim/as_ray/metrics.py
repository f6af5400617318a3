"""ray.util.metrics: counters, gauges and histograms, which count where they are and export nothing.

Decides which names, tags and values are valid, by Ray's rules: where a name is not, the user is
warned, and nothing is counted. Owns each metric's values by tags.
"""

from __future__ import annotations

import re
import warnings
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")

Tags = dict[str, str]


class Metric:
    """What the three have in common. `values`: by the tags, as sorted pairs."""

    def __init__(
        self, name: str, description: str = "", tag_keys: Sequence[str] | None = None
    ) -> None:
        if not name:
            raise ValueError("Empty name is not allowed: a metric needs one")
        self._discarded = _NAME.fullmatch(name) is None
        if self._discarded:
            text = f"Invalid metric name: {name}. Nothing is counted. Valid: letters, digits and _"
            warnings.warn(text, UserWarning, stacklevel=3)
        keys = tuple(tag_keys or ())
        if tag_keys is not None and not isinstance(tag_keys, tuple):
            raise TypeError(f"tag_keys should be a tuple of str, not {tag_keys!r}")
        for key in keys:
            if not isinstance(key, str):
                raise TypeError(f"Tag keys must be str, not {key!r}")
        self._name, self._description, self._tag_keys = name, description, keys
        self._default_tags: Tags = {}
        self.values: dict[tuple[tuple[str, str], ...], Any] = {}

    def set_default_tags(self, default_tags: Tags) -> Metric:
        """Tags for whoever gives none."""
        for key in default_tags:
            if key not in self._tag_keys:
                raise ValueError(f"Unrecognized tag key {key}.")
        _check_values(default_tags)
        self._default_tags = dict(default_tags)
        return self

    @property
    def info(self) -> dict[str, Any]:
        """Name, description, tag keys and default tags."""
        return {
            "name": self._name,
            "description": self._description,
            "tag_keys": self._tag_keys,
            "default_tags": self._default_tags,
        }

    def _key(self, tags: Tags | None) -> tuple[tuple[str, str], ...] | None:
        if self._discarded:
            return None
        _check_values(tags or {})
        full = {**self._default_tags, **(tags or {})}
        missing = [key for key in self._tag_keys if key not in full]
        if missing:
            raise ValueError(f"Missing value for tag key(s): {','.join(missing)}.")
        return tuple(sorted(full.items()))

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.info)


def _rebuild(kind: type[Metric], info: dict[str, Any]) -> Metric:
    default_tags = info.pop("default_tags")
    return kind(**info).set_default_tags(default_tags)


def _check_values(tags: Tags) -> None:
    for value in tags.values():
        if not isinstance(value, str):
            raise TypeError(f"Tag values must be str, not {value!r}")


def _check_number(value: object) -> None:
    if not isinstance(value, int | float):
        raise TypeError(f"value must be int or float, got {type(value)}.")


class Counter(Metric):
    """A value that only grows."""

    def inc(self, value: float = 1.0, tags: Tags | None = None) -> None:
        """Add to it. ValueError when the value is 0 or less."""
        _check_number(value)
        if value <= 0:
            raise ValueError(f"value must be >0, got {value}")
        if (key := self._key(tags)) is not None:
            self.values[key] = self.values.get(key, 0.0) + value


class Gauge(Metric):
    """A value that is set."""

    def set(self, value: float | None, tags: Tags | None = None) -> None:
        """Set it; None: it stays."""
        if value is None:
            return
        _check_number(value)
        if (key := self._key(tags)) is not None:
            self.values[key] = value


class Histogram(Metric):
    """How many values lie between the boundaries."""

    def __init__(
        self,
        name: str,
        description: str = "",
        boundaries: Sequence[float] | None = None,
        tag_keys: Sequence[str] | None = None,
    ) -> None:
        super().__init__(name, description, tag_keys)
        if not boundaries or any(each <= 0 for each in boundaries):
            raise ValueError(f"boundaries must be positive numbers, not {boundaries!r}")
        self.boundaries = list(boundaries)

    def observe(self, value: float, tags: Tags | None = None) -> None:
        """Count a value."""
        _check_number(value)
        if (key := self._key(tags)) is not None:
            counts = self.values.setdefault(key, [0] * (len(self.boundaries) + 1))
            counts[bisect_left(self.boundaries, value)] += 1

    @property
    def info(self) -> dict[str, Any]:
        """As of every metric, and the boundaries."""
        return {**super().info, "boundaries": self.boundaries}
