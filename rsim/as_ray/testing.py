"""What tests of Ray import from Ray's own test utilities.

Decides nothing about programs: all of it is made of the public interface. Times are virtual in a
simulation, so that polling costs nothing there. Owns no state.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import rsim

_DRIVER_TIMEOUT_S = 120


def wait_for_condition(
    condition_predictor: Callable[..., Any],
    timeout: float = 10,
    retry_interval_ms: float = 100,
    raise_exceptions: bool = False,
    **kwargs: Any,
) -> None:
    """Return as soon as the condition holds. RuntimeError if it does not within `timeout` seconds.

    What the condition raises counts as False, unless `raise_exceptions`.
    """
    deadline = time.monotonic() + timeout
    last = ""
    while time.monotonic() <= deadline:
        try:
            if condition_predictor(**kwargs):
                return
        except Exception:
            if raise_exceptions:
                raise
            last = f" Last exception: {traceback.format_exc()}"
        time.sleep(retry_interval_ms / 1000)
    raise RuntimeError(f"The condition wasn't met before the timeout expired.{last}")


async def async_wait_for_condition(
    condition_predictor: Callable[..., Any],
    timeout: float = 10,
    retry_interval_ms: float = 100,
    **kwargs: Any,
) -> None:
    """As wait_for_condition; the condition may be a coroutine function."""
    import asyncio

    deadline = time.monotonic() + timeout
    last = ""
    while time.monotonic() <= deadline:
        try:
            holds = condition_predictor(**kwargs)
            if await holds if isinstance(holds, Awaitable) else holds:
                return
        except Exception:
            last = f" Last exception: {traceback.format_exc()}"
        await asyncio.sleep(retry_interval_ms / 1000)
    raise RuntimeError(f"The condition wasn't met before the timeout expired.{last}")


def wait_for_assertion(
    assertion_predictor: Callable[..., Any],
    timeout: float = 10,
    retry_interval_ms: float = 100,
    raise_exceptions: bool = False,
    **kwargs: Any,
) -> None:
    """Return as soon as the function raises no AssertionError."""

    def holds() -> bool:
        try:
            assertion_predictor(**kwargs)
        except AssertionError:
            return False
        return True

    try:
        wait_for_condition(holds, timeout, retry_interval_ms, raise_exceptions)
    except RuntimeError:
        assertion_predictor(**kwargs)


def wait_until_succeeded_without_exception(
    func: Callable[..., Any],
    exceptions: tuple[type[BaseException], ...],
    *args: Any,
    timeout_ms: float = 1000,
    retry_interval_ms: float = 100,
    raise_last_ex: bool = False,
) -> bool:
    """Whether the function comes to raise none of the exceptions in time."""
    deadline = time.monotonic() + timeout_ms / 1000
    last: BaseException | None = None
    while time.monotonic() <= deadline:
        try:
            func(*args)
            return True
        except exceptions as error:
            last = error
            time.sleep(retry_interval_ms / 1000)
    if raise_last_ex and last is not None:
        raise last
    return False


def verify_failed_task(
    name: str, error_type: str, error_message: str | list[str] | None = None
) -> bool:
    """Whether the one task of that name failed so, with all of these words in its message."""
    from rsim.util.state import list_tasks

    (task,) = list_tasks(filters=[("name", "=", name)], detail=True)
    assert task.state == "FAILED", task
    assert task.error_type == error_type, task
    words = [error_message] if isinstance(error_message, str) else error_message or []
    for each in words:
        assert each in (task.error_message or ""), task
    return True


def wait_for_pid_to_exit(pid: int, timeout: float = 20) -> None:
    """Return when the process is gone. RuntimeError if it is not in time."""
    wait_for_condition(lambda: not _alive(pid), timeout)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_for_num_actors(num_actors: int, state: str | None = None, timeout: float = 10) -> None:
    """Return when so many actors are there (in this state)."""
    from rsim.util.state import list_actors

    def enough() -> bool:
        actors = list_actors(limit=10_000)
        return num_actors == sum(state in (None, actor.state) for actor in actors)

    wait_for_condition(enough, timeout)


def kill_actor_and_wait_for_failure(
    actor: rsim.ActorHandle, timeout: float = 10, retry_interval_ms: float = 100
) -> None:
    """End an actor, and return when its calls fail."""
    rsim.kill(actor)

    def fails() -> bool:
        try:
            rsim.get(actor.__ray_ready__.remote())
        except rsim.exceptions.RsimActorError:
            return True
        return False

    wait_for_condition(fails, timeout, retry_interval_ms)


def same_elements(elems_a: Sequence[Any], elems_b: Sequence[Any]) -> bool:
    """Whether both have the same elements, in any order."""
    rest = list(elems_b)
    for element in elems_a:
        if element not in rest:
            return False
        rest.remove(element)
    return not rest


def put_object(obj: Any, use_ray_put: bool) -> rsim.ObjectRef[Any]:
    """A ref to the object: one that was put, or the result of a task."""
    if use_ray_put:
        return rsim.put(obj)
    ref: rsim.ObjectRef[Any] = rsim.remote(_itself).remote(obj)
    return ref


def _itself(obj: Any) -> Any:
    return obj


def remaining_processes_alive() -> bool:
    """Whether rsim runs: what it needs ends with it."""
    return rsim.is_initialized()


def get_other_nodes(cluster: Any, exclude_head: bool = False) -> list[Any]:
    """The nodes of a Cluster but that of the driver, which is the head."""
    return [node for node in cluster.list_all_nodes() if not node.is_head()]


def get_non_head_nodes(cluster: Any) -> list[Any]:
    """The nodes of a Cluster but its head."""
    return get_other_nodes(cluster)


def kill_raylet(node: Any, graceful: bool = False) -> None:
    """Let a node of a Cluster die."""
    node.kill_all_processes(allow_graceful=graceful)


def is_placement_group_removed(pg: Any) -> bool:
    """Whether the placement group was removed."""
    from rsim.util.placement_group import placement_group_table

    table: dict[str, Any] = placement_group_table(pg)
    return table.get("state") == "REMOVED"


def placement_group_assert_no_leak(pgs_created: Sequence[Any]) -> None:
    """Remove the groups, and return when all resources are free."""
    from rsim.util.placement_group import remove_placement_group

    for group in pgs_created:
        remove_placement_group(group)
    wait_for_condition(no_resource_leaks_excluding_node_resources)


def no_resource_leaks_excluding_node_resources() -> bool:
    """Whether all resources are free."""
    free: dict[str, float] = rsim.available_resources()
    total: dict[str, float] = rsim.cluster_resources()
    return all(free.get(name) == total.get(name) for name in {*free, *total} if ":" not in name)


def get_actor_node_id(actor_handle: rsim.ActorHandle) -> str:
    """The id of the node on which an actor lives."""

    def where(_actor: object) -> str:
        return str(rsim.get_runtime_context().get_node_id())

    found: str = rsim.get(actor_handle.__ray_call__.remote(where))
    return found


def convert_actor_state(state: Any) -> str:
    """The state's name."""
    return str(state)


