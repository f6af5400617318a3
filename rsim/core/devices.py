"""Devices: which of a node's GPUs, or other accelerators, a task gets.

Decides on concrete indices where a quantity alone is not enough: whole devices are given to one
task each, fractions share one. Must never give more of a device than there is. Owns what is free of
each device, under every name that it goes by (its own, and those of the bundles it is reserved
for).
"""

from __future__ import annotations

from rsim.core.records import RESOURCE_UNITS, Demand

KINDS = ("GPU", "HPU", "NPU", "RBLN", "TPU", "neuron_cores")
"""The resources whose units are devices."""

Grant = tuple[tuple[str, int, int], ...]
"""Devices given to somebody: (kind, index, units), by kind and index."""

_IN_BUNDLE = "_group_"


def kind_of(name: str) -> str:
    """The kind of device that goes by the name, which may be one in a bundle; "": none."""
    kind = name.partition(_IN_BUNDLE)[0]
    return kind if kind in KINDS else ""


class Devices:
    """The devices of one pool, by the name of the resource: what is free of each index."""

    __slots__ = ("free",)

    def __init__(self, total: Demand) -> None:
        self.free: dict[str, dict[int, int]] = {}
        for name, units in total:
            if name in KINDS:
                self.free[name] = {
                    index: min(RESOURCE_UNITS, units - index * RESOURCE_UNITS)
                    for index in range(-(-units // RESOURCE_UNITS))
                }

    def __bool__(self) -> bool:
        return bool(self.free)

    def choose(self, demand: Demand) -> Grant | None:
        """The devices for a demand; None when no choice of them fits now.

        Several names for devices of a kind in one demand mean the same ones. Whole devices are
        taken from the lowest index, a fraction from the fullest device that still has room for it.
        """
        named: dict[str, list[tuple[dict[int, int], int]]] = {}
        for name, units in demand:
            if name in self.free:
                named.setdefault(kind_of(name), []).append((self.free[name], units))
        grant: Grant = ()
        for kind in sorted(named):
            chosen = _choose(named[kind])
            if chosen is None:
                return None
            grant += tuple((kind, index, units) for index, units in chosen)
        return grant

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
                kind = kind_of(name)
                for its, index, units in grant:
                    if its == kind:
                        free[index] += sign * units

    def add(self, name: str, grant: Grant) -> None:
        """Devices go by one more name. They stay in the order of their indices."""
        free = self.free.get(name, {})
        for _, index, units in grant:
            free[index] = free.get(index, 0) + units
        self.free[name] = dict(sorted(free.items()))

    def drop(self, name: str) -> None:
        """A name is no more."""
        self.free.pop(name, None)


def _choose(named: list[tuple[dict[int, int], int]]) -> list[tuple[int, int]] | None:
    """(index, units) of devices of one kind; `named`: what each of their names has free, and how
    much is wanted.
    """
    wholes, rest = divmod(named[0][1], RESOURCE_UNITS)
    fewest = min((free for free, _ in named), key=len)
    chosen: list[tuple[int, int]] = []
    shares: list[tuple[int, int]] = []
    for index, units in fewest.items():
        if len(chosen) == wholes and not rest:
            break
        if units:
            left = min(free.get(index, 0) for free, _ in named)
            if left == RESOURCE_UNITS and len(chosen) < wholes:
                chosen.append((index, left))
            elif left >= rest:
                shares.append((left, index))
    if len(chosen) < wholes or (rest and not shares):
        return None
    if rest:
        chosen.append((min(shares)[1], rest))
    return sorted(chosen)
