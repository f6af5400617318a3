# user program: all of it runs in virtual time
"""The sim backend as a whole: time, determinism, processes, output, deadlock, clean ends."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rsim.exceptions import (
    DeadlockError,
    GetTimeoutError,
    RsimTaskError,
    TaskCancelledError,
    WorkerCrashedError,
)
from rsim.runtime import current
from rsim.runtime.session import SessionConfig
from rsim.sim import Cluster, Node, Replay, Tape
from rsim.sim.backend import SimSession, start
from tests.sim import driving
from tests.sim.driving import client, get, get_all, simulation, submit

ROOT = Path(__file__).parents[2]

_session: SimSession


def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def double(value: int) -> int:
    return value * 2


def fib(n: int) -> int:
    if n < 2:
        return n
    left, right = submit(fib, n - 1), submit(fib, n - 2)
    return int(get(left) + get(right))


# -- virtual time ------------------------------------------------------------------------------


def test_ten_sleeps_of_a_second_take_one_second_on_ten_slots() -> None:
    with simulation(num_cpus=10) as session:
        assert get_all([submit(nap, 1) for _ in range(10)]) == [1] * 10
        assert session.now() == 1.0


def test_a_thousand_sleeps_of_an_hour_pass_in_virtual_time_only() -> None:
    with simulation(num_cpus=4) as session:
        get_all([submit(nap, 3600) for _ in range(1000)])
        assert session.now() == 250 * 3600


def test_the_drivers_clock_and_sleep_are_virtual() -> None:
    with simulation() as session:
        before = time.monotonic()
        ref = submit(nap, 5)
        time.sleep(2)
        assert time.monotonic() - before == 2.0
        get(ref)
        assert session.now() == 5.0


def test_a_nodes_speed_scales_declared_cost_but_not_sleep() -> None:
    def work() -> None:
        client().channel.spend(6_000_000_000)
        time.sleep(1)

    with simulation(cluster=[Node(speed=3.0)]) as session:
        get(submit(work))
        assert session.now() == 3.0


def test_what_is_said_of_equal_nodes_is_not_said_of_a_list() -> None:
    with pytest.raises(ValueError, match="num_cpus=2 is for equal nodes, and nodes is a list"):
        Cluster([Node(), Node()], num_cpus=2)


def test_workers_take_their_time_to_start_if_the_cluster_says_so() -> None:
    with simulation(cluster=Cluster(1, num_cpus=1, worker_start_s=0.25)) as session:
        get_all([submit(nap, 1) for _ in range(2)])
        assert session.now() == 2.25


def test_a_time_limit_of_get_is_virtual() -> None:
    with simulation() as session:
        ref = submit(nap, 100)
        with pytest.raises(GetTimeoutError):
            get(ref, timeout_s=1.5)
        assert session.now() == 1.5
        assert get(ref) == 100


@pytest.mark.parametrize("quick", [0, 1])
def test_polling_in_no_time_lets_time_pass_all_the_same(quick: int) -> None:
    with simulation() as session:
        refs = [submit(nap, 0) for _ in range(quick)] + [submit(nap, 0.01)]
        while len(client().wait(refs, len(refs), timeout_s=0)[0]) < len(refs):
            pass
        assert 0.01 <= session.now() < 0.02


def test_asking_again_and_again_in_no_time_lets_time_pass_all_the_same() -> None:
    with simulation(num_cpus=2) as session:
        while session.now() < 0.01:
            get(submit(nap, 0))


def ask_for_ever() -> None:
    while True:
        get(submit(nap, 0))


def test_nor_does_time_stand_still_for_a_task_that_asks_for_ever() -> None:
    with simulation(num_cpus=2) as session:
        ref = submit(ask_for_ever)
        with pytest.raises(GetTimeoutError):
            get(ref, timeout_s=0.01)
        assert session.now() == 0.01


def test_whoever_takes_as_long_by_itself_is_not_held_up() -> None:
    with simulation(num_cpus=1) as session:
        for _ in range(11_000):
            get(submit(nap, 0.001))
        assert session.now() == pytest.approx(11)


def test_a_blocked_task_gives_its_cpu_back() -> None:
    with simulation(num_cpus=1):
        assert get(submit(fib, 7)) == 13


# -- determinism -------------------------------------------------------------------------------

_PROGRAM = """
import random, sys, uuid
from rsim.sim import Cluster, Faults
from tests.sim.driving import client, get_all, simulation, submit

