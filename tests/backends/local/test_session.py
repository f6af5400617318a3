"""A real session: worker processes that run, print, block, are interrupted and die."""

import gc
import os
import re
import resource
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from rsim.backends.local.processes import WorkerProcesses
from rsim.core.records import TaskOptions
from rsim.exceptions import RsimError, TaskCancelledError, WorkerCrashedError
from rsim.runtime import current
from tests.backends.local.driver import Driver, driving, my_pid, traces_of
from tests.polling import holds_in_time

NEVER_AGAIN = TaskOptions(max_retries=0)


def identity(value: object) -> object:
    return value


def touch_and_pause(path: str) -> None:
    Path(path).touch()
    signal.pause()


def touch_and_spin(path: str) -> None:
    Path(path).touch()
    while True:
        pass


def touch_and_block(path: str, refs: list[object]) -> object:
    Path(path).touch()
    assert current.client is not None
    return current.client.get(refs)  # type: ignore[arg-type]


def wait_for_file(path: str) -> int:
    assert holds_in_time(lambda: os.path.exists(path))
    return os.getpid()


def die_once(path: str, signum: int) -> str:
    if not os.path.exists(path):
        Path(path).touch()
        os.kill(os.getpid(), signum)
    return "survived"


def exit_hard(code: int) -> None:
    os._exit(code)


def say(text: str) -> None:
    print(text)
    os.system(f"echo {text} from below")
    sys.stderr.write(f"{text} as error")


def test_tasks_run_in_worker_processes() -> None:
    with driving(2) as driver:
        pids = {driver.call(my_pid) for _ in range(10)}
        assert os.getpid() not in pids
        assert driver.get(*[driver.run(identity, i) for i in range(500)]) == list(range(500))


def test_small_tasks_behind_a_long_one_are_recalled(tmp_path: Path) -> None:
    path = str(tmp_path / "go")
    with driving(2) as driver:
        driver.get(*[driver.run(wait_for_file, os.devnull) for _ in range(200)])
        first = driver.run(wait_for_file, path)
        others = [driver.run(wait_for_file, os.devnull) for _ in range(30)]
        driver.get(*others)
        Path(path).touch()
        driver.get(first)


def test_a_large_message_waits_for_room_in_the_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "go")
    with driving(1) as driver:
        driver.get(*[driver.run(identity, b"") for _ in range(100)])
        first = driver.run(wait_for_file, path)
        others = [driver.run(identity, bytes([i]) * 90_000) for i in range(30)]
        Path(path).touch()
        driver.get(first)
        assert driver.get(*others) == [bytes([i]) * 90_000 for i in range(30)]


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_a_task_whose_worker_was_killed_runs_again(tmp_path: Path, signum: int) -> None:
    with driving(1) as driver:
        assert driver.call(die_once, str(tmp_path / "died"), signum) == "survived"


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        (lambda: os._exit(3), "exit code 3"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "killed by signal 9 (SIGKILL)"),
        (lambda: os.kill(os.getpid(), signal.SIGRTMIN + 1), "killed by signal 35"),
    ],
)
def test_the_reason_of_a_death_is_told(how: Callable[[], None], reason: str) -> None:
    with driving(1) as driver:
        ref = driver.run(how, options=NEVER_AGAIN)
        with pytest.raises(WorkerCrashedError, match=re.escape(reason)):
            driver.get(ref)


def test_a_killed_guardian_takes_its_workers_along_and_is_replaced() -> None:
    with driving(2) as driver:
        before = psutil.Process(driver.call(my_pid))
        driver.guardian().kill()
        assert holds_in_time(lambda: not before.is_running())
        assert driver.call(my_pid) != before.pid


@pytest.mark.parametrize("task", [touch_and_pause, touch_and_spin])
def test_a_running_task_is_interrupted(tmp_path: Path, task: object) -> None:
    path = tmp_path / "started"
    with driving(1) as driver:
        pid = driver.call(my_pid)
        ref = driver.run(task, str(path))  # type: ignore[arg-type]
        assert holds_in_time(path.exists)
        driver.client.cancel(ref, False, True)
        with pytest.raises(TaskCancelledError):
            driver.get(ref)
        assert driver.call(my_pid) == pid


def test_a_blocked_task_makes_room_for_what_it_waits_for(tmp_path: Path) -> None:
    path, go = tmp_path / "started", tmp_path / "go"
    with driving(1) as driver:
        slow = driver.run(wait_for_file, str(go))
        outer = [driver.run(touch_and_block, str(path), [slow]) for _ in range(3)]
        go.touch()
        assert driver.get(*outer) == [[driver.get(slow)]] * 3


def blocked(driver: Driver) -> int:
    """Number of workers blocked in a request."""
    workers = driver.session.sites["local"].node.scheduler.workers.values()
    return sum(worker.blocked for worker in workers)


def test_a_task_blocked_in_get_is_interrupted(tmp_path: Path) -> None:
    go = tmp_path / "go"
    with driving(2) as driver:
        slow = driver.run(wait_for_file, str(go))
        ref = driver.run(touch_and_block, str(tmp_path / "started"), [slow])
        assert holds_in_time(lambda: blocked(driver))
        driver.client.cancel(ref, False, False)
        with pytest.raises(TaskCancelledError):
            driver.get(ref)
        go.touch()
        driver.get(slow)
        assert driver.call(identity, 1) == 1


