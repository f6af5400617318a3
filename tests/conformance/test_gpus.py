"""GPUs: which ones a task or an actor gets, and how it learns of them."""

import os

import pytest

import rsim
from rsim.util import placement_group, remove_placement_group
from rsim.util.scheduling_strategies import PlacementGroupSchedulingStrategy
from tests.conformance import marks


def visible():
    return os.environ.get("CUDA_VISIBLE_DEVICES")


@rsim.remote
def gpus():
    return rsim.get_gpu_ids()


@rsim.remote
class Holder:
    def gpus(self):
        return rsim.get_gpu_ids()

    def visible(self):
        return visible()

    def node(self):
        return rsim.get_runtime_context().get_node_id()


@rsim.remote
def node_of():
    return rsim.get_runtime_context().get_node_id()


@rsim.remote
def meet(folder, name, names):
    """The GPUs of tasks that run at the same time."""
    marks.leave(folder, name)
    marks.await_marks(folder, *names)
    return tuple(rsim.get_gpu_ids())


def at_once(folder, *options):
    """The GPUs of tasks with these options, all running at once."""
    names = [f"task{number}" for number in range(len(options))]
    tasks = zip(names, options, strict=True)
    return rsim.get([meet.options(**each).remote(folder, name, names) for name, each in tasks])


@pytest.fixture
def rt(init):
    return init(num_cpus=8, num_gpus=4)


def test_without_gpus_there_are_none(rt):
    assert rsim.get_gpu_ids() == []
    assert rsim.get(gpus.remote()) == []
    assert rsim.get(gpus.options(num_gpus=0).remote()) == []


def test_whole_gpus_are_exclusive(rt, tmp_path):
    found = at_once(tmp_path, *[{"num_gpus": 1}] * 4)
    assert sorted(found) == [(0,), (1,), (2,), (3,)]


def test_several_gpus(rt, tmp_path):
    found = at_once(tmp_path, {"num_gpus": 3}, {"num_gpus": 1})
    assert sorted(found[0] + found[1]) == [0, 1, 2, 3]


def test_fractions_share_a_gpu(rt, tmp_path):
    found = at_once(tmp_path, *[{"num_gpus": 0.5}] * 8)
    assert sorted(found) == sorted([(index,) for index in range(4)] * 2)


def test_small_fractions_share_one_and_leave_the_others_whole(rt, tmp_path):
    found = at_once(tmp_path, *[{"num_gpus": 0.25}] * 4, {"num_gpus": 3})
    assert found == [(0,)] * 4 + [(1, 2, 3)]


def test_a_third_three_times(rt, tmp_path):
    assert at_once(tmp_path, *[{"num_gpus": 1 / 3}] * 3) == [(0,)] * 3


def test_gpus_come_back(rt):
    for _ in range(5):
        assert rsim.get(gpus.options(num_gpus=4).remote()) == [0, 1, 2, 3]


def test_an_actor_keeps_its_gpus_for_life(rt):
    actors = [Holder.options(num_gpus=1).remote() for _ in range(4)]
    found = rsim.get([actor.gpus.remote() for actor in actors])
    assert sorted(found) == [[0], [1], [2], [3]]
    waiting = gpus.options(num_gpus=1).remote()
    assert rsim.wait([waiting], timeout=0.1)[0] == []
    assert rsim.get([actor.gpus.remote() for actor in actors]) == found
    rsim.kill(actors[2])
    assert rsim.get(waiting, timeout=60) == found[2]


def test_an_actor_that_comes_back_has_gpus(rt):
    actor = Holder.options(num_gpus=2, max_restarts=1, max_task_retries=-1).remote()
    rsim.get(actor.gpus.remote())
    rsim.kill(actor, no_restart=False)
    assert len(rsim.get(actor.gpus.remote(), timeout=60)) == 2


def test_a_group_has_gpus_of_its_own(rt):
    group = placement_group([{"CPU": 1, "GPU": 1}, {"GPU": 2}])

    def within(index, amount):
        strategy = PlacementGroupSchedulingStrategy(group, index)
        task = gpus.options(num_cpus=0, num_gpus=amount, scheduling_strategy=strategy)
        return rsim.get(task.remote(), timeout=60)

    first, second = within(0, 1), within(1, 2)
    outside = rsim.get(gpus.options(num_gpus=1).remote())
    assert sorted(first + second + outside) == [0, 1, 2, 3]
    assert within(-1, 1)[0] in first + second
    assert within(-1, 2) == [0, 1], "in any bundles: also some of each"
    assert within(0, 0.5) == first
    remove_placement_group(group)
    assert rsim.get(gpus.options(num_gpus=4).remote(), timeout=60) == [0, 1, 2, 3]


