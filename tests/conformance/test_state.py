"""Nodes, resources and the state API, from the driver and from inside tasks and actors."""

import json
import os

import pytest

import rsim
from rsim.util import placement_group, state
from rsim.util.scheduling_strategies import PlacementGroupSchedulingStrategy
from tests.conformance import marks


@rsim.remote
def echo(value):
    return value


@rsim.remote
def fail():
    raise ValueError("no")


@rsim.remote
def meet(folder, name):
    """Leave a mark, and return when the test has left one."""
    marks.leave(folder, name)
    marks.await_marks(folder, "go")


@rsim.remote
class Counter:
    def __init__(self, start=0):
        self.count = start

    def add(self):
        self.count += 1
        return self.count

    def ask(self, what):
        return what()


def by_name(**options):
    return {task.name: task for task in state.list_tasks(**options)}


def await_state(condition, what):
    marks.await_that(condition, what)


# -- nodes and resources ---------------------------------------------------------------------------


def test_nodes_are_described_as_in_ray(rt):
    (node,) = rsim.nodes()
    assert set(node) == {
        "NodeID", "Alive", "NodeManagerAddress", "NodeManagerHostname", "NodeManagerPort",
        "ObjectManagerPort", "ObjectStoreSocketName", "RayletSocketName", "MetricsExportPort",
        "MetricsAgentPort", "DashboardAgentListenPort", "RuntimeEnvAgentPort", "NodeName",
        "DeathReason", "DeathReasonMessage", "alive", "Resources", "Labels",
    }  # fmt: skip
    assert node["Alive"] is node["alive"] is True
    assert node["NodeID"] == node["NodeName"] == rsim.get_runtime_context().get_node_id()
    assert node["Resources"] == rsim.cluster_resources()
    assert node["Labels"]["rsim.io/node-id"] == node["NodeID"]


def test_resources_of_the_cluster(init):
    init(num_cpus=3, num_gpus=2, resources={"slot": 0.5})
    (node,) = rsim.nodes()
    total = rsim.cluster_resources()
    assert (total["CPU"], total["GPU"], total["slot"]) == (3.0, 2.0, 0.5)
    assert total["memory"] > 0 and total["object_store_memory"] > 0
    assert total[f"node:{node['NodeID']}"] == total["node:__internal_head__"] == 1.0
    assert all(type(amount) is float for amount in total.values())
    assert rsim.available_resources() == total


def test_a_task_can_ask_for_the_resource_of_a_node(rt):
    name = f"node:{rsim.nodes()[0]['NodeID']}"
    assert rsim.get(echo.options(resources={name: 0.01}).remote(1)) == 1


def test_what_is_used_is_not_available(init, tmp_path):
    init(num_cpus=2, resources={"slot": 1})
    task = meet.options(num_cpus=0.5, resources={"slot": 1}).remote(tmp_path, "here")
    marks.await_marks(tmp_path, "here")
    free = rsim.available_resources()
    assert free["CPU"] == 1.5 and "slot" not in free
    assert rsim.cluster_resources()["slot"] == 1.0
    marks.leave(tmp_path, "go")
    rsim.get(task)
    assert rsim.available_resources() == rsim.cluster_resources()


def test_objects_take_room(rt):
    ref = rsim.put(bytes(1_000_000))
    total = rsim.cluster_resources()["object_store_memory"]
    free = rsim.available_resources()["object_store_memory"]
    assert 1_000_000 <= total - free < 1_100_000
    assert ref


def test_tasks_and_actors_can_ask_too(rt):
    expected = rsim.nodes(), rsim.cluster_resources()

    @rsim.remote(num_cpus=0)
    def look():
        return rsim.nodes(), rsim.cluster_resources(), len(state.list_tasks())

    assert rsim.get(look.remote()) == (*expected, 1)
    counter = Counter.remote()
    assert rsim.get(counter.ask.remote(rsim.nodes)) == expected[0]
    assert rsim.get(counter.ask.remote(state.list_nodes)) == state.list_nodes()


