"""Several nodes, simulated or real: they join, share the work and the objects, and die."""

import os
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import rsim
from rsim.exceptions import (
    ActorDiedError,
    NodeDiedError,
    ObjectLostError,
    TaskCancelledError,
    TaskUnschedulableError,
)
from rsim.util.scheduling_strategies import NodeAffinitySchedulingStrategy as Affinity
from rsim.util.scheduling_strategies import PlacementGroupSchedulingStrategy as Inside
from tests.conformance import dags, inspecting, marks

LARGE = 200_000
MIB = 1 << 20


@pytest.fixture
def session(init):
    """The driver's node; `first` and `second` alone have `far`."""
    session = init(num_cpus=2)
    for name in ("first", "second"):
        session.add_node(name=name, num_cpus=2, resources={"far": 2})
    yield session
    if rsim.is_initialized():
        inspecting.check(session)


@rsim.remote
def pid():
    return os.getpid()


@rsim.remote
def same(value):
    return value


@rsim.remote(resources={"far": 1})
def far_pid():
    return os.getpid()


@rsim.remote(resources={"far": 1})
def fill(folder, number):
    marks.leave(folder, f"fill {number}")
    marks.leave(folder, str(os.getpid()))
    return np.full(LARGE, number)


@rsim.remote(resources={"far": 1})
def wait_at_first(folder, name):
    """Waits, the first time, for what never happens; each run leaves its pid."""
    marks.leave(folder, f"{name} {os.getpid()}")
    marks.leave(folder, name)
    if marks.count(folder, name) == 1:
        marks.await_marks(folder, "never")
    return name


@rsim.remote(resources={"far": 1}, num_cpus=1)
class Keeper:
    def __init__(self):
        self.total = 0

    def add(self, amount=1):
        self.total += amount
        return self.total

    def pid(self):
        return os.getpid()


def home_of(session, folder, prefix=""):
    """The node of the worker whose pid is the one that was left as a mark."""
    pids = [path.name.removeprefix(prefix).strip() for path in Path(folder).iterdir()]
    (number,) = [int(each) for each in pids if each.isdecimal()]
    return inspecting.node_of(session, number)


@pytest.mark.parametrize("here", [2, 3, 5, 6])
def test_actors_that_stay_find_the_last_free_places(init, here):
    session = init(num_cpus=here)
    session.add_node(name="other", num_cpus=6, resources={"tool": 1})
    bundles = [{"CPU": 1, "tool": 1}, *[{"CPU": 1}] * 10]
    group = rsim.util.placement_group(bundles[: here + 6])
    rsim.get(group.ready())
    inside = Kept.options(num_cpus=1, scheduling_strategy=Inside(group))
    actors = [inside.remote() for _ in range(min(here + 5, 10))]
    actors.append(inside.options(resources={"tool": 1}).remote())
    assert set(rsim.get([actor.value.remote() for actor in actors])) == {"kept"}


def test_nodes_have_the_memory_that_they_are_given(init):
    session = init(num_cpus=2, memory=3 * MIB)
    session.add_node(name="other", num_cpus=2, memory=5 * MIB)
    assert {node["NodeID"]: node["Resources"]["memory"] for node in rsim.nodes()} == {
        session.node_names()[0]: 3 * MIB,
        "other": 5 * MIB,
    }

    @rsim.remote(memory=4 * MIB)
    def where():
        return rsim.get_runtime_context().get_node_id()

    assert rsim.get(where.remote()) == "other"


def test_dynamic_results_are_the_same_again_whatever_else_was_put(init, tmp_path):
    session = init(num_cpus=1)
    session.add_node(name="home", num_cpus=1, resources={"home": 1})

    def blocks(folder):
        marks.leave(folder, "ran")
        for index in range(3):
            if marks.count(folder, "ran") > 1:
                rsim.put(np.full(LARGE, -1))
            yield np.full(LARGE, index)

    with pytest.warns(DeprecationWarning, match="streaming"):
        dynamic = rsim.remote(num_returns="dynamic", resources={"home": 1})(blocks)
    refs = list(rsim.get(dynamic.remote(tmp_path)))
    session.remove_node("home")
    session.add_node(name="new home", num_cpus=1, resources={"home": 1})
    assert [int(rsim.get(ref)[0]) for ref in refs] == [0, 1, 2]
    assert marks.count(tmp_path, "ran") == 2


