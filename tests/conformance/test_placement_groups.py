"""Placement groups: reserved together, used by tasks and actors, and given back."""

import pickle
import time
from collections import Counter

import pytest

import rsim
from rsim.exceptions import (
    ActorDiedError,
    ActorPlacementGroupRemoved,
    GetTimeoutError,
    TaskPlacementGroupRemoved,
    WorkerCrashedError,
)
from rsim.util import (
    get_current_placement_group,
    get_placement_group,
    placement_group,
    placement_group_table,
    remove_placement_group,
)
from rsim.util.placement_group import PlacementGroup
from rsim.util.scheduling_strategies import PlacementGroupSchedulingStrategy as In
from tests.conformance import marks

ONE = {"CPU": 1}


@rsim.remote
def here():
    """The group that this runs in."""
    return get_current_placement_group()


@rsim.remote(max_retries=0)
def linger(folder, name="mark"):
    marks.leave(folder, name)
    time.sleep(1000)


@rsim.remote
class Tenant:
    def here(self):
        return get_current_placement_group()

    def child(self, **options):
        return rsim.get(here.options(**options).remote())

    def linger(self, folder, name="mark"):
        marks.leave(folder, name)
        time.sleep(1000)


def is_free(**options):
    """Whether a task with these options can run now."""
    ref = here.options(**options).remote()
    done, _ = rsim.wait([ref], timeout=60)
    return bool(done)


# -- handles ---------------------------------------------------------------------------------------


def test_a_group_is_ready_when_its_bundles_are_reserved(rt):
    group = placement_group([ONE, {"CPU": 2}])
    assert rsim.get(group.ready()) == group
    assert group.wait(60)
    assert group.bundle_specs == [{"CPU": 1}, {"CPU": 2}]
    assert group.bundle_count == 2
    assert not group.is_empty and PlacementGroup.empty().is_empty
    assert rsim.get(PlacementGroup.empty().ready()).is_empty


def test_handles_are_equal_and_travel(rt):
    group = placement_group([ONE])
    same = pickle.loads(pickle.dumps(group))
    assert same == group and hash(same) == hash(group) and same.id == group.id
    assert same != placement_group([ONE])

    @rsim.remote
    def use(group):
        assert group.wait(60)
        return (
            group,
            group.bundle_specs,
            rsim.get(here.options(scheduling_strategy=In(group)).remote()),
        )

    assert rsim.get(use.remote(group)) == (group, [ONE], group)


def test_groups_made_by_tasks_stay(rt):
    @rsim.remote
    def make():
        return placement_group([ONE], name="made")

    group = rsim.get(make.remote())
    assert rsim.get(here.options(scheduling_strategy=In(group)).remote()) == group
    assert get_placement_group("made") == group


def test_names(rt):
    group = placement_group([ONE], name="mine")
    assert get_placement_group("mine") == group
    assert get_placement_group("mine").bundle_specs == [ONE]
    with pytest.raises(ValueError, match="'mine' already"):
        placement_group([ONE], name="mine")
    remove_placement_group(group)
    with pytest.raises(ValueError, match="no placement group called 'mine'"):
        get_placement_group("mine")
    assert placement_group([{"CPU": 2}], name="mine") != group
    with pytest.raises(ValueError, match="placement_group_name"):
        get_placement_group("")


def test_the_table(init):
    node = placement_table_node(init(num_cpus=4))
    group = placement_group([ONE, ONE], strategy="STRICT_PACK", name="mine")
    assert group.wait(60)
    row = placement_group_table(group)
    stats = row.pop("stats")
    assert stats["scheduling_state"] == "FINISHED" and stats["scheduling_attempt"] == 1
    assert 0 < stats["scheduling_latency_ms"] <= stats["end_to_end_creation_latency_ms"]
    assert row == {
        "placement_group_id": group.id.hex(),
        "name": "mine",
        "bundles": {0: ONE, 1: ONE},
        "bundles_to_node_id": {0: node, 1: node},
        "strategy": "STRICT_PACK",
        "state": "CREATED",
    }
    (found,) = rsim.nodes()
    assert not [name for name in found["Resources"] if "_group_" in name]
    assert placement_group_table() == {group.id.hex(): {**row, "stats": stats}}
    remove_placement_group(group)
    removed = placement_group_table(group)
    assert removed["state"] == removed["stats"]["scheduling_state"] == "REMOVED"