@pytest.mark.parametrize(
    "call", [rsim.nodes, rsim.cluster_resources, rsim.available_resources, rsim.timeline]
)
def test_without_a_runtime_there_is_nothing_to_tell(call):
    with pytest.raises(RuntimeError, match=rf"{call.__name__}\(\) .* rsim.init\(\)"):
        call()


def test_lists_need_a_runtime_too():
    with pytest.raises(RuntimeError, match=r"rsim.util.state.list_tasks\(\)"):
        state.list_tasks()


# -- tasks -----------------------------------------------------------------------------------------


def test_finished_and_failed_tasks_are_listed(rt):
    ref = echo.remote(1)
    rsim.get(ref)
    with pytest.raises(ValueError):
        rsim.get(fail.options(name="mine").remote())
    done, failed = state.list_tasks()
    assert (done.name, done.state, done.type) == ("echo", "FINISHED", "NORMAL_TASK")
    assert done.task_id == ref.task_id() and done.attempt_number == 0
    assert done["name"] == done.get("name") == "echo" and dict(done) == done.asdict()
    assert (failed.name, failed.func_or_class_name) == ("mine", "fail")
    assert (failed.state, failed.error_type) == ("FAILED", "TASK_EXECUTION_EXCEPTION")
    assert failed.error_message is None
    detailed = state.list_tasks(filters=[("name", "=", "mine")], detail=True)[0]
    assert "ValueError" in detailed.error_message
    assert done.node_id == rsim.nodes()[0]["NodeID"]
    assert state.get_worker(done.worker_id).pid == done.worker_pid


def test_unfinished_tasks_are_listed_with_their_states(init, tmp_path):
    init(num_cpus=1)
    running = meet.remote(tmp_path, "here")
    marks.await_marks(tmp_path, "here")
    queued = echo.options(num_cpus=1).remote(1)
    waiting = echo.remote(queued)
    states = {task.task_id: task.state for task in state.list_tasks()}
    assert states[running.task_id()] == "RUNNING"
    assert states[queued.task_id()] in ("PENDING_NODE_ASSIGNMENT", "SUBMITTED_TO_WORKER")
    assert states[waiting.task_id()] == "PENDING_ARGS_AVAIL"
    marks.leave(tmp_path, "go")
    rsim.get(waiting)
    assert {task.state for task in state.list_tasks()} == {"FINISHED"}


def test_a_task_that_gets_and_one_that_waits(rt, tmp_path):
    inner = meet.remote(tmp_path, "here")

    @rsim.remote
    def get(refs):
        rsim.get(refs)

    @rsim.remote
    def wait(refs):
        rsim.wait(refs)

    refs = [get.remote([inner]), wait.remote([inner])]
    expected = {"get": "RUNNING_IN_RAY_GET", "wait": "RUNNING_IN_RAY_WAIT", "meet": "RUNNING"}
    await_state(
        lambda: {name: task.state for name, task in by_name().items()} == expected, "the states"
    )
    marks.leave(tmp_path, "go")
    rsim.get(refs)


def test_detail_tells_of_environment_and_placement_group(rt):
    group = placement_group([{"CPU": 1}])
    env = {"env_vars": {"RSIM_A": "1"}}
    strategy = PlacementGroupSchedulingStrategy(group)
    options = {"runtime_env": env, "scheduling_strategy": strategy}
    rsim.get(echo.options(**options).remote(1))
    rsim.get(echo.remote(1))
    within, plain = state.list_tasks(detail=True)
    assert within.placement_group_id == group.id.hex() and plain.placement_group_id is None
    assert json.loads(within.runtime_env_info["serialized_runtime_env"]) == env
    assert plain.runtime_env_info["serialized_runtime_env"] == "{}"
    assert state.list_tasks(filters=[("placement_group_id", "=", group.id.hex())]) == [
        within.without_detail()
    ]
    actor = Counter.options(**options).remote()
    rsim.get(actor.__ray_ready__.remote())
    (told,) = state.list_actors(detail=True)
    assert told.placement_group_id == group.id.hex()
    assert json.loads(told.serialized_runtime_env) == env


