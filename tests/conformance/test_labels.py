"""Labels of nodes, and the options that select nodes by them."""

import time
from collections import Counter

import pytest

import rsim
from rsim.exceptions import ActorUnschedulableError, GetTimeoutError, TaskUnschedulableError
from rsim.util.scheduling_strategies import (
    DoesNotExist,
    Exists,
    In,
    NodeAffinitySchedulingStrategy,
    NodeLabelSchedulingStrategy,
    NotIn,
)


@rsim.remote
def work(seconds=0):
    time.sleep(seconds)


@rsim.remote
class Actor:
    def ready(self):
        pass


def runs(**options):
    """Whether such a task runs."""
    try:
        rsim.get(work.options(**options).remote(), timeout=60)
    except GetTimeoutError:
        return False
    return True


def waits(**options):
    """Whether such a task does not run at once."""
    ref = work.options(**options).remote()
    return not rsim.wait([ref], timeout=0.1)[0]


# -- one node --------------------------------------------------------------------------------------


@pytest.fixture
def labelled(init):
    return init(num_cpus=2, labels={"region": "us", "disk": "ssd"})


@pytest.mark.parametrize(
    "selector",
    [
        {"region": "us"},
        {"region": "!eu"},
        {"region": "in(eu, us)"},
        {"region": "!in(eu,asia)", "disk": "ssd"},
        {"absent": "!x"},
        {"absent": "!in(x,y)"},
        {},
    ],
)
def test_selectors_that_are_met(labelled, selector):
    assert runs(label_selector=selector)


@pytest.mark.parametrize(
    "selector",
    [
        {"region": "eu"},
        {"region": "!us"},
        {"region": "in(eu,asia)"},
        {"region": "!in(us)"},
        {"region": "us", "disk": "hdd"},
        {"absent": "x"},
        {"region": ""},
    ],
)
def test_selectors_that_are_not_met(labelled, selector):
    assert waits(label_selector=selector)


def test_every_node_has_its_name_as_a_label(labelled):
    name = "n0" if labelled.address == "sim" else "local"
    assert runs(label_selector={"rsim.io/node-id": name})
    assert waits(label_selector={"rsim.io/node-id": "other"})


def test_fallbacks(labelled):
    eu, us = {"label_selector": {"region": "eu"}}, {"label_selector": {"region": "us"}}
    assert runs(**eu, fallback_strategy=[us])
    assert runs(fallback_strategy=[us])
    assert waits(**eu, fallback_strategy=[eu])


@pytest.mark.parametrize(
    ("hard", "met"),
    [
        ({"region": In("eu", "us")}, True),
        ({"region": NotIn("eu")}, True),
        ({"absent": NotIn("eu")}, True),
        ({"region": Exists(), "absent": DoesNotExist()}, True),
        ({"region": In("eu")}, False),
        ({"region": NotIn("us")}, False),
        ({"absent": Exists()}, False),
        ({"region": DoesNotExist()}, False),
    ],
)
def test_the_strategy_of_labels(labelled, hard, met):
    options = {"scheduling_strategy": NodeLabelSchedulingStrategy(hard)}
    assert runs(**options) if met else waits(**options)


def test_soft_labels_keep_no_task_from_running(labelled):
    strategy = NodeLabelSchedulingStrategy({"region": In("us")}, soft={"disk": In("hdd")})
    assert runs(scheduling_strategy=strategy)
    assert runs(scheduling_strategy=NodeLabelSchedulingStrategy({}, soft={"disk": In("hdd")}))


def test_actors_select_too(labelled):
    actor = Actor.options(label_selector={"region": "us"}).remote()
    rsim.get(actor.ready.remote())
    other = Actor.options(label_selector={"region": "eu"}).remote()
    assert rsim.wait([other.ready.remote()], timeout=0.1)[0] == []


def test_a_class_may_be_declared_with_a_selector(labelled):
    @rsim.remote(label_selector={"region": "us"}, fallback_strategy=[{"label_selector": {}}])
    class Declared:
        def ready(self):
            return "ready"

    assert rsim.get(Declared.remote().ready.remote()) == "ready"
    assert rsim.get(Declared.options(num_cpus=1).remote().ready.remote()) == "ready"


