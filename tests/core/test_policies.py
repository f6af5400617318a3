"""The placement policies, rule by rule."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsim.core.policies import (
    Affinity,
    ClusterView,
    Composite,
    Hybrid,
    NodeView,
    Policy,
    Random,
    Spread,
    TaskView,
    as_policy,
    policy_by_name,
)
from rsim.core.records import Strategy
from rsim.core.resources import demand_of


class Last:
    """Takes the last candidate, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, tuple[object, ...]]] = []

    def pick(self, label: str, candidates: Sequence[object]) -> int:
        assert len(candidates) > 1, "not contested"
        self.asked.append((label, tuple(candidates)))
        return len(candidates) - 1

    def chance(self, label: str, entity: object, rate: float) -> bool:
        raise AssertionError("placement has no faults")


def node(name: str, cpus: float = 4, used: float = 0, gpus: float = 0, **more: Any) -> NodeView:
    total = dict(demand_of(cpus, gpus))
    available = dict(total)
    if cpus:
        available["CPU"] -= demand_of(used)[0][1] if used else 0
    return NodeView(name, total, available, **more)


def task(cpus: float = 1, gpus: float = 0, **more: Any) -> TaskView:
    return TaskView(b"t" * 16, demand_of(cpus, gpus), **more)


def place(policy: Policy, what: TaskView, *nodes: NodeView) -> str | None:
    return policy.place(what, ClusterView(nodes), Last())


# -- hybrid ----------------------------------------------------------------------------------------


def test_hybrid_takes_the_free_source_however_full_it_is() -> None:
    nodes = (node("a"), node("b", used=3))
    assert place(Hybrid(), task(source="b"), *nodes) == "b"
    assert place(Hybrid(), task(cpus=2, source="b"), *nodes) == "a"


def test_hybrid_prefers_the_node_with_most_bytes_while_it_is_free() -> None:
    held = (("a", 10), ("b", 30), ("c", 30))
    nodes = (node("a"), node("b", used=3), node("c"))
    assert place(Hybrid(), task(locality=held, source="a"), *nodes) == "b"
    assert place(Hybrid(), task(locality=held, source="c"), *nodes) == "c"
    assert place(Hybrid(), task(locality=(("gone", 9),), source="c"), *nodes) == "c"
    assert place(Hybrid(), task(locality=(("b", 0),), source="c"), *nodes) == "c"
    # The busy one is not waited for, and the source has no second claim.
    held = (("b", 30), ("c", 10))
    assert place(Hybrid(), task(cpus=2, locality=held, source="c"), *nodes) == "a"


def test_hybrid_packs_below_the_threshold_then_takes_the_emptiest() -> None:
    assert place(Hybrid(), task(), node("a", used=1), node("b")) == "a"
    assert place(Hybrid(), task(), node("a", used=2), node("b")) == "b"
    assert place(Hybrid(), task(), node("a", used=3), node("b", used=2)) == "b"
    assert place(Hybrid(threshold=1), task(), node("a", used=3), node("b")) == "a"
    assert place(Hybrid(threshold=0), task(), node("a", used=1), node("b")) == "b"


def test_hybrid_draws_among_the_top_k_of_all_nodes() -> None:
    names = [f"n{index:02}" for index in range(15)]
    nodes = [node(name, used=4 if name == "n00" else 0) for name in names]
    choices = Last()
    assert Hybrid().place(task(), ClusterView(nodes), choices) == "n03"
    assert choices.asked == [("place", ("n01", "n02", "n03"))]
    assert place(Hybrid(top_k_absolute=5), task(), *nodes) == "n05"
    assert place(Hybrid(top_k_fraction=0), task(), *nodes) == "n01"
    assert place(Hybrid(top_k_fraction=1), task(), *nodes) == "n14"


def test_hybrid_does_not_draw_when_k_is_one() -> None:
    choices = Last()
    Hybrid().place(task(), ClusterView([node(each) for each in "abcdefghi"]), choices)
    assert not choices.asked


def test_hybrid_avoids_gpu_nodes_unless_they_alone_are_free() -> None:
    nodes = (node("a", gpus=1), node("b", used=3))
    assert place(Hybrid(), task(), *nodes) == "b"
    assert place(Hybrid(), task(cpus=2), *nodes) == "a"
    assert place(Hybrid(), task(gpus=1), *nodes) == "a"
    assert place(Hybrid(), task(source="a"), *nodes) == "b"
    assert place(Hybrid(), task(source="a", cpus=2), *nodes) == "a"
    assert place(Hybrid(), task(locality=(("a", 9),)), *nodes) == "a"


def test_hybrid_falls_back_to_busy_nodes_then_to_none() -> None:
    nodes = (node("a", used=4), node("b", used=3.5), node("c", cpus=1, used=1))
    assert place(Hybrid(), task(cpus=2), *nodes) == "b"
    assert place(Hybrid(), task(cpus=2, source="a"), *nodes) == "b"
    busy = (node("a", used=4), node("b", used=4))
    assert place(Hybrid(), task(cpus=2, source="b"), *busy) == "b"
    assert place(Hybrid(), task(cpus=5), *nodes) is None
    assert place(Hybrid(), task(gpus=1), *nodes) is None
    assert place(Hybrid(), task()) is None


@pytest.mark.parametrize("policy", [Hybrid(), Spread(), Random()])
def test_dead_nodes_are_never_chosen(policy: Policy) -> None:
    nodes = (node("a", alive=False), node("b", used=4))
    assert place(policy, task(source="a", locality=(("a", 1),)), *nodes) == "b"
    assert place(policy, task(), nodes[0]) is None