def test_a_generator_that_raised_has_failed(rt):
    @rsim.remote
    def stream():
        yield 1
        raise KeyError("late")

    class Actor:
        async def stream(self):
            yield 1
            raise KeyError("late")

    for generator in (stream.remote(), rsim.remote(Actor).remote().stream.remote()):
        first, second = generator
        assert rsim.get(first) == 1
        with pytest.raises(KeyError):
            rsim.get(second)
        rsim.get(generator.completed())
    failed = state.list_tasks(filters=[("state", "=", "FAILED")], detail=True)
    assert [task.name for task in failed] == ["stream", "Actor.stream"]
    assert {task.error_type for task in failed} == {"TASK_EXECUTION_EXCEPTION"}
    assert all("late" in task.error_message for task in failed)


def test_detail_tells_when(rt):
    rsim.get(echo.remote(1))
    (plain,) = state.list_tasks()
    assert plain.creation_time_ms is plain.required_resources is plain.events is None
    (task,) = state.list_tasks(detail=True)
    assert task.creation_time_ms <= task.start_time_ms <= task.end_time_ms
    assert [event["state"] for event in task.events] == [
        "PENDING_ARGS_AVAIL",
        "RUNNING",
        "FINISHED",
    ]
    assert task.required_resources == {"CPU": 1.0}
    assert (task.language, task.error_message) == ("PYTHON", None)


def test_each_attempt_has_an_entry(rt, tmp_path):
    @rsim.remote(max_retries=3)
    def die_once():
        marks.leave(tmp_path, "tried")
        if marks.count(tmp_path, "tried") == 1:
            os._exit(1)
        return "alive"

    ref = die_once.remote()
    assert rsim.get(ref) == "alive"
    first, second = state.get_task(ref)
    assert (first.attempt_number, first.state, first.error_type) == (0, "FAILED", "WORKER_DIED")
    assert (second.attempt_number, second.state) == (1, "FINISHED")
    assert first.worker_pid != second.worker_pid
    dead = state.get_worker(first.worker_id)
    assert not dead.is_alive and dead.exit_type == "SYSTEM_ERROR" and dead.exit_detail


def test_a_task_is_found_by_its_id_or_by_a_ref(rt):
    ref = echo.remote(1)
    rsim.get(ref)
    assert state.get_task(ref) == state.get_task(ref.task_id())
    assert state.get_task(ref).end_time_ms
    assert state.get_task("00" * 16) is None
    with pytest.raises(TypeError, match="id must be a str"):
        state.get_task(1)


def test_children_know_their_parents(rt):
    @rsim.remote
    def parent():
        return rsim.get(echo.remote(1))

    ref = parent.remote()
    rsim.get(ref)
    assert by_name()["echo"].parent_task_id == ref.task_id()


def test_tasks_that_are_not_to_be_told_are_not(rt):
    @rsim.remote(enable_task_events=False)
    def hidden():
        return rsim.get(echo.remote(1))

    @rsim.remote
    class Plain:
        def usual(self):
            return 1

        @rsim.method(enable_task_events=False)
        def quiet(self):
            return 2

        @rsim.method(enable_task_events=True)
        def loud(self):
            return rsim.get(rsim.get_runtime_context().current_actor.usual.remote(), timeout=0)

    refs = [hidden.remote(), hidden.options(enable_task_events=True, name="told").remote()]
    told, untold = Plain.remote(), Plain.options(enable_task_events=False, name="u").remote()
    for actor in (told, untold, rsim.get_actor("u")):
        refs += [actor.usual.remote(), actor.quiet.remote()]
    refs += [told.quiet.options(enable_task_events=True, name="again").remote()]
    assert rsim.get(refs) == [1, 1, 1, 2, 1, 2, 1, 2, 2]
    with pytest.raises(rsim.exceptions.GetTimeoutError):
        rsim.get(untold.loud.remote())
    names = sorted(task.name for task in state.list_tasks())
    assert names == ["Plain.__init__", "Plain.loud", "Plain.usual", "again", "echo", "echo", "told"]


@pytest.mark.parametrize("value", ["yes", 1])
def test_whether_tasks_are_told_is_a_bool(value):
    with pytest.raises(TypeError, match="enable_task_events"):
        rsim.remote(enable_task_events=value)
    with pytest.raises(TypeError, match="enable_task_events"):
        rsim.method(enable_task_events=value)