@pytest.mark.parametrize("held", [True, False], ids=["held", "dropped"])
def test_what_a_task_put_can_be_lost_again_and_again(init, held):
    session = init(num_cpus=1)
    session.add_node(name="home-0", num_cpus=1, resources={"home": 1})

    @rsim.remote(resources={"home": 1})
    def puts():
        return [rsim.put(np.full(LARGE, index)) for index in range(3)]

    result = puts.remote()
    refs = rsim.get(result)
    if not held:
        del result
    for times in range(3):
        session.remove_node(f"home-{times}")
        session.add_node(name=f"home-{times + 1}", num_cpus=1, resources={"home": 1})
        assert [int(rsim.get(ref)[0]) for ref in refs] == [0, 1, 2]


def test_a_task_with_the_last_cpu_does_not_wait_for_an_input_that_needs_one(init):
    session = init(num_cpus=0)
    session.add_node(name="first", num_cpus=1)
    first = rsim.remote(lambda block: int(block[0]))

    @rsim.remote
    def puts():
        return [rsim.put(np.full(LARGE, index)) for index in range(3)]

    refs = rsim.get(puts.remote())
    session.remove_node("first")
    session.add_node(name="second", num_cpus=1)
    assert rsim.get([first.remote(ref) for ref in refs]) == [0, 1, 2]
    session.add_node(name="third", num_cpus=1, resources={"third": 1})
    assert rsim.get(first.options(resources={"third": 1}).remote(refs[2])) == 2
    session.remove_node("second")
    assert rsim.get(first.remote(refs[0]), timeout=60) == 0


@pytest.mark.parametrize("again", [False, True], ids=["copy", "result"])
def test_a_node_that_had_a_copy_is_not_asked_for_it_when_it_has_dropped_it(init, again):
    session = init(num_cpus=0)
    session.add_node(name="first", num_cpus=1)
    first = rsim.remote(lambda block: int(block[0]))

    @rsim.remote(num_returns=2)
    def blocks():
        return np.full(LARGE, 1), np.full(LARGE, 2)

    one, two = blocks.remote()
    assert rsim.get(first.remote(one)) == 1
    session.add_node(name="second", num_cpus=1, resources={"second": 1})
    assert rsim.get(first.options(resources={"second": 1}).remote(one)) == 1
    session.remove_node("first")
    assert rsim.get(first.remote(two if again else one), timeout=60) == 1 + again


# -- captured refs -------------------------------------------------------------------------------


@rsim.remote
class Kept:
    def value(self):
        return "kept"


def test_refs_and_handles_that_functions_capture_are_of_use_elsewhere(session):
    ref, large, handle = rsim.put("small"), rsim.put(np.arange(LARGE)), Kept.remote()

    @rsim.remote(resources={"far": 1})
    def use():
        return rsim.get(ref), int(rsim.get(large)[-1]), rsim.get(handle.value.remote())

    @rsim.remote(resources={"far": 1})
    class User:
        def __init__(self):
            self.value = rsim.get(ref)

        def use(self):
            return self.value, int(rsim.get(large)[-1]), rsim.get(handle.value.remote())

    expected = "small", LARGE - 1, "kept"
    assert rsim.get([use.remote() for _ in range(4)]) == [expected] * 4
    assert rsim.get(User.remote().use.remote()) == expected


def test_captured_refs_stay_while_calls_are_to_come(session):
    def make():
        ref = rsim.put("captured")

        @rsim.remote(resources={"far": 1})
        def inner():
            return rsim.get(ref)

        @rsim.remote(resources={"far": 1})
        def outer(again=None):
            return rsim.get((again or inner).remote())

        return inner, outer

    inner, outer = make()
    results = [outer.remote(), outer.remote(inner), outer.options(num_cpus=2).remote()]
    del inner, outer
    assert rsim.get(results) == ["captured"] * 3


