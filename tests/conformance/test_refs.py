"""Object refs: ids, equality, and that they may travel anywhere."""

import copy
import pickle
import re
import threading

import cloudpickle
import numpy as np
import pytest

import rsim
from rsim.exceptions import RsimError
from tests.conformance import inspecting

LARGE = 200_000


@rsim.remote
def identity(value):
    return value


@rsim.remote
def look(nested):
    """What the refs in a structure lead to."""
    if isinstance(nested, rsim.ObjectRef):
        return rsim.get(identity.remote(nested))
    if isinstance(nested, dict):
        return {key: rsim.get(look.remote(value)) for key, value in nested.items()}
    if isinstance(nested, list | tuple):
        return type(nested)(rsim.get([look.remote(each) for each in nested]))
    return nested


def test_ids_are_forty_hex_digits_and_unique(rt):
    refs = [rsim.put(1), rsim.put(1), identity.remote(1), identity.remote(1)]
    ids = [ref.hex() for ref in refs]
    assert all(re.fullmatch("[0-9a-f]{40}", each) for each in ids)
    assert len(set(ids)) == len(ids)
    assert all(each in repr(ref) for each, ref in zip(ids, refs, strict=True))
    assert [ref.binary().hex() for ref in refs] == ids


def test_refs_are_keys(rt):
    first, second = rsim.put(1), rsim.put(2)
    table = {first: "first", second: "second"}
    assert table[copy.copy(first)] == "first"
    assert {first, first, second} == {second, first}
    assert first != second
    assert first != first.hex()


def test_the_ref_that_comes_back_is_the_same(rt):
    ref = rsim.put(5)
    (back,) = rsim.get(identity.remote([ref]))
    assert back == ref
    assert hash(back) == hash(ref)
    assert rsim.get(back) == 5


def test_refs_in_any_structure(rt):
    refs = [rsim.put(1), identity.remote(2), rsim.put(np.arange(LARGE))]

    @rsim.remote
    def total(structure):
        first, second = structure["a"]
        third = next(iter(structure["b"]))
        return rsim.get(first) + rsim.get(second) + int(rsim.get(third).sum())

    structure = {"a": (refs[0], [refs[1]][0]), "b": {refs[2]}}
    assert rsim.get(total.remote(structure)) == 3 + LARGE * (LARGE - 1) // 2
    nested = {"x": [rsim.put(1), (rsim.put(2),)], "y": 3}
    assert rsim.get(look.remote(nested)) == {"x": [1, (2,)], "y": 3}


def test_an_object_holds_the_refs_in_it(rt):
    outer = rsim.put([rsim.put("inner"), identity.remote("other")])
    assert rsim.get(rsim.get(outer)) == ["inner", "other"]


def test_a_ref_from_inside_outlives_the_outer_object(rt):
    outer = rsim.put({"ref": rsim.put(np.arange(LARGE))})
    inner = rsim.get(outer)["ref"]
    del outer
    for _ in range(5):
        rsim.put(np.zeros(LARGE))
    assert rsim.get(inner)[-1] == LARGE - 1


def test_a_ref_made_in_a_task_outlives_it(rt):
    @rsim.remote
    def make(size):
        return [rsim.put(np.full(size, 7)), identity.remote(np.full(size, 8)), rsim.put("small")]

    for size in (10, LARGE):
        first, second, third = rsim.get(make.remote(size))
        assert (rsim.get(first)[-1], rsim.get(second)[-1], rsim.get(third)) == (7, 8, "small")


def test_a_task_holds_the_refs_in_its_arguments(rt):
    ref = identity.remote([rsim.put(np.full(LARGE, 3))])
    (inner,) = rsim.get(ref)
    del ref
    refs = [look.remote([inner]) for _ in range(3)]
    del inner
    assert [each[0][0] for each in rsim.get(refs)] == [3, 3, 3]


def test_a_ref_handed_through_many_tasks(rt):
    @rsim.remote
    def hand_on(refs, times):
        return refs if times == 0 else rsim.get(hand_on.remote(refs, times - 1))

    (ref,) = rsim.get(hand_on.remote([rsim.put("value")], 5))
    assert rsim.get(ref) == "value"


@rsim.remote
def pickled_ref():
    return pickle.dumps([rsim.put("kept")])


@pytest.mark.parametrize("dumps", [pickle.dumps, cloudpickle.dumps])
def test_an_object_is_kept_whose_ref_the_program_has_pickled(rt, dumps):
    ref = rsim.put("kept")
    pickles = [dumps([ref]), dumps({"ref": ref}), rsim.get(pickled_ref.remote())]
    del ref
    for number in range(200):
        rsim.put(number)
    refs = [*pickle.loads(pickles[0]), pickle.loads(pickles[1])["ref"], *pickle.loads(pickles[2])]
    assert rsim.get(refs) == ["kept"] * 3


@rsim.remote
class Counter:
    """Counts."""

    def __init__(self):
        self.count = 0

    def increment(self):
        self.count += 1
        return self.count


def test_an_actor_lives_on_whose_handle_the_program_has_pickled(rt):
    pickled = pickle.dumps(Counter.remote())
    for number in range(200):
        rsim.put(number)
    assert rsim.get(pickle.loads(pickled).increment.remote()) == 1


def test_a_captured_ref(rt):
    ref = rsim.put("captured")

    @rsim.remote
    def use():
        return rsim.get(ref)

    assert rsim.get(use.remote()) == "captured"


def test_a_ref_to_a_ref_to_a_ref(rt):
    ref = rsim.put("deep")
    for _ in range(5):
        ref = rsim.put([ref])
    for _ in range(5):
        (ref,) = rsim.get(ref)
    assert rsim.get(ref) == "deep"


def test_an_object_does_not_hold_itself(rt):
    @rsim.remote(max_concurrency=2)
    class Keeper:
        def __init__(self):
            self.full = threading.Event()

        def keep(self, refs):
            self.refs = refs
            self.full.set()

        def give(self):
            self.full.wait()
            refs, self.refs = self.refs, None
            return refs

    @rsim.remote
    def fetch(keeper):
        return rsim.get(keeper.give.remote())

    keeper = Keeper.remote()
    found = fetch.remote(keeper)
    keeper.keep.remote([found])
    assert rsim.get(found) == [found]
    del found, keeper
    inspecting.await_nothing_left(rt)


def test_a_ref_of_an_ended_session_is_refused(init):
    first = init(num_cpus=1)
    ref = rsim.put("old")
    first.shutdown()
    init(num_cpus=1)
    with pytest.raises((RsimError, ValueError), match="session"):
        rsim.get(ref, timeout=60)
    assert rsim.get(rsim.put("new")) == "new"
