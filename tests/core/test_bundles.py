"""Plans for bundles: what they promise holds, and strict ones are found whenever there are some."""

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsim.core.bundles import (
    STRATEGIES,
    Bundle,
    demand_in,
    mark_of,
    placed_in,
    plan,
    resources_of,
    sum_of,
    uses,
)
from rsim.core.policies import NodeView
from rsim.core.records import Demand, Strategy
from rsim.core.resources import demand_of, fits

GROUP = b"g" * 16


def node(name: str, cpus: float = 4, used: float = 0, gpus: float = 0, **labels: str) -> NodeView:
    total = dict(demand_of(cpus, gpus))
    available = dict(total)
    if used:
        available["CPU"] -= dict(demand_of(used))["CPU"]
    return NodeView(name, total, available, labels=labels)


def bundles(*demands: Demand) -> list[Bundle]:
    return [Bundle(index, demand) for index, demand in enumerate(demands)]


ONE, TWO, GPU = demand_of(1), demand_of(2), demand_of(1, 1)


# -- strategies ------------------------------------------------------------------------------------


def test_pack_fills_one_node_before_the_next() -> None:
    nodes = [node("a", 2), node("b", 3), node("c", 2)]
    assert plan(bundles(ONE, ONE, ONE), "PACK", nodes) == dict.fromkeys(range(3), "b")
    assert plan(bundles(ONE, ONE, ONE, ONE), "PACK", nodes) == {0: "b", 1: "b", 2: "b", 3: "a"}
    assert plan(bundles(*[ONE] * 8), "PACK", nodes) is None


def test_spread_uses_nodes_twice_only_when_there_are_no_others() -> None:
    nodes = [node("a", 4), node("b", 1), node("c", 4)]
    assert plan(bundles(ONE, ONE, ONE), "SPREAD", nodes) == {0: "a", 1: "c", 2: "b"}
    found = plan(bundles(*[ONE] * 5), "SPREAD", nodes)
    assert found is not None
    assert sorted(found.values()) == ["a", "a", "b", "c", "c"]


def test_strict_pack_takes_one_node_and_if_possible_the_preferred_one() -> None:
    nodes = [node("a", 4), node("b", 6), node("c", 2)]
    assert plan(bundles(ONE, TWO), "STRICT_PACK", nodes) == {0: "b", 1: "b"}
    assert plan(bundles(ONE, TWO), "STRICT_PACK", nodes, preferred="a") == {0: "a", 1: "a"}
    assert plan(bundles(ONE, TWO), "STRICT_PACK", nodes, preferred="c") == {0: "b", 1: "b"}
    assert plan(bundles(*[TWO] * 4), "STRICT_PACK", nodes) is None


def test_strict_spread_moves_earlier_bundles_if_need_be() -> None:
    nodes = [node("a", 9, gpus=1), node("b", 8)]
    assert plan(bundles(TWO, ONE), "STRICT_SPREAD", nodes) == {0: "a", 1: "b"}
    assert plan([Bundle(0, TWO), Bundle(1, ONE, (("disk", "absent", ()),))], "STRICT_SPREAD", nodes)
    only_a = Bundle(1, ONE, (("zone", "in", ("x",)),))
    labelled = [node("a", 9, zone="x"), node("b", 8)]
    assert plan([Bundle(0, TWO), only_a], "STRICT_SPREAD", labelled) == {0: "b", 1: "a"}
    assert plan(bundles(ONE, ONE, ONE), "STRICT_SPREAD", nodes) is None


def test_scarce_bundles_go_first() -> None:
    nodes = [node("a", 2, gpus=1), node("b", 2)]
    assert plan(bundles(TWO, GPU), "SPREAD", nodes) == {0: "b", 1: "a"}
    assert plan(bundles(TWO, GPU), "PACK", nodes) == {0: "b", 1: "a"}


def test_bundles_that_are_placed_already_count() -> None:
    nodes = [node("a"), node("b")]
    two = [Bundle(1, ONE)]
    assert plan(two, "STRICT_SPREAD", nodes, placed=("a",)) == {1: "b"}
    assert plan(two, "SPREAD", nodes, placed=("a",)) == {1: "b"}
    assert plan(two, "PACK", nodes, placed=("b",)) == {1: "b"}
    assert plan(two, "STRICT_PACK", nodes, placed=("b",)) == {1: "b"}
    assert plan(two, "STRICT_SPREAD", nodes, placed=("a", "b")) is None


