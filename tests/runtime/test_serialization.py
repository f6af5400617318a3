"""Values, calls and functions to bytes and back."""

import functools
import pickle
import sys
import threading
import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsim.exceptions import UnserializableError
from rsim.runtime import refs, serialization
from rsim.runtime.refs import ObjectRef
from rsim.runtime.serialization import (
    Payload,
    deserialize,
    deserialize_call,
    deserialize_function,
    pack,
    pack_into,
    packed_size,
    serialize,
    serialize_call,
    serialize_function,
)
from rsim.runtime.unpicklable import find_unpicklable

LOCK = threading.Lock()

atoms = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
arrays = st.sampled_from(["u1", "f8", "c16"]).flatmap(
    lambda kind: st.lists(st.integers(0, 255), max_size=40).map(
        lambda items: np.array(items, dtype=kind)
    )
)
values = st.recursive(
    atoms | st.binary() | arrays,
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    max_leaves=100,
)


@dataclass
class Box:
    content: Any


class Slotted:
    __slots__ = ("lock",)


class NullCounter:
    def added(self, object_id: bytes) -> None: ...
    def dropped(self, object_id: bytes) -> None: ...


def make_ref(number: int) -> ObjectRef[Any]:
    return ObjectRef(number.to_bytes(20, "big"), NullCounter())


@pytest.fixture(autouse=True)
def runtime() -> Iterator[None]:
    refs.set_factory(lambda object_id: ObjectRef(object_id, NullCounter()))
    yield
    refs.set_factory(None)


def through(value: Any) -> Any:
    return deserialize(pack(serialize(value)))


def same(left: Any, right: Any) -> bool:
    if type(left) is not type(right):
        return False
    if isinstance(left, np.ndarray):
        return left.dtype == right.dtype and np.array_equal(left, right)
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return list(left) == list(right) and all(map(same, left.values(), right.values()))
    return bool(left == right)


# Values


@given(values)
def test_every_value_comes_back(value: Any) -> None:
    assert same(through(value), value)


@given(values, st.integers(0, 100))
def test_both_forms_of_packing_agree(value: Any, spare: int) -> None:
    payload = serialize(value)
    blob = pack(payload)
    target = bytearray(b"\x00" * (packed_size(payload) + spare))
    pack_into(payload, memoryview(target))
    assert len(blob) == packed_size(payload) == payload.total_bytes
    assert target[: len(blob)] == blob
    assert same(deserialize(memoryview(target)), value)


def test_a_value_without_buffers_is_packed_without_a_copy() -> None:
    payload = serialize({"a": [1, 2.5, "text"]})
    assert pack(payload) is payload.data


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12.0).reshape(3, 4),
        np.asfortranarray(np.arange(12).reshape(3, 4)),
        np.arange(20)[::2],
        np.zeros((0, 3)),
        np.array(5),
        np.zeros(3, dtype=[("x", "i4"), ("y", "f8")]),
        np.array(["2020-01-01"], dtype="M8[D]"),
    ],
    ids=["matrix", "fortran", "strided", "empty", "scalar", "structured", "dates"],
)
def test_arrays_come_back_equal(array: Any) -> None:
    loaded = through(array)
    assert loaded.dtype == array.dtype and loaded.shape == array.shape
    assert np.array_equal(loaded, array)


@pytest.mark.parametrize("wrap", [lambda a: a, lambda a: Box([a])], ids=["plain", "in an object"])
@pytest.mark.parametrize("shared", [False, True], ids=["inline", "shared"])
def test_arrays_are_read_only_views_into_the_blob(wrap: Any, shared: bool) -> None:
    payload = serialize(wrap(np.arange(10)))
    memory = bytearray(packed_size(payload))
    pack_into(payload, memoryview(memory))
    loaded = deserialize(memoryview(memory) if shared else bytes(memory))
    array = loaded.content[0] if isinstance(loaded, Box) else loaded
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1
    assert not array.flags.owndata
    if shared:
        position = memory.index(np.arange(10).tobytes())
        assert position % 64 == 0
        memory[position] = 42
        assert array[0] == 42  # the very same bytes


def test_an_array_met_twice_is_stored_once() -> None:
    array = np.arange(1000)
    payload = serialize([array, array, Box(array)])
    assert len(payload.buffers) == 1
    first, second, box = deserialize(pack(payload))
    assert first is second is box.content


@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_large_byte_strings_travel_as_buffers(kind: Any) -> None:
    value = kind(b"x" * 1_000_000)
    payload = serialize(value)
    assert len(payload.data) < 100 and len(payload.buffers) == 1
    loaded = deserialize(pack(payload))
    assert type(loaded) is kind and loaded == value


