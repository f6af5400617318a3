"""Lost objects are computed again: tasks' results, and what tasks put; a driver's put cannot be."""

import os
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

import rsim
from rsim.exceptions import StreamingGeneratorReplayInconsistentError
from tests.conformance import inspecting, marks

LARGE = 200_000
MIB = 1 << 20


@pytest.fixture
def cluster():
    """A driver's node, and two others whose tasks ask for `far`: one of them at a time is busy."""
    nodes = [
        rsim.sim.Node("home", num_cpus=2),
        rsim.sim.Node("first", num_cpus=2, resources={"far": 2, "one": 1}),
        rsim.sim.Node("second", num_cpus=2, resources={"far": 2}),
    ]
    return rsim.init("sim", cluster=rsim.sim.Cluster(nodes))


@rsim.remote(resources={"far": 1})
def fill(folder, number):
    marks.leave(folder, f"fill {number}")
    return np.full(LARGE, number)


@rsim.remote(resources={"far": 1})
def double(folder, array):
    marks.leave(folder, "double")
    return 2 * array


@rsim.remote(resources={"far": 1})
def put_inside(folder, number):
    marks.leave(folder, "put")
    return [rsim.put(np.full(LARGE, number)), rsim.put("small")]


def kill_everywhere_it_ran(session, task):
    """Kill the one node on which a task has run."""
    (node,) = {span.node for span in session.trace.spans if span.name == task}
    session.kill_node(node)


def test_a_result_on_a_node_that_died(cluster, tmp_path):
    ref = fill.remote(tmp_path, 3)
    rsim.wait([ref], fetch_local=False)
    kill_everywhere_it_ran(cluster, "fill")
    assert rsim.get(ref)[-1] == 3
    assert marks.count(tmp_path, "fill 3") == 2


def test_a_chain_of_results(cluster, tmp_path):
    source = fill.remote(tmp_path, 3)
    ref = double.remote(tmp_path, source)
    del source
    rsim.wait([ref], fetch_local=False)
    for node in {span.node for span in cluster.trace.spans if span.name in ("fill", "double")}:
        cluster.kill_node(node)
        break
    assert rsim.get(ref)[-1] == 6


def test_what_a_task_put_on_a_node_that_died(cluster, tmp_path):
    refs = rsim.get(put_inside.remote(tmp_path, 5))
    kill_everywhere_it_ran(cluster, "put_inside")
    assert rsim.get(refs[0])[-1] == 5
    assert rsim.get(refs[1]) == "small"
    assert marks.count(tmp_path, "put") == 2


def test_what_was_fetched_is_not_computed_again(cluster, tmp_path):
    ref = fill.remote(tmp_path, 3)
    rsim.wait([ref])
    kill_everywhere_it_ran(cluster, "fill")
    assert rsim.get(ref)[-1] == 3
    assert marks.count(tmp_path, "fill 3") == 1


def test_a_result_without_retries_is_lost(cluster, tmp_path):
    ref = fill.options(max_retries=0).remote(tmp_path, 3)
    rsim.wait([ref], fetch_local=False)
    kill_everywhere_it_ran(cluster, "fill")
    with pytest.raises(rsim.exceptions.ObjectLostError, match="fill"):
        rsim.get(ref)


def test_a_task_on_a_node_that_dies_runs_elsewhere(cluster, tmp_path):
    @rsim.remote(resources={"far": 1})
    def wait_first(folder):
        marks.leave(folder, "began")
        if marks.count(folder, "began") == 1:
            marks.await_marks(folder, "never")
        return "done"

    ref = wait_first.remote(tmp_path)
    marks.await_marks(tmp_path, "began")
    kill_everywhere_it_ran(cluster, "wait_first")
    assert rsim.get(ref) == "done"
    with pytest.raises(rsim.exceptions.NodeDiedError, match="wait_first"):
        (tmp_path / "began").unlink()
        ref = wait_first.options(max_retries=0).remote(tmp_path)
        marks.await_marks(tmp_path, "began")
        spans = [span for span in cluster.trace.spans if span.name == "wait_first"]
        cluster.kill_node(spans[-1].node)
        rsim.get(ref)


