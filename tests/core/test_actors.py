"""Actors of a bare machine: calls that end before they are sent, and actors on their way out."""

import msgspec
import pytest

from rsim.core import effects as fx
from rsim.core import events
from rsim.core.actors import CALLS_AHEAD
from rsim.core.ids import creator, put_id, return_id
from rsim.core.objects import REMOTE
from rsim.core.records import ActorOptions
from tests.core.cluster import Cluster
from tests.core.specs import like


def submit(
    cluster: Cluster,
    deps: tuple[bytes, ...] = (),
    retries: int = 0,
    creation: ActorOptions | None = None,
    actor: bytes = b"",
) -> bytes:
    kind = cluster.actors.get(actor)
    spec = cluster.driver.spec(deps, (), retries, None, creation=creation, actor=actor, kind=kind)
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


def new_actor(cluster: Cluster, options: ActorOptions = ActorOptions()) -> bytes:  # noqa: B008
    actor = submit(cluster, creation=options)
    cluster.actors[actor] = options
    cluster.run()
    return actor


def exists(cluster: Cluster, object_id: bytes) -> bool:
    entry = cluster.nodes["n0"].objects.get(object_id)
    return entry is not None and entry.exists


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
    actor = new_actor(cluster, ActorOptions(max_restarts=1))
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


ASYNC = ActorOptions(max_concurrency=1000, asyncio=True)
THREADED = ActorOptions(max_concurrency=2)
GROUPED = ActorOptions(groups=(("g", 1),))


@pytest.mark.parametrize(("options", "overtakes"), [(ActorOptions(), False), (ASYNC, True)])
def test_only_a_concurrent_actors_call_overtakes_one_without_its_input(
    options: ActorOptions, overtakes: bool
) -> None:
    cluster = Cluster(0, nodes=1)
    actor = new_actor(cluster, options)
    late = submit(cluster)
    while not (at := [each for each, queue in cluster.queued.items() if queue]):
        cluster.turn()
    held_back = cluster.queued[at[0]].pop()
    waiting = submit(cluster, (late,), actor=actor)
    following = submit(cluster, actor=actor)
    cluster.run()
    assert exists(cluster, following) == overtakes
    cluster.queued[at[0]].append(held_back)
    assert error_of(cluster, waiting) == error_of(cluster, following) == ""


@pytest.mark.parametrize("options", [ActorOptions(), ASYNC, THREADED, GROUPED])
def test_a_call_that_is_cancelled_at_the_worker_ends_and_the_others_go_on(
    options: ActorOptions,
) -> None:
    cluster = Cluster(0, nodes=1)
    actor = new_actor(cluster, options)
    calls = [submit(cluster, actor=actor) for _ in range(5)]
    cluster.step("n0", events.CancelRequested(0, calls[3], False, False))
    errors = [error_of(cluster, call) for call in calls]
    assert errors == ["", "", "", "TaskCancelledError", ""]


def test_as_many_calls_are_sent_as_can_run_at_a_time_and_some_more() -> None:
    cluster = Cluster(0, nodes=1)
    actor = new_actor(cluster, ASYNC)
    for _ in range(2000):
        submit(cluster, actor=actor)
    (worker,) = (each for each in cluster.nodes["n0"].scheduler.workers.values() if each.creation)
    assert len(worker.calls) == 1000 + CALLS_AHEAD


def test_a_full_group_does_not_hold_up_the_others() -> None:
    cluster = Cluster(0, nodes=1)
    actor = new_actor(cluster, GROUPED)
    for _ in range(2 * (CALLS_AHEAD + 2)):  # every other one is of the group
        submit(cluster, actor=actor)
    (worker,) = (each for each in cluster.nodes["n0"].scheduler.workers.values() if each.creation)
    groups = [task.spec.options.group for task in worker.calls.values()]
    assert groups.count("g") == groups.count("") == CALLS_AHEAD + 1


@pytest.mark.parametrize("options", [ActorOptions(), THREADED, ASYNC])
def test_all_calls_at_a_worker_that_dies_end(options: ActorOptions) -> None:
    cluster = Cluster(0, nodes=1)
    actor = new_actor(cluster, msgspec.structs.replace(options, max_restarts=1))
    calls = [submit(cluster, actor=actor, retries=index % 2) for index in range(6)]
    (client,) = cluster.concurrency or {("n0", 1): 1}
    cluster.kill_worker("n0", client[1], "crashed")
    errors = [error_of(cluster, call) for call in calls]
    assert errors == ["ActorUnavailableError", ""] * 3


def test_a_lost_call_ends_before_the_actor_lives_again() -> None:
    cluster = Cluster(0, nodes=1)
    actor = new_actor(cluster, ActorOptions(max_restarts=1))
    node = cluster.nodes["n0"]
    call = submit(cluster, actor=actor)
    worker = node.actors._living[actor].client
    cluster.step("n0", events.WorkerExited(worker, "crashed"))
    assert cluster.errors["n0", call].kind == "ActorUnavailableError"
    assert not node.objects.entries[actor].exists
    cluster.step("n0", events.CancelRequested(0, call, False, False))
    assert error_of(cluster, call) == "ActorUnavailableError"
    node.check()