def test_mutable_values_are_fresh_at_each_load() -> None:
    blob = pack(serialize([bytearray(b"abc"), [1], {"k": {2}}]))
    loaded = deserialize(blob)
    loaded[0][0] = 0
    loaded[1].append(2)
    loaded[2]["k"].add(3)
    assert deserialize(blob) == [bytearray(b"abc"), [1], {"k": {2}}]


def test_cycles_and_long_lists_come_back() -> None:
    cycle: list[Any] = [1]
    cycle.append(cycle)
    loaded = through(cycle)
    assert loaded[1] is loaded
    assert through(list(range(10_000))) == list(range(10_000))


def test_functions_and_classes_of_the_script_go_by_value() -> None:
    script = types.ModuleType("__main__")
    source = "class Point:\n    y = 3\n\ndef add(x):\n    return x + Point.y\n"
    exec(source, vars(script))
    blob = pack(serialize([script.add, script.Point()]))
    assert b"add" in blob
    add, point = deserialize(blob)  # though __main__ is another module here, without them
    assert not hasattr(sys.modules["__main__"], "Point")
    assert add(1) == 4 and point.y == 3


@pytest.mark.parametrize("wrap", [list, lambda refs: {"k": Box(refs)}], ids=["plain", "object"])
def test_refs_inside_a_value_are_reported_once_each_in_order(wrap: Any) -> None:
    two, one = make_ref(2), make_ref(1)
    payload = serialize(wrap([two, one, two]))
    assert payload.contained == (two.binary(), one.binary())
    assert serialize([1, Box(2)]).contained == ()


def test_refs_inside_a_value_come_back_as_refs() -> None:
    assert through({"k": Box([make_ref(7)])}) == {"k": Box([make_ref(7)])}
    assert through([make_ref(7)]) == [make_ref(7)]


# What cannot be pickled


def _capturing(captured: Any) -> Any:
    def function() -> Any:
        return captured

    return function


def _in_slots() -> Slotted:
    slotted = Slotted()
    slotted.lock = LOCK  # type: ignore[attr-defined]
    return slotted


class BrokenState:
    def __getstate__(self) -> Any:
        raise ValueError("not today")


class Selective:
    """Its lock is left out of what is pickled; its other part is not."""

    def __init__(self) -> None:
        self.lock = LOCK
        self.other = iter([].append, 1)
        self.stream = (i for i in ())

    def __getstate__(self) -> Any:
        return {"stream": self.stream}


def _family() -> Box:
    parent, child = Box([]), Box(None)
    parent.content, child.content = [child, {"lock": LOCK}], parent
    return parent


LOCKED = "is a _thread.lock, which cannot be pickled"


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (LOCK, f"value {LOCKED}"),
        ([1, [2, LOCK]], f"value[1][1] {LOCKED}"),
        ({"conn": (0, 1, 2, Box(LOCK))}, f"value['conn'][3].content {LOCKED}"),
        ([0] * 100_000 + [LOCK], f"value[100000] {LOCKED}"),
        ({LOCK: 1}, f"a key of value {LOCKED}"),
        ({LOCK}, f"an item of value {LOCKED}"),
        (_in_slots(), f"value.lock {LOCKED}"),
        (_family(), f"value.content[1]['lock'] {LOCKED}"),
        (functools.partial(print, LOCK), f"value.args[0] {LOCKED}"),
        (types.MethodType(print, Box(LOCK)), f"value.__self__.content {LOCKED}"),
        (_capturing({"a": LOCK}), f"value, captured variable captured['a'] {LOCKED}"),
        (np.array([1, LOCK], dtype=object), f"value[1] {LOCKED}"),
        ((i for i in ()), "value is a generator, which cannot be pickled"),
        (Selective(), "value.stream is a generator, which cannot be pickled"),
        (
            Box(BrokenState()),
            f"value.content is a {__name__}.BrokenState, which cannot be pickled: not today",
        ),
    ],
    ids=lambda each: each[:50] if isinstance(each, str) else "",
)
def test_the_part_that_cannot_be_pickled_is_named(value: Any, sentence: str) -> None:
    with pytest.raises(UnserializableError) as caught:
        serialize(value)
    assert str(caught.value) == sentence
    assert sentence.startswith(caught.value.part) and caught.value.part
    assert caught.value.__cause__ is not None


def test_the_message_begins_with_what_is_serialised() -> None:
    with pytest.raises(UnserializableError, match=r"^config\['a'\] is a _thread\.lock"):
        serialize({"a": LOCK}, "config")
    with pytest.raises(UnserializableError, match=r"^the result of f\(\): value\['a'\] is a _th"):
        serialize({"a": LOCK}, "the result of f()")


def test_too_deep_a_value_is_told_so() -> None:
    deep: Any = None
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(UnserializableError, match=r"^value is a list.*deep recursion"):
        serialize(deep)


