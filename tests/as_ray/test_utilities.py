"""ray.util's Pool, Queue and joblib backend, where they differ from rsim's; labels, words, ids."""

import json
import multiprocessing
import queue
import tempfile
import warnings
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("as_ray")


def odd(number: int) -> int:
    if number % 2 == 0:
        raise ValueError(f"{number} is even")
    return number


def test_a_pool_starts_ray_with_as_many_cpus() -> None:
    import ray
    from ray.util.multiprocessing import Pool

    with Pool(processes=2) as pool:
        assert ray.cluster_resources()["CPU"] == 2
        assert pool.map(abs, [-1, 2]) == [1, 2]


def test_a_pool_fits_in_the_cluster() -> None:
    import ray
    from ray.cluster_utils import Cluster
    from ray.util.multiprocessing import Pool

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    with Pool(ray_address=cluster.address, ray_remote_args={"num_cpus": 0.5}) as pool:
        assert pool.apply(abs, (-3,)) == 3
        assert pool.apply(int, ("10",), {"base": 2}) == pool.apply(int, ("2",)) == 2
        assert pool.apply_async(int, ("10",), kwargs={"base": 2}).get() == 2
        assert pool.apply_async(int, args=("10",), kwds={"base": 2}).get() == 2
        assert pool.apply(func=int, kwargs=None) == 0
    assert ray.is_initialized()
    for processes in (0, 2):
        with pytest.raises(ValueError, match="pool"):
            Pool(processes)


def test_initializers_have_run_when_a_pool_is_made(tmp_path: Path) -> None:
    from ray.util.multiprocessing import Pool

    def leave_mark() -> None:
        (tmp_path / f"mark-{len(list(tmp_path.iterdir()))}").touch()

    with Pool(1, initializer=leave_mark):
        assert len(list(tmp_path.iterdir())) == 1


def test_imap_yields_what_was_raised() -> None:
    from ray.util.multiprocessing import Pool

    with Pool(2) as pool:
        for made in (pool.imap(odd, range(4), chunksize=3), pool.imap_unordered(odd, range(4))):
            found = sorted(str(each) for each in made)
            assert found == ["0 is even", "1", "2 is even", "3"]
        with pytest.raises(ValueError, match="0 is even"):
            pool.map(odd, range(4))


def test_imap_of_no_iterable_warns() -> None:
    from ray.util.multiprocessing import Pool

    with Pool(1) as pool, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert list(pool.imap(abs, -3)) == list(pool.imap_unordered(abs, -3)) == [3]
    assert sum("non-iterable" in str(warning.message) for warning in caught) == 2


def test_callbacks_need_nobody_who_asks() -> None:
    from ray.util.multiprocessing import Pool

    told: queue.Queue[Any] = queue.Queue()
    with Pool(1) as pool:
        results = [pool.map_async(odd, [1, 3], callback=told.put)]
        assert told.get() == [1, 3]
        results.append(pool.apply_async(odd, (2,), error_callback=told.put))
        assert isinstance(told.get(), ValueError)
        assert [result.successful() for result in results] == [True, False]
        assert told.empty()


def test_a_pools_timeout_is_the_one_of_multiprocessing() -> None:
    import ray
    from ray._common.test_utils import SignalActor
    from ray.util.multiprocessing import Pool, TimeoutError

    assert TimeoutError is multiprocessing.TimeoutError
    with Pool(2) as pool:
        signal = SignalActor.remote()
        result = pool.apply_async(lambda: ray.get(signal.wait.remote()))
        with pytest.raises(TimeoutError):
            result.get(timeout=0.01)
        ray.get(signal.send.remote())
        result.get()


def test_a_queue_that_was_shut_down_has_no_actor() -> None:
    import ray
    from ray.util.queue import Queue

    items = Queue()
    actor = items.actor
    assert ray.get(actor.empty.remote())
    items.shutdown()
    items.shutdown()
    assert items.actor is None
    with pytest.raises(ray.exceptions.RayActorError):
        ray.get(actor.empty.remote())


