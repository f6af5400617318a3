"""Which of many things are told: filters and limits.

Decides what a valid filter is and what it lets through, by Ray's rules. Owns no state.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from rsim.util.state.schema import StateSchema

S = TypeVar("S", bound=StateSchema)

Filter = tuple[str, str, Any]
"""(column, "=" or "!=", value); texts are compared without regard to case."""

MAX_LIMIT = 10_000


def chosen(
    states: Iterable[S],
    schema: type[S],
    filters: Sequence[Filter] | None,
    limit: int | None = None,
    detail: bool = True,
) -> list[S]:
    """Of the states, the first `limit` that all filters let through.

    ValueError for a filter that is not a valid triple, and for a limit that is not from 1 to
    10,000; TypeError for what is not even alike.
    """
    if limit is not None:
        if isinstance(limit, bool) or not isinstance(limit, int):
            raise TypeError(f"limit must be a whole number, not {limit!r}")
        if not 1 <= limit <= MAX_LIMIT:
            raise ValueError(f"limit must be from 1 to {MAX_LIMIT}, not {limit}")
    valid = [_checked(schema, each) for each in _listed(filters)]
    found = [state for state in states if all(_passes(state, each) for each in valid)][:limit]
    return found if detail else [state.without_detail() for state in found]  # type: ignore[misc]


def _listed(filters: object) -> Sequence[object]:
    if filters is None:
        return ()
    if not isinstance(filters, list | tuple):
        raise TypeError(
            f'filters must be a list of triples (column, "=" or "!=", value), not {filters!r}'
        )
    return filters


def _checked(schema: type[StateSchema], given: object) -> Filter:
    if not isinstance(given, list | tuple) or len(given) != 3:
        raise ValueError(f'a filter must be a triple (column, "=" or "!=", value), not {given!r}')
    column, operator, value = given
    valid = schema.filterable_columns()
    if not isinstance(column, str) or column.lower() not in valid:
        raise ValueError(
            f"{schema.__name__} has no column {column!r} to filter by; valid are "
            f"{', '.join(sorted(valid))}"
        )
    if operator not in ("=", "!="):
        raise ValueError(f'the operator of a filter must be "=" or "!=", not {operator!r}')
    return column.lower(), operator, value


def _passes(state: StateSchema, wanted: Filter) -> bool:
    column, operator, value = wanted
    return _equal(state[column], value) == (operator == "=")


def _equal(present: Any, value: Any) -> bool:
    if isinstance(value, str) and present is not None:
        return str(present).lower() == value.lower()
    return bool(present == value)
