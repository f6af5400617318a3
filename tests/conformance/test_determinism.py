"""The same seed makes the same run: in this process, and in others under another hash seed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import rsim
from tests.conformance import dags, deterministic_program

ROOT = Path(__file__).parents[2]


def run_elsewhere(seed, hash_seed):
    done = subprocess.run(
        [sys.executable, "-m", "tests.conformance.deterministic_program", str(seed)],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": str(hash_seed)},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("seed", range(3))
def test_same_seed_same_digest_in_two_processes(seed):
    first, second = run_elsewhere(seed, 0), run_elsewhere(seed, 12345)
    assert first == second
    assert first.split()[0] == "14"


@pytest.mark.parametrize("seed", range(5))
def test_same_seed_same_digest_in_one_process(seed):
    first = deterministic_program.run(seed)
    assert first == deterministic_program.run(seed)


def test_different_seeds_make_different_runs_with_the_same_result():
    runs = [deterministic_program.run(seed) for seed in range(8)]
    assert len({tuple(result) for result, _ in runs}) == 1
    assert len({digest for _, digest in runs}) >= 6


@pytest.mark.parametrize("seed", range(10))
def test_random_programs_repeat_exactly(seed):
    dag = dags.random_dag(seed)

    def digest():
        with rsim.init("sim", cluster=dags.CLUSTER, faults=dags.FAULTS, seed=seed) as session:
            dags.run(dag)
            return session.digest()

    assert digest() == digest()


def test_the_digest_grows_with_the_run():
    with rsim.init("sim") as session:
        before = session.digest()
        rsim.get(rsim.remote(len).remote("ab"))
        assert session.digest() != before


def test_what_the_program_is_shows_in_the_digest():
    def digest(count):
        with rsim.init("sim", seed=0) as session:
            rsim.get([rsim.remote(len).remote("ab") for _ in range(count)])
            return session.digest()

    assert digest(2) == digest(2) != digest(3)
