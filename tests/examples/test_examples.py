"""Every example runs as its first lines say, and finds what it promises."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import rsim
from examples import (
    faults,
    hello,
    monte_carlo_pi,
    parallel_sleep,
    pipeline,
    schedule_under_seeds,
    tree_reduce,
)
from rsim.sim import Cluster

EXAMPLES = Path(__file__).parents[2] / "examples"
HELPERS = {"unit_test_example"}  # run by pytest, not as scripts
SCRIPTS = sorted(path.stem for path in EXAMPLES.glob("*.py") if path.stem not in HELPERS)
PRINTS = {
    "async_service": r"40 answers, [1-6] at a time; 'word 0' is 'WORD 0'",
    "demo": r"results are equal, bit for bit[\s\S]*same seed, same digest: [0-9a-f]{8}",
    "faults": r"[1-3] workers died; the counts are right",
    "hello": r"hello, driver\nhello, worker\nhello, world\n",
    "monte_carlo_pi": r"pi is about 3\.1\d",
    "parallel_sleep": r"took 1\.0\d s",
    "pipeline": r"240,000 rows[\s\S]*error 0\.\d+ after 4 rounds  <- best",
    "schedule_under_seeds": r"in_order_of_completion +160\.0 \(\d+ times\), 165\.0 \(\d+ times\)",
    "streaming_pipeline": r"kept 416,446 of 480,000 rows; their mean is 4\.998",
    "tree_reduce": r"reduce_in_a_chain +136  in 1\.5 s\nreduce_as_a_tree +136  in 0\.[4-6] s",
}


def run(*command: str, address: str) -> str:
    """Run Python as a user would; return what it printed, fail if it failed."""
    environment = {**os.environ, "RSIM_ADDRESS": address, "COLUMNS": "100"}
    done = subprocess.run(
        [sys.executable, *command],
        cwd=EXAMPLES.parent,
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stderr, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", SCRIPTS)
def test_script_prints_what_it_promises_in_the_simulation(name: str) -> None:
    assert re.search(PRINTS[name], run(f"examples/{name}.py", address="sim"))


@pytest.mark.parametrize(
    "name", ["async_service", "hello", "monte_carlo_pi", "pipeline", "streaming_pipeline"]
)
def test_script_prints_what_it_promises_on_processes(name: str) -> None:
    assert re.search(PRINTS[name], run(f"examples/{name}.py", address="local"))


def test_the_example_of_a_unit_test_passes() -> None:
    arguments = ("-q", "-p", "no:cacheprovider", "examples/unit_test_example.py")
    assert "13 passed" in run("-m", "pytest", *arguments, address="sim")


def test_the_demo_fits_a_page() -> None:
    lines = run("examples/demo.py", address="local").splitlines()
    assert len(lines) <= 60
    assert max(map(len, lines)) <= 100
    assert {"n0", "n1", "n2"} <= {line.split()[0] for line in lines if "% busy" in line}


def test_the_pipeline_finds_the_same_on_every_cluster() -> None:
    found = []
    for cluster in (Cluster(nodes=1, num_cpus=1), Cluster(nodes=5, num_cpus=2)):
        with rsim.init("sim", cluster=cluster, seed=1):
            found.append(pipeline.main())
    assert found[0] == found[1]
    assert found[0]["mean"][0] == pytest.approx(3.0, abs=0.05)
    assert found[0]["deviation"][0] == pytest.approx(2.0, abs=0.05)


def test_more_nodes_make_the_pipeline_faster() -> None:
    took_s = []
    for nodes in (1, 3):
        with rsim.init("sim", cluster=Cluster(nodes=nodes, num_cpus=4), seed=1) as session:
            pipeline.main()
            took_s.append(session.now())
    assert took_s[0] / took_s[1] > 2


@pytest.mark.parametrize("address", ["sim", "local"])
def test_hello(address: str) -> None:
    with rsim.init(address):
        assert hello.main() == ["hello, driver", "hello, worker", "hello, world"]


@pytest.mark.parametrize(("num_cpus", "expected_s"), [(10, 1), (5, 2), (1, 10)])
def test_sleeps_share_the_cpus(num_cpus: int, expected_s: float) -> None:
    with rsim.init("sim", num_cpus=num_cpus):
        assert parallel_sleep.main() == pytest.approx(expected_s, rel=0.05)


def test_the_tree_is_as_right_as_the_chain_and_shorter() -> None:
    with rsim.init("sim", num_cpus=8):
        found = tree_reduce.main()
    assert {total for total, _ in found.values()} == {136}
    assert found["reduce_in_a_chain"][1] == pytest.approx(1.5, rel=0.05)
    assert found["reduce_as_a_tree"][1] == pytest.approx(0.4, rel=0.05)


def test_pi_follows_the_seed() -> None:
    estimates = []
    for seed in (1, 1, 2):
        with rsim.init("sim", seed=seed):
            estimates.append(monte_carlo_pi.main())
    assert estimates[0] == estimates[1] != estimates[2]
    assert estimates == [pytest.approx(3.14, abs=0.03)] * 3


def test_counts_are_right_whoever_dies() -> None:
    died = 0
    for seed in range(20):
        counts, deaths = faults.main(seed)
        assert counts == {word: faults.TEXT.count(word) for word in faults.TEXT}
        died += deaths
    assert died > 20


def test_seeds_find_the_race() -> None:
    found = schedule_under_seeds.main()
    assert set(found["in_order_of_submission"]) == {165.0}
    assert set(found["in_order_of_completion"]) == {160.0, 165.0}
