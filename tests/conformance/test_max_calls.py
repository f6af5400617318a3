"""max_calls: workers that end after so many calls of a function."""

import pytest

import rsim

pytestmark = pytest.mark.usefixtures("rt")


def worker():
    return rsim.get_runtime_context().get_worker_id()


def test_a_worker_ends_after_its_last_call():
    once = rsim.remote(max_calls=1)(worker)
    assert len(set(rsim.get([once.remote() for _ in range(6)]))) == 6


def test_it_makes_as_many_calls_as_it_may():
    twice = rsim.remote(num_cpus=4, max_calls=2)(worker)
    makers = [rsim.get(twice.remote()) for _ in range(6)]
    assert len(set(makers)) == 3
    assert all(makers.count(maker) == 2 for maker in makers)


def test_each_function_is_counted_for_itself():
    bounded = rsim.remote(num_cpus=4, max_calls=2)(worker)
    free = rsim.remote(num_cpus=4)(worker)
    makers = rsim.get([free.remote(), bounded.remote(), free.remote(), free.remote()])
    assert len(set(makers)) == 1
    assert rsim.get(bounded.remote()) == makers[0]
    assert rsim.get(free.remote()) != makers[0]


def test_a_call_that_raises_counts():
    @rsim.remote(num_cpus=4, max_calls=1)
    def fail():
        raise ValueError(worker())

    found = set()
    for _ in range(2):
        with pytest.raises(ValueError) as caught:
            rsim.get(fail.remote())
        found.add(str(caught.value))
    assert len(found) == 2


def test_what_it_returned_stays():
    @rsim.remote(max_calls=1)
    def large():
        return b"x" * 1_000_000

    @rsim.remote
    def length(value):
        return len(value)

    refs = [large.remote() for _ in range(3)]
    assert rsim.get([length.remote(ref) for ref in refs]) == [1_000_000] * 3


def test_actors_hear_nothing_of_it():
    @rsim.remote
    class Counter:
        def add(self, maker):
            return maker

    counter = Counter.remote()
    once = rsim.remote(max_calls=1)(worker)
    assert len(set(rsim.get([counter.add.remote(once.remote()) for _ in range(4)]))) == 4


def test_bad_values_are_refused():
    with pytest.raises(ValueError, match="max_calls"):
        rsim.remote(max_calls=-1)(worker)
    with pytest.raises(ValueError, match="max_calls belongs to the function"):
        rsim.remote(max_calls=1)(worker).options(max_calls=2)
    with pytest.raises(ValueError, match="max_calls is no option"):
        rsim.remote(max_calls=1)(type("C", (), {}))
