"""However a driver ends, nothing of it stays."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.backends.local.driver import driving, my_pid, traces_of
from tests.leaks import lives
from tests.polling import holds_in_time

PRELUDE = """
import os, signal, sys, threading, time
from rsim.core.records import TaskOptions
from tests.backends.local.driver import driving
def tiny(x): return x
def nap(seconds=1000): time.sleep(seconds)
def hog(): sum(range(10**12))
"""


class Program:
    """A driver in a process of its own."""

    def __init__(self, code: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PRELUDE + code],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=Path(__file__).parents[3],
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def rest(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.read()  # communicate() would miss what readline() has buffered


@pytest.fixture
def programs() -> Iterator[list[Program]]:
    started: list[Program] = []
    yield started
    for program in started:
        program.process.kill()
        program.process.communicate()


BUSY = """
with driving(3) as d:
    r = d.run(hog); d.run(nap); d.client.put(bytes(10**6))
    d.client.wait([d.run(tiny, 1)])
    print("up", flush=True)
    d.get(r, timeout_s=None)
"""


def gone(family: list[psutil.Process]) -> bool:
    return not any(map(lives, family))


def test_kill_9_of_the_driver_leaves_nothing(programs: list[Program]) -> None:
    program = Program(BUSY)
    programs.append(program)
    assert program.line() == "up"
    family = program.family()
    assert len(family) >= 4
    program.process.kill()
    assert holds_in_time(lambda: gone(family) and not traces_of(program.process.pid))


def test_kill_9_of_driver_and_guardian_is_swept_up_by_the_next_session(
    programs: list[Program],
) -> None:
    program = Program(BUSY)
    programs.append(program)
    assert program.line() == "up"
    family = program.family()
    guardian = psutil.Process(program.process.pid).children()[0]
    guardian.suspend()
    program.process.kill()
    program.process.wait()
    guardian.kill()
    assert holds_in_time(lambda: gone(family))
    with driving(1) as driver:
        driver.call(my_pid)
        # another session may be sweeping at this very moment
        assert holds_in_time(lambda: not traces_of(program.process.pid))


def test_an_unhandled_error_leaves_nothing(programs: list[Program]) -> None:
    program = Program(
        """
from tests.backends.local.driver import *
d = Driver(start(SessionConfig(num_cpus=2)))
d.run(nap)
d.call(tiny, 1)
print([p.pid for p in psutil.Process().children(recursive=True)], flush=True)
raise RuntimeError("oops")
"""
    )
    programs.append(program)
    pids = [int(pid) for pid in program.line().strip("[]").split(",")]
    assert "RuntimeError: oops" in program.rest()
    assert holds_in_time(lambda: not any(psutil.pid_exists(pid) for pid in pids))
    assert not traces_of(program.process.pid)


def test_ctrl_c_ends_a_wait_and_the_session_goes_on(programs: list[Program]) -> None:
    program = Program(
        """
with driving(2) as d:
    r = d.run(nap)
    try:
        print("up", flush=True)
        d.get(r, timeout_s=None)
    except KeyboardInterrupt:
        print("interrupted", d.call(tiny, 1))
"""
    )
    programs.append(program)
    assert program.line() == "up"
    program.process.send_signal(signal.SIGINT)
    assert program.rest() == "interrupted 1\n"


def test_a_storm_of_ctrl_c_never_corrupts_the_node(programs: list[Program]) -> None:
    program = Program(
        """
exposed, raised = False, 0
def once(signum, frame):  # never again before the first has been caught
    global exposed, raised
    if exposed:
        exposed, raised = False, raised + 1
        raise KeyboardInterrupt
signal.signal(signal.SIGINT, once)
with driving(2) as d:
    refs = []
    sheltered = threading.Event()
    def storm():
        sheltered.wait()
        pause = threading.Event()
        for _ in range(500):
            pause.wait(0.0007)
            os.kill(os.getpid(), signal.SIGINT)
    thread = threading.Thread(target=storm)
    thread.start()
    while thread.is_alive():
        try:
            exposed = True
            sheltered.set()
            while thread.is_alive():
                refs.append((len(refs), d.run(tiny, len(refs))))
                if len(refs) % 5 == 0:
                    d.get(refs[-1][1])
            exposed = False
        except KeyboardInterrupt:
            pass
    assert raised
    assert all(d.get(ref) == number for number, ref in refs)
    d.session.sites["local"].node.check()
    print("good")
"""
    )
    programs.append(program)
    assert program.rest() == "good\n"


def test_a_deadlock_is_reported(programs: list[Program]) -> None:
    program = Program(
        """
from rsim.exceptions import DeadlockError
with driving(1) as d:
    try:
        d.get(d.run(tiny, 1, options=TaskOptions(demand=(("GPU", 10000),))), timeout_s=None)
    except DeadlockError as error:
        print("deadlock:", error)
"""
    )
    programs.append(program)
    text = program.rest()
    assert "deadlock:" in text and "the driver waits for" in text and "GPU" in text


def test_a_task_that_takes_long_is_no_deadlock(programs: list[Program]) -> None:
    # in a program: under pytest the driver has further threads, which might come to its rescue
    program = Program(
        """
from rsim.backends.local.patience import _FIRST_S
with driving(1) as d:
    d.call(tiny, 1)
    d.get(d.run(nap, 3 * _FIRST_S), timeout_s=None)
    print("awake")
"""
    )
    programs.append(program)
    assert program.rest() == "awake\n"


def test_workers_do_not_get_the_terminals_ctrl_c() -> None:
    with driving(1) as driver:
        pid = driver.call(my_pid)
        assert os.getsid(pid) == pid != os.getsid(0)