clusters = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 1), st.booleans()), max_size=8
).map(
    lambda rows: [
        node(f"n{index}", cpus, min(cpus, used), gpus, alive=alive)
        for index, (cpus, used, gpus, alive) in enumerate(rows)
    ]
)


@given(
    nodes=clusters,
    policy=st.sampled_from((Hybrid, Spread, Random)),
    cpus=st.integers(0, 5),
    gpus=st.integers(0, 1),
    source=st.sampled_from(("n0", "n3", "")),
)
def test_a_free_node_beats_a_busy_one_and_only_hopeless_tasks_get_none(
    nodes: list[NodeView], policy: type[Policy], cpus: int, gpus: int, source: str
) -> None:
    what = task(cpus, gpus, source=source)
    answer = policy().place(what, ClusterView(nodes), Last())
    free = [each.name for each in nodes if each.fits_now(what.demand)]
    able = [each.name for each in nodes if each.fits_total(what.demand)]
    assert answer in (free or able or [None])


# -- the others ------------------------------------------------------------------------------------


def test_spread_goes_round_skipping_busy_nodes() -> None:
    policy = Spread()
    nodes = [node("a"), node("b", used=4), node("c"), node("d")]
    assert [place(policy, task(), *nodes) for _ in range(4)] == ["a", "c", "d", "a"]
    assert place(policy, task(cpus=4), *nodes[:2]) == "a"
    busy = [node("a", used=4), node("b", used=4)]
    assert [place(policy, task(), *busy) for _ in range(3)] == ["b", "a", "b"]
    assert place(policy, task(cpus=9), *nodes) is None


def test_random_draws_among_the_free_nodes() -> None:
    choices = Last()
    cluster = ClusterView([node("a"), node("b"), node("c", used=4)])
    assert Random().place(task(), cluster, choices) == "b"
    assert choices.asked == [("place", ("a", "b"))]


def test_affinity() -> None:
    policy = Affinity(Hybrid())
    nodes = (node("a"), node("b", used=4))
    hard, soft = Strategy("AFFINITY", "b"), Strategy("AFFINITY", "b", soft=True)
    assert place(policy, task(strategy=hard), *nodes) == "b", "busy: wait for it"
    assert place(policy, task(strategy=soft), *nodes) == "b"
    assert place(policy, task(strategy=hard), nodes[0]) is None
    assert place(policy, task(strategy=soft), nodes[0]) == "a"
    gpu_a = node("a", gpus=1)
    assert place(policy, task(gpus=1, strategy=hard), gpu_a, nodes[1]) is None
    assert place(policy, task(gpus=1, strategy=soft), gpu_a, nodes[1]) == "a"


def test_composite_dispatches_on_the_strategy() -> None:
    class Fixed:
        def place(self, task: TaskView, cluster: ClusterView, choices: object) -> str | None:
            return "fixed"

    policy = Composite(Fixed())
    nodes = (node("a"), node("b"))
    spread = Strategy("SPREAD")
    assert place(policy, task(), *nodes) == "fixed"
    assert [place(policy, task(strategy=spread), *nodes) for _ in range(3)] == ["a", "b", "a"]
    assert place(policy, task(strategy=Strategy("AFFINITY", "b")), *nodes) == "b"
    assert place(policy, task(strategy=Strategy("AFFINITY", "z", soft=True)), *nodes) == "fixed"
    assert policy.decider(spread) == "Spread"
    with pytest.raises(ValueError, match=r"'PACK' .*valid: DEFAULT, SPREAD, AFFINITY"):
        place(policy, task(strategy=Strategy("PACK")), *nodes)


def test_fingerprint_of_a_composite_follows_its_state() -> None:
    one, two = Composite(Hybrid()), Composite(Hybrid())
    assert one.fingerprint() == two.fingerprint()
    place(one, task(strategy=Strategy("SPREAD")), node("a"), node("b"))
    assert one.fingerprint() != two.fingerprint()


# -- names -----------------------------------------------------------------------------------------


def test_policy_by_name() -> None:
    assert isinstance(policy_by_name("spread"), Spread)
    assert isinstance(policy_by_name("random[]"), Random)
    policy = policy_by_name(" hybrid[threshold=0.8, top_k_absolute = 3] ")
    assert isinstance(policy, Hybrid)
    assert (policy.threshold, policy.top_k_fraction, policy.top_k_absolute) == (0.8, 0.2, 3)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hybird", "policy 'hybird' is unknown; valid: hybrid, random, spread"),
        ("hybrid[threshold=0.5", "is unknown; valid"),
        ("", "policy '' is unknown"),
        ("hybrid[treshold=1]", "'treshold' of policy .* valid: threshold, top_k_fraction"),
        ("spread[k=1]", "'k' of policy .* valid: none"),
        ("hybrid[threshold=high]", "'threshold' of policy .* must be float, not 'high'"),
        ("hybrid[threshold]", "must be float, not ''"),
        ("hybrid[top_k_absolute=1.5]", "must be int, not '1.5'"),
        ("hybrid[threshold=0.1,threshold=0.2]", "given twice"),
        ("hybrid[threshold=1.5]", "threshold must be from 0 to 1, not 1.5"),
        ("hybrid[top_k_fraction=nan]", "top_k_fraction must be from 0 to 1"),
        ("hybrid[top_k_absolute=0]", "top_k_absolute must be 1 or more, not 0"),
    ],
)
def test_bad_names_say_what_is_valid(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        policy_by_name(name)


def test_as_policy() -> None:
    own = Spread()
    assert as_policy(own) is own
    assert isinstance(as_policy(None), Hybrid)
    assert isinstance(as_policy("random"), Random)
    for wrong in (3, Spread, object()):
        with pytest.raises(TypeError, match=r"place\(task, cluster, choices\)"):
            as_policy(wrong)
