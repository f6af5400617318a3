"""Random graphs of twenty tasks: their results equal plain Python's, whoever dies on the way."""

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import rsim
from tests.conformance import dags, inspecting

SEEDS = 200
GROUP = 20


def simulate(dag, seed, **options):
    """The results, and how many faults there were."""
    with rsim.init("sim", cluster=dags.CLUSTER, seed=seed, **options) as session:
        results = dags.run(dag)
        inspecting.check(session)
        return results, sum(instant.kind == "fault" for instant in session.trace.instants)


@pytest.mark.parametrize("first", range(0, SEEDS, GROUP))
def test_results_equal_plain_pythons_although_workers_and_nodes_die(first):
    faults_so_far = 0
    for seed in range(first, first + GROUP):
        dag = dags.random_dag(seed)
        faults = rsim.sim.Faults(kill_worker=(0.05, 0.1, 0.2)[seed % 3], kill_node=0.01)
        results, count = simulate(dag, seed, faults=faults)
        assert results == dags.expected(dag), f"seed {seed}"
        faults_so_far += count
    assert faults_so_far >= GROUP


@pytest.mark.parametrize("seed", range(10))
def test_nodes_die_often(seed):
    dag = dags.random_dag(seed)
    faults = rsim.sim.Faults(kill_node=0.2, max_faults=2)
    results, _ = simulate(dag, seed, faults=faults)
    assert results == dags.expected(dag)


@pytest.mark.parametrize("seed", range(10))
def test_the_same_without_deaths(init, seed):
    session = init(num_cpus=2)
    dag = dags.random_dag(seed)
    assert dags.run(dag) == dags.expected(dag)
    inspecting.check(session)
    inspecting.await_used_bytes(session)


@pytest.mark.parametrize("seed", range(10))
def test_the_same_where_tasks_kill_their_workers(init, tmp_path, seed):
    init(num_cpus=2)
    dag = dags.random_dag(seed)
    fated = random.Random(seed).sample(range(len(dag)), 4)
    marks_of = {number: tmp_path / str(number) for number in fated}
    assert dags.run(dag, marks_of) == dags.expected(dag)


@st.composite
def graphs(draw):
    """Graphs of any shape."""
    steps = []
    for number in range(draw(st.integers(1, 20))):
        earlier = st.integers(0, number - 1) if number else st.nothing()
        inputs = draw(st.lists(earlier, max_size=4, unique=True)) if number else []
        kind = draw(st.sampled_from(dags.KINDS))
        steps.append(dags.Step(kind, tuple(inputs), draw(st.integers(0, 999))))
    return steps


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)
@given(graphs(), st.integers(0, 2**32))
def test_any_shape_under_any_seed(dag, seed):
    results, _ = simulate(dag, seed, faults=dags.FAULTS)
    assert results == dags.expected(dag)