def test_the_table_says_why_a_group_waits(init):
    init(num_cpus=2)
    first = placement_group([{"CPU": 2}])
    assert first.wait(60)
    second, never = placement_group([{"CPU": 2}]), placement_group([{"CPU": 3}])

    def told(group):
        stats = placement_group_table(group)["stats"]
        return stats["scheduling_state"], stats["end_to_end_creation_latency_ms"]

    assert told(second) == ("NO_RESOURCES", 0) and told(never) == ("INFEASIBLE", 0)
    assert placement_group_table(never)["stats"]["scheduling_attempt"] == 1
    remove_placement_group(first)
    assert second.wait(60) and told(second)[0] == "FINISHED"
    stats = placement_group_table(second)["stats"]
    assert stats["scheduling_attempt"] == 2
    assert 0 < stats["scheduling_latency_ms"] <= stats["end_to_end_creation_latency_ms"]


def test_a_group_is_infeasible_when_a_bundle_is_or_what_belongs_together(init):
    init(num_cpus=2)

    def told(strategy, *cpus):
        group = placement_group([{"CPU": each} for each in cpus], strategy)
        stage = placement_group_table(group)["stats"]["scheduling_state"]
        remove_placement_group(group)
        return stage

    assert told("PACK", 1, 1, 1) == told("SPREAD", 1, 2) == "NO_RESOURCES"
    assert told("PACK", 1, 3) == told("SPREAD", 3) == "INFEASIBLE"
    assert told("STRICT_PACK", 1, 2) == told("STRICT_SPREAD", 1, 1) == "INFEASIBLE"


def placement_table_node(session):
    return "n0" if session.address == "sim" else "local"


# -- tasks and actors ------------------------------------------------------------------------------


def test_tasks_run_in_the_group(rt):
    group = placement_group([ONE, {"CPU": 2}])
    assert rsim.get(here.remote()) is None
    assert get_current_placement_group() is None
    assert rsim.get(here.options(scheduling_strategy=In(group)).remote()) == group
    assert rsim.get(here.options(num_cpus=2, scheduling_strategy=In(group, 1)).remote()) == group
    old = {"placement_group": group, "placement_group_bundle_index": 1}
    assert rsim.get(here.options(**old).remote()) == group
    assert rsim.get(here.options(scheduling_strategy=In(None)).remote()) is None


def test_a_bundle_is_taken_from_the_node_and_no_larger_than_it_is(init, tmp_path):
    init(num_cpus=3)
    group = placement_group([ONE, ONE])
    first = linger.options(scheduling_strategy=In(group, 0)).remote(tmp_path, "first")
    marks.await_marks(tmp_path, "first")
    second = here.options(scheduling_strategy=In(group, 0)).remote()
    assert rsim.get(here.options(scheduling_strategy=In(group, 1)).remote()) == group
    assert rsim.get(here.options(scheduling_strategy=In(group)).remote()) == group
    assert rsim.get(here.remote()) is None
    beside = here.options(num_cpus=2).remote()
    assert rsim.wait([second, beside], timeout=0.2)[0] == []
    rsim.cancel(first, force=True)
    assert rsim.get(second, timeout=60) == group
    remove_placement_group(group)
    assert rsim.get(beside, timeout=60) is None