# -- joining ---------------------------------------------------------------------------------------


def test_names(init):
    session = init(num_cpus=1)
    home = session.node_names()
    first = session.add_node()
    second = session.add_node(name="mine")
    third = session.add_node(num_cpus=0)
    names = session.node_names()
    assert names == [*home, first, second, third]
    assert len(set(names)) == 4
    assert second == "mine"
    session.remove_node(third)
    assert session.add_node() not in names
    session.remove_node("mine")
    for taken in ("mine", *home, "global"):
        with pytest.raises(ValueError, match=f"'{taken}'"):
            session.add_node(name=taken)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"num_cpus": -1}, ValueError, "num_cpus must be a finite number, 0 or more, not -1"),
        ({"num_cpus": "2"}, TypeError, "num_cpus must be a number, not '2'"),
        ({"num_gpus": True}, TypeError, "num_gpus must be a number, not True"),
        ({"resources": {"CPU": 1}}, ValueError, "must not contain 'CPU': use num_cpus="),
        ({"object_store_memory": 0}, ValueError, "object_store_memory must be 1 or more, not 0"),
        ({"labels": {"zone": 1}}, TypeError, r"labels\['zone'\] must be a str"),
        ({"labels": ["zone"]}, TypeError, "labels must be a dict"),
        ({"name": ""}, ValueError, "name must not be empty"),
        ({"name": 3}, TypeError, "name must be a str, not 3"),
    ],
)
def test_bad_nodes_are_refused(init, arguments, error, text):
    session = init(num_cpus=1)
    before = session.node_names()
    with pytest.raises(error, match=text):
        session.add_node(**arguments)
    assert session.node_names() == before


def test_nodes_that_cannot_be_removed(session):
    home = session.node_names()[0]
    with pytest.raises(ValueError, match="the driver runs on it"):
        session.remove_node(home)
    with pytest.raises(ValueError, match=f"no node 'third'; the nodes are '{home}', 'first'"):
        session.remove_node("third")
    with pytest.raises(ValueError, match="no node 'global'"):
        session.remove_node("global")
    session.remove_node("first")
    with pytest.raises(ValueError, match="'first'"):
        session.remove_node("first")
    assert session.node_names() == [home, "second"]


def test_after_the_end(init):
    session = init(num_cpus=1)
    rsim.shutdown()
    for call in (session.add_node, session.node_names, lambda: session.remove_node("n")):
        with pytest.raises(RuntimeError, match="has ended"):
            call()


def test_a_task_that_fits_nowhere_runs_when_a_node_joins_that_has_it(init):
    session = init(num_cpus=1)
    refs = [same.options(resources={"rare": 1}).remote(number) for number in range(3)]
    marks.await_that(session.infeasible, "the tasks to be listed")
    session.add_node()
    assert rsim.wait(refs, num_returns=3, timeout=0)[0] == []
    session.add_node(resources={"rare": 1})
    assert rsim.get(refs) == [0, 1, 2]
    assert session.infeasible() == []


def test_a_task_that_waits_for_a_cpu_gets_a_new_nodes(init, tmp_path):
    session = init(num_cpus=1)

    @rsim.remote
    def meet(me, other):
        marks.leave(tmp_path, me)
        marks.await_marks(tmp_path, other)
        return os.getpid()

    refs = [meet.remote("a", "b"), meet.remote("b", "a")]
    marks.await_that(lambda: list(tmp_path.iterdir()), "the first task")
    name = session.add_node(num_cpus=1)
    assert {inspecting.node_of(session, each) for each in rsim.get(refs)} == {
        session.node_names()[0],
        name,
    }


def test_a_driver_without_cpus(init):
    session = init(num_cpus=0)
    name = session.add_node(num_cpus=1)
    assert {inspecting.node_of(session, each) for each in rsim.get([pid.remote()] * 2)} == {name}


def test_an_actor_waits_for_its_node(init):
    session = init(num_cpus=1)
    keeper = Keeper.remote()
    ref = keeper.add.remote()
    name = session.add_node(resources={"far": 1})
    assert rsim.get(ref) == 1
    assert inspecting.node_of(session, rsim.get(keeper.pid.remote())) == name