def test_the_actor_of_a_queue_can_be_made_and_called_without_the_queue() -> None:
    import ray
    from ray.util.queue import Empty, Full, _QueueActor

    class Counting(_QueueActor):
        async def twice(self) -> int:
            return 2 * await self.qsize()

    actor = ray.remote(Counting).remote(2)
    ray.get([actor.put.remote("a"), actor.put_nowait.remote("b")])
    assert ray.get([actor.full.remote(), actor.twice.remote()]) == [True, 4]
    with pytest.raises(Full):
        ray.get(actor.put_nowait_batch.remote(["c"]))
    assert ray.get(actor.get.remote(timeout=1)) == "a"
    assert ray.get(actor.get_nowait.remote()) == "b"
    with pytest.raises(Empty):
        ray.get(actor.get_nowait_batch.remote(1))


def test_joblib_takes_options_of_the_actors() -> None:
    joblib = pytest.importorskip("joblib")
    import ray
    from ray.util.joblib import register_ray

    ray.init(num_cpus=2)
    register_ray()
    from ray.util.joblib.ray_backend import RayBackend

    with joblib.parallel_config("ray", n_jobs=-1):  # the cluster's CPUs, not the machine's
        assert isinstance(joblib.parallel.get_active_backend()[0], RayBackend)
        assert joblib.effective_n_jobs() == ray.cluster_resources()["CPU"]
    with joblib.parallel_config("ray", n_jobs=2, ray_remote_args={"num_cpus": 0.5}):
        assert joblib.Parallel()(joblib.delayed(abs)(-n) for n in range(4)) == [0, 1, 2, 3]


def test_nodes_have_rays_label() -> None:
    import ray
    from ray.cluster_utils import Cluster

    @ray.remote
    def where() -> Any:
        return ray.get_runtime_context().get_node_id()

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "labels": {"a": "b"}})
    ray.init(address=cluster.address)
    cluster.add_node(num_cpus=1)
    for node in ray.nodes():
        assert node["Labels"]["ray.io/node-id"] == node["NodeID"]
        selector = {"ray.io/node-id": node["NodeID"]}
        assert ray.get(where.options(label_selector=selector).remote()) == node["NodeID"]
    cluster.shutdown()
    ray.init(num_cpus=1)
    assert "ray.io/node-id" in ray.nodes()[0]["Labels"]


def test_words_and_ids() -> None:
    import ray
    from ray.util.state import get_task

    @ray.remote
    class A:
        def call(self) -> None: ...

    ray.init(num_cpus=1)
    actor = A.remote()
    ref = actor.call.remote()
    ray.get(ref)
    assert isinstance(ref.task_id(), ray.TaskID)
    task = get_task(ref)
    assert not isinstance(task, list)
    assert task is not None
    assert task.task_id == ref.task_id().hex()
    ray.kill(actor)
    with pytest.raises(ray.exceptions.ActorDiedError, match=r"killed by ray\.kill\(\)"):
        ray.get(actor.call.remote())
    with pytest.raises(ValueError, match="None"):
        ray.get_actor(None)
    with pytest.raises(ray.actor.ActorClassInheritanceException):

        class B(A):  # type: ignore[misc, valid-type]
            pass


def test_values_that_all_processes_share() -> None:
    import ray
    from ray.experimental import internal_kv as kv

    assert not kv._internal_kv_initialized()
    ray.init(num_cpus=2)

    @ray.remote
    def leave(key: str) -> bool:
        found: bool = kv._internal_kv_put(key, "by a task", namespace="tasks")
        return found

    assert kv._internal_kv_initialized()
    assert ray.get([leave.remote("a1"), leave.remote("a2"), leave.remote("b")]) == [False] * 3
    assert kv._internal_kv_get(b"a1", namespace=b"tasks") == b"by a task"
    assert kv._internal_kv_get("a1") is None and not kv._internal_kv_exists("a1")
    assert kv._internal_kv_put("a1", "other", False, namespace="tasks") is True
    assert kv._internal_kv_get("a1", namespace="tasks") == b"by a task"
    assert sorted(kv._internal_kv_list("a", namespace="tasks")) == [b"a1", b"a2"]
    assert kv._internal_kv_del("a", namespace="tasks") == 0
    assert kv._internal_kv_del("a", del_by_prefix=True, namespace="tasks") == 2
    assert kv._internal_kv_del("b", namespace="tasks") == 1
    with pytest.raises(RuntimeError, match="reserved"):
        kv._internal_kv_put("@namespace_x", "y")
    ray.shutdown()