def test_a_blocked_task_lends_its_bundle(init):
    init(num_cpus=2)
    group = placement_group([ONE])

    @rsim.remote
    def parent():
        return rsim.get(here.remote())

    strategy = In(group, placement_group_capture_child_tasks=True)
    assert rsim.get(parent.options(scheduling_strategy=strategy).remote(), timeout=60) == group


@pytest.mark.parametrize("index", [-1, 0])
def test_what_code_in_a_group_holds_is_told_by_plain_names(rt, index):
    @rsim.remote(memory=100)
    def held():
        return rsim.get_runtime_context().get_assigned_resources()

    group = placement_group([{"CPU": 2, "memory": 500}])
    strategy = In(group, placement_group_bundle_index=index)
    assert rsim.get(held.options(scheduling_strategy=strategy).remote()) == {
        "CPU": 1,
        "memory": 100,
    }
    assert rsim.get(held.remote()) == {"CPU": 1, "memory": 100}


def test_actors_live_in_the_group(rt):
    group = placement_group([{"CPU": 2}])
    tenant = Tenant.options(scheduling_strategy=In(group)).remote()
    assert rsim.get(tenant.here.remote()) == group
    assert rsim.get(tenant.child.remote()) is None
    greedy = Tenant.options(num_cpus=2, placement_group=group).remote()
    assert rsim.get(greedy.here.remote()) == group, "without num_cpus the first holds nothing"


def test_children_are_captured_unless_they_say_otherwise(rt):
    group = placement_group([ONE, ONE])
    other = placement_group([ONE])
    tenant = Tenant.options(scheduling_strategy=In(group, 0, True)).remote()
    assert rsim.get(tenant.child.remote()) == group
    assert rsim.get(tenant.child.remote(num_cpus=0)) == group
    assert rsim.get(tenant.child.remote(scheduling_strategy="DEFAULT")) is None
    assert rsim.get(tenant.child.remote(scheduling_strategy=In(None))) is None
    assert rsim.get(tenant.child.remote(scheduling_strategy=In(other))) == other
    with pytest.raises(ValueError, match=r"'CPU': 2.* does not fit into any bundle"):
        rsim.get(tenant.child.remote(num_cpus=2))


def test_capturing_goes_on_to_grandchildren(rt):
    group = placement_group([ONE, ONE, ONE])

    @rsim.remote
    def descend(depth):
        return rsim.get(descend.remote(depth - 1)) if depth else get_current_placement_group()

    strategy = In(group, placement_group_capture_child_tasks=True)
    assert rsim.get(descend.options(scheduling_strategy=strategy).remote(2)) == group


def test_an_actor_comes_back_in_its_group(rt):
    group = placement_group([ONE])
    tenant = Tenant.options(num_cpus=1, max_restarts=1, scheduling_strategy=In(group)).remote()
    assert rsim.get(tenant.here.remote()) == group
    rsim.kill(tenant, no_restart=False)
    marks.await_that(lambda: answers(tenant) == group)


def answers(tenant):
    try:
        return rsim.get(tenant.here.remote(), timeout=60)
    except rsim.exceptions.RsimActorError:
        return None


# -- waiting and the end ---------------------------------------------------------------------------


def test_a_group_waits_until_it_fits(init, tmp_path):
    init(num_cpus=2)
    task = linger.remote(tmp_path)
    marks.await_marks(tmp_path, "mark")
    group = placement_group([ONE, ONE])
    inside = here.options(scheduling_strategy=In(group, 1)).remote()
    assert not group.wait(0.1)
    assert placement_group_table(group)["state"] == "PENDING"
    assert is_free(num_cpus=1), "some bundles without the others take nothing"
    assert rsim.wait([inside], timeout=0)[0] == []
    rsim.cancel(task, force=True)
    assert rsim.get(inside, timeout=60) == group