def test_a_missing_label_is_told(labelled, capfd):
    assert waits(label_selector={"region": "eu"})
    assert "no node with the labels that it selects" in capfd.readouterr().err


def test_the_type_of_accelerator(init):
    init(num_cpus=2, num_gpus=1, resources={"accelerator_type:A100": 1})
    assert runs(num_gpus=1, accelerator_type="A100")
    assert waits(num_gpus=1, accelerator_type="H100")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"label_selector": [("a", "b")]}, TypeError, "label_selector must be a dict"),
        ({"label_selector": {"a": 1}}, ValueError, r"label_selector\['a'\] must be a str"),
        ({"label_selector": {"a": None}}, ValueError, r"label_selector\['a'\] must be a str"),
        ({"label_selector": {"a": "in()"}}, ValueError, r"\['a'\] must be a value, '!value', 'in"),
        ({"label_selector": {"a": "-x"}}, ValueError, "'-x'"),
        ({"label_selector": {"a": "!"}}, ValueError, "'!'"),
        ({"label_selector": {"a": "x" * 64}}, ValueError, "63 at most"),
        ({"label_selector": {"": "x"}}, ValueError, "label_selector has the key ''"),
        ({"label_selector": {"a b": "x"}}, ValueError, "has the key 'a b'"),
        ({"fallback_strategy": {"a": "b"}}, TypeError, "fallback_strategy must be a list"),
        ({"fallback_strategy": [{"a": "b"}]}, ValueError, "option 'a'; only label_selector"),
        ({"accelerator_type": 3}, TypeError, "accelerator_type must be a str"),
    ],
)
def test_bad_options(options, error, message):
    for kind in (work, Actor):
        with pytest.raises(error, match=message):
            kind.options(**options)


def test_bad_strategies():
    with pytest.raises(ValueError, match="both be empty"):
        NodeLabelSchedulingStrategy({})
    with pytest.raises(ValueError, match="both be empty"):
        NodeLabelSchedulingStrategy(None)
    with pytest.raises(ValueError, match="The soft parameter must be a map"):
        NodeLabelSchedulingStrategy(None, soft=["b"])
    with pytest.raises(ValueError, match=r"hard\['a'\] must be one of the `In`"):
        NodeLabelSchedulingStrategy({"a": "b"})
    with pytest.raises(ValueError, match="of the hard parameter must be of type str, not 1"):
        NodeLabelSchedulingStrategy({1: In("b")})
    with pytest.raises(
        ValueError, match="the In operator must be a non-empty tuple: give one value"
    ):
        In()
    with pytest.raises(ValueError, match="for the NotIn operator must be str, not int: 1"):
        NotIn(1)


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        ([], TypeError, "labels must be a dict of str"),
        ({"a": 1}, TypeError, r"labels\['a'\] must be a str"),
        ({1: "a"}, TypeError, "a key of labels must be a str"),
        ({"": "a"}, ValueError, "empty key"),
        ({"rsim.io/zone": "a"}, ValueError, "must not contain 'rsim.io/zone'"),
    ],
)
def test_bad_labels(init, labels, error, message):
    with pytest.raises(error, match=message):
        init(labels=labels)


# -- several nodes ---------------------------------------------------------------------------------


@pytest.fixture
def cluster():
    nodes = [
        rsim.sim.Node(num_cpus=2, labels={"zone": zone, "disk": disk})
        for zone, disk in (("a", "hdd"), ("b", "ssd"), ("b", "hdd"), ("c", "ssd"))
    ]
    return rsim.init("sim", cluster=nodes, seed=0)


def places(session, **options):
    """How many of four such tasks at once ran where."""
    task = work.options(name=str(options), **options)
    rsim.get([task.remote(1) for _ in range(4)])
    return Counter(span.node for span in session.trace.spans if span.name == str(options))


def test_tasks_run_where_the_labels_are(cluster):
    assert places(cluster, label_selector={"zone": "b"}) == {"n1": 2, "n2": 2}
    assert places(cluster, label_selector={"zone": "b", "disk": "ssd"}) == {"n1": 4}
    assert places(cluster, label_selector={"zone": "!in(a,b)"}) == {"n3": 4}


