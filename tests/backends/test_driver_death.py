"""A driver that dies leaves nothing behind: no process, segment, socket or temporary folder."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import psutil
import pytest

from tests.leaks import lives
from tests.polling import DEADLINE_S, holds_in_time

ROOT = Path(__file__).parents[2]
START_S = 120.0

PROGRAM = """
# user program
import sys, time
import numpy as np
import rsim
import rsim.util.scheduling_strategies

session = rsim.init("local", num_cpus=2, object_store_memory=50_000_000)
others = [session.add_node(num_cpus=1, resources={"far": 1}) for _ in range(2)]

@rsim.remote
def busy(folder):
    import os, pathlib
    import rsim
    nested = idle.remote(folder)
    pathlib.Path(folder, f"worker-{os.getpid()}").touch()
    if folder.endswith("stubborn"):
        while True:
            try:
                time.sleep(1000)
            except KeyboardInterrupt:
                pass
    return rsim.get(nested)

@rsim.remote
def idle(folder):
    import os, pathlib
    pathlib.Path(folder, f"worker-{os.getpid()}").touch()
    while True:
        pass

@rsim.remote(resources={"far": 1})
def put(count):
    return [rsim.put(np.zeros(1_000_000)) for _ in range(count)]

places = map(rsim.util.scheduling_strategies.NodeAffinitySchedulingStrategy, others)
far = rsim.get([put.options(scheduling_strategy=each).remote(10) for each in places])
held = [rsim.put(np.zeros(1_000_000)) for _ in range(10)]  # the store is full: some are spilled
refs = [busy.remote(sys.argv[1]) for _ in range(4)]
print("busy", flush=True)
rsim.get(refs)
"""


RESTLESS = """
import rsim

session = rsim.init("local", num_cpus=1)

while True:
    name = session.add_node(num_cpus=1)
    print(name, flush=True)
    session.remove_node(name)
"""


def children_of(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def named_after(pid: int) -> list[str]:
    """Segments, folders and sockets of the driver."""
    folders = (Path("/dev/shm"), Path(tempfile.gettempdir()))
    found = [str(path) for folder in folders for path in folder.glob(f"rsim-{pid}-*")]
    sockets = Path("/proc/net/unix").read_text().splitlines()
    return found + [line for line in sockets if f"rsim-{pid}-" in line]


class Driver:
    """A driver process with busy workers."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(folder)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert holds_in_time(lambda: len(list(folder.iterdir())) >= 2, START_S), self.stop()
        self.family = children_of(self.process.pid)
        self.names = named_after(self.process.pid)

    def left(self) -> list[str]:
        """What is still there of it."""
        running = [f"process {each.pid}" for each in self.family if lives(each)]
        return running + named_after(self.process.pid)

    def stop(self) -> str:
        """Kill all of it; what it has printed."""
        self.process.kill()
        out, err = self.process.communicate(timeout=DEADLINE_S)
        for each in getattr(self, "family", []):
            if each.is_running():
                each.kill()
        return out + err


@pytest.mark.parametrize("mood", ["gentle", "stubborn"])
def test_kill_9_of_the_driver(tmp_path: Path, mood: str) -> None:
    driver = Driver(tmp_path / mood)
    assert len(driver.family) >= 2
    assert driver.names, "the test cannot see what the driver owns"
    os.kill(driver.process.pid, signal.SIGKILL)
    driver.process.wait(DEADLINE_S)
    try:
        assert holds_in_time(lambda: not driver.left()), driver.left()
    finally:
        driver.stop()


@pytest.mark.parametrize("mood", ["gentle", "stubborn"])
def test_ctrl_c_in_the_driver(tmp_path: Path, mood: str) -> None:
    driver = Driver(tmp_path / mood)
    os.kill(driver.process.pid, signal.SIGINT)
    try:
        driver.process.wait(2 * DEADLINE_S)
        assert driver.process.returncode not in (0, None)
        assert holds_in_time(lambda: not driver.left()), driver.left()
    finally:
        printed = driver.stop()
    assert "KeyboardInterrupt" in printed


@pytest.mark.parametrize("moment_s", [0.0, 0.001, 0.003, 0.01, 0.03])
def test_kill_9_while_nodes_come_and_go(moment_s: float) -> None:
    process = subprocess.Popen([sys.executable, "-c", RESTLESS], cwd=ROOT, stdout=subprocess.PIPE)
    assert process.stdout is not None
    for _ in range(5):
        process.stdout.readline()
    family = children_of(process.pid)
    threading.Event().wait(moment_s)
    process.kill()
    process.wait()
    process.stdout.close()

    def gone() -> bool:
        return not any(map(lives, family)) and not named_after(process.pid)

    assert holds_in_time(gone), (family, named_after(process.pid))


def test_sigterm_of_the_driver(tmp_path: Path) -> None:
    driver = Driver(tmp_path / "gentle")
    os.kill(driver.process.pid, signal.SIGTERM)
    driver.process.wait(2 * DEADLINE_S)
    try:
        assert holds_in_time(lambda: not driver.left()), driver.left()
    finally:
        driver.stop()


def test_a_driver_that_exits_without_shutdown(tmp_path: Path) -> None:
    program = PROGRAM.replace("rsim.get(refs)", "time.sleep(0.1)")
    process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], cwd=ROOT)
    assert process.wait(START_S) == 0
    assert holds_in_time(lambda: not named_after(process.pid)), named_after(process.pid)


def test_what_a_killed_driver_left_is_swept_by_the_next(tmp_path: Path) -> None:
    """Even if its guardian was killed with it."""
    driver = Driver(tmp_path / "gentle")
    for each in [psutil.Process(driver.process.pid), *driver.family]:
        each.kill()
    driver.process.wait(DEADLINE_S)
    assert holds_in_time(lambda: not any(map(lives, driver.family)))  # they hold the files' locks
    code = "import rsim; rsim.init('local', num_cpus=1); rsim.shutdown()"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=START_S)
    try:
        assert not driver.left()
    finally:
        driver.stop()