def generate_system_config_map(**kwargs: Any) -> dict[str, Any]:
    """Settings as a parameter of a fixture."""
    return {"_system_config": kwargs}


def generate_internal_config_map(**kwargs: Any) -> dict[str, Any]:
    """Settings as a parameter of a fixture, as they were written before Ray 1.0."""
    return {"_internal_config": json.dumps(kwargs)}


def is_named_tuple(cls: type) -> bool:
    """Whether the class is a named tuple."""
    fields = getattr(cls, "_fields", None)
    return cls.__bases__ == (tuple,) and isinstance(fields, tuple)


def dicts_equal(first: Any, second: Any, *_more: Any) -> bool:
    """Whether two dicts are equal."""
    return bool(first == second)


@contextmanager
def chdir(d: str) -> Iterator[None]:
    """Be in another folder for a while."""
    before = os.getcwd()
    os.chdir(d)
    try:
        yield
    finally:
        os.chdir(before)


def find_free_port(*_family: Any) -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        port: int = probe.getsockname()[1]
    return port


def safe_write_to_results_json(result: Any, *_other: Any) -> None:
    """Write what a benchmark has found to the file that TEST_OUTPUT_JSON names, at once or not at
    all.
    """
    path = os.environ.get("TEST_OUTPUT_JSON", "/tmp/release_test_output.json")
    unfinished = f"{path}.{os.getpid()}"
    with open(unfinished, "w", encoding="utf-8") as file:
        json.dump(result, file)
    os.replace(unfinished, path)