def leaf(i):
    import random, time
    time.sleep(random.random())
    return {f"key {random.random()}": i for i in range(3)}

def branch(n):
    return client().wait([submit(leaf, i, max_retries=9) for i in range(n)], n // 2)[0]

def main():
    faults = Faults(kill_worker=0.1, kill_node=0.02)
    cluster = Cluster(3, num_cpus=2, jitter_s=0.001)
    with simulation(seed=11, cluster=cluster, faults=faults) as session:
        refs = [submit(branch, 4, max_retries=9) for _ in range(5)]
        found = get_all(sum(get_all(refs), []))
        print(session.digest(), session.tape.digest(), found, uuid.uuid4(), session.now())

main()
main()
"""


def run_program(text: str, hash_seed: int, typed: str = "") -> str:
    environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", text]
    done = subprocess.run(
        command,
        env=environment,
        input=typed,
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_equal_seeds_give_equal_runs_under_any_hash_seed() -> None:
    outputs = [run_program(_PROGRAM, hash_seed) for hash_seed in (1, 2)]
    assert outputs[0] == outputs[1]
    first, second = outputs[0].splitlines()
    assert first == second, "a second session in the same process went another way"


def test_seeds_differ_and_tapes_replay() -> None:
    def play(**config: Any) -> tuple[str, list[Any]]:
        with simulation(cluster=Cluster(2, jitter_s=0.01), **config) as session:
            get_all([submit(nap, 1) for _ in range(6)])
            return session.digest(), list(session.tape.draws)

    digests = {play(seed=seed)[0] for seed in range(5)}
    assert len(digests) == 5
    digest, draws = play(seed=3)
    assert digest in digests
    assert play(source=Replay(draws, strict=True))[0] == digest


def test_without_a_seed_the_run_is_canonical() -> None:
    with simulation(cluster=Cluster(2)) as session:
        get_all([submit(nap, 1) for _ in range(12)])
        assert session.tape.draws
        assert session.tape.deviations == 0


def test_the_trace_names_tasks_by_path_and_knows_causes() -> None:
    with simulation() as session:
        get(submit(fib, 2))
    records = session.trace.records
    finished = [record for record in records if record.kind == "TaskDone"]
    assert {record.subject for record in finished} == {"d/0", "d/0/0", "d/0/1"}
    chain = session.trace.explain(finished[0].step)
    assert ("TaskSubmitted", "d/0") in [(record.kind, record.subject) for record in chain]
    spans = [(span.name, span.slot, span.subject) for span in session.trace.spans]
    assert ("fib", 1, "d/0") in spans


# -- tasks as processes ------------------------------------------------------------------------


def test_tasks_have_their_own_pids_and_randomness() -> None:
    def who(_: int) -> tuple[int, bytes]:
        time.sleep(1)
        return os.getpid(), os.urandom(4)

    with simulation(num_cpus=3):
        found = get_all([submit(who, i) for i in range(3)])
    assert sorted(pid for pid, _ in found) == [5_000_000, 5_000_001, 5_000_002]
    assert len({entropy for _, entropy in found}) == 3
    assert os.getpid() not in [pid for pid, _ in found]


def leave(how: str) -> None:
    if how == "_exit":
        os._exit(3)
    elif how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "raise_signal":
        signal.raise_signal(signal.SIGSEGV)
    else:
        os.abort()


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("_exit", "exit code 3"),
        ("kill", r"killed by signal 9 \(SIGKILL\)"),
        ("raise_signal", r"killed by signal 11 \(SIGSEGV\)"),
        ("abort", r"killed by signal 6 \(SIGABRT\)"),
    ],
)
def test_a_task_that_ends_its_process_crashes_its_worker_only(how: str, reason: str) -> None:
    with simulation() as session:
        with pytest.raises(WorkerCrashedError, match=reason):
            get(submit(leave, how, max_retries=1))
        spans = [span for span in session.trace.spans if span.name == "leave"]
        assert [span.outcome for span in spans] == ["died", "died"]
        assert get(submit(double, 2)) == 4


def test_a_killed_worker_runs_no_finally_block_before_the_session_ends() -> None:
    def die() -> None:
        try:
            os._exit(0)
        finally:
            submit(double, 1)

    with simulation() as session:
        with pytest.raises(WorkerCrashedError):
            get(submit(die, max_retries=0))
        gc.collect()
    assert "d/0/0" not in [record.subject for record in session.trace.records]


def test_a_task_can_kill_another_worker() -> None:
    def pid() -> int:
        return os.getpid()

    def kill(target: int) -> None:
        os.kill(target, signal.SIGTERM)

    with simulation(num_cpus=1):
        target = get(submit(pid))
        with pytest.raises(WorkerCrashedError, match="SIGTERM"):
            get(submit(kill, target, max_retries=0))
        with pytest.raises(RsimTaskError, match="No such simulated process"):
            get(submit(kill, 1))


def test_sessions_kill_workers_and_nodes_on_request() -> None:
    with simulation(cluster=Cluster(2, num_cpus=1, detection_s=0.5)) as session:
        refs = [submit(nap, 10, max_retries=1) for _ in range(2)]
        time.sleep(1)
        session.kill_worker("n0", 1)
        session.kill_node("n1")
        assert get_all(refs) == [10, 10]
        assert session.now() == pytest.approx(21, abs=0.01)
        with pytest.raises(ValueError, match="dead already"):
            session.kill_node("n1")
        with pytest.raises(ValueError, match="the driver runs on it"):
            session.kill_node("n0")
        with pytest.raises(ValueError, match="no node 'n7'; the nodes are 'n0', 'n1'"):
            session.kill_worker("n7", 1)
        with pytest.raises(ValueError, match="no living worker 99"):
            session.kill_worker("n0", 99)


def test_cancelling_interrupts_a_task_where_it_sleeps() -> None:
    with simulation() as session:
        ref = submit(nap, 1000)
        time.sleep(1)
        client().cancel(ref, force=False, recursive=False)
        with pytest.raises(TaskCancelledError):
            get(ref)
        assert session.now() == 1.0
        assert get(submit(double, 4)) == 8


def test_cancelling_interrupts_a_task_where_it_waits() -> None:
    def wait_for_child() -> float:
        return float(get(submit(nap, 50)))

    with simulation() as session:
        ref = submit(wait_for_child)
        time.sleep(1)
        client().cancel(ref, force=False, recursive=False)
        with pytest.raises(TaskCancelledError):
            get(ref)
        assert session.now() == 1.0


# -- output ------------------------------------------------------------------------------------


def say(*lines: str) -> None:
    for line in lines:
        print(line)
        time.sleep(1)


def test_tasks_print_line_by_line_with_a_label(capsys: pytest.CaptureFixture[str]) -> None:
    def mutter() -> None:
        print("be", end="", flush=True)
        time.sleep(0.5)
        print("gun", end="")
        print(" on stderr", file=sys.stderr)

    with simulation(num_cpus=2):
        print("driver")
        get_all([submit(say, "a", "b"), submit(mutter)])
        print("driver", end="")
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "driver",
        "(say pid=5000000, node=n0) a",
        "(mutter pid=5000001, node=n0) begun",
        "(say pid=5000000, node=n0) b",
        "driver",
    ]
    assert err == "(mutter pid=5000001, node=n0)  on stderr\n"


def test_what_tasks_print_can_be_dropped(capsys: pytest.CaptureFixture[str]) -> None:
    with simulation(log_to_driver=False):
        get(submit(say, "unheard"))
        print("heard")
    assert capsys.readouterr().out == "heard\n"


def test_text_that_a_stream_refuses_is_escaped() -> None:
    written = io.BytesIO()
    stream = io.TextIOWrapper(written, encoding="utf-8", write_through=True)
    with contextlib.redirect_stdout(stream), simulation():
        get(submit(print, "half \ud800 a pair"))
    assert written.getvalue().endswith(b" half \\ud800 a pair\n")


def test_a_task_that_redirects_its_output_redirects_nobody_elses(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def redirect() -> str:
        import contextlib
        import io

        with contextlib.redirect_stdout(io.StringIO()) as caught:
            say("mine", "mine too")
        return caught.getvalue()

    with simulation():
        refs = [submit(redirect), submit(say, "shown")]
        time.sleep(0.5)
        print("driver")
        assert get_all(refs) == ["mine\nmine too\n", None]
    assert capsys.readouterr().out == "(say pid=5000001, node=n0) shown\ndriver\n"


_DEBUGGED = """
from tests.sim.driving import get, simulation, submit

def debugged():
    import time
    secret = 40
    breakpoint()
    time.sleep(5)
    return secret

with simulation() as session:
    print(get(submit(debugged)), session.now())
"""


def test_a_debugger_in_a_task_steps_over_virtual_sleep() -> None:
    commands = "p secret + 2\nnext\nnext\ncontinue\n"
    printed = run_program(_DEBUGGED, hash_seed=0, typed=commands)
    assert "(Pdb) 42" in printed
    assert "(9)debugged()" in printed
    assert printed.splitlines()[-1] == "40 5.0"


# -- deadlock ----------------------------------------------------------------------------------


def test_a_deadlock_is_an_error_in_the_driver_that_says_who_waits() -> None:
    with simulation(num_cpus=1) as session:
        ref = submit(double, 1, num_cpus=50)
        with pytest.raises(DeadlockError) as caught:
            get(ref)
        report = caught.value.report
        assert f"d (the driver) is stopped in its get d/0.r0 at {driving.__file__}:" in report
        assert "double" in report
        assert len(session.infeasible()) == 1
        assert get(submit(double, 2)) == 4, "the session goes on"


def test_a_deadlock_report_lists_the_waiting_tasks() -> None:
    def outer() -> Any:
        return get(submit(double, 1, num_cpus=50))

    with simulation(), pytest.raises(DeadlockError, match=r"get d/0/0\.r0"):
        get(submit(outer))


# -- beginning and end -------------------------------------------------------------------------


def test_sessions_leave_the_process_as_it_was() -> None:
    before = (time.sleep, os._exit, os.getpid, sys.stdout, gc.isenabled())
    handler = signal.getsignal(signal.SIGINT)
    for _ in range(3):
        with simulation():
            get(submit(double, 1))
            assert not gc.isenabled()
    assert (time.sleep, os._exit, os.getpid, sys.stdout, gc.isenabled()) == before
    assert signal.getsignal(signal.SIGINT) is handler
    assert current.client is None


_ended: list[str] = []


def wait_and_clean_up(name: str) -> None:
    try:
        get(submit(nap, 10_000))
    finally:
        _ended.append(name)
        time.sleep(1)  # ends at once: nothing is simulated any more


def test_a_session_ends_in_the_midst_of_everything() -> None:
    def never_give_up() -> None:
        while True:
            try:
                time.sleep(1)
            except BaseException:
                continue

    _ended.clear()
    with pytest.raises(ZeroDivisionError), simulation():
        for name in ("first", "second"):
            submit(wait_and_clean_up, name)
        submit(never_give_up)
        time.sleep(5)
        _ = 1 / 0
    assert _ended == ["first", "second"]
    assert current.client is None


def test_shutting_down_twice_is_once() -> None:
    session = start(SessionConfig(address="sim"))
    session.shutdown()
    session.shutdown()


def test_ctrl_c_reaches_the_driver_while_a_task_runs() -> None:
    def interrupt_the_driver() -> None:
        ctypes.pythonapi.PyErr_SetInterrupt()  # as a real signal does, to this very process

    with simulation() as session:
        with pytest.raises(KeyboardInterrupt):
            get(submit(interrupt_the_driver))
        assert session.now() == 0.0
        assert get(submit(double, 3)) == 6


@pytest.mark.parametrize(
    ("config", "error", "text"),
    [
        ({"cluster": 3}, TypeError, "cluster must be an rsim.sim.Cluster or a list"),
        ({"cluster": [3]}, TypeError, r"cluster\[0\] must be an rsim.sim.Node, not 3"),
        ({"cluster": Cluster(2), "num_cpus": 2}, ValueError, "num_cpus cannot be given together"),
        ({"faults": 0.5}, TypeError, "faults must be an rsim.sim.Faults, not 0.5"),
        ({"seed": "x"}, TypeError, "seed must be an int or None, not 'x'"),
    ],
)
def test_bad_arguments_are_refused(
    config: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text), simulation(**config):
        pass
    assert current.client is None


def test_the_test_runner_keeps_real_threads_and_time() -> None:
    text = """
import threading
def started(seconds):
    timer = threading.Timer(seconds, int)
    timer.start()
    timer.join()
"""
    runner: dict[str, Any] = {"__name__": "pytest_timeout"}
    exec(text, runner)
    user: dict[str, Any] = {"__name__": "my_tests"}
    exec(text, user)
    with simulation() as session:
        runner["started"](0)
        assert session.now() == 0.0
        user["started"](5)
        assert session.now() == 5.0


# -- objects and nodes -------------------------------------------------------------------------


def size_of(array: Any) -> int:
    return int(array.nbytes)


def test_an_object_takes_its_time_through_the_network() -> None:
    nodes = [Node(num_cpus=0), Node(num_cpus=1)]
    cluster = Cluster(nodes, latency_s=0.001, bandwidth_bytes_per_s=1e9)
    with simulation(cluster=cluster) as session:
        ref = client().put(np.zeros(100_000_000, np.uint8))
        assert get(submit(size_of, ref)) == 100_000_000
        assert session.now() == pytest.approx(0.1, abs=0.01)
        (transfer,) = [span for span in session.trace.spans if span.kind == "transfer"]
        assert (transfer.node, transfer.slot, transfer.subject) == ("n1", "from n0", "d.p0")
        assert transfer.end_ns is not None
        assert transfer.end_ns - transfer.start_ns == pytest.approx(101_000_000, rel=1e-3)


def test_arrays_are_read_only_and_outlive_the_session() -> None:
    with simulation():
        array = get(client().put(np.arange(1_000_000)))
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    assert array.sum() == 499_999_500_000


def test_a_full_store_spills_to_a_disk_that_takes_time() -> None:
    node = Node(object_store_memory=50_000_000)
    with simulation(cluster=Cluster([node], disk_bytes_per_s=1e9)) as session:
        refs = [client().put(np.full(20_000_000, n, np.uint8)) for n in range(4)]
        assert session.now() > 0
        assert [int(get(ref)[0]) for ref in refs] == [0, 1, 2, 3]


def test_the_death_of_a_node_is_survived_by_what_can_be_computed_again() -> None:
    def make(value: int) -> Any:
        return np.full(1_000_000, value, np.uint8)

    cluster = Cluster([Node(num_cpus=0), Node(num_cpus=2), Node(num_cpus=2)])
    with simulation(cluster=cluster) as session:
        refs = [submit(make, value) for value in range(4)]
        client().wait(refs, 4, None, False)
        session.kill_node("n1")
        assert [int(get(ref)[0]) for ref in refs] == [0, 1, 2, 3]


def test_an_error_in_the_engine_reaches_the_driver_and_ends_the_simulation() -> None:
    class Broken:
        def place(self, *_: Any) -> str:
            raise ZeroDivisionError("in the policy")

    with simulation(cluster=[Node(num_cpus=0), Node()], policy=Broken()):
        with pytest.raises(ZeroDivisionError, match="in the policy"):
            get(submit(double, 1))
        with pytest.raises(RuntimeError, match="has failed before"):
            time.sleep(1)


def test_a_task_cannot_end_the_simulation() -> None:
    def end() -> None:
        from tests.sim import test_backend

        test_backend._session.shutdown()

    global _session
    with simulation() as _session:
        with pytest.raises(RuntimeError, match="only the driver can"):
            get(submit(end))
        assert get(submit(double, 1)) == 2


def test_tapes_name_tasks_by_path(tmp_path: Path) -> None:
    with simulation(num_cpus=4) as session:
        get_all([submit(nap, 1) for _ in range(4)])
        session.tape.save(tmp_path / "tape")
        session.trace.save(tmp_path / "trace.json")
    tape = Tape.load(tmp_path / "tape")
    names = {name for draw in tape.draws for name in draw.candidates}
    assert {"d/0", "d/1", "d/2", "d/3"} <= names
    assert all(isinstance(name, str) and len(name) < 20 for name in names)
    assert '"name":"nap"' in (tmp_path / "trace.json").read_text()
