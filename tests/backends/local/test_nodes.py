"""Nodes of a real session: their processes, memory and files, and how they end."""

import io
import os
import re
import threading
from collections import Counter
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest

from rsim.backends.local.segment import Segment
from rsim.core.records import TaskOptions
from rsim.core.resources import demand_of
from rsim.exceptions import ObjectStoreFullError, RsimError
from rsim.runtime.session import NodeOptions
from tests.backends.local.driver import Driver, driving, my_pid, traces_of
from tests.backends.local.test_death import Program, programs
from tests.polling import holds_in_time

__all__ = ["programs"]

FAR = TaskOptions(demand_of(1, resources={"far": 1}))
HOME = TaskOptions(demand_of(1, resources={"home": 1}))
MIB = 1 << 20


def far_node(**options: object) -> NodeOptions:
    return NodeOptions(resources={"far": 1}, **options)  # type: ignore[arg-type]


def large(number: int) -> object:
    return np.full(MIB, number)


def total(array: object) -> int:
    return int(array.sum())  # type: ignore[attr-defined]


def forever(path: str) -> None:
    Path(path).touch()
    threading.Event().wait()


def far_pid(driver: Driver) -> int:
    return int(driver.get(driver.run(my_pid, options=FAR)))


def test_a_removed_node_leaves_no_process_and_no_file() -> None:
    with driving(1) as driver:
        before = traces_of(os.getpid())
        driver.session.add_node(far_node(name="far", object_store_memory=80 * MIB))
        refs = [driver.run(large, number, options=FAR) for number in range(15)]
        driver.client.wait(refs, len(refs), None, False)
        worker = psutil.Process(far_pid(driver))
        spilled = [path for path in traces_of(os.getpid()) if not path.startswith("/dev/shm")]
        assert spilled and len(traces_of(os.getpid())) == len(before) + 2
        driver.session.remove_node("far", False)
        assert not worker.is_running()
        assert traces_of(os.getpid()) == before


def owned() -> Counter[str]:
    """What this process has: fds by what they are, threads by name, mapped segments."""
    folder = Path("/proc/self/fd")
    has: Counter[str] = Counter()
    for name in os.listdir(folder):
        with suppress(OSError):  # the one by which the folder is read
            has[f"fd: {re.sub('[0-9]+', '#', os.readlink(folder / name))}"] += 1
    has.update(f"thread: {each.name}" for each in threading.enumerate())
    has.update(each.path for each in psutil.Process().memory_maps() if "rsim-" in each.path)
    return has


def test_nodes_that_come_and_go_leak_nothing() -> None:
    with driving(1, resources={"home": 1}) as driver:

        def turn(number: int) -> None:
            name = driver.session.add_node(far_node(name=f"turn {number}"))
            ref = driver.run(large, number, options=FAR)
            # at home in every turn: at first the home's store grows, which takes a thread for good
            assert driver.get(driver.run(total, ref, options=HOME)) == number * MIB
            driver.session.remove_node(name, False)

        turn(0)
        before = owned()
        for number in range(1, 4):
            turn(number)
        more = Counter[str]()

        def no_more() -> bool:
            more.clear()
            more.update(owned() - before)
            return not more

        assert holds_in_time(no_more), f"more than before: {dict(more)}"


def test_many_nodes() -> None:
    with driving(1) as driver:
        for _ in range(10):
            driver.session.add_node(far_node())
        assert len({far_pid(driver) for _ in range(3)}) >= 1
        assert len(driver.session.node_names()) == 11
        for name in driver.session.node_names()[1:]:
            driver.session.remove_node(name, False)
        assert driver.call(my_pid)


def test_a_killed_guardian_takes_the_workers_of_all_nodes_along_and_is_replaced() -> None:
    with driving(1) as driver:
        driver.session.add_node(far_node())
        before = {driver.call(my_pid), far_pid(driver)}
        driver.guardian().kill()
        assert holds_in_time(lambda: not any(psutil.pid_exists(pid) for pid in before))
        assert not before & {driver.call(my_pid), far_pid(driver)}
        driver.session.add_node(far_node(name="third"))
        driver.guardian().kill()
        driver.session.remove_node("third", False)
        assert far_pid(driver) not in before


