"""What only a simulated cluster promises: virtual time, seeded chance, and loud escapes."""

import _thread
import asyncio
import datetime
import json
import os
import random
import secrets
import socket
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import numpy as np
import pytest

import rsim
from rsim.exceptions import DeadlockError, RsimTaskError, SimulationEscapeError

ROOT = Path(__file__).parents[2]


@rsim.remote
def sleep(seconds):
    time.sleep(seconds)
    return seconds


@pytest.fixture
def sim():
    """A session of one node with ten CPUs, and a network that takes no time."""
    return rsim.init("sim", cluster=rsim.sim.Cluster(1, num_cpus=10, latency_s=0))


def test_ten_seconds_of_sleep_take_one_on_ten_slots(sim):
    rsim.get([sleep.remote(1) for _ in range(10)])
    assert sim.now() == 1.0
    rsim.get([sleep.remote(1) for _ in range(11)])
    assert sim.now() == 3.0


def test_a_thousand_hours(sim):
    begin = time.monotonic()
    rsim.get([sleep.remote(3600) for _ in range(1000)])
    assert sim.now() == 100 * 3600.0
    assert time.monotonic() - begin == 100 * 3600.0


def test_sleep_in_the_driver_and_in_tasks_is_one_time(sim):
    ref = sleep.remote(5)
    time.sleep(2)  # user program
    assert rsim.wait([ref], timeout=0) == ([], [ref])
    assert rsim.wait([ref], timeout=2.5) == ([], [ref])
    assert sim.now() == 4.5
    rsim.get(ref)
    assert sim.now() == 5.0


def test_every_clock_is_virtual(sim):
    @rsim.remote
    def clocks():
        def read():
            moment = datetime.datetime.now().timestamp()
            return [
                time.time(),
                time.monotonic(),
                time.perf_counter(),
                time.time_ns() / 1e9,
                moment,
            ]

        before = read()
        time.sleep(7200)
        return [round(after - first, 3) for first, after in zip(before, read(), strict=True)]

    assert rsim.get(clocks.remote()) == [7200.0] * 5


def test_asyncio_in_tasks_and_in_the_driver(sim):
    async def wait_together():
        await asyncio.gather(*(asyncio.sleep(60) for _ in range(3)))
        return "done"

    @rsim.remote
    def run():
        return asyncio.run(wait_together())

    assert rsim.get([run.remote(), run.remote()]) == ["done", "done"]
    assert sim.now() == 60.0
    assert asyncio.run(wait_together()) == "done"
    assert sim.now() == 120.0


def test_declared_cost_takes_virtual_time(sim):
    @rsim.remote(cost=3)
    def constant():
        return sim_now()

    def sim_now():
        return time.monotonic()

    @rsim.remote(cost=lambda items, *, factor=1: len(items) * factor)
    def by_size(items, *, factor=1):
        return sum(items)

    rsim.get(constant.remote())
    assert sim.now() == 3.0
    assert rsim.get(by_size.remote([1, 2, 3, 4], factor=2)) == 10
    assert sim.now() == 11.0
    rsim.get(constant.options(cost=0.5).remote())
    assert sim.now() == 11.5


def test_a_fast_node_spends_less_on_cost_and_as_long_asleep():
    cluster = rsim.sim.Cluster([rsim.sim.Node(num_cpus=1, speed=2)], latency_s=0)
    with rsim.init("sim", cluster=cluster) as session:
        rsim.get(rsim.remote(cost=4)(len).remote("ab"))
        assert session.now() == 2.0
        rsim.get(sleep.remote(4))
        assert session.now() == 6.0


@rsim.remote
def chance():
    return (
        random.random(),
        float(np.random.rand()),
        uuid.uuid4().hex,
        os.urandom(8).hex(),
        secrets.token_hex(8),
    )


def draws(seed, count=3):
    with rsim.init("sim", num_cpus=2, seed=seed):
        return rsim.get([chance.remote() for _ in range(count)])


def test_chance_is_seeded_per_task():
    first = draws(1)
    assert first == draws(1)
    assert first[:2] == draws(1, count=2)
    assert first != draws(2)
    assert len({value for row in first for value in row}) == 15


def test_the_real_world_is_back_afterwards():
    draws(1)
    before = time.monotonic()
    threading.Event().wait(0.001)
    assert 0.001 <= time.monotonic() - before < 100
    assert random.random() != random.random()
    assert chance != draws


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: _thread.start_new_thread(print, ()), "start_new"),
        (lambda: socket.socket(), "socket"),  # noqa: PLW0108
        (lambda: subprocess.run(["true"], check=True), "Popen"),
        (lambda: os.system("true"), "system"),
        (lambda: os.fork(), "fork"),  # noqa: PLW0108  # looked up when called
    ],
    ids=["thread", "socket", "subprocess", "system", "fork"],
)
def test_escapes_name_the_call(sim, call, name):
    @rsim.remote
    def escape():
        call()

    with pytest.raises(SimulationEscapeError, match=name) as caught:
        rsim.get(escape.remote())
    assert isinstance(caught.value, RsimTaskError)


def test_a_deadlock_says_who_waits_for_what(sim):
    @rsim.remote(resources={"unicorn": 1})
    def impossible():
        pass

    @rsim.remote
    def patient(refs):
        return rsim.get(refs)

    ref = patient.remote([impossible.remote()])
    with pytest.raises(DeadlockError) as caught:
        rsim.get(ref)
    report = str(caught.value)
    for word in ("driver", "patient", "impossible", "unicorn"):
        assert word in report


def test_the_trace_can_be_saved(sim, tmp_path):
    rsim.get([sleep.remote(1) for _ in range(3)])
    path = tmp_path / "trace.json"
    sim.trace.save(path)
    events = json.loads(path.read_text())
    events = events["traceEvents"] if isinstance(events, dict) else events
    assert sum(event.get("name") == "sleep" and event["ph"] in "XB" for event in events) == 3


def test_a_debugger_in_a_task(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import rsim\n"
        "@rsim.remote\n"
        "def debugged(number):\n"
        "    breakpoint()\n"
        "    return number + 1\n"
        "rsim.init('sim')\n"
        "print('result', rsim.get(debugged.remote(41)))\n"
    )
    for command in ([], ["-m", "pdb", "-c", "continue"]):
        done = subprocess.run(
            [sys.executable, *command, str(script)],
            input="p 'value', number\ncontinue\nquit\n",
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONBREAKPOINT": ""},
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        assert "('value', 41)" in done.stdout, done.stderr
        assert "result 42" in done.stdout, done.stderr