def test_several_culprits_are_found() -> None:
    found = find_unpicklable({"a": LOCK, "fine": 1, "b": [LOCK, (i for i in ())]}, "it")
    assert [culprit.path for culprit in found] == ["it['a']", "it['b'][1]"]  # the lock once
    assert find_unpicklable({"fine": [1, 2]}) == []


# Calls


@given(st.lists(values, max_size=4), st.dictionaries(st.text(), values, max_size=4))
def test_arguments_come_back(args: list[Any], kwargs: dict[str, Any]) -> None:
    call = serialize_call(tuple(args), kwargs)
    assert call.deps == ()
    assert same(deserialize_call(pack(call.payload)), (tuple(args), kwargs))


@given(st.data())
def test_refs_given_as_arguments_become_their_values(data: st.DataObject) -> None:
    argument = st.integers(0, 3).map(make_ref) | st.integers() | st.just([make_ref(9)])
    args = tuple(data.draw(st.lists(argument, max_size=5)))
    kwargs = data.draw(st.dictionaries(st.text(), argument, max_size=5))
    given_refs = [a for a in (*args, *kwargs.values()) if isinstance(a, ObjectRef)]

    call = serialize_call(args, kwargs)
    assert call.deps == tuple(dict.fromkeys(ref.binary() for ref in given_refs))
    loaded = deserialize_call(pack(call.payload), [f"value of {dep.hex()}" for dep in call.deps])

    def expected(item: Any) -> Any:
        return f"value of {item.hex()}" if isinstance(item, ObjectRef) else item

    assert loaded == (
        tuple(map(expected, args)),
        {name: expected(item) for name, item in kwargs.items()},
    )
    assert list(loaded[1]) == list(kwargs)


def test_a_nested_ref_is_contained_but_no_dependency() -> None:
    call = serialize_call((make_ref(1), [make_ref(2)]), {"k": {"deep": make_ref(1)}})
    assert call.deps == (make_ref(1).binary(),)
    assert call.payload.contained == (make_ref(2).binary(), make_ref(1).binary())


def test_an_argument_that_equals_nothing_normal_is_no_ref() -> None:
    class Everything:
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = None  # type: ignore[assignment]

    assert serialize_call((Everything(),), {}).deps == ()


@pytest.mark.parametrize(
    ("args", "kwargs", "start"),
    [
        ((1, {"conn": [0, Box(LOCK)]}), {}, "argument 'x' of f(): value['conn'][1].content is a"),
        ((1, 2, LOCK), {}, "argument 3 of f(): value is a _thread.lock"),
        ((), {"y": [LOCK]}, "argument 'y' of f(): value[0] is a _thread.lock"),
        ((make_ref(1), LOCK), {}, "argument 'x' of f(): value is a _thread.lock"),
    ],
    ids=["by name", "past the names", "keyword", "beside a ref"],
)
def test_the_argument_that_cannot_be_pickled_is_named(args: Any, kwargs: Any, start: str) -> None:
    with pytest.raises(UnserializableError) as caught:
        serialize_call(args, kwargs, "f()", ("first", "x"))
    assert str(caught.value).startswith(f"Could not serialize the {start}")
    assert isinstance(caught.value.__cause__, TypeError)


# Functions


def test_a_function_comes_back_with_what_it_captures() -> None:
    offset = 10
    assert deserialize_function(serialize_function(lambda x: x + offset))(1) == 11


def test_a_function_that_captures_what_cannot_be_pickled() -> None:
    with pytest.raises(UnserializableError) as caught:
        serialize_function(_capturing(Box(LOCK)))
    assert str(caught.value) == (
        "Could not serialize the function: _capturing.<locals>.function(), captured variable "
        f"captured.content {LOCKED}"
    )


def test_a_function_of_the_script_that_uses_an_unpicklable_global() -> None:
    script: dict[str, Any] = {"__name__": "__main__", "LOCK": LOCK}
    exec("def f():\n    with LOCK:\n        return [LOCK for _ in '']\n", script)
    with pytest.raises(UnserializableError) as caught:
        serialize_function(script["f"])
    said = f"Could not serialize the function: f(), global variable LOCK {LOCKED}"
    assert str(caught.value) == said


def test_large_functions_warn_and_too_large_ones_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serialization, "FUNCTION_WARN_BYTES", 10_000)
    monkeypatch.setattr(serialization, "FUNCTION_LIMIT_BYTES", 100_000)
    serialize_function(_capturing(b"x" * 5_000))
    with pytest.warns(UserWarning, match=r"function is 20,\d+ bytes.*put\(\)"):
        serialize_function(_capturing(b"x" * 20_000))
    with pytest.raises(ValueError, match=r"function is too large: 200,\d+ bytes.*limit is 100,000"):
        serialize_function(_capturing(b"x" * 200_000))


def test_an_empty_payload_contains_nothing() -> None:
    assert serialize(None) == Payload(pickle.dumps(None, 5))