def test_a_group_that_no_node_could_hold_is_told_of_once(rt, capfd):
    group = placement_group([{"CPU": 5}], name="large")
    other = placement_group([ONE], name="small")
    assert not group.wait(0.1) and not group.wait(0.1)
    assert other.wait(60)
    remove_placement_group(other)
    assert placement_group_table(group)["state"] == "PENDING"
    assert capfd.readouterr().err.count("group large waits for PACK of 1 x {'CPU': 5}") == 1


def test_removal_ends_what_runs_and_what_waits(init, tmp_path):
    init(num_cpus=4)
    group = placement_group([ONE] * 3)
    in_group = {"scheduling_strategy": In(group)}
    tenant = Tenant.options(num_cpus=1, max_restarts=-1, **in_group).remote()
    call = tenant.linger.remote(tmp_path, "call")
    running = linger.options(**in_group).remote(tmp_path, "running")
    retried = linger.options(max_retries=1, **in_group).remote(tmp_path, "retried")
    marks.await_marks(tmp_path, "call", "running", "retried")
    queued = here.options(**in_group).remote()
    never = Tenant.options(num_cpus=1, **in_group).remote().here.remote()
    remove_placement_group(group)
    for ref, error in (
        (call, ActorDiedError),
        (running, WorkerCrashedError),
        (retried, TaskPlacementGroupRemoved),
        (queued, TaskPlacementGroupRemoved),
        (never, ActorPlacementGroupRemoved),
        (tenant.here.remote(), ActorDiedError),
        (here.options(**in_group).remote(), TaskPlacementGroupRemoved),
        (group.ready(), TaskPlacementGroupRemoved),
    ):
        with pytest.raises(error, match="worker running" if ref == running else "group"):
            rsim.get(ref, timeout=60)
    with pytest.raises(TaskPlacementGroupRemoved):
        group.wait(60)
    assert is_free(num_cpus=4)
    remove_placement_group(group)


def test_a_pending_group_can_be_removed(rt):
    group = placement_group([{"CPU": 5}])
    ref = here.options(scheduling_strategy=In(group)).remote()
    with pytest.raises(GetTimeoutError):
        rsim.get(ref, timeout=0.1)
    remove_placement_group(group)
    with pytest.raises(TaskPlacementGroupRemoved):
        rsim.get(ref, timeout=60)


def test_groups_come_and_go(init):
    init(num_cpus=2)
    for _ in range(20):
        group = placement_group([ONE, ONE])
        refs = [here.options(scheduling_strategy=In(group, index)).remote() for index in (0, 1)]
        assert rsim.get(refs, timeout=60) == [group, group]
        remove_placement_group(group)
    assert is_free(num_cpus=2)


# -- bad input -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bundles": []}, "bundles must not be empty"),
        ({"bundles": ONE}, "bundles must be a list of dicts, not {'CPU': 1}"),
        ({"bundles": [{}]}, r"bundles\[0\] must ask for something"),
        ({"bundles": [ONE, {"CPU": 0}]}, r"bundles\[1\] must ask for something"),
        ({"bundles": [{"CPU": -1}]}, r"bundles\[0\]\['CPU'\] must be a finite number, 0 or more"),
        ({"bundles": [{"CPU": "1"}]}, r"bundles\[0\]\['CPU'\] must be a number"),
        ({"bundles": [{"GPU": 1.5}]}, r"bundles\[0\]\['GPU'\] must be a whole number or below 1"),
        ({"bundles": [{1: 1}]}, r"a key of bundles\[0\] must be a str"),
        ({"bundles": [3]}, r"bundles\[0\] must be a dict"),
        ({"bundles": [{"bundle": 1}]}, "bundle.* each bundle is one already"),
        ({"strategy": "BEST"}, "strategy must be one of PACK, SPREAD, STRICT_PACK, STRICT_SPREAD"),
        ({"lifetime": "long"}, "lifetime must be None or 'detached'"),
        ({"_soft_target_node_id": "n0"}, "_soft_target_node_id is for STRICT_PACK only"),
        ({"bundle_label_selector": []}, "bundle_label_selector must be a list of 1 dicts"),
        ({"bundle_label_selector": [{"a": "in("}]}, r"bundle_label_selector\[0\]\['a'\] must be"),
    ],
)
def test_bad_groups(rt, arguments, message):
    with pytest.raises(ValueError, match=message):
        placement_group(**{"bundles": [ONE], **arguments})


