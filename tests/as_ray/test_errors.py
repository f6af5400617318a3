"""The errors that Ray publishes, and how its tests make errors of tasks."""

import logging
import os
import pickle
from typing import Any, NoReturn

import numpy as np
import pytest

pytestmark = pytest.mark.usefixtures("as_ray")


class Mortal:
    def die(self) -> NoReturn:
        os._exit(1)

    def wait(self, signals: Any) -> None:
        import ray

        ray.get(signals.wait.remote())


def test_workers_that_die_are_published() -> None:
    import ray
    from ray._private import ray_constants
    from ray._private.test_utils import get_error_message, init_error_pubsub

    ray.init(num_cpus=1)
    before = ray.remote(Mortal).remote()
    with pytest.raises(ray.exceptions.ActorDiedError):
        ray.get(before.die.remote())
    errors = init_error_pubsub()
    killed, dies = (ray.remote(Mortal).remote() for _ in range(2))
    ray.get(killed.__ray_ready__.remote())
    ray.kill(killed)
    with pytest.raises(ray.exceptions.ActorDiedError):
        ray.get(dies.die.remote())
    (error,) = get_error_message(errors, 1, ray_constants.WORKER_DIED_PUSH_ERROR)
    assert error["type"] == ray_constants.WORKER_DIED_PUSH_ERROR
    assert "died or was killed while executing" in error["error_message"]
    assert dies._actor_id.hex() in error["error_message"]
    assert get_error_message(errors, 1, timeout=0.2) == []
    errors.close()


def test_nodes_that_are_lost_are_published() -> None:
    import ray
    from ray._private import ray_constants
    from ray._private.test_utils import get_error_message, init_error_pubsub
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, connect=True)
    errors = init_error_pubsub()
    lost, left = cluster.add_node(), cluster.add_node()
    cluster.remove_node(left)
    cluster.remove_node(lost, allow_graceful=False)
    (error,) = get_error_message(errors, 1, ray_constants.REMOVED_NODE_ERROR)
    assert error["error_message"].split(" ")[5] == lost.node_id
    assert get_error_message(errors, 1, timeout=0.2) == []
    ray.shutdown()
    cluster.shutdown()


def test_long_queues_are_published() -> None:
    import ray
    from ray._private import ray_constants
    from ray._private.test_utils import SignalActor, get_error_message, init_error_pubsub

    ray.init(num_cpus=1)
    errors = init_error_pubsub()
    signals, actor = SignalActor.remote(), ray.remote(Mortal).remote()
    waiting = [actor.wait.remote(signals) for _ in range(5010)]
    (error,) = get_error_message(errors, 2, ray_constants.EXCESS_QUEUEING_WARNING, timeout=2)
    assert (
        f"More than 5000 tasks are pending submission to actor {actor._actor_id.hex()}"
        in (error["error_message"])
    )
    ray.get(signals.send.remote())
    ray.get(waiting)


class TwoArguments(Exception):
    def __init__(self, one: str, two: str) -> None:
        self.one, self.two = one, two

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.one, self.two)


def test_an_error_made_by_hand() -> None:
    import ray

    cause = TwoArguments("a", "b")
    error = ray.exceptions.RayTaskError("f", "where it happened", cause)
    named = ray.exceptions.RayTaskError(function_name="f", traceback_str="there", cause=cause)
    assert (error.function_name, error.traceback_str) == ("f", "where it happened")
    assert (named.cause, named.traceback_str) == (cause, "there")
    dual = pickle.loads(pickle.dumps(error.make_dual_exception_instance()))
    assert isinstance(dual, ray.exceptions.RayTaskError)
    assert isinstance(dual, TwoArguments)
    assert (dual.one, dual.two) == ("a", "b")


class Final(Exception):
    def __init_subclass__(cls) -> None:
        raise TypeError("there is no kind of this")


def _fail(error: Exception) -> NoReturn:
    raise error


def test_an_error_that_cannot_be_of_the_users_type(caplog: pytest.LogCaptureFixture) -> None:
    import ray

    ray.init(num_cpus=1)
    caplog.set_level(logging.WARNING, logger="ray.exceptions")
    with pytest.raises(ray.exceptions.RayTaskError) as raised:
        ray.get(ray.remote(_fail).remote(Final("so")))
    assert type(raised.value.cause) is Final
    assert "This exception is raised as RayTaskError only" in caplog.text


def test_without_spilling_the_store_is_full() -> None:
    import ray

    settings = {"automatic_object_spilling_enabled": False}
    ray.init(num_cpus=1, object_store_memory=100 * 2**20, _system_config=settings)
    kept = [ray.put(np.zeros(40 * 2**20, np.uint8)) for _ in range(2)]
    with pytest.raises(ray.exceptions.ObjectStoreFullError):
        ray.put(np.zeros(40 * 2**20, np.uint8))
    del kept[0]
    assert ray.get(ray.put(np.ones(40 * 2**20, np.uint8)))[0] == 1


def test_errors_that_nobody_asks_for_go_to_the_program_s_handler() -> None:
    import ray

    ray.init(num_cpus=1)
    told: list[Exception] = []
    ray._private.worker._unhandled_error_handler = told.append
    try:
        failing = ray.remote(_fail)
        failing.remote(ValueError("not asked for"))
        with pytest.raises(ValueError, match="asked for"):
            ray.get(failing.remote(ValueError("asked for")))
        ray.get(ray.remote(Mortal).remote().__ray_ready__.remote())
    finally:
        del ray._private.worker._unhandled_error_handler
    (error,) = told
    assert isinstance(error, ValueError)
    assert isinstance(error, ray.exceptions.RayTaskError)
    assert "not asked for" in str(error)


@pytest.mark.parametrize("allowed", [True, False])
def test_refs_outside_of_values_can_be_forbidden(
    allowed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    name = "RAY_allow_out_of_band_object_ref_serialization"
    monkeypatch.setenv(name, str(int(allowed)))
    ray.init(num_cpus=1)
    ref = ray.put(1)
    by_hand = ray.remote(_pickled)
    capturing = ray.remote(lambda: ray.get(ref))
    if allowed:
        assert isinstance(ray.get(by_hand.remote()), bytes)
        assert ray.get(capturing.remote()) == 1
        return
    forbidden = ray.exceptions.OufOfBandObjectRefSerializationException
    with pytest.raises(forbidden, match=f"{name}=0"):
        ray.get(by_hand.remote())
    with pytest.raises(forbidden, match=f"{name}=0"):
        capturing.remote()
    assert ray.get(ray.remote(lambda refs: ray.get(refs[0])).remote([ref])) == 1


def _pickled() -> bytes:
    import ray

    return pickle.dumps(ray.put(1))