# -- places ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("soft", [True, False])
def test_affinity(session, soft):
    for name in session.node_names():
        task = pid.options(scheduling_strategy=Affinity(name, soft=soft))
        found = rsim.get([task.remote() for _ in range(3)])
        assert {inspecting.node_of(session, each) for each in found} == {name}


def test_affinity_to_a_node_that_is_gone(session):
    session.remove_node("first")
    with pytest.raises(TaskUnschedulableError, match="first"):
        rsim.get(pid.options(scheduling_strategy=Affinity("first")).remote())
    soft = pid.options(scheduling_strategy=Affinity("first", soft=True))
    assert inspecting.node_of(session, rsim.get(soft.remote())) in session.node_names()


def test_labels_of_nodes_that_joined(init):
    session = init(num_cpus=1, labels={"zone": "a"})
    names = [session.add_node(labels={"zone": zone}) for zone in "bc"]
    plain = session.add_node()
    for zone, name in zip("abc", [session.node_names()[0], *names], strict=True):
        found = rsim.get(pid.options(label_selector={"zone": zone}).remote())
        assert inspecting.node_of(session, found) == name
    found = rsim.get(pid.options(label_selector={"zone": "!in(a,b,c)"}).remote())
    assert inspecting.node_of(session, found) == plain


def test_spread(session):
    task = pid.options(scheduling_strategy="SPREAD")
    found = Counter(inspecting.node_of(session, rsim.get(task.remote())) for _ in range(6))
    assert found == dict.fromkeys(session.node_names(), 2)


def test_all_cpus_are_used(session, tmp_path):
    @rsim.remote
    def meet(number):
        marks.leave(tmp_path, str(number))
        marks.await_marks(tmp_path, *map(str, range(6)))
        return os.getpid()

    found = rsim.get([meet.remote(number) for number in range(6)])
    assert Counter(inspecting.node_of(session, each) for each in found) == dict.fromkeys(
        session.node_names(), 2
    )


def test_a_task_elsewhere_is_cancelled(session, tmp_path):
    ref = wait_at_first.remote(tmp_path, "began")
    marks.await_marks(tmp_path, "began")
    rsim.cancel(ref)
    with pytest.raises(TaskCancelledError):
        rsim.get(ref)


# -- objects ---------------------------------------------------------------------------------------


