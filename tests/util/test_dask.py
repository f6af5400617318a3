"""Dask graphs: the language of graphs, sharing, culling, errors."""

from operator import add, mul

import pytest

import rsim
from rsim.util.dask import get
from tests.conformance import marks


def leave(folder, name, value):
    marks.leave(folder, name)
    return value


def refuse(*values):
    raise ValueError(values)


GRAPH = {
    "x": 1,
    "y": (add, "x", 10),
    ("z", 0): (mul, "y", (add, "y", "x")),
    "alias": ("z", 0),
    "list": ["x", (add, "y", 1), ["alias"]],
    "total": (sum, ["x", "y", ("z", 0)]),
    "class": (list, [(tuple, ["x"])]),
    "literal": {"a": "x"},
}


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("y", 11),
        (("z", 0), 132),
        ("alias", 132),
        ("list", [1, 12, [132]]),
        ("total", 144),
        ("class", [(1,)]),
        ("literal", {"a": "x"}),
        (["x", ["y", "total"], []], (1, (11, 144), ())),
    ],
)
def test_what_keys_give(rt, keys, expected):
    assert get(GRAPH, keys, num_workers=3) == expected


def test_each_key_runs_once_and_only_if_needed(rt, tmp_path):
    graph = {
        "a": (leave, tmp_path, "ran", 5),
        "b": (add, "a", 1),
        "c": (add, "a", "b"),
        "unused": (leave, tmp_path, "ran unused", 0),
    }
    assert get(graph, ["c", "b", "a"]) == (11, 6, 5)
    assert marks.count(tmp_path, "ran") == 1
    assert marks.count(tmp_path, "ran unused") == 0


def test_keys_run_beside_each_other(rt, tmp_path):
    def meet(own, other):
        marks.leave(tmp_path, own)
        marks.await_marks(tmp_path, other)
        return own

    graph = {"l": (meet, "left", "right"), "r": (meet, "right", "left"), "both": (add, "l", "r")}
    assert get(graph, "both", rsim_remote_args={"num_cpus": 0}) == "leftright"


def test_a_deep_graph(rt):
    graph = {0: (int, "0")} | {depth: (add, depth - 1, 1.5) for depth in range(1, 60)}
    assert get(graph, 59) == 88.5


def test_a_ref_stands_for_its_value(rt):
    assert get({"x": rsim.put(4), "y": (add, "x", "x")}, "y") == 8


def test_errors(rt):
    with pytest.raises(ValueError, match="1"):
        get({"x": 1, "y": (refuse, "x"), "z": (add, "y", 1)}, "z")
    with pytest.raises(KeyError, match="'q' is not a key"):
        get(GRAPH, ["x", "q"])
    with pytest.raises(ValueError, match="cycle"):
        get({"a": (add, "b", 1), "b": (add, "a", 1)}, "a")


def test_task_objects_of_dask_are_refused(rt):
    task_object = type("Task", (), {"__module__": "dask._task_spec"})()
    with pytest.raises(NotImplementedError, match="'x' is a Task"):
        get({"x": task_object}, "x")
