"""`num_returns="dynamic"`: one ref, to the refs of all that a generator yields."""

import numpy as np
import pytest

import rsim
from rsim.exceptions import RsimTaskError
from tests.conformance import marks

MIB = 1 << 20
LARGE = 200_000
"""Bytes that do not travel inline."""


def dynamic(function, **options):
    with pytest.warns(DeprecationWarning, match="streaming"):
        return rsim.remote(num_returns="dynamic", **options)(function)


def test_one_ref_to_the_refs_of_all(rt):
    ref = dynamic(lambda number: (index for index in range(number))).remote(3)
    assert type(ref) is rsim.ObjectRef
    refs = rsim.get(ref)
    assert isinstance(refs, rsim.DynamicObjectRefGenerator) and len(refs) == 3
    assert rsim.get(list(refs)) == [0, 1, 2]


def fail_after(number, size):
    for index in range(number):
        yield np.full(size, index, dtype=np.uint8)
    raise ValueError("broken")


@pytest.mark.parametrize("size", [1, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("number", [0, 2])
def test_what_a_generator_has_raised_is_the_last_ref(rt, number, size):
    refs = list(rsim.get(dynamic(fail_after).remote(number, size)))
    assert [int(rsim.get(ref)[0]) for ref in refs[:-1]] == list(range(number))
    with pytest.raises(ValueError, match="broken"):
        rsim.get(refs[-1])


def test_an_error_among_the_refs_can_be_passed_on(rt):
    @rsim.remote
    def last(refs):
        return list(refs)[-1:]

    @rsim.remote
    def identity(value):
        return value

    (ref,) = rsim.get(last.remote(dynamic(fail_after).remote(1, 1)))
    assert rsim.wait([ref]) == ([ref], [])
    with pytest.raises(RsimTaskError, match="broken"):
        rsim.get(identity.remote(ref))


@rsim.remote
class Numbers:
    def fail_after(self, number):
        yield from range(number)
        raise ValueError("broken")


@rsim.remote
class AsyncNumbers:
    async def fail_after(self, number):
        for index in range(number):
            yield index
        raise ValueError("broken")


@pytest.mark.parametrize("actor", [Numbers, AsyncNumbers])
def test_a_method_that_raises_after_some_values(rt, actor):
    with pytest.warns(DeprecationWarning, match="streaming"):
        method = actor.remote().fail_after.options(num_returns="dynamic")
    first, last = rsim.get(method.remote(1))
    assert rsim.get(first) == 0
    with pytest.raises(ValueError, match="broken"):
        rsim.get(last)


def test_what_was_yielded_before_a_retry_is_not_the_result(rt, tmp_path):
    def flaky(folder):
        marks.leave(folder, "ran")
        yield 1
        if marks.count(folder, "ran") == 1:
            raise ValueError("the first time")
        yield 2

    function = dynamic(flaky, max_retries=1, retry_exceptions=[ValueError])
    assert rsim.get(list(rsim.get(function.remote(tmp_path)))) == [1, 2]


def test_after_the_last_retry_there_are_no_refs(rt):
    with pytest.raises(ValueError, match="broken"):
        rsim.get(dynamic(fail_after, max_retries=1, retry_exceptions=True).remote(2, 1))


def test_a_value_that_cannot_be_pickled_is_the_last_ref(rt):
    def odd():
        yield 1
        yield (each for each in ())

    first, last = rsim.get(dynamic(odd).remote())
    assert rsim.get(first) == 1
    with pytest.raises(RsimTaskError, match="yielded value"):
        rsim.get(last)


def test_lost_values_are_made_again_and_errors_with_them(init, tmp_path):
    session = init(num_cpus=1)
    session.add_node(name="home", num_cpus=1, resources={"home": 1})
    refs = list(rsim.get(dynamic(fail_after, resources={"home": 1}).remote(2, LARGE)))
    with pytest.raises(ValueError, match="broken"):
        rsim.get(refs[-1])
    session.remove_node("home")
    session.add_node(name="new home", num_cpus=1, resources={"home": 1})
    assert [int(rsim.get(ref)[0]) for ref in refs[:-1]] == [0, 1]
    with pytest.raises(ValueError, match="broken"):
        rsim.get(refs[-1])


def test_a_run_that_raises_earlier_changes_no_value_that_is_there(init, tmp_path):
    session = init(num_cpus=1, resources={"here": 1}, object_store_memory=20 * MIB)
    session.add_node(name="far", num_cpus=1, resources={"far": 1})

    def shorter(folder):
        marks.leave(folder, "ran")
        yield np.full(8 * MIB, 3, dtype=np.uint8)
        if marks.count(folder, "ran") > 1:
            raise ValueError("not again")
        yield "small"

    @rsim.remote(resources={"far": 1})
    def last(array):
        return np.full(LARGE, array[-1])

    first, second = rsim.get(dynamic(shorter, resources={"here": 1}).remote(tmp_path))
    result = last.remote(first)
    rsim.wait([result], fetch_local=False)
    del first
    others = [rsim.put(np.zeros(8 * MIB, dtype=np.uint8)) for _ in range(2)]  # no room for it
    session.remove_node("far")
    session.add_node(name="new far", num_cpus=1, resources={"far": 1})
    assert rsim.get(result)[0] == 3
    assert (marks.count(tmp_path, "ran"), len(others)) == (2, 2)
    assert rsim.get(second) == "small"


def test_a_run_that_raises_earlier_leaves_the_rest_lost(init, tmp_path):
    session = init(num_cpus=1)
    session.add_node(name="home", num_cpus=1, resources={"home": 1})

    def shorter(folder):
        marks.leave(folder, "ran")
        yield np.zeros(LARGE)
        if marks.count(folder, "ran") > 1:
            raise ValueError("not again")
        yield np.ones(LARGE)

    function = dynamic(shorter, resources={"home": 1}, max_retries=2)
    first, second = rsim.get(function.remote(tmp_path))
    session.remove_node("home")
    session.add_node(name="new home", num_cpus=1, resources={"home": 1})
    assert rsim.get(first)[0] == 0
    with pytest.raises(ValueError, match="not again"):
        rsim.get(second)