def test_results_that_only_lineage_wants_are_dropped_and_made_again(init, tmp_path):
    """One node: a store too small for all that was ever computed."""
    session = init(num_cpus=2, object_store_memory=40 << 20)

    @rsim.remote
    def make(folder, number):
        marks.leave(folder, str(number))
        return np.full(1 << 20, number)

    @rsim.remote
    def same(array):
        return array + 0

    last = same.remote(make.remote(tmp_path, 1))
    rsim.wait([last])
    others = [rsim.put(np.zeros(1 << 20)) for _ in range(10)]
    assert rsim.get(last)[-1] == 1
    assert len(others) == 10
    assert session.infeasible() == []


@rsim.remote
def last_of(refs):
    """Of an array in an object in an object."""
    (outer,) = refs
    (inner,) = rsim.get(outer)
    return np.full(LARGE, rsim.get(inner)[-1])


def test_refs_in_what_only_lineage_keeps_hold_no_values(init):
    session = init(num_cpus=1, object_store_memory=55 * MIB)
    inner = rsim.put(np.ones(10 * MIB, dtype=np.uint8))
    result = last_of.remote([rsim.put([inner])])
    assert rsim.get(result)[0] == 1
    del inner
    others = [rsim.put(np.zeros(10 * MIB, dtype=np.uint8)) for _ in range(5)]
    assert (len(others), inspecting.spilled_bytes(session)) == (5, 0)
    inspecting.check(session)
    del result, others
    inspecting.await_used_bytes(session)


def test_refs_in_what_only_lineage_keeps_hold_no_actors(rt):
    @rsim.remote
    class Plain:
        pass

    actor = Plain.options(name="plain").remote()
    result = rsim.remote(len).remote([rsim.put([actor])])
    rsim.get(result)
    del actor
    marks.await_that(lambda: not rsim.util.list_named_actors(), "the actor to end")
    rsim.get(result)


@pytest.mark.parametrize("put", [False, True], ids=["task's", "driver's"])
def test_what_lineage_keeps_is_there_for_another_run_with_all_its_refs(init, tmp_path, put):
    session = init(num_cpus=1)
    session.add_node(name="home-0", num_cpus=1, resources={"far": 1})
    inner = rsim.put(np.full(LARGE, 3)) if put else fill.options(resources={}).remote(tmp_path, 3)
    result = last_of.options(resources={"far": 1}).remote([rsim.put([inner])])
    rsim.wait([result], fetch_local=False)
    del inner
    for times in range(2):
        session.remove_node(f"home-{times}")
        session.add_node(name=f"home-{times + 1}", num_cpus=1, resources={"far": 1})
        assert rsim.get(rsim.remote(len).remote(result)) == LARGE
    assert rsim.get(result)[0] == 3
    inspecting.check(session)
    del result
    inspecting.await_used_bytes(session)


def test_a_generator_that_yields_fewer_values_when_it_is_run_again(init, tmp_path):
    session = init(num_cpus=1)
    session.add_node(name="home", num_cpus=1, resources={"home": 1})

    @rsim.remote(resources={"home": 1})
    def fewer(folder):
        marks.leave(folder, "ran")
        for number in range(4 - marks.count(folder, "ran")):
            yield np.full(LARGE, number)

    refs = list(fewer.remote(tmp_path))
    rsim.wait(refs, num_returns=3, fetch_local=False)
    session.remove_node("home")
    session.add_node(name="new home", num_cpus=1, resources={"home": 1})
    assert [int(rsim.get(ref)[0]) for ref in refs[:2]] == [0, 1]
    with pytest.raises(StreamingGeneratorReplayInconsistentError, match="without making it"):
        rsim.get(refs[2])