class FakeTimer:
    """A clock that a test moves."""

    def __init__(self, start_time: float | None = None) -> None:
        self._now = 0.0 if start_time is None else start_time

    def time(self) -> float:
        """Seconds."""
        return self._now

    def reset(self, start_time: float | None = None) -> None:
        """Start again."""
        self._now = 0.0 if start_time is None else start_time

    def advance(self, by: float) -> None:
        """Let time pass."""
        self._now += by

    def realistic_sleep(self, amount: float) -> None:
        """Let time pass, a little too much."""
        self._now += amount + 0.001


# -- other drivers ---------------------------------------------------------------------------------


def _environment(given: dict[str, str] | None) -> dict[str, str] | None:
    """A driver's environment, in which `import ray` is what it is here."""
    if given is None:
        return None
    ours = {name: value for name, value in os.environ.items() if name.startswith("RSIM_")}
    return {**ours, "PYTHONPATH": os.environ.get("PYTHONPATH", ""), **given}


def run_string_as_driver(
    driver_script: str,
    env: dict[str, str] | None = None,
    encode: str = "utf-8",
    timeout: float | None = _DRIVER_TIMEOUT_S,
) -> str:
    """Run a program in its own Python; return its output. CalledProcessError if it fails."""
    done = subprocess.run(
        [sys.executable, "-"],
        input=driver_script.encode(encode),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=_environment(env),
        timeout=timeout,
        check=False,
    )
    out = done.stdout.decode(encode)
    if done.returncode:
        print(out)
        raise subprocess.CalledProcessError(done.returncode, done.args, done.stdout)
    return out


def run_string_as_driver_stdout_stderr(
    driver_script: str,
    env: dict[str, str] | None = None,
    encode: str = "utf-8",
    timeout: float | None = _DRIVER_TIMEOUT_S,
) -> tuple[str, str]:
    """As run_string_as_driver; returns what went to stdout and what to stderr."""
    done = subprocess.run(
        [sys.executable, "-"],
        input=driver_script.encode(encode),
        capture_output=True,
        env=_environment(env),
        timeout=timeout,
        check=True,
    )
    return done.stdout.decode(encode), done.stderr.decode(encode)


def run_string_as_driver_nonblocking(
    driver_script: str, env: dict[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a program in a Python of its own."""
    process = subprocess.Popen(
        [sys.executable, "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=_environment(env),
    )
    assert process.stdin is not None
    process.stdin.write(driver_script.encode("ascii"))
    process.stdin.close()
    process.stdin = None
    return process


def check_call_subprocess(
    argv: Sequence[str], capture_stdout: bool = False, capture_stderr: bool = False
) -> Any:
    """Run a command; returns what was captured."""
    done = subprocess.run(list(argv), capture_output=True, text=True, check=True)
    captured = [done.stdout] if capture_stdout else []
    captured += [done.stderr] if capture_stderr else []
    return captured[0] if len(captured) == 1 else tuple(captured) or None


# -- what this is not ------------------------------------------------------------------------------


def client_test_enabled() -> bool:
    """Whether the tests run through Ray Client: no."""
    return False


def external_redis_test_enabled() -> bool:
    """Whether there is a Redis: no."""
    return False


enable_external_redis = persistent_gcs_test_enabled = external_redis_test_enabled
test_external_redis = external_redis_test_enabled
rocksdb_gcs_test_enabled = sandbox_test_enabled = external_redis_test_enabled


def redis_replicas() -> int:
    """How many copies of a Redis there are."""
    return 1


def redis_sentinel_replicas() -> int:
    """How many sentinels of a Redis there are."""
    return 0


def object_memory_usage() -> float:
    """Bytes in use in the object store, by the cluster's resources."""
    total = rsim.cluster_resources().get("object_store_memory", 0)
    return float(total - rsim.available_resources().get("object_store_memory", 0))


def reset_autoscaler_v2_enabled_cache() -> None:
    """Forget something about Ray's autoscaler."""
