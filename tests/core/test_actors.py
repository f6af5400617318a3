"""Actors of a bare machine: calls that end before they are sent, and actors on their way out."""

from rsim.core import effects as fx
from rsim.core import events
from rsim.core.ids import return_id
from rsim.core.records import ActorOptions
from tests.core.cluster import Cluster


def submit(
    cluster: Cluster,
    deps: tuple[bytes, ...] = (),
    retries: int = 0,
    creation: ActorOptions | None = None,
    actor: bytes = b"",
) -> bytes:
    spec = cluster.driver.spec(deps, (), retries, None, creation=creation, actor=actor)
    object_id = return_id(spec.task_id, 0)
    cluster.driver.lent((object_id,))
    cluster.step("n0", events.TaskSubmitted(0, spec))
    return object_id


def error_of(cluster: Cluster, object_id: bytes) -> str:
    """What becomes of an object: the kind of error, or nothing."""
    cluster.step("n0", events.ObjectsRequested(0, 1000, (object_id,)))
    cluster.run()
    assert isinstance(cluster.answers.pop(1000), fx.ReplyObjects)
    error = cluster.errors.get(("n0", object_id))
    return "" if error is None else error.kind


def new_actor(cluster: Cluster, max_restarts: int = 0) -> bytes:
    actor = submit(cluster, creation=ActorOptions(max_restarts))
    cluster.actors[actor] = None
    cluster.run()
    return actor


def test_a_call_whose_input_fails_does_not_hold_up_the_next() -> None:
    cluster = Cluster(0, nodes=1)
    actor = new_actor(cluster)
    missing = submit(cluster)
    failed = submit(cluster, (missing,), actor=actor)
    following = submit(cluster, actor=actor)
    cluster.step("n0", events.CancelRequested(0, missing, True, False))
    assert error_of(cluster, failed) == "WorkerCrashedError"
    assert error_of(cluster, following) == ""


def test_a_call_to_an_actor_that_is_being_stopped() -> None:
    cluster = Cluster(0, nodes=1)
    actor = new_actor(cluster, max_restarts=1)
    cluster.step("n0", events.ActorKilled(0, actor, False))
    assert error_of(cluster, submit(cluster, actor=actor, retries=-1)) == ""
    cluster.step("n0", events.ActorKilled(0, actor, True))
    assert error_of(cluster, submit(cluster, actor=actor, retries=-1)) == "ActorDiedError"


def test_an_actor_that_is_killed_before_it_exists() -> None:
    cluster = Cluster(0, nodes=1)
    actor = submit(cluster, creation=ActorOptions(-1))
    call = submit(cluster, actor=actor)
    cluster.step("n0", events.ActorKilled(0, actor, True))
    assert error_of(cluster, call) == "ActorDiedError"


def test_cancelling_a_call_by_force_spares_the_actor() -> None:
    cluster = Cluster(0, nodes=1)
    actor = new_actor(cluster)
    call = submit(cluster, actor=actor)
    cluster.step("n0", events.CancelRequested(0, call, True, False))
    assert error_of(cluster, submit(cluster, actor=actor)) == ""