def test_an_input_that_was_freed_is_made_again_at_no_cost_in_retries(init, tmp_path):
    session = init(num_cpus=1)
    session.add_node(name="home", num_cpus=1, resources={"home": 1})
    session.add_node(name="maker", num_cpus=1, resources={"far": 1})
    numbers = fill.options(max_retries=1).remote(tmp_path, 3)
    doubled = [
        double.options(resources={"home": 1}, max_retries=1).remote(tmp_path, numbers)
        for _ in range(4)
    ]
    rsim.wait(doubled, num_returns=4, fetch_local=False)
    del numbers
    session.remove_node("home")
    session.add_node(name="new home", num_cpus=1, resources={"home": 1})
    while doubled:
        assert rsim.get(doubled.pop(0))[-1] == 6
    assert marks.count(tmp_path, "fill 3") > 2


def lose_spilled(session):
    """Delete the files of spilled objects of a local session; how many there were."""
    marks.await_that(lambda: inspecting.spilled_bytes(session) > 0, "objects to be spilled")
    folders = Path(tempfile.gettempdir()).glob(f"rsim-{os.getpid()}-*")
    files = [path for folder in folders for path in folder.iterdir() if path.stat().st_size > MIB]
    for path in files:
        path.unlink()
    return len(files)


@pytest.mark.parametrize("backend", ["local"])
def test_results_that_the_disk_lost_are_computed_again(init, tmp_path):
    session = init(num_cpus=2, object_store_memory=50 * MIB)

    @rsim.remote
    def make(folder, number):
        marks.leave(folder, str(number))
        return np.full(10 * MIB, number, dtype=np.uint8)

    refs = []
    for number in range(8):
        refs.append(make.remote(tmp_path, number))
        rsim.wait(refs[-1:])
    lost = lose_spilled(session)
    assert lost > 0
    assert [int(rsim.get(ref)[-1]) for ref in refs] == list(range(8))
    assert sum(marks.count(tmp_path, str(number)) for number in range(8)) >= 8 + lost


@pytest.mark.parametrize("backend", ["local"])
def test_what_the_driver_put_cannot_be_computed_again(init):
    session = init(num_cpus=2, object_store_memory=50 * MIB)
    refs = [rsim.put(np.full(10 * MIB, number, dtype=np.uint8)) for number in range(8)]
    assert lose_spilled(session) > 0
    with pytest.raises(rsim.exceptions.ObjectLostError, match="put by the driver"):
        for ref in refs:
            rsim.get(ref)
    assert rsim.get(rsim.remote(len).remote("ab")) == 2


@pytest.mark.parametrize("where", ["here", "elsewhere"])
@pytest.mark.parametrize("catches", [False, True], ids=["", "catches"])
def test_an_item_is_made_again_while_its_generator_runs(init, tmp_path, where, catches):
    session = init(num_cpus=1, resources={"here": 1}, object_store_memory=12 * MIB)
    session.add_node(name="maker", num_cpus=1, resources={"elsewhere": 1})
    session.add_node(name="user", num_cpus=1, resources={"user": 1})

    @rsim.remote(resources={where: 1})
    def blocks(folder):
        marks.leave(folder, "ran")
        try:
            for number in range(3):
                yield np.full(LARGE, number)
            if marks.count(folder, "ran") == 1:
                time.sleep(3600)
        except KeyboardInterrupt:
            if catches:
                raise ValueError("interrupted") from None
            raise

    @rsim.remote(resources={"user": 1})
    def doubled(block):
        return block * 2

    stream = blocks.remote(tmp_path)
    results = [doubled.remote(next(stream)) for _ in range(2)]
    rsim.wait(results, num_returns=2, fetch_local=False)
    filler = rsim.put(bytes(11 * MIB))
    del filler
    session.remove_node("user")
    session.add_node(name="another", num_cpus=1, resources={"user": 1})
    assert [int(rsim.get(result, timeout=60)[0]) for result in results] == [0, 2]
    assert marks.count(tmp_path, "ran") >= 2
    assert [int(rsim.get(ref)[0]) for ref in stream] == [2]
