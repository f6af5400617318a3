"""What tests of Ray import from its test utilities."""

import json
import os
import signal
from pathlib import Path

import pytest

pytestmark = pytest.mark.usefixtures("as_ray")


def test_waiting_for_a_condition() -> None:
    import ray
    from ray._private.test_utils import wait_for_condition

    ray.init(num_cpus=1)
    left = [3]

    def holds(least: int) -> bool:
        left[0] -= 1
        return left[0] < least

    wait_for_condition(holds, least=1)
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        wait_for_condition(lambda: 1 / 0, timeout=0.2)
    with pytest.raises(ZeroDivisionError):
        wait_for_condition(lambda: 1 / 0, raise_exceptions=True)


def test_results_of_benchmarks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ray._private.test_utils import safe_write_to_results_json

    monkeypatch.setenv("TEST_OUTPUT_JSON", str(tmp_path / "found.json"))
    safe_write_to_results_json({"count": 1})
    safe_write_to_results_json({"count": 2})
    (written,) = tmp_path.iterdir()
    assert json.loads(written.read_text()) == {"count": 2}


def test_signals() -> None:
    import ray
    from ray._common.test_utils import Semaphore, SignalActor, wait_for_condition

    ray.init(num_cpus=1)
    signals = SignalActor.remote()
    waiting = [signals.wait.remote() for _ in range(3)]
    wait_for_condition(lambda: ray.get(signals.cur_num_waiters.remote()) == 3)
    assert ray.wait(waiting, timeout=0.1)[0] == []
    ray.get(signals.send.remote())
    assert ray.get([*waiting, signals.wait.remote()]) == [None] * 4
    semaphore = Semaphore.remote(value=1)
    ray.get(semaphore.acquire.remote())
    assert ray.get(semaphore.locked.remote())
    ray.get(semaphore.release.remote())
    assert not ray.get(semaphore.locked.remote())


def test_processes_can_be_signalled_and_waited_for() -> None:
    import ray
    from ray._private.test_utils import wait_for_pid_to_exit

    class Living:
        def pid(self) -> int:
            return os.getpid()

    ray.init(num_cpus=1)
    living = ray.remote(max_restarts=1, max_task_retries=-1)(Living).remote()
    pid = ray.get(living.pid.remote())
    os.kill(pid, 0)
    os.kill(pid, signal.SIGKILL)
    wait_for_pid_to_exit(pid)
    other = ray.get(living.pid.remote())
    assert other != pid
    del living
    wait_for_pid_to_exit(other)


def test_another_driver() -> None:
    from ray._private.test_utils import run_string_as_driver

    program = "import ray; ray.init(num_cpus=1); print(ray.get(ray.put('from there')))"
    assert "from there" in run_string_as_driver(program)
    assert "from there" in run_string_as_driver(program, env={"PYTHONWARNINGS": "ignore"})
