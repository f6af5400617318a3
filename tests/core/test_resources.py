"""Pools never lose or invent a unit, and demands read as users write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsim.core.devices import Grant
from rsim.core.records import RESOURCE_UNITS as UNIT
from rsim.core.records import Demand
from rsim.core.resources import Pool, demand_of, fits, format_demand, utilisation

NAMES = ("CPU", "GPU", "memory", "disk")
demands = st.dictionaries(st.sampled_from(NAMES), st.integers(1, 3 * UNIT)).map(
    lambda units: tuple(sorted(units.items()))
)


def test_demand_is_sorted_exact_and_without_zeros() -> None:
    assert demand_of(1, 0.1, None, {"zone": 0.0001, "absent": 0}) == (
        ("CPU", UNIT),
        ("GPU", 1000),
        ("zone", 1),
    )
    assert demand_of(0, None) == demand_of() == ()
    assert demand_of(memory=3) == (("memory", 3 * UNIT),)
    assert sum(demand_of(0.1)[0][1] for _ in range(10)) == demand_of(1)[0][1]


def test_format() -> None:
    assert format_demand(demand_of(1, 0.5, 2**30)) == "{'CPU': 1, 'GPU': 0.5, 'memory': 1073741824}"
    assert format_demand(()) == "{}"


@given(st.floats(0.0001, 1e6))
def test_quantities_survive_formatting(amount: float) -> None:
    amount = round(amount, 4)
    assert format_demand(demand_of(amount)) in (f"{{'CPU': {amount}}}", f"{{'CPU': {amount:.0f}}}")


def test_fits_names_what_is_missing() -> None:
    pool = Pool(demand_of(2))
    pool.take(demand_of(1.5))
    assert pool.fits_total(demand_of(2))
    assert not pool.fits_now(demand_of(1))
    assert pool.fits_now(demand_of(0.5))
    assert not pool.fits_total(demand_of(1, 1))
    with pytest.raises(ValueError, match=r"\{'CPU': 1\}: only \{'CPU': 0.5\} of \{'CPU': 2\}"):
        pool.take(demand_of(1))
    with pytest.raises(ValueError, match="GPU"):
        pool.take_forced(demand_of(1, 1))
    with pytest.raises(ValueError, match="give back"):
        pool.give(demand_of(1.6))
    with pytest.raises(ValueError, match="zone"):
        pool.give(demand_of(0, resources={"zone": 1}))
    assert pool.available() == demand_of(0.5)


def test_an_unblocked_worker_oversubscribes() -> None:
    pool = Pool(demand_of(1))
    one = demand_of(1)
    pool.take(one)
    pool.give(one)
    pool.take(one)
    pool.take_forced(one)
    assert pool.available() == (("CPU", -UNIT),)
    assert pool.utilisation() == 2
    assert not pool.fits_now(one)
    assert pool.fits_now(())
    pool.give(one)
    pool.give(one)
    pool.check()
    assert pool.available() == pool.total


def test_utilisation_is_that_of_the_critical_resource() -> None:
    pool = Pool(demand_of(4, 1, 100, {"zone": 1}))
    pool.take(demand_of(1, 1, 50, {"zone": 1}))
    assert pool.utilisation() == 0.5
    assert utilisation({"GPU": 1}, {}) == 0
    assert Pool(()).utilisation() == 0


@given(total=demands, steps=st.lists(st.tuples(st.booleans(), st.booleans(), demands), max_size=30))
def test_what_is_out_and_what_is_free_add_up(
    total: Demand, steps: list[tuple[bool, bool, Demand]]
) -> None:
    pool = Pool(total)
    out: list[tuple[Demand, Grant]] = []
    for taking, forced, demand in steps:
        has_devices = any(name == "GPU" for name, _ in demand)
        if not taking and out:
            pool.give(*out.pop(0))
        elif forced and pool.fits_total(demand) and not has_devices:
            pool.take_forced(demand)
            out.append((demand, ()))
        elif pool.fits_now(demand):
            before = dict(pool.available())
            assert fits(before, demand)
            grant = pool.take(demand)
            assert sum(units for _, _, units in grant) == dict(demand).get("GPU", 0)
            out.append((demand, grant))
        else:
            with pytest.raises(ValueError):
                pool.take(demand)
        pool.check()
        free = dict(pool.available())
        for name, units in total:
            assert free.get(name, 0) + sum(dict(each).get(name, 0) for each, _ in out) == units
    for demand, grant in out:
        pool.give(demand, grant)
    assert pool.available() == total


@given(total=demands)
def test_an_idle_pool_holds_all_that_fits_it_in_total(total: Demand) -> None:
    pool = Pool(total)
    assert pool.fits_now(total)
    grant = pool.take(total)
    pool.give(total, grant)
    assert pool.available() == total


def test_fractions_share_a_device_and_whole_ones_are_exclusive() -> None:
    pool = Pool(demand_of(8, 3))
    half, one, two = demand_of(0, 0.5), demand_of(0, 1), demand_of(0, 2)
    assert pool.take(half) == (("GPU", 0, 5000),)
    assert pool.take(one) == (("GPU", 1, UNIT),)
    assert pool.take(half) == (("GPU", 0, 5000),)
    assert not pool.fits_now(two)
    pool.give(half, (("GPU", 0, 5000),))
    assert pool.take(one) == (("GPU", 2, UNIT),)
    pool.give(one, (("GPU", 1, UNIT),))
    assert pool.take(demand_of(0, 0.2)) == (("GPU", 0, 2000),), "the fullest that has room"
    assert pool.take(demand_of(0, 0.4)) == (("GPU", 1, 4000),)
    assert not pool.fits_now(one), "0.9 are free, on two devices"
    pool.check()


def test_more_names_for_the_same_devices() -> None:
    pool = Pool(demand_of(0, 2))
    grant = pool.take(demand_of(0, 1))
    pool.add(
        (("GPU_group_0_x", UNIT), ("GPU_group_x", UNIT)), {"GPU_group_0_x": (("GPU", 0, UNIT),)}
    )
    pool.add((), {"GPU_group_x": (("GPU", 0, UNIT),)})
    both = (("GPU_group_0_x", 5000), ("GPU_group_x", 5000))
    assert pool.take((("GPU_group_x", 5000),)) == (("GPU", 0, 5000),)
    assert pool.take(both) == (("GPU", 0, 5000),)
    assert not pool.fits_now((("GPU_group_0_x", 5000), ("GPU_group_x", 1)))
    pool.check()
    for name in ("GPU_group_0_x", "GPU_group_x"):
        pool.drop(name)
    pool.give(demand_of(0, 1), grant)
    assert pool.available() == pool.total == demand_of(0, 2)


def test_devices_of_several_kinds() -> None:
    pool = Pool((("GPU", 2 * UNIT), ("TPU", UNIT)))
    both = (("GPU", UNIT), ("TPU", UNIT))
    grant = pool.take(both)
    assert grant == (("GPU", 0, UNIT), ("TPU", 0, UNIT))
    assert not pool.fits_now(both)
    assert pool.take((("GPU", UNIT),)) == (("GPU", 1, UNIT),)
    pool.give(both, grant)
    pool.check()
    assert pool.take((("TPU", UNIT),)) == (("TPU", 0, UNIT),)
    assert not pool.fits_now(both)
    pool.check()


def test_changes_are_what_was_touched_since_they_were_last_asked_for() -> None:
    pool = Pool(demand_of(4, 0, 0, {"disk": 2}))
    pool.take(demand_of(1))
    assert pool.changes() == (("CPU", 3 * UNIT), ("disk", 2 * UNIT))
    assert pool.changes() == ()
    pool.take(demand_of(3))
    pool.add((("mark_group_x", UNIT),), {})
    assert pool.changes() == (("CPU", 0), ("mark_group_x", UNIT))
    pool.drop("mark_group_x")
    pool.give(demand_of(1))
    pool.take_forced(demand_of(2))
    assert pool.changes() == (("CPU", -UNIT), ("mark_group_x", 0))


def test_devices_are_found_wherever_they_are_free() -> None:
    pool = Pool(demand_of(0, 300))
    pool.take(demand_of(0, 297))
    pool.take(demand_of(0, 0.5))
    assert pool.take(demand_of(0, 0.25)) == (("GPU", 297, 2500),)
    assert pool.take(demand_of(0, 2)) == (("GPU", 298, UNIT), ("GPU", 299, UNIT))
    assert not pool.fits_now(demand_of(0, 0.5))
    pool.check()
