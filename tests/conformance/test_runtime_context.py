"""What code learns of itself, in the driver, in tasks and in actors."""

import os

import pytest

import rsim
from rsim.util import state
from tests.conformance import marks

ANYWHERE = (
    "get_job_id", "get_node_id", "get_worker_id", "get_task_id", "get_task_name",
    "get_task_function_name", "get_actor_id", "get_actor_name", "get_placement_group_id",
    "get_accelerator_ids", "get_node_labels", "get_session_name", "get_runtime_env_string",
)  # fmt: skip


def told():
    context = rsim.get_runtime_context()
    return {name: getattr(context, name)() for name in ANYWHERE}


@rsim.remote
def ask():
    return told(), rsim.get_runtime_context().get_assigned_resources(), os.getpid()


@rsim.remote
class Actor:
    def __init__(self):
        self.born = told()

    def ask(self):
        return told(), rsim.get_runtime_context().get_assigned_resources()

    def birth(self):
        return self.born

    def reconstructed(self):
        return rsim.get_runtime_context().was_current_actor_reconstructed

    def die(self):
        os._exit(1)


def test_the_driver(rt):
    found = told()
    nothing = {"get_task_id", "get_task_name", "get_task_function_name", "get_actor_id"}
    assert {name for name in nothing if found[name] is None} == nothing
    assert found["get_actor_name"] is None and found["get_placement_group_id"] is None
    assert found["get_node_id"] == rsim.nodes()[0]["NodeID"]
    assert found["get_node_labels"] == rsim.nodes()[0]["Labels"]
    assert found["get_worker_id"] == state.list_workers()[0].worker_id
    assert len(found["get_job_id"]) == 8 and int(found["get_job_id"], 16)


def test_a_task(rt):
    ref = ask.remote()
    found, resources, pid = rsim.get(ref)
    driver = told()
    assert found["get_task_id"] == ref.task_id()
    assert found["get_task_name"] == "ask"
    assert found["get_task_function_name"] == f"{__name__}.ask"
    assert found["get_actor_id"] is found["get_actor_name"] is None
    for same in ("get_job_id", "get_node_id", "get_session_name"):
        assert found[same] == driver[same]
    assert state.get_worker(found["get_worker_id"]).pid == pid
    assert resources == {"CPU": 1.0}


def test_a_task_with_options(init):
    init(num_cpus=2, resources={"slot": 1})
    task = ask.options(name="mine", num_cpus=0.5, resources={"slot": 0.25})
    found, resources, _ = rsim.get(task.remote())
    assert found["get_task_name"] == "mine"
    assert found["get_task_function_name"] == f"{__name__}.ask"
    assert resources == {"CPU": 0.5, "slot": 0.25}


def test_an_actor(rt):
    actor = Actor.options(num_cpus=0.5).remote()
    ref = actor.ask.remote()
    found, resources = rsim.get(ref)
    assert found["get_actor_id"] == actor._rsim_ref.hex()
    assert found["get_actor_name"] == ""
    assert found["get_task_id"] == ref.task_id()
    assert found["get_task_name"] == "Actor.ask"
    assert found["get_task_function_name"] == f"{__name__}.Actor.ask"
    assert resources == {"CPU": 0.5}
    born = rsim.get(actor.birth.remote())
    assert born["get_actor_id"] == found["get_actor_id"]
    assert born["get_task_name"] == "Actor.__init__"
    assert born["get_task_function_name"] == f"{__name__}.Actor.__init__"


def test_an_actor_knows_that_it_was_restarted(rt):
    actor = Actor.options(max_restarts=1).remote()
    assert rsim.get(actor.reconstructed.remote()) is False
    with pytest.raises(rsim.exceptions.RsimActorError):
        rsim.get(actor.die.remote())

    def restarted():
        try:
            return rsim.get(actor.reconstructed.remote())
        except rsim.exceptions.ActorUnavailableError:
            return False

    marks.await_that(restarted, "the restart")


def test_a_task_after_an_actor_is_none(rt):
    """Nothing of an actor sticks to its worker."""
    actor = Actor.remote()
    rsim.get(actor.ask.remote())
    found, *_ = rsim.get(ask.remote())
    assert found["get_actor_id"] is None


def test_what_a_driver_cannot_ask(rt):
    context = rsim.get_runtime_context()
    with pytest.raises(RuntimeError, match=r"get_assigned_resources.* not in a driver"):
        context.get_assigned_resources()
    with pytest.raises(RuntimeError, match=r"is_canceled.* not in a driver"):
        context.is_canceled()
    for name in ("current_actor", "was_current_actor_reconstructed"):
        with pytest.raises(RuntimeError, match=f"{name} is available in an actor only"):
            getattr(context, name)


def test_a_task_that_nobody_cancelled(rt):
    @rsim.remote
    def cancelled():
        return rsim.get_runtime_context().is_canceled()

    assert rsim.get(cancelled.remote()) is False


def test_a_call_that_was_cancelled(rt, tmp_path):
    @rsim.remote
    class Patient:
        def wait(self):
            marks.leave(tmp_path, "begun")
            marks.await_that(rsim.get_runtime_context().is_canceled, "the cancellation")
            marks.leave(tmp_path, "seen")

    patient = Patient.remote()
    ref = patient.wait.remote()
    marks.await_marks(tmp_path, "begun")
    rsim.cancel(ref)
    marks.await_marks(tmp_path, "seen")


