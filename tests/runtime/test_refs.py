"""Object refs: identity, hashing, counting, pickling."""

import copy
import gc
import pickle
import subprocess
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsim.runtime import refs
from rsim.runtime.refs import NIL_ID, ObjectRef

ids = st.binary(min_size=20, max_size=20)
ID = bytes(range(20))


class Counter:
    def __init__(self) -> None:
        self.log: list[tuple[str, bytes]] = []

    def added(self, object_id: bytes) -> None:
        self.log.append(("added", object_id))

    def dropped(self, object_id: bytes) -> None:
        self.log.append(("dropped", object_id))


@pytest.fixture
def counter() -> Iterator[Counter]:
    counter = Counter()
    refs.set_factory(lambda object_id: ObjectRef(object_id, counter))
    yield counter
    refs.set_factory(None)


def test_id_in_its_forms() -> None:
    ref: ObjectRef[int] = ObjectRef(ID, Counter())
    assert ref.hex() == ID.hex() and len(ref.hex()) == 40
    assert ref.binary() == ID
    assert ref.task_id() == ID[:16].hex()
    assert repr(ref) == f"ObjectRef({ID.hex()})"
    assert not ref.is_nil() and ObjectRef(NIL_ID, Counter()).is_nil()


@given(ids, ids)
def test_equality_and_hash_follow_the_id(one: bytes, other: bytes) -> None:
    left, right = ObjectRef(one, Counter()), ObjectRef(other, Counter())
    assert (left == right) == (one == other)
    assert left == ObjectRef(one, Counter())
    assert hash(left) == hash(ObjectRef(one, Counter()))
    assert left != one and left != one.hex()


def test_hash_is_the_same_under_any_hash_seed() -> None:
    program = (
        "from unittest.mock import Mock; from rsim.runtime.refs import ObjectRef;"
        "print(hash(ObjectRef(bytes(range(20)), Mock())))"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(filter(None, sys.path))},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert printed == {f"{hash(ObjectRef(ID, Counter()))}\n"}


def test_counts_its_end() -> None:
    counter = Counter()
    ref: ObjectRef[int] = ObjectRef(ID, counter)
    alias = copy.copy(ref), copy.deepcopy([ref])  # no new refs: a ref is immutable
    assert counter.log == []  # who makes a ref counts it
    del ref
    assert counter.log == []
    del alias
    assert counter.log == [("dropped", ID)]


def test_is_nothing_for_the_garbage_collector() -> None:
    assert not gc.is_tracked(ObjectRef(ID, Counter()))


def test_pickled_and_loaded_is_a_counted_ref(counter: Counter) -> None:
    ref: ObjectRef[int] = ObjectRef(ID, Counter())
    loaded = pickle.loads(pickle.dumps({"nested": [ref, ref]}))["nested"]
    assert loaded == [ref, ref] and loaded[0] is loaded[1]
    assert counter.log == []
    del loaded
    assert counter.log == [("dropped", ID)]


@pytest.mark.parametrize(("given", "error"), [("x" * 20, TypeError), (b"x", ValueError)])
def test_made_of_no_id_raises_and_ends_in_silence(given: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        ObjectRef(given)  # type: ignore[arg-type]
    gc.collect()  # an error in a finaliser would be a warning, which fails the test


def test_loading_without_a_runtime_says_what_to_do() -> None:
    data = pickle.dumps(ObjectRef(ID, Counter()))
    with pytest.raises(RuntimeError, match=rf"{ID.hex()}.*call rsim\.init\(\)"):
        pickle.loads(data)


def test_the_factory_can_be_swapped(counter: Counter) -> None:
    data, other = pickle.dumps(ObjectRef(ID, Counter())), Counter()
    refs.set_factory(lambda object_id: ObjectRef(object_id, other))
    loaded = pickle.loads(data)
    assert loaded._counter is other


def test_is_generic_but_holds_nothing_to_iterate() -> None:
    assert ObjectRef[int]
    ref: ObjectRef[int] = ObjectRef(ID, Counter())
    assert ref
    with pytest.raises(TypeError, match="ObjectRef"):
        iter(ref)  # type: ignore[call-overload]
