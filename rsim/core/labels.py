"""Labels of nodes, and selectors of nodes by them.

Decides whether the labels of a node meet a selector. Must never know how users write selectors.
Owns no state.
"""

from __future__ import annotations

from collections.abc import Mapping

from rsim.core.records import LabelSelector

NODE_ID = "rsim.io/node-id"
"""A label that every node has: its name."""

IN, NOT_IN, EXISTS, ABSENT = "in", "not in", "exists", "absent"
"""Operators of a selector: the label has one of the values; has none of them, or is not there; is
there; is not there.
"""


def labels_of(node: str, given: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """All labels of a node: those it was given, and its name."""
    return {**dict(given), NODE_ID: node}


def meets(labels: Mapping[str, str], selector: LabelSelector) -> bool:
    """Whether the labels meet every condition of the selector."""
    return all(_holds(labels.get(key), operator, values) for key, operator, values in selector)


def _holds(label: str | None, operator: str, values: tuple[str, ...]) -> bool:
    if operator == IN:
        return label is not None and label in values
    if operator == NOT_IN:
        return label is None or label not in values
    return (label is not None) == (operator == EXISTS)