def test_bad_places_in_a_group(rt):
    group = placement_group([ONE, {"CPU": 2}])
    for index in (2, -2):
        with pytest.raises(ValueError, match=f"index {index} is invalid: .* from 0 to 1"):
            here.options(scheduling_strategy=In(group, index)).remote()
    with pytest.raises(ValueError, match=r"'CPU': 3.* does not fit into any bundle of"):
        here.options(num_cpus=3, scheduling_strategy=In(group)).remote()
    with pytest.raises(ValueError, match=r"'CPU': 2.* does not fit into bundle 0 of"):
        Tenant.options(num_cpus=2, scheduling_strategy=In(group, 0)).remote()
    with pytest.raises(ValueError, match=r"'GPU': 1"):
        Tenant.options(num_gpus=1, scheduling_strategy=In(group)).remote()
    with pytest.raises(ValueError, match="none is given"):
        here.options(scheduling_strategy=In(None, 1)).remote()
    with pytest.raises(ValueError, match="give one of them"):
        here.options(scheduling_strategy="SPREAD", placement_group=group)
    with pytest.raises(TypeError, match="placement_group must be a PlacementGroup"):
        here.options(placement_group=3)
    with pytest.raises(TypeError, match=r"SchedulingStrategy must be a PlacementGroup.* not 'it'"):
        here.options(scheduling_strategy=In("it"))
    with pytest.raises(TypeError, match="takes a PlacementGroup"):
        remove_placement_group("mine")


def test_a_group_of_an_unknown_id(rt):
    other = PlacementGroup(type(placement_group([ONE]).id)(b"x" * 16))
    with pytest.raises(ValueError, match="there is no placement group 78"):
        placement_group_table(other)
    with pytest.raises(ValueError, match="there is no placement group 78"):
        here.options(scheduling_strategy=In(other)).remote()


# -- several nodes ---------------------------------------------------------------------------------


def nodes_of(group):
    return list(placement_group_table(group)["bundles_to_node_id"].values())


@pytest.fixture
def cluster():
    return rsim.init("sim", cluster=rsim.sim.Cluster(nodes=3, num_cpus=4), seed=0)


def test_strategies(cluster):
    nodes = {}
    for strategy in ("PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"):
        group = placement_group([ONE] * 3, strategy=strategy)
        assert group.wait(10)
        nodes[strategy] = sorted(Counter(nodes_of(group)).values())
        remove_placement_group(group)
    one, each = [3], [1, 1, 1]
    assert nodes == {"PACK": one, "SPREAD": each, "STRICT_PACK": one, "STRICT_SPREAD": each}


def test_soft_strategies_bend_and_hard_ones_wait(cluster):
    bent = [placement_group([ONE] * 6, strategy="PACK"), placement_group([ONE] * 4, "SPREAD")]
    for group in bent:
        assert group.wait(10)
        assert len(set(nodes_of(group))) > 1
        remove_placement_group(group)
    for group in (
        placement_group([ONE] * 6, "STRICT_PACK"),
        placement_group([ONE] * 4, "STRICT_SPREAD"),
    ):
        assert not group.wait(10)


def test_tasks_go_where_their_bundles_are(cluster):
    group = placement_group([ONE] * 3, strategy="STRICT_SPREAD")
    for index in range(3):
        rsim.get(here.options(name=f"in {index}", scheduling_strategy=In(group, index)).remote())
    ran = [
        span.node
        for index in range(3)
        for span in cluster.trace.spans
        if span.name == f"in {index}"
    ]
    assert ran == nodes_of(group)
    rsim.get([here.options(name="any", scheduling_strategy=In(group)).remote() for _ in range(6)])


