"""Tasks: what they are given, what they give back, and when they start."""

from pathlib import Path

import numpy as np
import pytest

import rsim
from tests.conformance import marks


@rsim.remote
def add(a, b):
    return a + b


@rsim.remote
def identity(value):
    return value


def test_a_task_computes_its_result(rt):
    assert rsim.get(add.remote(1, 2)) == 3


def test_map_and_tree_reduce(rt):
    refs = [add.remote(number, number) for number in range(8)]
    while len(refs) > 1:
        refs = [add.remote(left, right) for left, right in zip(refs[::2], refs[1::2], strict=True)]
    assert rsim.get(refs[0]) == 2 * sum(range(8))


def test_arguments_by_value_and_by_ref_mean_the_same(rt):
    one, two = rsim.put(1), identity.remote(2)
    calls = [
        add.remote(1, 2),
        add.remote(one, 2),
        add.remote(1, two),
        add.remote(one, two),
        add.remote(a=one, b=two),
        add.remote(one, b=2),
    ]
    assert rsim.get(calls) == [3] * len(calls)


def test_one_ref_may_be_several_arguments(rt):
    assert rsim.get(add.remote(ref := rsim.put([1]), ref)) == [1, 1]


def test_kwargs_defaults_and_variable_arguments(rt):
    @rsim.remote
    def call(a, b=2, *rest, c, d=4, **more):
        return a, b, rest, c, d, more

    ref = rsim.put(7)
    assert rsim.get(call.remote(1, c=3)) == (1, 2, (), 3, 4, {})
    assert rsim.get(call.remote(ref, ref, ref, c=ref, d=ref, e=ref)) == (7, 7, (7,), 7, 7, {"e": 7})
    assert rsim.get(call.remote(1, c=3, self=5)) == (1, 2, (), 3, 4, {"self": 5})


def test_wrong_arguments_raise_type_error_at_the_call(rt):
    with pytest.raises(TypeError, match=r"\bb\b"):
        add.remote(1)
    with pytest.raises(TypeError, match=r"\bc\b"):
        add.remote(1, 2, c=3)


def test_nested_refs_pass_through_unresolved(rt):
    @rsim.remote
    def look(items, table):
        inside = [items[0], table["key"][0]]
        return [type(each).__name__ for each in inside], rsim.get(inside)

    first, second = rsim.put("first"), identity.remote("second")
    names, values = rsim.get(look.remote([first], {"key": (second,)}))
    assert names == ["ObjectRef", "ObjectRef"]
    assert values == ["first", "second"]


def test_a_result_may_be_any_value(rt):
    values = [None, True, -1, 1 << 80, 1.5, 2j, "text", b"bytes", (1,), [1], {1: 2}, {3}, Path("/")]
    assert rsim.get([identity.remote(value) for value in values]) == values


def test_a_large_result_and_a_large_argument(rt):
    array = np.arange(100_000)
    back = rsim.get(identity.remote(array))
    assert np.array_equal(back, array)
    assert rsim.get(add.remote(array, rsim.put(array))).sum() == 2 * array.sum()
    assert rsim.get(add.remote("x" * 200_000, "y")) == "x" * 200_000 + "y"


def test_tasks_submit_tasks(rt):
    @rsim.remote
    def count_leaves(depth):
        if depth == 0:
            return 1
        return sum(rsim.get([count_leaves.remote(depth - 1) for _ in range(2)]))

    assert rsim.get(count_leaves.remote(3)) == 8


def test_nested_experiments(rt):
    @rsim.remote
    def run(seed):
        return seed * seed

    @rsim.remote
    def experiment(number):
        return sum(rsim.get([run.remote(10 * number + each) for each in range(3)]))

    expected = [sum((10 * number + each) ** 2 for each in range(3)) for number in range(4)]
    assert rsim.get([experiment.remote(number) for number in range(4)]) == expected


def test_a_task_may_return_refs_of_its_children(rt):
    @rsim.remote
    def start(number):
        return [identity.remote(number), rsim.put(number + 1)]

    assert rsim.get(rsim.get(start.remote(5))) == [5, 6]


def test_a_ref_given_back_as_the_result_is_a_ref(rt):
    @rsim.remote
    def start():
        return add.remote(2, 3)

    inner = rsim.get(start.remote())
    assert isinstance(inner, rsim.ObjectRef)
    assert rsim.get(inner) == 5