def test_spread_among_those_selected(cluster):
    found = places(cluster, label_selector={"disk": "ssd"}, scheduling_strategy="SPREAD")
    assert found == {"n1": 2, "n3": 2}


def test_a_fallback_is_for_when_the_first_is_busy_or_missing(cluster):
    options = {
        "label_selector": {"zone": "c"},
        "fallback_strategy": [{"label_selector": {"zone": "a"}}],
    }
    assert places(cluster, **options) == {"n3": 2, "n0": 2}
    cluster.kill_node("n3")
    time.sleep(1)  # user program
    rsim.get([work.options(**options).remote() for _ in range(3)], timeout=10)


def test_soft_labels_come_first(cluster):
    strategy = NodeLabelSchedulingStrategy({"zone": In("b")}, soft={"disk": In("hdd")})
    assert places(cluster, scheduling_strategy=strategy) == {"n2": 2, "n1": 2}


def test_a_policy_of_ones_own_sees_labels_and_only_what_is_selected():
    seen = []

    class Last:
        def place(self, task, cluster, choices):
            seen.append([node.labels["zone"] for node in cluster.nodes])
            return cluster.nodes[-1].name

    nodes = [rsim.sim.Node(num_cpus=2, labels={"zone": zone}) for zone in "abb"]
    session = rsim.init("sim", cluster=nodes, policy=Last())
    rsim.get(work.options(label_selector={"zone": "b"}).remote())
    assert seen == [["b", "b"]]
    assert [span.node for span in session.trace.spans if span.name == "work"] == ["n2"]


# -- affinity --------------------------------------------------------------------------------------


def test_affinity_may_spill_or_fail_when_its_node_is_busy(cluster):
    busy = [work.options(label_selector={"zone": "a"}).remote(10) for _ in range(2)]
    time.sleep(1)  # user program
    spill = NodeAffinitySchedulingStrategy("n0", soft=True, _spill_on_unavailable=True)
    assert rsim.wait([work.options(scheduling_strategy=spill).remote()], timeout=1)[0]
    fail = NodeAffinitySchedulingStrategy("n0", soft=False, _fail_on_unavailable=True)
    with pytest.raises(TaskUnschedulableError, match="'n0' is busy"):
        rsim.get(work.options(scheduling_strategy=fail).remote(), timeout=1)
    rsim.get(busy)
    rsim.get(work.options(scheduling_strategy=fail).remote())
    with pytest.raises(ValueError, match="soft to True"):
        NodeAffinitySchedulingStrategy("n0", _spill_on_unavailable=True)
    with pytest.raises(ValueError, match="soft"):
        NodeAffinitySchedulingStrategy("n0", soft=True, _fail_on_unavailable=True)


def test_affinity_fails_at_once_on_a_busy_single_node(init):
    session = init(num_cpus=1)
    name = "n0" if session.address == "sim" else "local"
    fail = NodeAffinitySchedulingStrategy(name, soft=False, _fail_on_unavailable=True)
    rsim.get(work.options(scheduling_strategy=fail).remote(), timeout=60)
    holder = Actor.options(num_cpus=1).remote()
    rsim.get(holder.ready.remote())
    with pytest.raises(TaskUnschedulableError, match="busy"):
        rsim.get(work.options(scheduling_strategy=fail).remote(), timeout=60)


def test_hard_affinity_of_actors(init):
    init(num_cpus=2)
    strategy = NodeAffinitySchedulingStrategy("nowhere")
    actor = Actor.options(scheduling_strategy=strategy).remote()
    with pytest.raises(ActorUnschedulableError, match="'nowhere' does not exist"):
        rsim.get(actor.ready.remote(), timeout=60)


def test_hard_affinity_to_a_node_without_the_labels(cluster):
    strategy = NodeAffinitySchedulingStrategy("n0")
    task = work.options(scheduling_strategy=strategy, label_selector={"zone": "b"})
    with pytest.raises(TaskUnschedulableError, match="has not the labels"):
        rsim.get(task.remote(), timeout=1)
