"""Random programs of tasks, actors, waits, cancels, kills and deaths: each ref ends in what the
program allows, nothing hangs, and in the end nothing is left.
"""

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import rsim
from rsim.sim import Cluster, Faults
from tests.conformance.random_features import FEATURES, SLOTS, Everything
from tests.conformance.random_programs import Run, Step, random_program

SEEDS = 200
GROUP = 20

FAULTS = (
    None,
    None,
    Faults(kill_worker=0.1, max_faults=2),
    Faults(kill_node=0.06, max_faults=3),
    Faults(kill_worker=0.06, kill_node=0.03, max_faults=3),
)


def simulate(program, folder, seed, faults=None, nodes=3, performer=Run):
    """Run a program in a simulated cluster of its own."""
    folder.mkdir()
    cluster = Cluster(nodes=nodes, num_cpus=2, resources=SLOTS, jitter_s=1e-3)
    options = {"cluster": cluster, "seed": seed, "faults": faults, "log_to_driver": False}
    with rsim.init("sim", **options) as session:
        deaths = faults.max_faults if faults is not None else 0
        nodes_die = faults is not None and faults.kill_node > 0
        run = performer(session, folder, patience_s=10_000, deaths=deaths, nodes_die=nodes_die)
        run.perform(program)


@pytest.mark.parametrize("first", range(0, SEEDS, GROUP))
def test_in_a_simulated_cluster(first, tmp_path):
    for seed in range(first, first + GROUP):
        chance = random.Random(seed)
        program = random_program(chance, size=chance.choice((8, 15, 25, 40)))
        simulate(program, tmp_path / str(seed), seed, chance.choice(FAULTS))


@pytest.mark.parametrize("seed", range(12))
def test_on_real_processes(seed, tmp_path):
    with rsim.init("local", num_cpus=2, log_to_driver=False) as session:
        program = random_program(random.Random(seed), size=25)
        Run(session, tmp_path, patience_s=60).perform(program)


@pytest.mark.parametrize("first", range(0, 60, 20))
def test_all_features_in_a_simulated_cluster(first, tmp_path):
    for seed in range(first, first + GROUP):
        chance = random.Random(seed)
        program = random_program(chance, size=chance.choice((8, 15, 25, 40)), of=FEATURES)
        simulate(program, tmp_path / str(seed), seed, chance.choice(FAULTS), performer=Everything)


@pytest.mark.parametrize("seed", range(4))
def test_all_features_on_real_processes(seed, tmp_path):
    with rsim.init("local", num_cpus=2, resources=SLOTS, log_to_driver=False) as session:
        program = random_program(random.Random(seed), size=20, of=FEATURES)
        Everything(session, tmp_path, patience_s=60).perform(program)


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)
@given(st.randoms(use_true_random=False), st.integers(0, 2**32))
def test_any_program_under_any_seed(tmp_path_factory, chance, seed):
    folder = tmp_path_factory.mktemp("programs") / "marks"
    simulate(random_program(chance, size=12), folder, seed)


# -- programs that failed once ---------------------------------------------------------------------


def steps(*rows):
    return [Step(*row) for row in rows]


KEEPS_WHAT_ITS_OWN_LINEAGE_NEEDS = steps(
    ("actor", "plain", (47,), 811, -1, 1, True),
    ("task", "calls", (11,), 831, 1, 0, False),
    ("call", "keep", (39, 4, 42), 242, 0, 0, False),
)
INTERRUPTED_WITH_REFS = steps(
    ("task", "raising", (93,), 720, 0, 3, False),
    ("get", "", (69,), 86, 3, 3, False),
    ("task", "children", (50,), 717, -1, 1, True),
    ("cancel", "", (15,), 165, 0, 0, False),
)
CREATED_AGAIN_WITHOUT_ITS_ARGUMENTS = steps(
    ("task", "plain", (97,), 854, 0, 1, False),
    ("actor", "plain", (96,), 17, 3, 0, False),
    ("call", "plain", (58,), 560, 0, 0, True),
    ("get", "", (1,), 85, 0, 0, False),
    ("drop", "ref", (0,), 151, 1, 3, True),
    ("kill", "", (6,), 385, 3, 3, False),
    ("call", "slow", (43,), 747, 1, 0, False),
)


@pytest.mark.parametrize(
    ("program", "seed", "faults", "nodes"),
    [
        (KEEPS_WHAT_ITS_OWN_LINEAGE_NEEDS, 408, None, 1),
        (INTERRUPTED_WITH_REFS, 9, Faults(kill_worker=0.1, max_faults=2), 1),
        (CREATED_AGAIN_WITHOUT_ITS_ARGUMENTS, 171, None, 1),
    ],
)
def test_a_program_that_failed_once(program, seed, faults, nodes, tmp_path):
    simulate(program, tmp_path / "marks", seed, faults, nodes)


CANCELLED_AFTER_ITS_ERROR = steps(
    ("stream", "raising", (82, 77), 970, 3, 0, True),
    ("troupe", "threads", (87, 28), 85, 3, 1, False),
    ("take", "some", (24,), 478, -1, 0, False),
    ("stop", "cancel", (49,), 449, 3, 1, True),
    ("call", "keep", (5, 83), 289, 3, 0, False),
    ("task", "await", (97,), 187, 0, 3, False),
    ("take", "all", (59, 28, 55), 329, 3, 3, True),
)


def test_a_stream_ends_with_its_error_though_it_is_cancelled_then(tmp_path):
    simulate(CANCELLED_AFTER_ITS_ERROR, tmp_path / "marks", 13225, performer=Everything)