def test_idle_asks_whether_it_could_ever_be() -> None:
    nodes = [node("a", used=4)]
    assert plan(bundles(ONE), "PACK", nodes) is None
    assert plan(bundles(ONE), "PACK", nodes, idle=True) == {0: "a"}
    assert plan(bundles(demand_of(5)), "PACK", nodes, idle=True) is None


# -- properties ------------------------------------------------------------------------------------

amounts = st.integers(0, 3)
clusters = st.lists(st.tuples(amounts, amounts, st.sampled_from("xy")), max_size=4).map(
    lambda rows: [
        node(f"n{index}", cpus, gpus=gpus, zone=zone)
        for index, (cpus, gpus, zone) in enumerate(rows)
    ]
)
wanted = st.lists(
    st.tuples(st.integers(1, 2), st.integers(0, 1), st.sampled_from(("", "x", "y"))),
    min_size=1,
    max_size=4,
).map(
    lambda rows: [
        Bundle(index, demand_of(cpus, gpus), (("zone", "in", (zone,)),) if zone else ())
        for index, (cpus, gpus, zone) in enumerate(rows)
    ]
)


def is_possible(assigned: dict[int, str], what: list[Bundle], nodes: list[NodeView]) -> bool:
    views = {view.name: view for view in nodes}
    for name, view in views.items():
        there = [bundle for bundle in what if assigned[bundle.index] == name]
        if not fits(view.available, sum_of(bundle.demand for bundle in there)):
            return False
        if any(
            view.labels["zone"] != bundle.selector[0][2][0] for bundle in there if bundle.selector
        ):
            return False
    return True


@given(nodes=clusters, what=wanted, strategy=st.sampled_from(STRATEGIES))
def test_a_plan_is_complete_and_fits(
    nodes: list[NodeView], what: list[Bundle], strategy: str
) -> None:
    found = plan(what, strategy, nodes)
    if found is None:
        return
    assert sorted(found) == [bundle.index for bundle in what]
    assert is_possible(found, what, nodes)
    used = list(found.values())
    if strategy == "STRICT_PACK":
        assert len(set(used)) == 1
    if strategy == "STRICT_SPREAD":
        assert len(set(used)) == len(used)
    assert found == plan(list(reversed(what)), strategy, nodes), "the order given is no matter"


@given(nodes=clusters, what=wanted)
def test_strict_plans_are_found_whenever_there_is_one(
    nodes: list[NodeView], what: list[Bundle]
) -> None:
    names = [view.name for view in nodes]
    indices = [bundle.index for bundle in what]
    packs = [dict.fromkeys(indices, name) for name in names]
    spreads = [dict(zip(indices, each, strict=True)) for each in permutations(names, len(what))]
    for strategy, candidates in (("STRICT_PACK", packs), ("STRICT_SPREAD", spreads)):
        exists = any(is_possible(each, what, nodes) for each in candidates)
        assert (plan(what, strategy, nodes) is not None) == exists


# -- names -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", [0, 3, -1])
def test_a_bundle_holds_every_demand_that_it_is_large_enough_for(index: int) -> None:
    bundle = demand_of(2, 0.5, 1000, {"disk": 3})
    resources = dict(resources_of(bundle, GROUP, max(index, 0)))
    for demand in (bundle, demand_of(1), demand_of(resources={"disk": 0.5}), ()):
        named = demand_in(demand, GROUP, index)
        assert fits(resources, named)
        assert uses(named, GROUP) and not uses(named, b"h" * 16)
        assert mark_of(GROUP) in dict(named)
    assert not fits(resources, demand_in(demand_of(3), GROUP, index))
    assert not fits(resources, demand_in(demand_of(1), b"h" * 16, index))
    assert not uses(demand_of(2), GROUP)


def test_a_strategy_keeps_its_labels_in_a_group() -> None:
    selector = (("zone", "in", ("x",)),)
    demand, strategy = placed_in(GROUP, 1, True, ONE, Strategy("LABELS", selector=selector))
    assert dict(demand)[f"CPU_group_1_{GROUP.hex()}"] == dict(ONE)["CPU"]
    assert (strategy.kind, strategy.group, strategy.bundle) == ("GROUP", GROUP, 1)
    assert strategy.captures and strategy.selector == selector


def test_who_asks_for_nothing_still_has_a_place() -> None:
    assert uses(demand_in((), GROUP, 1), GROUP)
    assert not any(name.startswith("CPU") for name, _ in demand_in((), GROUP, 1))