def test_a_progress_bar(capfd: pytest.CaptureFixture[str]) -> None:
    import ray
    from ray.experimental import tqdm_ray

    def count() -> list[int]:
        return list(tqdm_ray.tqdm(range(3), desc="counted"))

    ray.init(num_cpus=1)
    assert ray.get(ray.remote(count).remote()) == [0, 1, 2]
    with tqdm_ray.tqdm(total=10, unit="steps", flush_interval_s=0) as bar:
        bar.update(2)
        bar.set_description("walked")
        tqdm_ray.instance().hide_bars()
        bar.update(4)
        tqdm_ray.instance().unhide_bars()
        bar.update(4)
    bar.close()
    with pytest.raises(ValueError, match="iterable"):
        next(iter(tqdm_ray.tqdm(total=1)))
    ray.shutdown()
    told = capfd.readouterr().err
    assert "counted: 3/3 it" in told
    assert "\n2/10 steps\nwalked: 10/10 steps\n" in "\n" + told.replace("\r", "")


def test_the_timeline_of_old(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray
    import ray.experimental.ui as ui

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    ray.init(num_cpus=1)
    ray.get(ray.remote(abs).remote(-1))
    ui.task_timeline()
    ray.shutdown()
    (written,) = tmp_path.iterdir()
    assert str(written) in capsys.readouterr().out
    assert any(event["name"].endswith("abs") for event in json.loads(written.read_text()))


def test_a_queue_that_gives_many_items_at_once() -> None:
    import ray
    from ray._private.test_utils import BatchQueue
    from ray.util.queue import Empty

    ray.init(num_cpus=1)
    items = BatchQueue()
    items.put_nowait_batch([1, 2, 3])
    assert items.get_batch(2) == [1, 2]
    assert items.get_batch() == [3]
    with pytest.raises(Empty):
        items.get_batch(first_timeout=0.01)
    items.put(4)
    assert items.get_batch(2, total_timeout=0.01) == [4]
    ray.shutdown()


def test_tests_that_run_with_and_without_ray_client() -> None:
    import ray
    from ray._private.test_utils import test_external_redis as there_is_a_redis
    from ray.util.client.ray_client_helpers import connect_to_client_or_not

    assert not there_is_a_redis()
    ray.init(num_cpus=1)
    with connect_to_client_or_not(False):
        assert ray.get(ray.put(1)) == 1
    with pytest.raises(NotImplementedError, match="Ray Client"), connect_to_client_or_not(True):
        pass
    ray.shutdown()


def test_no_placement_group_is_not_the_parents() -> None:
    import ray
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    @ray.remote(num_cpus=1)
    def there() -> bool:
        return ray.util.get_current_placement_group() is not None

    @ray.remote(num_cpus=1)
    def parent() -> list[bool]:
        return ray.get([there.remote(), there.options(placement_group=None).remote()])

    ray.init(num_cpus=3)
    group = ray.util.placement_group([{"CPU": 2}])
    strategy = PlacementGroupSchedulingStrategy(group, placement_group_capture_child_tasks=True)
    assert ray.get(parent.options(scheduling_strategy=strategy).remote()) == [True, False]
    ray.shutdown()


def test_how_deep_a_task_is() -> None:
    import ray
    from ray._private.worker import global_worker

    @ray.remote
    def depths(more: int) -> list[int]:
        below = ray.get(depths.remote(more - 1)) if more else []
        return [ray._private.worker.global_worker.task_depth, *below]

    ray.init(num_cpus=1)
    assert global_worker.task_depth == 0 and ray.get(depths.remote(2)) == [1, 2, 3]
    ray.shutdown()


def test_as_completed_takes_what_rays_wait_takes() -> None:
    import ray
    from ray.util import as_completed, map_unordered

    ray.init(num_cpus=1)
    given: dict[str, Any] = {"timeout": 1, "fetch_local": False}
    assert sorted(as_completed([ray.put(1), ray.put(2)], **given)) == [1, 2]
    assert sorted(map_unordered(ray.remote(abs), [-3, 4], **given)) == [3, 4]
    with pytest.raises(TypeError, match="timeout must be a number"):
        as_completed([], timeout="soon")


def test_log_once_can_begin_again() -> None:
    from ray.util.debug import log_once, reset_log_once

    reset_log_once()
    assert [log_once("begin"), log_once("begin")] == [True, False]
    reset_log_once("begin")
    assert log_once("begin")
    reset_log_once()
    assert log_once("begin")


def test_errors_of_the_state_api_can_be_caught() -> None:
    from ray.util.state.exception import RayStateApiException, ServerUnavailable

    with pytest.raises(RayStateApiException):
        raise ServerUnavailable