# -- filters and limits ----------------------------------------------------------------------------


def test_filters(rt):
    rsim.get([echo.remote(1), echo.remote(2)])
    with pytest.raises(ValueError):
        rsim.get(fail.remote())

    def names(*filters):
        return [task.name for task in state.list_tasks(filters=list(filters))]

    assert names(("name", "=", "echo")) == ["echo", "echo"]
    assert names(("name", "!=", "echo")) == ["fail"]
    assert names(("STATE", "=", "finished"), ("attempt_number", "=", "0")) == ["echo", "echo"]
    assert names(("error_type", "=", None)) == ["echo", "echo"]
    assert names(("name", "=", "echo"), ("state", "=", "FAILED")) == []
    assert len(state.list_tasks(limit=2)) == 2
    assert [task.name for task in state.list_tasks(limit=1, filters=[("name", "=", "fail")])] == [
        "fail"
    ]


@pytest.mark.parametrize(
    ("filters", "kind", "message"),
    [
        ([("colour", "=", "red")], ValueError, "no column 'colour' .* valid are .*task_id"),
        ([("events", "=", "x")], ValueError, "no column 'events'"),
        ([("name", "~", "x")], ValueError, 'must be "=" or "!=", not \'~\''),
        ([("name", "=")], ValueError, "must be a triple"),
        (["name=x"], ValueError, "must be a triple"),
        ("name=x", TypeError, "must be a list of triples"),
    ],
)
def test_bad_filters_are_refused(rt, filters, kind, message):
    with pytest.raises(kind, match=message):
        state.list_tasks(filters=filters)


def test_other_bad_arguments_are_refused(rt):
    with pytest.raises(ValueError, match="limit must be from 1 to 10000, not 0"):
        state.list_tasks(limit=0)
    with pytest.raises(TypeError, match="limit"):
        state.list_tasks(limit="all")
    with pytest.raises(ValueError, match="timeout"):
        state.list_tasks(timeout=-1)
    with pytest.raises(NotImplementedError, match=r"list_tasks\(address="):
        state.list_tasks(address="127.0.0.1")


# -- actors ----------------------------------------------------------------------------------------


def test_a_living_actor(rt):
    counter = Counter.options(max_restarts=1, num_cpus=0.5).remote()
    rsim.get(counter.add.remote())
    (actor,) = state.list_actors(detail=True)
    assert (actor.class_name, actor.state, actor.num_restarts) == ("Counter", "ALIVE", 0)
    assert actor.required_resources == {"CPU": 0.5} and actor.death_cause is None
    assert actor.actor_id == counter._rsim_ref.hex()
    assert state.get_actor(actor.actor_id) == actor
    (worker,) = state.list_workers(filters=[("actor_id", "=", actor.actor_id)])
    assert (worker.pid, worker.node_id) == (actor.pid, actor.node_id)
    created, called = state.list_tasks()
    assert (created.name, created.type) == ("Counter.__init__", "ACTOR_CREATION_TASK")
    assert (called.name, called.type) == ("Counter.add", "ACTOR_TASK")
    assert created.actor_id == called.actor_id == actor.actor_id


@rsim.remote
class Named:
    def __init__(self, name):
        self.name = name

    def __repr__(self):
        return self.name

    def call(self):
        pass


_DEAD = [("state", "=", "DEAD")]


def test_an_actor_that_says_how_it_is_written(rt):
    one, two = Named.remote("one"), Named.options(max_concurrency=2).remote("two")
    rsim.get([one.call.remote(), two.call.options(name="mine").remote()])
    plain = Counter.remote()
    rsim.get(plain.add.remote())
    told = {actor.actor_id: actor.repr_name for actor in state.list_actors(detail=True)}
    assert [told[each._rsim_ref.hex()] for each in (one, two, plain)] == ["one", "two", ""]
    calls = state.list_tasks(filters=[("type", "=", "ACTOR_TASK")])
    names = {(task.name, task.func_or_class_name) for task in calls}
    assert names == {("one.call", "Named.call"), ("mine", "Named.call"), ("Counter.add",) * 2}
    rsim.kill(one)
    await_state(
        lambda: (
            [each.repr_name for each in state.list_actors(filters=_DEAD, detail=True)] == ["one"]
        ),
        "its name, still",
    )