def test_large_objects_travel(session):
    @rsim.remote(resources={"far": 1})
    def make():
        return np.arange(100 * MIB // 8)

    @rsim.remote(num_cpus=1)
    def check(array):
        return bool((array == np.arange(100 * MIB // 8)).all())

    made = [
        make.options(scheduling_strategy=Affinity("first")).remote(),
        rsim.put(np.arange(100 * MIB // 8)),
    ]
    rsim.wait(made, num_returns=2, fetch_local=False)
    task = check.options(scheduling_strategy=Affinity("second"))
    assert rsim.get([task.remote(ref) for ref in made]) == [True, True]
    assert (rsim.get(made[0]) == rsim.get(made[1])).all()


def test_refs_in_values_and_tasks_of_tasks(session):
    @rsim.remote(resources={"far": 1})
    def outer(refs):
        inner = [far_sum.remote(ref) for ref in refs]
        return [*inner, rsim.put(np.full(LARGE, 7)), sum(rsim.get(inner))]

    @rsim.remote(scheduling_strategy="SPREAD")
    def far_sum(array):
        return int(array.sum())

    refs = [rsim.put(np.full(LARGE, number)) for number in range(4)]
    *inner, put, total = rsim.get(outer.remote(refs))
    assert rsim.get(inner) == [LARGE * number for number in range(4)]
    assert total == 6 * LARGE
    assert rsim.get(put)[-1] == 7


def test_nothing_stays_behind(session):
    array = rsim.put(np.ones(LARGE))
    assert rsim.get(same.options(resources={"far": 1}).remote(array)).sum() == LARGE
    del array
    inspecting.await_used_bytes(session)


def test_every_node_spills_by_itself(init):
    session = init(num_cpus=1)
    name = session.add_node(resources={"far": 1}, object_store_memory=50 * MIB)

    @rsim.remote(resources={"far": 1})
    def make(number):
        return np.full(10 * MIB, number, dtype=np.uint8)

    refs = [make.remote(number) for number in range(10)]
    rsim.wait(refs, num_returns=10, fetch_local=False)
    store = inspecting.machine(session, name).shelf.store
    home = inspecting.machine(session, session.node_names()[0]).shelf.store
    assert store.spilled_bytes >= 40 * MIB
    assert home.spilled_bytes == 0
    assert [int(rsim.get(ref)[-1]) for ref in refs] == list(range(10))


# -- death -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("graceful", [False, True])
def test_a_task_on_a_node_that_dies_runs_elsewhere(session, tmp_path, graceful):
    ref = wait_at_first.remote(tmp_path, "began")
    marks.await_marks(tmp_path, "began")
    session.remove_node(home_of(session, tmp_path, "began"), graceful=graceful)
    assert rsim.get(ref) == "began"
    assert marks.count(tmp_path, "began") == 2


def test_without_retries_that_is_an_error(session, tmp_path):
    ref = wait_at_first.options(max_retries=0).remote(tmp_path, "began")
    marks.await_marks(tmp_path, "began")
    session.remove_node(home_of(session, tmp_path, "began"))
    with pytest.raises(NodeDiedError, match="wait_at_first"):
        rsim.get(ref)


def test_a_result_on_a_node_that_died_is_computed_again(session, tmp_path):
    ref = fill.remote(tmp_path, 3)
    rsim.wait([ref], fetch_local=False)
    session.remove_node(home_of(session, tmp_path))
    assert rsim.get(ref)[-1] == 3
    assert marks.count(tmp_path, "fill 3") == 2


def test_without_retries_it_is_lost(session, tmp_path):
    ref = fill.options(max_retries=0).remote(tmp_path, 3)
    rsim.wait([ref], fetch_local=False)
    session.remove_node(home_of(session, tmp_path))
    with pytest.raises(ObjectLostError, match="fill"):
        rsim.get(ref)


def test_what_was_fetched_is_not_computed_again(session, tmp_path):
    ref = fill.remote(tmp_path, 3)
    rsim.wait([ref])
    session.remove_node(home_of(session, tmp_path))
    assert rsim.get(ref)[-1] == 3
    assert marks.count(tmp_path, "fill 3") == 1


def test_a_chain_of_results(session, tmp_path):
    @rsim.remote(resources={"far": 1})
    def double(array):
        return 2 * array

    on_first = {"scheduling_strategy": Affinity("first", soft=True)}
    ref = double.options(**on_first).remote(fill.options(**on_first).remote(tmp_path, 3))
    rsim.wait([ref], fetch_local=False)
    session.remove_node("first")
    assert rsim.get(ref)[-1] == 6
    assert marks.count(tmp_path, "fill 3") == 2


def test_what_a_dead_node_owned(session):
    @rsim.remote(resources={"far": 1})
    def parent():
        refs = [rsim.put(np.full(LARGE, 5)), rsim.put("small"), child.remote()]
        rsim.wait(refs, num_returns=3)
        return refs

    @rsim.remote(resources={"far": 1})
    def child():
        return np.full(LARGE, 6)

    refs = rsim.get(parent.options(scheduling_strategy=Affinity("first", soft=True)).remote())
    session.remove_node("first")
    assert rsim.get(refs[0])[-1] == 5
    assert rsim.get(refs[1]) == "small"
    assert rsim.get(refs[2])[-1] == 6


def test_an_actor_dies_with_its_node(session):
    keeper = Keeper.remote()
    assert rsim.get(keeper.add.remote(5)) == 5
    session.remove_node(inspecting.node_of(session, rsim.get(keeper.pid.remote())))
    with pytest.raises(ActorDiedError):
        rsim.get(keeper.add.remote())


@rsim.remote(num_cpus=0, resources={"home": 1}, max_restarts=1, max_task_retries=-1)
class Mover:
    def node(self):
        return rsim.get_runtime_context().get_node_id()


@rsim.remote(resources={"far": 1})
class Caller:
    def __init__(self, mover):
        self.mover = mover

    def call(self):
        return rsim.get(self.mover.node.remote())


@pytest.mark.parametrize("back", ["at once", "later"])
def test_callers_on_other_nodes_find_an_actor_that_was_restarted(session, back):
    session.add_node(name="home", num_cpus=0, resources={"home": 1})
    mover = Mover.remote()
    callers = [Caller.remote(mover) for _ in range(3)]
    assert rsim.get([caller.call.remote() for caller in callers]) == ["home"] * 3
    session.remove_node("home", graceful=False)
    if back == "at once":
        session.add_node(name="new home", num_cpus=0, resources={"home": 1})
    refs = [caller.call.remote() for caller in callers]
    if back == "later":
        assert rsim.wait(refs, timeout=0.1)[0] == []
        session.add_node(name="new home", num_cpus=0, resources={"home": 1})
    assert rsim.get(refs) == ["new home"] * 3


def test_an_actor_is_restarted_elsewhere(session):
    keeper = Keeper.options(max_restarts=1, max_task_retries=-1).remote()
    assert rsim.get(keeper.add.remote(5)) == 5
    lost = inspecting.node_of(session, rsim.get(keeper.pid.remote()))
    session.remove_node(lost)
    assert rsim.get(keeper.add.remote()) == 1
    assert inspecting.node_of(session, rsim.get(keeper.pid.remote())) not in ("", lost)


def test_a_call_under_way_is_answered(session, tmp_path):
    @rsim.remote(resources={"far": 1})
    class Sleeper:
        def sleep(self):
            marks.leave(tmp_path, str(os.getpid()))
            marks.await_marks(tmp_path, "never")

    refs = [Sleeper.remote().sleep.remote()]
    marks.await_that(lambda: list(tmp_path.iterdir()), "the call")
    session.remove_node(home_of(session, tmp_path))
    with pytest.raises(ActorDiedError):
        rsim.get(refs)


def test_a_replacement_takes_over(session, tmp_path):
    refs = [wait_at_first.remote(tmp_path, f"task {number}") for number in range(4)]
    marks.await_marks(tmp_path, *(f"task {number}" for number in range(4)))
    session.remove_node("first")
    session.remove_node("second")
    assert rsim.wait(refs, num_returns=4, timeout=0)[0] == []
    session.add_node(num_cpus=1, resources={"far": 1})
    assert rsim.get(refs) == [f"task {number}" for number in range(4)]


def test_nodes_come_and_go_while_programs_run(init):
    """Random graphs of tasks, and every few steps one node less and another one more."""
    session = init(num_cpus=1)
    for seed in range(8):
        chance = random.Random(seed)
        others = [session.add_node(num_cpus=1) for _ in range(2)]
        dag = dags.random_dag(seed)
        refs = []
        for number, step in enumerate(dag):
            refs.append(dags.submit(step, [refs[each] for each in step.inputs], None))
            if number % 5 == 4:
                session.remove_node(others.pop(chance.randrange(2)))
                others.append(session.add_node(num_cpus=1))
        assert [dags.weigh(value) for value in rsim.get(refs)] == dags.expected(dag)
        for name in others:
            session.remove_node(name)
        inspecting.check(session)


def test_a_get_of_several_copies_does_not_lose_one_to_the_next(init):
    session = init(num_cpus=0, object_store_memory=6 * MIB)
    session.add_node(name="maker", num_cpus=1, object_store_memory=40 * MIB)
    made = [rsim.remote(lambda n: np.full(MIB // 8, n)).remote(number) for number in range(4)]
    rsim.wait(made, num_returns=4, fetch_local=False)
    own = [rsim.put(np.full(MIB // 8, -1)) for _ in range(5)]
    values = rsim.get(made, timeout=60)
    assert [int(value[0]) for value in values] == [0, 1, 2, 3]
    del values
    assert [int(rsim.get(ref, timeout=60)[0]) for ref in own] == [-1] * 5
