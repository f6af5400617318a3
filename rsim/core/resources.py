"""Resources: what a demand asks for, and what a node has free.

Decides whether a demand fits and how full a node is. Must never round: quantities are integer units
of 1/10000, so that sums of fractions are exact. Owns the quantities of a pool, which grow and
shrink with the bundles that are reserved on its node.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from math import floor

from rsim.core.devices import Devices, Grant
from rsim.core.records import RESOURCE_UNITS, Demand

CRITICAL = ("CPU", "memory")
"""The resources that say how full a node is; like Ray's, without GPUs and custom resources."""


_SLIP = Fraction(1, 1 << 50)
"""Relative to a quantity, more than computing with floats puts it beside a multiple of 1/10000."""


def units_of(amount: float) -> int:
    """A quantity in units: exact, unless it is finer than a unit; then the rest is cut off."""
    if amount == int(amount):
        return int(amount) * RESOURCE_UNITS
    exact = Fraction(amount) * RESOURCE_UNITS
    nearest = round(exact)
    if abs(exact - nearest) <= max(exact * _SLIP, Fraction(1, 1_000_000)):
        return nearest
    return floor(exact)


def demand_of(
    num_cpus: float | None = None,
    num_gpus: float | None = None,
    memory: float | None = None,
    resources: Mapping[str, float] | None = None,
) -> Demand:
    """The demand for these quantities (CPUs, GPUs, bytes, custom); None and zero ask for nothing.

    Quantities are valid already: not negative, no built-in name among the custom ones.
    """
    wanted = {"CPU": num_cpus, "GPU": num_gpus, "memory": memory, **(resources or {})}
    items = ((name, units_of(amount or 0)) for name, amount in wanted.items())
    return tuple(sorted(item for item in items if item[1]))


def node_resources(name: str, total: Demand, head: bool) -> Demand:
    """All that a node offers: ``total``, and by Ray's custom one of ``node:NAME``, which only it
    has; the driver's node, the head, has one of ``node:__internal_head__`` too.
    """
    names = (f"node:{name}", "node:__internal_head__") if head else (f"node:{name}",)
    return tuple(sorted((*total, *((each, RESOURCE_UNITS) for each in names))))


def format_demand(demand: Demand) -> str:
    """How a user would write it: ``{'CPU': 1, 'GPU': 0.5}``."""
    return repr(
        {
            name: units / RESOURCE_UNITS if units % RESOURCE_UNITS else units // RESOURCE_UNITS
            for name, units in demand
        }
    )


def fits(have: Mapping[str, int], demand: Demand) -> bool:
    """Whether ``demand`` can be taken from ``have`` (units by name)."""
    for name, units in demand:  # noqa: SIM110 -- a generator would cost three times as much
        if have.get(name, 0) < units:
            return False
    return True


def gpus_in(demand: Demand) -> int:
    """The GPUs that it asks for, in units."""
    return dict(demand).get("GPU", 0)


def less(demand: Demand, kept: Demand) -> Demand:
    """What is left of a demand when some of it is kept."""
    keeps = dict(kept)
    rest = ((name, units - keeps.get(name, 0)) for name, units in demand)
    return tuple(item for item in rest if item[1])


def cpu_part(demand: Demand) -> Demand:
    """What a blocked worker gives back: its CPUs (also those of a bundle), nothing else."""
    for item in demand:
        if item[0] == "CPU":
            return (item,)
        if item[0].startswith("CPU_group_"):
            return tuple(each for each in demand if each[0].startswith("CPU_group_"))
    return ()


def utilisation(total: Mapping[str, int], available: Mapping[str, int]) -> float:
    """The used fraction of the critical resource, the fullest one; over 1 when oversubscribed."""
    fullest = 0.0
    for name in CRITICAL:
        units = total.get(name, 0)
        if units:
            fullest = max(fullest, (units - available.get(name, 0)) / units)
    return fullest