def test_an_actor_that_waits_for_an_argument(rt, tmp_path):
    counter = Counter.remote(meet.remote(tmp_path, "here"))
    (actor,) = state.list_actors()
    assert (actor.state, actor.node_id, actor.pid) == ("DEPENDENCIES_UNREADY", None, 0)
    marks.leave(tmp_path, "go")
    with pytest.raises(TypeError):
        rsim.get(counter.add.remote())


def test_an_actor_that_has_no_room(init):
    init(num_cpus=1)
    first = Counter.options(num_cpus=1).remote()
    rsim.get(first.add.remote())
    second = Counter.options(num_cpus=1).remote()
    second.add.remote()
    assert [actor.state for actor in state.list_actors()] == ["ALIVE", "PENDING_CREATION"]


def test_a_killed_actor_is_dead(rt):
    counter = Counter.remote()
    rsim.get(counter.add.remote())
    rsim.kill(counter)
    with pytest.raises(rsim.exceptions.ActorDiedError):
        rsim.get(counter.add.remote())
    (actor,) = state.list_actors(filters=[("state", "=", "DEAD")], detail=True)
    assert "killed" in actor.death_cause["actor_died_error_context"]["error_message"]
    assert actor.pid and actor.node_id
    assert by_name()["Counter.add"].state in ("FINISHED", "FAILED")


def test_an_actor_is_dead_when_its_handles_are_gone(rt):
    counter = Counter.remote()
    rsim.get(counter.add.remote())
    del counter
    await_state(lambda: [actor.state for actor in state.list_actors()] == ["DEAD"], "its end")


def test_an_actor_whose_constructor_raises(rt):
    @rsim.remote
    class Broken:
        def __init__(self):
            raise ValueError("cannot be")

    broken = Broken.remote()
    with pytest.raises(rsim.exceptions.ActorDiedError):
        rsim.get(broken.__ray_ready__.remote())
    (actor,) = state.list_actors(detail=True)
    assert actor.state == "DEAD"
    assert "cannot be" in actor.death_cause["actor_died_error_context"]["error_message"]


def test_a_restarted_actor(rt):
    counter = Counter.options(max_restarts=1).remote()
    rsim.get(counter.add.remote())
    rsim.kill(counter, no_restart=False)

    def restarted():
        (actor,) = state.list_actors(detail=True)
        return actor.state == "ALIVE" and actor.num_restarts == 1

    await_state(restarted, "the restart")


# -- objects, workers, nodes, jobs -----------------------------------------------------------------


def test_objects(rt):
    large, small = rsim.put(bytes(1_000_000)), echo.remote(1)
    rsim.get(small)
    told = {each.object_id: each for each in state.list_objects(detail=True)}
    assert told.keys() == {large.hex(), small.hex()}
    put, result = told[large.hex()], told[small.hex()]
    assert (put.task_status, put.place, put.reference_type) == ("NIL", "stored", "LOCAL_REFERENCE")
    assert put.object_size > 1_000_000 and put.copies == [put.node_id]
    assert (result.task_status, result.place, result.type) == ("FINISHED", "inline", "DRIVER")
    assert state.get_objects(large.hex()) == [put]


def test_an_object_that_does_not_exist_yet(rt, tmp_path):
    ref = meet.remote(tmp_path, "here")
    child = echo.remote(ref)
    (pending,) = state.get_objects(ref.hex())
    assert (pending.object_size, pending.place) == (-1, "pending")
    assert pending.reference_type == "USED_BY_PENDING_TASK"
    marks.leave(tmp_path, "go")
    rsim.get(child)


def test_the_driver_is_the_first_worker(rt):
    rsim.get(echo.remote(1))
    driver, *workers = state.list_workers()
    assert (driver.worker_type, driver.is_alive) == ("DRIVER", True)
    assert driver.worker_id == rsim.get_runtime_context().get_worker_id()
    assert workers and {worker.worker_type for worker in workers} == {"WORKER"}


