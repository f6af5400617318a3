"""Objects: what put keeps, that nothing changes it, and that large arrays are not copied."""

import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

import rsim

LARGE = 200_000


class Colour(enum.Enum):
    RED = 1


@dataclasses.dataclass
class Record:
    name: str
    values: list


VALUES = [
    None,
    0,
    -1,
    1 << 200,
    True,
    1.5,
    float("inf"),
    2 - 3j,
    "",
    "text ünï \N{SNOWMAN}",
    b"",
    b"bytes",
    bytearray(b"more"),
    (),
    (1, (2, (3,))),
    [1, [2, [3]]],
    {"key": {"nested": [1]}},
    {1, 2, 3},
    frozenset("abc"),
    range(3),
    slice(1, 2),
    ...,
    int,
    len,
    decimal.Decimal("1.1"),
    fractions.Fraction(1, 3),
    datetime.date(2020, 2, 29),
    datetime.timedelta(1, 2),
    collections.OrderedDict(a=1),
    collections.Counter("hello"),
    collections.deque([1, 2], maxlen=2),
    Colour.RED,
    Record("name", [1, 2]),
    "x" * LARGE,
    b"x" * LARGE,
    list(range(LARGE // 4)),
    {str(number): number for number in range(LARGE // 10)},
]


@rsim.remote
def identity(value):
    return value


def test_values_come_back_equal_and_of_their_type(rt):
    refs = [rsim.put(value) for value in VALUES]
    for back in (rsim.get(refs), rsim.get([identity.remote(ref) for ref in refs])):
        assert [(type(each), each) for each in back] == [(type(each), each) for each in VALUES]


@pytest.mark.parametrize(
    "array",
    [
        np.arange(10),
        np.arange(LARGE),
        np.zeros((0, 3)),
        np.float32(1.5),
        np.ones((100, 200), order="F"),
        np.arange(LARGE).reshape(-1, 2)[::3],
        np.array(["a", None, {"b": 1}], dtype=object),
        np.array([(1, 2.0)], dtype=[("x", int), ("y", float)]),
        np.array(["2020-01-01"], dtype="datetime64[D]"),
    ],
    ids=str,
)
def test_arrays(rt, array):
    for back in rsim.get([rsim.put(array), identity.remote(array)]):
        assert back.dtype == array.dtype
        assert back.shape == array.shape
        assert np.array_equal(back, array)


def test_objects_with_slots_come_back_from_elsewhere(rt):
    class Base:
        __slots__ = ("__hidden", "__weakref__")

        def __init__(self):
            self.__hidden = 1

    class Slotted(Base):
        __slots__ = ("only",)

    @dataclasses.dataclass(slots=True)
    class Point:
        x: int

    class Pair(NamedTuple):
        left: int

    slotted = Slotted()
    slotted.only = 2

    @rsim.remote
    def see(values):
        return values, [hasattr(value, "__dict__") for value in values]

    (there, point, pair), had_dict = rsim.get(see.remote([slotted, Point(3), Pair(4)]))
    assert (there._Base__hidden, there.only, point, pair) == (1, 2, Point(3), Pair(4))
    assert had_dict == [False] * 3


def test_a_value_that_refers_to_itself(rt):
    value = [1]
    value.append(value)
    back = rsim.get(rsim.put(value))
    assert back[0] == 1
    assert back[1] is back


def test_sharing_within_a_value_is_kept(rt):
    part = [1]
    first, second = rsim.get(rsim.put([part, part]))
    assert first is second


@pytest.mark.parametrize("size", [10, LARGE])
def test_arrays_come_back_read_only(rt, size):
    for ref in (rsim.put(np.zeros(size)), identity.remote(np.zeros(size))):
        array = rsim.get(ref)
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
        assert rsim.get(ref)[0] == 0


@pytest.mark.parametrize("size", [10, LARGE])
def test_array_arguments_are_read_only_in_tasks(rt, size):
    @rsim.remote
    def write(array):
        array[0] = 1

    with pytest.raises(ValueError, match="read-only"):
        rsim.get(write.remote(np.zeros(size)))


def test_what_put_was_given_may_change_afterwards(rt):
    items, array = [1], np.zeros(LARGE)
    refs = [rsim.put(items), rsim.put(array), identity.remote(items), identity.remote(array)]
    items.append(2)
    array[:] = 9
    first, second, third, fourth = rsim.get(refs)
    assert (first, third) == ([1], [1])
    assert second.max() == fourth.max() == 0


def test_what_get_returned_may_change_without_anybody_noticing(rt):
    ref = rsim.put({"items": [1]})
    rsim.get(ref)["items"].append(2)
    assert rsim.get(ref) == {"items": [1]}
    first, second = rsim.get([ref, ref])
    first["items"].clear()
    assert second == {"items": [1]}


def test_a_mutated_argument_reaches_nobody(rt):
    @rsim.remote
    def spoil(items):
        items.append("spoilt")
        return len(items)

    mine = ["good"]
    ref = rsim.put(mine)
    assert rsim.get([spoil.remote(ref), spoil.remote(ref), spoil.remote(mine)]) == [2, 2, 2]
    assert mine == ["good"]
    assert rsim.get(ref) == ["good"]


def test_a_result_that_its_task_keeps_and_changes(rt):
    @rsim.remote
    def give(kept=[]):  # noqa: B006  # the point of it
        kept.append(len(kept))
        return kept

    first = give.remote()
    before = list(rsim.get(first))
    rsim.get([give.remote() for _ in range(10)])
    assert rsim.get(first) == before


def test_put_refuses_a_ref(rt):
    with pytest.raises(TypeError, match="ObjectRef"):
        rsim.put(rsim.put(1))


@pytest.mark.parametrize("backend", ["local"])
def test_large_arrays_are_shared_not_copied(rt):
    @rsim.remote
    def mapped(array):
        """Whether the array lies in a mapping of the shared segment."""
        address = array.__array_interface__["data"][0]
        for line in Path("/proc/self/maps").read_text().splitlines():
            low, high = (int(part, 16) for part in line.split()[0].split("-"))
            if low <= address < high:
                return "rsim" in line or "memfd" in line or "/dev/shm" in line
        return False

    ref = rsim.put(np.arange(LARGE))
    first, second = rsim.get(ref), rsim.get(ref)
    assert np.shares_memory(first, second)
    assert rsim.get([mapped.remote(ref), mapped.remote(ref)]) == [True, True]
    assert not np.shares_memory(first, rsim.get(rsim.put(first)))


def test_an_array_outlives_its_ref(rt):
    array = rsim.get(rsim.put(np.arange(LARGE)))
    others = [rsim.put(np.full(LARGE, number)) for number in range(5)]
    assert array.sum() == LARGE * (LARGE - 1) // 2
    assert [each[0] for each in rsim.get(others)] == list(range(5))