class Pool:
    """The resources of one node."""

    __slots__ = ("_available", "_devices", "_total", "_touched")

    def __init__(self, total: Demand) -> None:
        self._total = dict(total)
        self._available = dict(total)
        self._devices = Devices(total)
        self._touched: dict[str, int] | None = None
        """The names of what may have changed since ``changes``; None: nobody has asked."""

    @property
    def total(self) -> Demand:
        """What there is, sorted by name."""
        return tuple(sorted(self._total.items()))

    def fits_total(self, demand: Demand) -> bool:
        """Whether the demand fits when nothing else runs."""
        return fits(self._total, demand)

    def fits_now(self, demand: Demand) -> bool:
        """Whether the demand fits now."""
        available = self._available
        for name, units in demand:  # `fits`, inlined on the hot path
            if available.get(name, 0) < units:
                return False
        return not self._devices.free or self._devices.choose(demand) is not None

    def lacks(self, demand: Demand) -> tuple[str, int] | None:
        """A resource of which there is too little for the demand, and how much it asks for; None:
        there is none, though perhaps no choice of devices fits.
        """
        for item in demand:
            if self._available.get(item[0], 0) < item[1]:
                return item
        return None

    def lacks_all(self, amounts: Mapping[str, int]) -> bool:
        """Whether there is too little of each of these."""
        return all(self._available.get(name, 0) < units for name, units in amounts.items())

    def take(self, demand: Demand) -> Grant:
        """Take what ``fits_now``; the devices among it. ValueError when it does not."""
        available = self._available
        if not self.fits_now(demand):
            raise ValueError(
                f"cannot take {format_demand(demand)}: only {format_demand(self.available())} "
                f"of {format_demand(self.total)} is free"
            )
        for name, units in demand:
            available[name] -= units
        if self._touched is not None:
            self._touch(demand)
        devices = self._devices
        if not devices.free:
            return ()
        grant = devices.choose(demand) or ()
        devices.take(demand, grant)
        return grant

    def take_forced(self, demand: Demand) -> None:
        """Take it even if too little is free, which then goes below zero; no devices.

        For a worker that unblocks: it goes on at once with the CPU that it had given away.
        ValueError when the pool could never hold the demand.
        """
        if not fits(self._total, demand):
            raise ValueError(
                f"cannot take {format_demand(demand)} from {format_demand(self.total)} in total"
            )
        for name, units in demand:
            self._available[name] -= units
        self._touch(demand)

    def give(self, demand: Demand, grant: Grant = ()) -> None:
        """Give back what was taken. ValueError when so much is not out."""
        available, total = self._available, self._total
        for name, units in demand:
            if available.get(name, 0) + units > total.get(name, 0):
                raise ValueError(
                    f"cannot give back {format_demand(demand)}: "
                    f"{format_demand(self.available())} of {format_demand(self.total)} is free"
                )
        for name, units in demand:
            available[name] += units
        if self._touched is not None:
            self._touch(demand)
        if grant:
            self._devices.give(demand, grant)

    def add(self, more: Demand, devices: Mapping[str, Grant]) -> None:
        """There is more than before. ``devices``: which ones its units are, by name."""
        for name, units in more:
            self._total[name] = self._total.get(name, 0) + units
            self._available[name] = self._available.get(name, 0) + units
        self._touch(more)
        for name, grant in devices.items():
            self._devices.add(name, grant)

    def drop(self, name: str) -> None:
        """There is nothing of this any more; what is out of it never comes back."""
        self._total.pop(name, None)
        self._available.pop(name, None)
        self._touch(((name, 0),))
        self._devices.drop(name)

    def _touch(self, demand: Demand) -> None:
        if self._touched is not None:
            self._touched.update(dict(demand))

    def available(self) -> Demand:
        """What is free, sorted by name, without zeros; negative where oversubscribed."""
        return tuple(sorted(item for item in self._available.items() if item[1]))

    def changes(self) -> Demand:
        """What is free of each resource that was taken, given, added or dropped since this was last
        asked, sorted by name; the first time, of all. 0 for what is not there any more.
        """
        names = self._available if self._touched is None else self._touched
        self._touched = {}
        return tuple((name, self._available.get(name, 0)) for name in sorted(names))

    def utilisation(self) -> float:
        """The used fraction of the critical resource."""
        return utilisation(self._total, self._available)

    def check(self) -> None:
        """Assert that no more is free than there is, of the same resources, and that the devices
        free are as many as that.
        """
        assert self._available.keys() == self._total.keys()
        for name, units in self._available.items():
            assert units <= self._total[name], f"{name}: {units} of {self._total[name]} free"
        for name, free in self._devices.free.items():
            assert sum(free.values()) == self._available[name], f"{name}: {free}"
            assert all(0 <= units <= RESOURCE_UNITS for units in free.values()), f"{name}: {free}"