def test_remote_returns_before_the_task_can_run(rt, tmp_path):
    @rsim.remote
    def wait_for_the_gate(folder):
        marks.await_marks(folder, "gate")
        return "through"

    ref = wait_for_the_gate.remote(tmp_path)
    dependant = identity.remote(ref)
    assert rsim.wait([ref, dependant], num_returns=2, timeout=0) == ([], [ref, dependant])
    marks.leave(tmp_path, "gate")
    assert rsim.get(dependant) == "through"


def test_queued_tasks_go_on_while_the_driver_asks_for_nothing(init, tmp_path):
    init(num_cpus=1)

    @rsim.remote
    def leave(name):
        marks.leave(tmp_path, name)

    @rsim.remote
    def hold_up():
        marks.await_marks(tmp_path, "gate")

    first = hold_up.remote()
    names = [str(number) for number in range(100)]
    refs = [leave.remote(name) for name in names]
    free = leave.options(num_cpus=0).remote("free")
    marks.await_marks(tmp_path, "free")
    marks.leave(tmp_path, "gate")
    marks.await_marks(tmp_path, *names)
    assert rsim.get([first, free, *refs]) == [None] * 102


def test_calls_behind_others_go_on_while_the_driver_asks_for_nothing(rt, tmp_path):
    @rsim.remote
    class Scribe:
        def hold_up(self):
            marks.await_marks(tmp_path, "gate")

        def leave(self, name):
            marks.leave(tmp_path, name)

    scribe, other = Scribe.remote(), Scribe.remote()
    names = [str(number) for number in range(100)]
    refs = [scribe.hold_up.remote(), *(scribe.leave.remote(name) for name in names)]
    refs.append(other.leave.remote("other"))
    marks.await_marks(tmp_path, "other")
    marks.leave(tmp_path, "gate")
    marks.await_marks(tmp_path, *names)
    assert rsim.get(refs) == [None] * 102


def test_a_task_starts_only_when_its_inputs_exist(rt, tmp_path):
    @rsim.remote
    def produce(folder):
        marks.await_marks(folder, "gate")
        marks.leave(folder, "produced")
        return 1

    @rsim.remote
    def consume(_value, folder):
        return marks.count(folder, "produced")

    refs = [consume.remote(produce.remote(tmp_path), tmp_path)]
    refs.append(consume.remote(refs[0], tmp_path))
    marks.leave(tmp_path, "gate")
    assert rsim.get(refs) == [1, 1]


def test_a_waiting_task_does_not_hold_up_one_that_can_run(init, tmp_path):
    init(num_cpus=1)

    @rsim.remote(num_cpus=0)
    def gate(folder):
        marks.await_marks(folder, "gate")
        return 1

    blocked = add.remote(gate.remote(tmp_path), 1)
    assert rsim.get(add.remote(1, 1)) == 2
    marks.leave(tmp_path, "gate")
    assert rsim.get(blocked) == 2


def test_a_chain_of_dependent_tasks(rt):
    ref = rsim.put(0)
    for _ in range(100):
        ref = add.remote(ref, 1)
    assert rsim.get(ref) == 100


def test_many_tasks(rt):
    assert rsim.get([add.remote(number, 1) for number in range(500)]) == list(range(1, 501))


def test_functions_keep_what_they_captured_when_they_were_first_called(rt):
    factor = 3

    @rsim.remote
    def scale(number):
        return factor * number

    assert rsim.get(scale.remote(2)) == 6


def test_a_function_may_be_an_argument_and_a_remote_function_too(rt):
    @rsim.remote
    def apply(function, remote_function):
        return function(1), rsim.get(remote_function.remote(2, 3))

    assert rsim.get(apply.remote(lambda number: number + 1, add)) == (2, 5)


def test_functions_that_call_each_other(rt):
    @rsim.remote
    def even(number):
        return True if number == 0 else rsim.get(odd.remote(number - 1))

    @rsim.remote
    def odd(number):
        return False if number == 0 else rsim.get(even.remote(number - 1))

    assert rsim.get([even.remote(5), odd.remote(5)]) == [False, True]


def test_a_function_is_kept_apart_from_its_namesake(rt):
    def make(number):
        @rsim.remote
        def function():
            return number

        return function

    assert rsim.get([make(number).remote() for number in range(5)]) == list(range(5))


def test_classes_defined_in_the_driver_travel_by_value(rt):
    class Point:
        def __init__(self, x):
            self.x = x

        def doubled(self):
            return Point(2 * self.x)

    @rsim.remote
    def double(point):
        return point.doubled()

    assert rsim.get(double.remote(Point(4))).x == 8