@pytest.mark.parametrize("amount", [1.5, -1, "1"])
def test_bad_quantities(amount):
    with pytest.raises((ValueError, TypeError), match="num_gpus must be"):
        gpus.options(num_gpus=amount)


def test_cuda_sees_the_tasks_gpus_and_no_others(init, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    init(num_cpus=1, num_gpus=4)
    seen = rsim.remote(visible)
    assert rsim.get(seen.remote()) is None
    assert rsim.get(seen.options(num_gpus=2).remote()) == "0,1"
    assert rsim.get(seen.options(num_gpus=0.5).remote()) == "0"
    assert rsim.get(seen.remote()) is None
    first, second = (Holder.options(num_cpus=0, num_gpus=1).remote() for _ in range(2))
    assert rsim.get([first.visible.remote(), second.visible.remote()]) == ["0", "1"]


def test_the_drivers_choice_of_gpus_is_kept(init, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    init(num_cpus=1, num_gpus=2)
    seen = rsim.remote(visible)
    assert rsim.get(seen.remote()) == "5,7"
    assert rsim.get(seen.options(num_gpus=1).remote()) == "5"
    assert rsim.get(seen.options(num_gpus=2).remote()) == "5,7"
    assert rsim.get(seen.remote()) == "5,7"


def test_simulated_workers_do_not_share_an_environment(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    nodes = [rsim.sim.Node(num_gpus=2), rsim.sim.Node(num_gpus=1)]
    rsim.init("sim", cluster=nodes)
    actors = [Holder.options(num_gpus=1).remote() for _ in range(3)]
    found = rsim.get([actor.gpus.remote() for actor in actors])
    assert sorted(found) == [[0], [0], [1]]
    seen = rsim.get([actor.visible.remote() for actor in actors])
    assert seen == [str(gpu) for (gpu,) in found]
    assert visible() is None


def test_gpus_have_the_names_that_the_node_gives_them(init, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "first,second")
    init(num_cpus=1, num_gpus=3)
    assert rsim.get(gpus.options(num_gpus=2).remote()) == ["first", "second"]
    assert rsim.get(gpus.options(num_gpus=3).remote()) == [0, 1, 2], "one has no name"


def test_other_accelerators_are_devices_too(init, monkeypatch):
    monkeypatch.delenv("TPU_VISIBLE_CHIPS", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    init(num_cpus=2, num_gpus=1, resources={"TPU": 4})

    @rsim.remote
    class Chips:
        def told(self):
            variables = (os.environ.get(f"{name}_VISIBLE_{of}") for name, of in names)
            return rsim.get_runtime_context().get_accelerator_ids()["TPU"], *variables

    names = ("TPU", "CHIPS"), ("CUDA", "DEVICES")
    first = Chips.options(resources={"TPU": 2}).remote()
    second = Chips.options(resources={"TPU": 1}, num_gpus=1).remote()
    assert rsim.get(first.told.remote()) == (["0", "1"], "0,1", None)
    assert rsim.get(second.told.remote()) == (["2"], "2", "0")
    assert rsim.get(Chips.remote().told.remote()) == ([], None, None)
    group = placement_group([{"TPU": 1}])
    strategy = PlacementGroupSchedulingStrategy(group, 0)
    options = {"num_cpus": 0, "resources": {"TPU": 1}, "scheduling_strategy": strategy}
    third = Chips.options(**options).remote()
    assert rsim.get(third.told.remote(), timeout=60) == (["3"], "3", None)
    with pytest.raises(ValueError, match=r"'TPU'.*must be a whole number or below 1"):
        Chips.options(resources={"TPU": 1.5})


def test_tasks_without_gpus_leave_nodes_with_gpus_alone(init):
    session = init(num_cpus=2, num_gpus=1)
    home = rsim.nodes()[0]["NodeID"]
    assert rsim.get(node_of.remote()) == home
    session.add_node(name="plain", num_cpus=2)
    assert rsim.get([node_of.remote() for _ in range(2)]) == ["plain"] * 2
    assert rsim.get(node_of.options(num_gpus=1).remote()) == home
    hogs = [Holder.options(num_cpus=1).remote() for _ in range(2)]
    assert rsim.get([hog.node.remote() for hog in hogs]) == ["plain"] * 2
    assert rsim.get(node_of.remote()) == home
    del hogs
    session.remove_node("plain")
    assert rsim.get(node_of.remote()) == home