def test_the_wildcard_uses_all_bundles(cluster):
    group = placement_group([ONE] * 3, strategy="STRICT_SPREAD")

    @rsim.remote(scheduling_strategy=In(group))
    def second():
        time.sleep(1)

    assert group.wait(10)
    start = cluster.now()
    rsim.get([second.remote() for _ in range(6)])
    assert 2 <= cluster.now() - start < 2.1


def test_a_soft_target(cluster):
    for target in ("n2", "n1"):
        group = placement_group([ONE], "STRICT_PACK", _soft_target_node_id=target)
        assert group.wait(10)
        assert nodes_of(group) == [target]
    elsewhere = placement_group([ONE], "STRICT_PACK", _soft_target_node_id="n9")
    assert elsewhere.wait(10)


def test_bundles_select_nodes_by_labels():
    nodes = [rsim.sim.Node(labels={"zone": zone}) for zone in ("a", "b", "c")]
    rsim.init("sim", cluster=nodes)
    group = placement_group(
        [ONE] * 3, bundle_label_selector=[{"zone": z} for z in ("c", "!c", "b")]
    )
    assert group.wait(10)
    found = nodes_of(group)
    assert found[0] == "n2" and found[1] in ("n0", "n1") and found[2] == "n1"
    assert not placement_group([ONE], bundle_label_selector=[{"zone": "d"}]).wait(10)


def test_a_dead_nodes_bundles_are_placed_anew(cluster):
    group = placement_group([{"CPU": 2}] * 2, strategy="STRICT_SPREAD")
    assert group.wait(10)
    before = nodes_of(group)
    victim = next(name for name in before if name != "n0")
    index = before.index(victim)
    strategy = In(group, index)
    tenant = Tenant.options(max_restarts=1, scheduling_strategy=strategy).remote()
    assert rsim.get(tenant.here.remote()) == group
    cluster.kill_node(victim)
    assert rsim.get(here.options(scheduling_strategy=strategy).remote(), timeout=10) == group
    after = nodes_of(group)
    assert after[1 - index] == before[1 - index] and after[index] not in (*before, "")
    assert placement_group_table(group)["state"] == "CREATED"
    assert rsim.get(tenant.here.remote(), timeout=10) == group


def test_without_a_node_for_them_they_wait(cluster):
    group = placement_group([ONE] * 3, strategy="STRICT_SPREAD")
    assert group.wait(10)
    cluster.kill_node("n1")
    time.sleep(1)  # user program
    assert placement_group_table(group)["state"] == "RESCHEDULING"
    assert nodes_of(group).count("") == 1
    rsim.get(here.options(scheduling_strategy=In(group)).remote(), timeout=10)
    index = nodes_of(group).index("")
    lost = here.options(scheduling_strategy=In(group, index)).remote()
    with pytest.raises(GetTimeoutError):
        rsim.get(lost, timeout=10)
    remove_placement_group(group)
    with pytest.raises(TaskPlacementGroupRemoved):
        rsim.get(lost, timeout=10)


def test_a_deadlock_report_names_the_group(cluster):
    group = placement_group([{"CPU": 9}], name="large")
    with pytest.raises(rsim.exceptions.DeadlockError, match="placement group large waits for PACK"):
        rsim.get(group.ready())


def test_the_same_seed_places_the_same():
    digests = set()
    for _ in range(2):
        with rsim.init("sim", cluster=rsim.sim.Cluster(nodes=3, num_cpus=4), seed=3) as session:
            groups = [placement_group([ONE] * 2, strategy="SPREAD") for _ in range(3)]
            rsim.get([here.options(scheduling_strategy=In(group)).remote() for group in groups])
            remove_placement_group(groups[1])
            rsim.get(groups[2].ready())
            digests.add(session.digest())
    assert len(digests) == 1
