"""Devices: which of a node's GPUs a task gets.

Decides on concrete indices where a quantity alone is not enough: whole devices are given to one
task each, fractions share one. Must never give more of a device than there is. Owns what is free of
each device, under every name that it goes by (its own, and those of the bundles it is reserved
for).
"""

from __future__ import annotations

from rsim.core.records import RESOURCE_UNITS, Demand

DEVICE = "GPU"
"""The resource whose units are devices."""

Grant = tuple[tuple[int, int], ...]
"""Devices given to somebody: (index, units) by index."""


class Devices:
    """The devices of one pool, by the name of the resource: what is free of each index."""

    __slots__ = ("free",)

    def __init__(self, total: Demand) -> None:
        self.free: dict[str, dict[int, int]] = {}
        for name, units in total:
            if name == DEVICE:
                self.free[name] = {
                    index: min(RESOURCE_UNITS, units - index * RESOURCE_UNITS)
                    for index in range(-(-units // RESOURCE_UNITS))
                }

    def __bool__(self) -> bool:
        return bool(self.free)

    def choose(self, demand: Demand) -> Grant | None:
        """The devices for a demand; None when no choice of them fits now.

        Several names for devices in one demand mean the same ones. Whole devices are taken from the
        lowest index, a fraction from the fullest device that still has room for it.
        """
        named = [(self.free[name], units) for name, units in demand if name in self.free]
        if not named:
            return ()
        first, wanted = named[0]
        free = {  # what all of the names have left
            index: min(each.get(index, 0) for each, _ in named) for index in sorted(first)
        }
        wholes, rest = divmod(wanted, RESOURCE_UNITS)
        grant = [(index, left) for index, left in free.items() if left == RESOURCE_UNITS]
        if len(grant) < wholes:
            return None
        grant = grant[:wholes]
        if rest:
            taken = dict(grant)
            shares = [
                (left, index) for index, left in free.items() if left >= rest and index not in taken
            ]
            if not shares:
                return None
            grant.append((min(shares)[1], rest))
        return tuple(sorted(grant))

    def take(self, demand: Demand, grant: Grant) -> None:
        """Take devices that were chosen for the demand."""
        self._change(demand, grant, -1)

    def give(self, demand: Demand, grant: Grant) -> None:
        """Give them back."""
        self._change(demand, grant, 1)

    def _change(self, demand: Demand, grant: Grant, sign: int) -> None:
        for name, _ in demand:
            free = self.free.get(name)
            if free is not None:
                for index, units in grant:
                    free[index] += sign * units

    def add(self, name: str, grant: Grant) -> None:
        """Devices go by one more name."""
        free = self.free.setdefault(name, {})
        for index, units in grant:
            free[index] = free.get(index, 0) + units

    def drop(self, name: str) -> None:
        """A name is no more."""
        self.free.pop(name, None)
