"""What every machine of the core shares: the step it is in.

Decides nothing. Must never keep an effect longer than the step that made it. Owns the list of
effects of the current step, the time of that step, and the counter that numbers requests (``op``).
"""

from __future__ import annotations

from rsim.core.effects import Effect


class Step:
    """The step a machine is in; its parts all write to the same one."""

    __slots__ = ("_next_op", "now_ns", "out")

    def __init__(self) -> None:
        self.now_ns = 0
        self.out: list[Effect] = []
        self._next_op = 0

    def next_op(self) -> int:
        """A fresh number for an effect that expects an answer."""
        self._next_op += 1
        return self._next_op

    def take(self) -> list[Effect]:
        """End the step: its effects, in the order they were decided."""
        out = self.out
        self.out = []
        return out