def test_nodes_as_states(rt):
    (node,) = state.list_nodes()
    assert (node.state, node.is_head_node, node.node_id) == ("ALIVE", True, node.node_name)
    assert node.resources_total == rsim.cluster_resources()
    assert state.get_node(node.node_id).start_time_ms is not None
    assert state.get_node("nowhere") is None


def test_the_job(rt):
    (job,) = state.list_jobs()
    assert (job.type, job.status) == ("DRIVER", "RUNNING")
    assert job.job_id == rsim.get_runtime_context().get_job_id()
    assert state.get_job(job.job_id).driver_node_id == rsim.nodes()[0]["NodeID"]


# -- summaries -------------------------------------------------------------------------------------


def test_summaries(rt):
    refs = [echo.remote(1), echo.remote(2)]
    rsim.get(refs)
    counter = Counter.remote()
    rsim.get(counter.add.remote())
    tasks = state.summarize_tasks()["cluster"]
    assert tasks["summary"]["echo"] == {
        "func_or_class_name": "echo",
        "type": "NORMAL_TASK",
        "state_counts": {"FINISHED": 2},
    }
    totals = ("total_tasks", "total_actor_tasks", "total_actor_scheduled")
    assert [tasks[name] for name in totals] == [2, 1, 1]
    actors = state.summarize_actors()["cluster"]
    assert actors["summary"]["Counter"]["state_counts"] == {"ALIVE": 1}
    assert actors["total_actors"] == 1
    objects = state.summarize_objects()["cluster"]
    assert objects["total_objects"] == len(state.list_objects())
    counts = objects["summary"]["disabled"]["ref_type_counts"]
    assert counts["LOCAL_REFERENCE"] >= 2 and counts["ACTOR_HANDLE"] == 1


def test_states_show_their_columns(rt):
    rsim.get(echo.remote(1))
    (task,) = state.list_tasks()
    with pytest.raises(KeyError, match="a TaskState has task_id"):
        task["colour"]
    assert task.get("colour", "red") == "red"
    assert "state" in task.filterable_columns() and "events" not in task.filterable_columns()


def test_calls_of_a_threaded_actor(rt, tmp_path):
    @rsim.remote
    class Meeting:
        def attend(self, name):
            marks.leave(tmp_path, name)
            marks.await_marks(tmp_path, "go")

    meeting = Meeting.options(max_concurrency=2).remote()
    refs = [meeting.attend.remote(name) for name in ("first", "second", "third")]
    marks.await_marks(tmp_path, "first", "second")
    states = [state.get_task(ref).state for ref in refs]
    assert states == ["RUNNING", "RUNNING", "PENDING_ACTOR_TASK_ORDERING_OR_CONCURRENCY"]
    marks.leave(tmp_path, "go")
    rsim.get(refs)


def test_placement_groups(rt):
    group = rsim.util.placement_group([{"CPU": 1}, {"CPU": 2}], name="mine")
    assert group.wait(60)
    (told,) = state.list_placement_groups(detail=True)
    assert (told.name, told.state) == ("mine", "CREATED")
    assert told.placement_group_id == group.id.hex()
    node = rsim.nodes()[0]["NodeID"]
    bundles = [(each["unit_resources"], each["node_id"]) for each in told.bundles]
    assert bundles == [({"CPU": 1.0}, node), ({"CPU": 2.0}, node)]
    assert state.get_placement_group(group.id.hex()) == told


def test_a_named_actor(rt):
    counter = Counter.options(name="mine", namespace="ours", lifetime="detached").remote()
    asked = counter.ask.remote(lambda: rsim.get_runtime_context().get_actor_name())
    assert rsim.get(asked) == "mine"
    (actor,) = state.list_actors(detail=True)
    assert (actor.name, actor.ray_namespace, actor.is_detached) == ("mine", "ours", True)
    nameless = Counter.options(namespace="theirs").remote()
    (row,) = state.list_actors(filters=[("ray_namespace", "=", "theirs")])
    assert (row.actor_id, row.name) == (nameless._rsim_ref.hex(), "")
    rsim.kill(counter)