def test_a_node_can_be_removed_while_a_thread_waits_for_it(tmp_path: Path) -> None:
    path = tmp_path / "began"
    with driving(1) as driver:
        driver.session.add_node(far_node(name="far"))
        options = TaskOptions(FAR.demand, max_retries=0)
        ref = driver.run(forever, str(path), options=options)
        told: list[str] = []

        def wait() -> None:
            try:
                driver.get(ref)
            except RsimError as error:
                told.append(str(error))

        thread = threading.Thread(target=wait)
        thread.start()
        assert holds_in_time(path.exists)
        driver.session.remove_node("far", False)
        thread.join()
        assert "far" in told[0]


def test_threads_add_and_remove_nodes_while_tasks_run() -> None:
    with driving(2) as driver:
        errors: list[BaseException] = []

        def churn(number: int) -> None:
            try:
                for turn in range(5):
                    name = driver.session.add_node(NodeOptions(name=f"{number} {turn}"))
                    assert driver.call(total, driver.run(large, turn)) == turn * MIB
                    driver.session.remove_node(name, False)
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=churn, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        refs = [driver.run(total, np.ones(3)) for _ in range(200)]
        assert driver.get(*refs) == [3] * 200
        for thread in threads:
            thread.join()
        assert not errors
        assert driver.session.node_names() == ["local"]


def test_no_room_for_what_comes_from_another_node(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Segment, end: int) -> None:
        raise MemoryError("/dev/shm is full")

    with driving(1) as driver:
        driver.session.add_node(far_node())
        ref = driver.run(large, 1, options=FAR)
        driver.client.wait([ref], 1, None, False)
        with monkeypatch.context() as patched:
            patched.setattr(Segment, "reserve", full)
            with pytest.raises(ObjectStoreFullError, match="/dev/shm is full"):
                driver.get(ref)
            assert driver.client.wait([ref], 1, None, True) == ([ref], [])
        assert driver.call(total, ref) == MIB
        for site in driver.session.sites.values():
            site.node.check()


def test_a_session_that_has_ended_takes_no_node() -> None:
    with driving(1) as driver:
        driver.session.shutdown()
        with pytest.raises(RsimError, match="shut down"):
            driver.session.add_node(NodeOptions())
        with pytest.raises(RsimError, match="shut down"):
            driver.session.remove_node("local", False)


def test_a_node_without_memory_is_refused_and_changes_nothing() -> None:
    with driving(1) as driver:
        before = traces_of(os.getpid())
        with pytest.raises((OSError, OverflowError)):
            driver.session.add_node(NodeOptions(object_store_memory=1 << 62))
        assert traces_of(os.getpid()) == before
        assert driver.session.node_names() == ["local"]
        assert driver.session.add_node(NodeOptions()) == "node-2"


DEADLOCK = """
from rsim.core.resources import demand_of
from rsim.exceptions import DeadlockError
from rsim.runtime import current
from rsim.runtime.session import NodeOptions
def wait_for(refs): return current.client.get(refs)
with driving(1) as d:
    d.session.add_node(NodeOptions(resources={"far": 1}))
    never = d.run(tiny, 1, options=TaskOptions(demand_of(1, resources={"rare": 1})))
    ref = d.run(wait_for, [never], options=TaskOptions(demand_of(1, resources={"far": 1})))
    try:
        d.get(ref, timeout_s=None)
    except DeadlockError as error:
        print("told:", "wait_for" in str(error) and "rare" in str(error), flush=True)
"""


def test_a_deadlock_between_nodes_is_told(programs: list[Program]) -> None:
    program = Program(DEADLOCK)
    programs.append(program)
    assert "told: True" in program.rest()


def test_a_warning_with_nowhere_to_go_harms_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    with driving() as driver:
        stream = io.StringIO()
        stream.close()
        with monkeypatch.context() as patch:
            patch.setattr("sys.stderr", stream)
            driver.session.sites["local"].host.ports.warn("nobody reads this")
        assert driver.get(driver.run(my_pid))