def test_output_is_there_before_the_result(capfd: pytest.CaptureFixture[str]) -> None:
    with driving(1) as driver:
        driver.call(say, "hello")
        out, err = capfd.readouterr()
        assert [line.split(") ")[1] for line in out.splitlines()] == ["hello", "hello from below"]
        assert out.startswith("(say pid=") and err.endswith("hello as error\n")


def test_a_worker_is_known_before_the_guardian_has_told_of_it(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(WorkerProcesses, "began", lambda *_: None)
    with driving(1) as driver:
        pid = driver.call(my_pid)
        driver.call(print, "hello")
        assert f"(print pid={pid}) hello" in capfd.readouterr().out


def test_output_is_kept_from_the_driver_but_written_to_files(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with driving(1, log_to_driver=False, log_dir=str(tmp_path)) as driver:
        driver.call(say, "hello")
    assert capfd.readouterr() == ("", "")
    assert [path.read_text() for path in tmp_path.glob("*.out")] == ["hello\nhello from below\n"]


def test_large_objects_are_shared_and_spilled() -> None:
    numpy = pytest.importorskip("numpy")
    with driving(2, object_store_memory=80 << 20) as driver:
        refs = [driver.client.put(numpy.full(1 << 20, i)) for i in range(20)]
        assert any("/tmp" in path or "tmp" in path for path in traces_of(os.getpid()))
        for i, ref in enumerate(refs):
            array = driver.get(ref)
            assert array[0] == i and not array.flags.writeable
            del array
            driver.client.flush()
        doubled = driver.call(identity, refs[3])
        assert doubled.sum() == 3 * (1 << 20)


def test_values_stay_readable_after_the_session() -> None:
    numpy = pytest.importorskip("numpy")
    with driving(1) as driver:
        array = driver.get(driver.client.put(numpy.arange(1 << 20)))
    assert array.sum() == (1 << 20) * ((1 << 20) - 1) // 2


def test_a_session_that_has_ended_keeps_no_memory() -> None:
    def mapped() -> list[str]:
        return [each.path for each in psutil.Process().memory_maps() if "/rsim-" in each.path]

    numpy = pytest.importorskip("numpy")
    gc.disable()  # the session's parts refer to each other: their end may be a long time coming
    try:
        before = mapped()
        with driving(1) as driver:
            array = driver.get(driver.client.put(numpy.arange(1 << 20)))
            del array
        assert not set(mapped()) - set(before)
    finally:
        gc.enable()


def test_what_is_read_after_the_session_has_ended_is_refused() -> None:
    with driving(1) as driver:
        driver.session.shutdown()
        with pytest.raises(RsimError, match="shut down"):
            driver.client.channel.view(0, 100)


def test_many_threads_share_the_driver() -> None:
    with driving(2) as driver:
        driver.call(identity, 0)
        failures: list[object] = []

        def work(number: int) -> None:
            for i in range(50):
                if driver.call(identity, (number, i)) != (number, i):
                    failures.append((number, i))

        threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures


def test_tasks_run_while_the_driver_does_something_else() -> None:
    with driving(2) as driver:
        refs = [driver.run(identity, i) for i in range(300)]
        peek = driver.client.channel.peek
        assert holds_in_time(lambda: all(peek(ref.binary()) is not None for ref in refs))


def test_a_forked_child_cannot_use_the_session_and_does_not_disturb_it() -> None:
    with driving(1) as driver:
        driver.call(identity, 1)
        pid = os.fork()
        if pid == 0:
            try:
                driver.call(identity, 2)
            except BaseException as error:
                os._exit(7 if isinstance(error, RsimError) else 1)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
        assert driver.call(identity, 3) == 3


def test_a_session_that_was_shut_down_says_so() -> None:
    with driving(1) as driver:
        driver.call(identity, 1)
        driver.session.shutdown()
        driver.session.shutdown()
        with pytest.raises(RsimError, match="shut down"):
            driver.call(identity, 2)
        assert traces_of(os.getpid()) == []


def test_a_session_that_cannot_start_leaves_nothing() -> None:
    with pytest.raises(TypeError, match="policy"), driving(1, policy=3):
        pass
    assert traces_of(os.getpid()) == []


def test_sessions_follow_one_another() -> None:
    for number in range(3):
        with driving(1) as driver:
            assert driver.call(identity, number) == number
            assert driver.session.now() > 0
            assert driver.session.infeasible() == []
            with pytest.raises(RsimError, match="digest"):
                driver.session.digest()


def test_a_worker_that_cannot_be_started_is_a_death_with_a_reason() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with driving(1) as driver:
        driver.call(identity, 1)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            ref = driver.run(exit_hard, 1, options=TaskOptions(max_retries=1))
            with pytest.raises(RsimError, match=r"started: .*Too many open files.*ulimit -n"):
                driver.get(ref)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
