"""Free choices: the only door through which the core may be nondeterministic.

Decides nothing itself: a machine names what it must choose between, whoever implements `Choices`
decides. Must never hold a clock or a random source. Owns no state.

A choice is free only where any answer is correct (ties, top-k, power of two, an injected fault).
Index 0 is the canonical answer: first in, first out, and no fault.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Choices(Protocol):
    """What the core draws its free choices from."""

    def pick(self, label: str, candidates: Sequence[object]) -> int:
        """Return the index of the chosen candidate.

        `label` names the kind of decision ("ready", "place"), `candidates` are stable entity keys
        (ids as bytes, or paths as str) in canonical order. Call it only when the decision is
        contested, that is with two candidates or more.
        """
        ...

    def chance(self, label: str, entity: object, rate: float) -> bool:
        """Return whether the fault `label` strikes `entity` now; `rate` is between 0 and 1."""
        ...


class FirstChoice:
    """The canonical choices, for backends that do not explore: FIFO, and no faults."""

    __slots__ = ()

    def pick(self, label: str, candidates: Sequence[object]) -> int:
        return 0

    def chance(self, label: str, entity: object, rate: float) -> bool:
        return False
