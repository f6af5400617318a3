"""Resources: how many tasks run at once, and that waiting tasks give their CPU back."""

import os
import time

import pytest

import rsim
from tests.conformance import marks


@rsim.remote
def meet(folder, name, names):
    """Returns only if tasks of all the names run at the same time."""
    marks.leave(folder, name)
    marks.await_marks(folder, *names)
    return name


@rsim.remote
def crowd(folder, name):
    """How many tasks with marks run while this one does."""
    path = folder / name
    path.touch()
    seen = 0
    for _ in range(5):
        seen = max(seen, len(os.listdir(folder)))
        time.sleep(0.002)
    path.unlink()
    return seen


def test_ten_tasks_run_at_once_on_ten_slots(init, tmp_path):
    init(num_cpus=10)
    names = [f"task{number}" for number in range(10)]
    assert rsim.get([meet.remote(tmp_path, name, names) for name in names]) == names


@pytest.mark.parametrize(
    ("options", "at_most"),
    [
        ({}, 4),
        ({"num_cpus": 2}, 2),
        ({"num_cpus": 1.5}, 2),
        ({"num_cpus": 3}, 1),
        ({"num_cpus": 0, "num_gpus": 0.5}, 2),
        ({"num_cpus": 0, "resources": {"slot": 1}}, 3),
        ({"resources": {"slot": 3}}, 1),
        ({"num_cpus": 0.001, "resources": {"slot": 1.0001}}, 2),
    ],
)
def test_never_more_tasks_than_the_resources_allow(init, tmp_path, options, at_most):
    init(num_cpus=4, num_gpus=1, resources={"slot": 3})
    task = crowd.options(**options)
    seen = rsim.get([task.remote(tmp_path, f"task{number}") for number in range(12)])
    assert 1 <= max(seen) <= at_most


def test_fractions_of_a_cpu_add_up(init, tmp_path):
    init(num_cpus=1)
    names = [f"task{number}" for number in range(4)]
    refs = [meet.options(num_cpus=0.25).remote(tmp_path, name, names) for name in names]
    assert rsim.get(refs) == names


def test_tasks_that_need_no_cpu_run_beside_one_that_takes_all(init, tmp_path):
    init(num_cpus=1)
    names = ["busy", "free"]
    refs = [meet.options(num_cpus=cpus).remote(tmp_path, names[1 - cpus], names) for cpus in (1, 0)]
    assert rsim.get(refs) == names


def test_resources_come_back_after_errors(init):
    init(num_cpus=1)

    @rsim.remote
    def fail():
        raise ValueError

    refs = [fail.remote() for _ in range(5)]
    for ref in refs:
        with pytest.raises(ValueError):
            rsim.get(ref)
    assert rsim.get(rsim.remote(len).remote("abc")) == 3


def test_recursion_deeper_than_there_are_cpus(init):
    init(num_cpus=2)

    @rsim.remote
    def fib(number):
        if number < 2:
            return number
        return sum(rsim.get([fib.remote(number - 1), fib.remote(number - 2)]))

    assert rsim.get(fib.remote(7)) == 13


def test_twelve_tasks_deep_on_one_cpu(init):
    init(num_cpus=1)

    @rsim.remote
    def descend(depth):
        return 0 if depth == 0 else 1 + rsim.get(descend.remote(depth - 1))

    assert rsim.get(descend.remote(12)) == 12


def test_a_task_that_waits_gives_its_cpu_back_too(init):
    init(num_cpus=1)

    @rsim.remote
    def child(number):
        return number

    @rsim.remote
    def parent():
        refs = [child.remote(number) for number in range(3)]
        ready, rest = rsim.wait(refs, num_returns=3)
        return len(ready), rest, rsim.get(ready)

    assert rsim.get(parent.remote()) == (3, [], [0, 1, 2])


def test_a_tasks_children_do_not_run_while_it_holds_the_only_cpu(init, tmp_path):
    init(num_cpus=1)

    @rsim.remote
    def child(folder):
        marks.leave(folder, "child")
        return 2

    @rsim.remote
    def parent(folder):
        ref = child.remote(folder)
        time.sleep(0.05)
        early = marks.count(folder, "child")
        return early, rsim.get(ref)

    assert rsim.get(parent.remote(tmp_path)) == (0, 2)


def test_other_resources_are_kept_while_a_task_waits(init, tmp_path):
    init(num_cpus=2, resources={"licence": 1})

    @rsim.remote
    def child(folder):
        marks.leave(folder, "child")
        time.sleep(0.05)
        return marks.count(folder, "rival")

    @rsim.remote(resources={"licence": 1})
    def parent(folder):
        return rsim.get(child.remote(folder))

    @rsim.remote(resources={"licence": 1})
    def rival(folder):
        marks.leave(folder, "rival")

    first = parent.remote(tmp_path)
    marks.await_marks(tmp_path, "child")
    second = rival.remote(tmp_path)
    assert rsim.get([first, second]) == [0, None]


def test_more_blocked_parents_than_cpus(init):
    init(num_cpus=2)

    @rsim.remote
    def child(number):
        return number

    @rsim.remote
    def parent(number):
        return sum(rsim.get([child.remote(number + each) for each in range(3)]))

    refs = [parent.remote(number) for number in range(8)]
    assert rsim.get(refs) == [3 * number + 3 for number in range(8)]


def test_an_actor_keeps_its_cpus_while_it_waits(init, tmp_path):
    init(num_cpus=2)

    @rsim.remote(num_cpus=0)
    def gate(name):
        marks.await_marks(tmp_path, name)

    @rsim.remote
    class Waiting:
        def __init__(self, refs):
            marks.leave(tmp_path, "created")
            rsim.get(refs)

        def wait(self, refs):
            marks.leave(tmp_path, "called")
            rsim.get(refs)

    def free():
        return rsim.available_resources().get("CPU", 0)

    holder = Waiting.options(num_cpus=1).remote([gate.remote("let it be")])
    marks.await_marks(tmp_path, "created")
    assert free() == 1
    marks.leave(tmp_path, "let it be")
    ref = holder.wait.remote([gate.remote("go on")])
    marks.await_marks(tmp_path, "called")
    assert free() == 1
    modest = Waiting.remote([gate.remote("go on")])  # it needs a CPU only to be placed
    marks.await_that(lambda: marks.count(tmp_path, "created") == 2)
    marks.await_that(lambda: free() == 1)
    marks.leave(tmp_path, "go on")
    rsim.get([ref, modest.__ray_ready__.remote()])


def test_parents_that_hand_their_children_to_each_other(init):
    init(num_cpus=1)

    @rsim.remote
    def square(number):
        return number * number

    @rsim.remote
    def start(number):
        return [square.remote(number)]

    @rsim.remote
    def total(nested):
        return sum(rsim.get([ref for refs in rsim.get(nested) for ref in refs]))

    assert rsim.get(total.remote([start.remote(number) for number in range(5)])) == 30