def test_a_call_that_is_cancelled_while_its_inputs_come_does_not_hold_up_the_next() -> None:
    cluster = Cluster(0, nodes=2)
    actor = new_actor(cluster)
    node = cluster.nodes["n0"]
    far = put_id(cluster.driver.task_id, 0)
    cluster.driver.lent((far,))
    cluster.step("n0", events.ObjectPut(0, far, 10, (), False))
    entry = node.objects.entries[far]
    entry.state, entry.locations = REMOTE, ["n1"]  # as if it had been made there
    call = submit(cluster, (far,), actor=actor)
    assert node.requests.is_starting(call[:16])
    cluster.step("n0", events.CancelRequested(0, call, False, False))
    assert error_of(cluster, submit(cluster, actor=actor)) == ""


def test_an_actor_whose_handle_only_lineage_has_is_stopped() -> None:
    cluster = Cluster(2, nodes=1)  # with this seed, the result does not hold the handle
    actor = new_actor(cluster)
    node = cluster.nodes["n0"]
    spec = cluster.driver.spec((), (actor,), 1)
    result = return_id(spec.task_id, 0)
    cluster.driver.lent((result,))
    cluster.step("n0", events.TaskSubmitted(0, spec))
    cluster.run()
    cluster.step("n0", cluster.driver.give_up([actor]))
    cluster.run()
    assert actor not in node.actors.owned
    assert result in node.objects.entries
    assert error_of(cluster, submit(cluster, actor=actor)) == "ActorDiedError"


def test_an_actor_that_may_be_created_again_holds_its_arguments() -> None:
    cluster = Cluster(0, nodes=1)
    node = cluster.nodes["n0"]
    argument = submit(cluster)
    actor = submit(cluster, (argument,), creation=ActorOptions(1))
    cluster.run()
    cluster.step("n0", cluster.driver.give_up([argument]))
    cluster.run()
    assert node.objects.entries[argument].exists
    cluster.step("n0", events.ActorKilled(0, actor, False))
    cluster.run()
    assert error_of(cluster, submit(cluster, actor=actor)) == ""
    assert not node.objects.entries[argument].holds  # there is no other restart


def test_a_call_made_again_does_not_queue_behind_the_one_that_wants_its_result() -> None:
    cluster = Cluster(0, nodes=2)
    actor = new_actor(cluster)
    node = cluster.nodes["n0"]
    first = submit(cluster, retries=1, actor=actor)
    cluster.run()
    entry = node.objects.entries[first]
    entry.state, entry.locations = REMOTE, ["n1"]  # as if it were only there
    second, third = submit(cluster, (first,), actor=actor), submit(cluster, actor=actor)
    assert node.requests.is_starting(second[:16])
    cluster.kill_node("n1")
    assert error_of(cluster, third) == error_of(cluster, second) == ""
    driver = cluster.driver.task_id
    assert [index for caller, index in cluster.calls[actor] if caller == driver] == [1, 1, 2, 3]


def test_calls_that_an_actor_can_begin_are_not_said_to_queue() -> None:
    cluster = Cluster(0, nodes=1)
    actor = new_actor(cluster, THREADED)
    node = cluster.nodes["n0"]
    kind = cluster.actors[actor]
    assert kind is not None
    for _ in range(kind.calls_at_a_time):
        assert not node.would_queue(cluster.driver.spec((), (), 0, None, actor=actor, kind=kind))
        submit(cluster, actor=actor)
    assert node.would_queue(cluster.driver.spec((), (), 0, None, actor=actor, kind=kind))


def test_what_a_call_had_submitted_when_it_was_told_of_its_cancellation_goes_with_it() -> None:
    cluster = Cluster(0, nodes=1)
    actor = new_actor(cluster, ASYNC)
    node = cluster.nodes["n0"]
    call = submit(cluster, actor=actor)
    parent = node.tasks.table[creator(call)]
    child, other = submit(cluster, (call,)), submit(cluster, (call,))
    task = node.tasks.table[creator(child)]
    task.spec = like(task.spec, parent_id=parent.spec.task_id)
    cluster.step("n0", events.CallInterrupted(int(parent.executor), parent.spec.task_id))
    assert error_of(cluster, child) == "TaskCancelledError"
    assert error_of(cluster, other) == ""


def test_an_actor_without_handles_whose_creation_fails_is_not_created_again() -> None:
    cluster = Cluster(0, nodes=1)
    actor = submit(cluster, creation=ActorOptions(max_restarts=-1))
    node = cluster.nodes["n0"]
    task = node.tasks.table[creator(actor)]
    while task.executor == "":
        cluster.turn()
    cluster.step("n0", cluster.driver.give_up([actor]))
    cluster.kill_worker("n0", int(task.executor), "crashed")
    cluster.run()
    assert creator(actor) not in node.tasks.table
