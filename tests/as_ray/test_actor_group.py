"""Ray's old actor groups, and the words and helpers of its tests of actors."""

import asyncio

import pytest


class Echo:
    def __init__(self, suffix=""):
        self.suffix = suffix

    def echo(self, text):
        return text + self.suffix

    def get_actor_metadata(self):
        return "about me"


@pytest.fixture
def ray(as_ray):
    import ray

    return ray


@pytest.fixture
def group(ray):
    from ray.util.actor_group import ActorGroup

    ray.init(num_cpus=4)
    with pytest.warns(DeprecationWarning, match=r"use ray\.util\.multiprocessing"):
        return ActorGroup(Echo, num_actors=2, init_args=("!",))


def test_all_actors_of_a_group_are_called(ray, group):
    assert len(group) == 2
    assert ray.get(group.echo.remote("hi")) == ["hi!", "hi!"]
    assert group.actor_metadata == ["about me", "about me"]
    group.remove_actors([0])
    assert ray.get(group.echo.remote("hi")) == ["hi!"]


def test_a_group_is_shut_down_and_begins_anew(ray, group):
    with pytest.raises(RuntimeError, match="have been started"):
        group.start()
    group.shutdown()
    with pytest.raises(RuntimeError, match="shut down"):
        group.echo.remote("hi")
    group.start()
    assert ray.get(group.echo.remote("hi")) == ["hi!", "hi!"]


def test_mistakes_with_groups(ray, group):
    from ray.util.actor_group import ActorGroup

    with pytest.raises(TypeError, match=r"echo\.remote"):
        group.echo("hi")
    with pytest.raises(AttributeError, match="no method 'shout'"):
        group.shout.remote()
    with pytest.warns(DeprecationWarning), pytest.raises(ValueError, match="num_actors"):
        ActorGroup(Echo, num_actors=0)


def test_words_by_which_tests_know_what_became_of_an_actor(ray):
    ray.init(num_cpus=1)

    @ray.remote
    class Worker:
        async def leave(self):
            ray.actor.exit_actor()

        async def wait(self):
            await asyncio.Event().wait()

        async def ask(self):
            return ray.get_runtime_context().is_canceled()

    worker = Worker.remote()
    call = worker.wait.remote()
    with pytest.raises(ValueError, match="force=True is not supported"):
        ray.cancel(call, force=True)
    ray.cancel(call)
    with pytest.raises(ray.exceptions.TaskCancelledError, match="was cancelled"):
        ray.get(call)
    with pytest.raises(RuntimeError, match="not supported in an async actor"):
        ray.get(worker.ask.remote())
    with pytest.raises(ray.exceptions.ActorDiedError, match="INTENDED_USER_EXIT"):
        ray.get(worker.leave.remote())


def test_the_failure_of_a_call_is_verified(ray):
    from ray._private.state_api_test_utils import verify_failed_task

    ray.init(num_cpus=1)

    @ray.remote
    class Worker:
        def leave(self):
            raise SystemExit(4)

    with pytest.raises(ray.exceptions.RayActorError):
        ray.get(Worker.remote().leave.options(name="leaves").remote())
    assert verify_failed_task("leaves", "ACTOR_DIED", ["exit code 4"])
    with pytest.raises(AssertionError):
        verify_failed_task("leaves", "TASK_CANCELLED")
