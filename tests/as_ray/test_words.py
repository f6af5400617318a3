"""Programs find Ray's words in the messages of errors."""

import os
import threading
from typing import Any

import pytest

import rsim
from rsim.as_ray import install, uninstall
from rsim.exceptions import GetTimeoutError

LOCK = threading.Lock()

pytestmark = pytest.mark.usefixtures("as_ray")


class Actor:
    def __init__(self, *wrong: object) -> None:
        if wrong:
            raise ValueError("not so")

    def end(self) -> None:
        os._exit(1)

    def leave(self) -> None:
        import ray

        ray.actor.exit_actor()

    def here(self) -> bool:
        return True


def _end() -> None:
    os._exit(1)


@pytest.mark.parametrize(
    ("wrong", "method", "words"),
    [
        ((1,), "here", "died because of an error raised in its creation task.*not so"),
        ((), "end", "The actor is dead because its worker process has died"),
        ((), "leave", r"The actor is dead because its worker process has died.*exit_actor\(\)"),
    ],
)
def test_an_actor_that_has_died(wrong: tuple[int, ...], method: str, words: str) -> None:
    import ray

    ray.init(num_cpus=1)
    actor = ray.remote(Actor).remote(*wrong)
    with pytest.raises(ray.exceptions.RayActorError, match=words):
        ray.get(getattr(actor, method).remote())
    with pytest.raises(ray.exceptions.ActorDiedError, match=words):
        ray.get(actor.here.remote())


def test_an_actor_that_was_never_created() -> None:
    import ray

    ray.init(num_cpus=1)
    wrong = ray.remote(divmod).remote(1, 0)
    words = "error raised in its creation task: .* argument of its constructor is an error"
    with pytest.raises(ray.exceptions.ActorDiedError, match=words) as caught:
        ray.get(ray.remote(Actor).remote(wrong).here.remote())
    assert caught.value.actor_init_failed
    actor = ray.remote(Actor).remote()
    ray.kill(actor)
    with pytest.raises(ray.exceptions.ActorDiedError) as caught:
        ray.get(actor.here.remote())
    assert not caught.value.actor_init_failed


def test_errors_of_actors_that_a_program_makes() -> None:
    import ray

    for kind in (ray.exceptions.ActorUnavailableError, ray.exceptions.ActorDiedError):
        assert kind("no answer", b"\1\2").actor_id == "0102"
        assert kind("no answer", None).actor_id == kind().actor_id == ""


def test_an_actor_that_was_killed() -> None:
    import ray

    ray.init(num_cpus=1)
    actor = ray.remote(Actor).remote()
    ray.get(actor.here.remote())
    ray.kill(actor)
    words = r"it was killed by `ray\.kill`.*by ray\.kill\(\)"
    with pytest.raises(ray.exceptions.RayActorError, match=words):
        ray.get(actor.here.remote())


def test_a_task_that_crashes_or_takes_too_long() -> None:
    import ray

    ray.init(num_cpus=1)
    with pytest.raises(ray.exceptions.WorkerCrashedError, match="worker died unexpectedly while"):
        ray.get(ray.remote(max_retries=0)(_end).remote())
    late = ray.remote(resources={"never": 1})(abs).remote(1)
    with pytest.raises(ray.exceptions.GetTimeoutError, match="Get timed out: some object"):
        ray.get(late, timeout=0)


def test_what_cannot_be_serialized() -> None:
    import ray

    ray.init(num_cpus=1)
    with pytest.raises(TypeError, match="Could not serialize the argument"):
        ray.remote(abs).remote(LOCK)
    with pytest.raises(TypeError, match="Could not serialize the put value"):
        ray.put(LOCK)
    with pytest.raises(TypeError, match=r"Could not serialize the function.*lock"):
        ray.remote(lambda lock=LOCK: lock).remote()


def test_wrong_use() -> None:
    import ray

    ray.init(num_cpus=1)
    function, actor_class = ray.remote(abs), ray.remote(Actor)
    actor = actor_class.options(name="first").remote()
    for call, words in (
        (function, "Remote functions cannot be called directly"),
        (actor_class, "Actors cannot be instantiated directly"),
        (actor.here, r"Actor methods cannot be called directly.*here\.remote\(\)"),
    ):
        with pytest.raises(TypeError, match=words):
            call()
    with pytest.raises(ValueError, match="Invalid option keyword no_such"):
        function.options(no_such=1)
    with pytest.raises(ValueError, match="Failed to look up actor with name 'nobody'"):
        ray.get_actor("nobody")
    with pytest.raises(ValueError, match="already taken"):
        actor_class.options(name="first").remote()
    with pytest.raises(ValueError, match="retry_exceptions must"):
        function.options(retry_exceptions=[3])


def test_they_go_with_it() -> None:
    install()
    assert "Get timed out" in str(GetTimeoutError("late"))
    uninstall()
    assert str(GetTimeoutError("late")) == "late"
    assert not rsim.is_initialized()


def test_refs_of_an_earlier_session() -> None:
    import ray

    ray.init(num_cpus=1)
    old = ray.put(1)
    ray.shutdown()
    ray.init(num_cpus=1)
    new = ray.put(2)
    for use in (
        lambda: ray.remote(abs).remote(old),
        lambda: ray.remote(len).remote([old]),
        lambda: ray.put([old]),
        lambda: ray.wait([old]),
    ):
        with pytest.raises(ValueError, match="Ray object whose owner is unknown"):
            use()
    with pytest.raises(ValueError, match="Ray objects whose owner is unknown"):
        ray.get([new, old])
    assert ray.wait([old, new], num_returns=2) == ([new], [old])


def test_a_task_that_waits_runs() -> None:
    import ray
    from ray._common.test_utils import SignalActor, wait_for_condition
    from ray.util.state import list_tasks

    def get(signal: Any) -> None:
        ray.get(signal.wait.remote())

    def running() -> set[str]:
        return {task.name for task in list_tasks(filters=[("state", "=", "RUNNING")])}

    ray.init(num_cpus=1)
    signal = SignalActor.remote()
    ref = ray.remote(get).remote(signal)
    wait_for_condition(lambda: running() == {"get", "SignalActor.wait"})
    signal.send.remote()
    ray.get(ref)
