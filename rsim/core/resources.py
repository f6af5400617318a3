"""Resources: what a demand asks for, and what a node has free.

Decides whether a demand fits and how full a node is. Must never round: quantities are integer units
of 1/10000, so that sums of fractions are exact. Owns the free quantities of a pool.
"""

from __future__ import annotations

from collections.abc import Mapping

from rsim.core.records import RESOURCE_UNITS, Demand

CRITICAL = ("CPU", "memory")
"""The resources that say how full a node is; like Ray's, without GPUs and custom resources."""


def demand_of(
    num_cpus: float | None = None,
    num_gpus: float | None = None,
    memory: float | None = None,
    resources: Mapping[str, float] | None = None,
) -> Demand:
    """The demand for these quantities (CPUs, GPUs, bytes, custom); None and zero ask for nothing.

    Quantities are valid already: not negative, no finer than 0.0001, no built-in name among the
    custom ones.
    """
    wanted = {"CPU": num_cpus, "GPU": num_gpus, "memory": memory, **(resources or {})}
    items = ((name, round((amount or 0) * RESOURCE_UNITS)) for name, amount in wanted.items())
    return tuple(sorted(item for item in items if item[1]))


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

    __slots__ = ("_available", "_total", "total")

    def __init__(self, total: Demand) -> None:
        self.total = total
        self._total = dict(total)
        self._available = dict(total)

    def fits_total(self, demand: Demand) -> bool:
        """Whether the demand fits when nothing else runs."""
        return fits(self._total, demand)

    def fits_now(self, demand: Demand) -> bool:
        """Whether the demand fits now."""
        available = self._available
        for name, units in demand:  # noqa: SIM110 -- `fits`, inlined on the hot path
            if available.get(name, 0) < units:
                return False
        return True

    def take(self, demand: Demand) -> None:
        """Take what ``fits_now``. ValueError when it does not."""
        available = self._available
        if not self.fits_now(demand):
            raise ValueError(
                f"cannot take {format_demand(demand)}: only {format_demand(self.available())} "
                f"of {format_demand(self.total)} is free"
            )
        for name, units in demand:
            available[name] -= units

    def take_forced(self, demand: Demand) -> None:
        """Take it even if too little is free, which then goes below zero.

        For a worker that unblocks: it goes on at once with the CPU that it had given away.
        ValueError when the pool could never hold the demand.
        """
        if not fits(self._total, demand):
            raise ValueError(
                f"cannot take {format_demand(demand)} from {format_demand(self.total)} in total"
            )
        for name, units in demand:
            self._available[name] -= units

    def give(self, demand: Demand) -> None:
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

    def available(self) -> Demand:
        """What is free, sorted by name, without zeros; negative where oversubscribed."""
        return tuple(sorted(item for item in self._available.items() if item[1]))

    def utilisation(self) -> float:
        """The used fraction of the critical resource."""
        return utilisation(self._total, self._available)

    def check(self) -> None:
        """Assert that no more is free than there is, of the same resources."""
        assert self._total == dict(self.total)
        assert self._available.keys() == self._total.keys()
        for name, units in self._available.items():
            assert units <= self._total[name], f"{name}: {units} of {self._total[name]} free"
