"""How many objects a task gives back: none, one, several."""

import itertools

import pytest

import rsim


def give(*values):
    return values


def test_none(rt):
    ran = rsim.remote(num_returns=0)(give)
    assert ran.remote(1) is None


def test_one_is_the_value_as_it_is(rt):
    assert rsim.get(rsim.remote(num_returns=1)(give).remote(1, 2)) == (1, 2)


def test_one_is_the_default(rt):
    assert isinstance(rsim.remote(give).remote(1), rsim.ObjectRef)


def test_several_are_refs_of_their_own(rt):
    refs = rsim.remote(num_returns=3)(give).remote("a", "b", "c")
    assert len(refs) == len({ref.hex() for ref in refs}) == 3
    assert rsim.get(refs[1]) == "b"
    assert rsim.get(list(refs)) == ["a", "b", "c"]


def test_the_old_name_of_the_option(rt):
    assert rsim.get(rsim.remote(num_return_vals=2)(give).remote(1, 2)) == [1, 2]


def test_one_of_several_may_be_dropped(rt):
    first, second = rsim.remote(num_returns=2)(give).remote(1, 2)
    del first
    assert rsim.get(second) == 2


def test_several_large_and_small(rt):
    @rsim.remote(num_returns=3)
    def sizes():
        return b"s", b"l" * 300_000, [b"m" * 200_000]

    small, large, nested = rsim.get(list(sizes.remote()))
    assert (small, len(large), len(nested[0])) == (b"s", 300_000, 200_000)


def test_a_list_and_a_generator_are_several_values(rt):
    @rsim.remote(num_returns=2)
    def as_list():
        return [1, 2]

    @rsim.remote(num_returns=2)
    def as_generator():
        yield 3
        yield 4

    assert rsim.get([*as_list.remote(), *as_generator.remote()]) == [1, 2, 3, 4]


@pytest.mark.parametrize("values", [(), (1,), (1, 2, 3)])
def test_another_number_than_declared_is_an_error_of_each(rt, values):
    refs = rsim.remote(num_returns=2)(give).remote(*values)
    for ref in refs:
        with pytest.raises(ValueError, match=f"num_returns=2.*{len(values)} value") as caught:
            rsim.get(ref)
        assert isinstance(caught.value, rsim.exceptions.RsimTaskError)


@pytest.mark.parametrize("value", [7, None, itertools.count()])
def test_what_is_no_collection_is_an_error_too(rt, value):
    refs = rsim.remote(num_returns=2)(lambda: value).remote()
    with pytest.raises(TypeError, match=r"num_returns=2, .*has no len\(\)"):
        rsim.get(refs[1])


def test_an_error_is_each_of_the_results(rt):
    @rsim.remote(num_returns=3)
    def fail():
        raise KeyError("lost")

    for ref in fail.remote():
        with pytest.raises(KeyError, match="lost"):
            rsim.get(ref)
