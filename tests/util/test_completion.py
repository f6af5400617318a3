"""as_completed and map_unordered: order, chunks, back-pressure, errors."""

import pytest

import rsim
from rsim.util import as_completed, map_unordered
from tests.conformance import marks


@rsim.remote
def double(number):
    return 2 * number


@rsim.remote(num_cpus=0)
def behind(folder, gate):
    marks.await_marks(folder, gate)
    return gate


@rsim.remote
def fail():
    raise KeyError("no")


def test_what_is_ready_comes_first(rt, tmp_path):
    refs = [behind.remote(tmp_path, "gate"), double.remote(1), double.remote(2)]
    values = as_completed(refs, chunk_size=1)
    first = {next(values), next(values)}
    marks.leave(tmp_path, "gate")
    assert first == {2, 4}
    assert list(values) == ["gate"]


def test_all_values_come_whatever_the_chunk(rt):
    for chunk_size in (1, 2, 10):
        refs = [double.remote(number) for number in range(5)]
        assert sorted(as_completed(refs, chunk_size=chunk_size)) == [0, 2, 4, 6, 8]
    assert list(as_completed([])) == []


def test_refs_instead_of_values(rt):
    refs = [double.remote(number) for number in range(3)]
    yielded = list(as_completed(refs, yield_obj_refs=True))
    assert set(yielded) == set(refs) and len(yielded) == 3
    (ref,) = map_unordered(double, [21], yield_obj_refs=True)
    assert rsim.get(ref) == 42


def test_an_error_is_raised_in_its_turn(rt):
    with pytest.raises(KeyError, match="no"):
        list(as_completed([double.remote(1), fail.remote()]))


def test_map_unordered_takes_no_more_items_than_it_may(rt):
    taken = []

    def items():
        for number in range(7):
            taken.append(number)
            yield number

    results = map_unordered(double, items(), backpressure_size=3, chunk_size=1)
    assert taken == []
    first = next(results)
    assert taken == [0, 1, 2]
    assert sorted([first, *results]) == [0, 2, 4, 6, 8, 10, 12]
    assert sorted(map_unordered(double, range(4))) == [0, 2, 4, 6]


def test_wrong_arguments_fail_at_the_call(rt):
    with pytest.raises(ValueError, match="chunk_size must be 1 or more, not 0"):
        as_completed([], chunk_size=0)
    with pytest.raises(TypeError, match="refs must be a list of ObjectRefs"):
        as_completed(rsim.put(1))
    with pytest.raises(ValueError, match="backpressure_size must be 1 or more, not 0"):
        map_unordered(double, [], backpressure_size=0)
    with pytest.raises(TypeError, match="fn must be a remote function"):
        map_unordered(len, [])


def test_map_unordered_calls_methods_too(rt):
    @rsim.remote
    class Doubler:
        def double(self, number):
            return 2 * number

    doubler = Doubler.remote()
    assert sorted(map_unordered(doubler.double, range(3))) == [0, 2, 4]
    with pytest.raises(TypeError, match="or a method of an actor's handle"):
        map_unordered(abs, [1])