def test_a_task_that_was_cancelled(rt, tmp_path):
    @rsim.remote
    def wait():
        try:
            marks.leave(tmp_path, "begun")
            marks.await_that(lambda: False)
        except KeyboardInterrupt:
            return rsim.get_runtime_context().is_canceled()

    ref = wait.remote()
    marks.await_marks(tmp_path, "begun")
    rsim.cancel(ref)
    assert rsim.get(ref) is True


def test_an_asynchronous_actor(rt):
    @rsim.remote
    class Async:
        async def ask(self):
            context = rsim.get_runtime_context()
            with pytest.raises(RuntimeError, match="async actor"):
                context.is_canceled()
            return context.get_task_name(), context.get_actor_id(), context.get_node_id()

        async def me(self):
            return rsim.get_runtime_context().current_actor

    actor = Async.remote()
    name, actor_id, node = rsim.get(actor.ask.remote())
    assert (name, actor_id) == ("Async.ask", actor._rsim_ref.hex())
    assert node == rsim.nodes()[0]["NodeID"]
    mine = rsim.get(actor.me.remote())
    assert mine == actor
    assert mine._rsim_interface.out_of_order is actor._rsim_interface.out_of_order is True


def test_properties(init):
    init(num_cpus=1, namespace="mine")
    context = rsim.get_runtime_context()

    @rsim.remote
    def look():
        inner = rsim.get_runtime_context()
        return inner.namespace, inner.gcs_address, inner.get()

    namespace, address, ids = rsim.get(look.remote())
    assert namespace == context.namespace == "mine"
    assert address == context.gcs_address
    assert set(ids) == {"job_id", "node_id", "namespace", "task_id"}
    assert set(context.get()) == {"job_id", "node_id", "namespace"}
    assert context.runtime_env == {} and context.get_runtime_env_string() == "{}"
    assert context.should_capture_child_tasks_in_placement_group is False


def test_it_starts_a_runtime():
    assert rsim.get_runtime_context().get_node_id()
    assert rsim.is_initialized()


def test_what_is_not_there_says_so(rt):
    with pytest.raises(NotImplementedError, match="get_temp_dir"):
        rsim.get_runtime_context().get_temp_dir()


# -- a handle of oneself ---------------------------------------------------------------------------


@rsim.remote
class Social:
    def __init__(self, folder=None):
        self.folder = folder
        self.me = rsim.get_runtime_context().current_actor

    def ping(self):
        return "pong"

    def handle(self):
        return self.me

    def handles(self):
        return [rsim.get_runtime_context().current_actor]

    def call_later(self):
        return self.me.ping.remote()

    def call_by_another(self):
        return rsim.get(call.options(num_cpus=0).remote([self.me]))

    def put(self):
        return [rsim.put([self.me])]


@rsim.remote
def call(handles):
    return handles[0].__ray_ready__.options(num_returns=1).remote() is not None


def test_an_actor_has_a_handle_of_itself(rt):
    actor = Social.remote()
    mine = rsim.get(actor.handle.remote())
    assert mine == actor and rsim.get(mine.ping.remote()) == "pong"
    assert rsim.get(actor.handles.remote()) == [actor]
    assert rsim.get(rsim.get(actor.call_later.remote())) == "pong"
    assert rsim.get(actor.call_by_another.remote()) is True
    assert rsim.get(rsim.get(rsim.get(actor.put.remote())[0])[0].ping.remote()) == "pong"


def test_the_handle_of_itself_keeps_the_options(rt):
    actor = Social.options(max_task_retries=2).remote()
    mine = rsim.get(actor.handle.remote())
    assert mine._rsim_interface.max_task_retries == 2


def test_the_handle_of_itself_does_not_keep_an_actor_alive(rt):
    actor = Social.remote()
    rsim.get(actor.ping.remote())
    del actor
    marks.await_that(lambda: [each.state for each in state.list_actors()] == ["DEAD"], "its end")


def test_a_handle_that_was_passed_on_does(rt):
    mine = rsim.get(Social.remote().handle.remote())
    assert rsim.get(mine.ping.remote()) == "pong"
    assert [each.state for each in state.list_actors()] == ["ALIVE"]


# -- groups and devices ----------------------------------------------------------------------------


def test_in_a_placement_group(rt):
    @rsim.remote(num_cpus=1)
    def look():
        context = rsim.get_runtime_context()
        captures = context.should_capture_child_tasks_in_placement_group
        return context.get_placement_group_id(), captures

    group = rsim.util.placement_group([{"CPU": 1}])
    strategy = rsim.util.scheduling_strategies.PlacementGroupSchedulingStrategy(
        group, placement_group_capture_child_tasks=True
    )
    found = rsim.get(look.options(scheduling_strategy=strategy).remote())
    assert found == (group.id.hex(), True)
    assert rsim.get(look.remote()) == (None, False)


def test_gpus(init):
    init(num_cpus=1, num_gpus=2)
    found, resources, _ = rsim.get(ask.options(num_gpus=2).remote())
    assert found["get_accelerator_ids"]["GPU"] == ["0", "1"] and resources["GPU"] == 2.0
    none = {kind: [] for kind in ("GPU", "HPU", "NPU", "RBLN", "TPU", "neuron_cores")}
    assert told()["get_accelerator_ids"] == none
