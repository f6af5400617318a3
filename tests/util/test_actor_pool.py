"""ActorPool: calls shared out among actors, their results in order or not."""

import os

import pytest

import rsim
from rsim.exceptions import ActorDiedError
from rsim.util import ActorPool
from tests.conformance import marks


@rsim.remote(num_cpus=0)
class Actor:
    def __init__(self, name=""):
        self.name = name

    def double(self, number):
        return 2 * number

    def behind(self, folder, gate):
        marks.await_marks(folder, gate)
        return gate

    def refuse(self, number):
        raise LookupError(number)

    def die(self, _):
        os._exit(1)


def double(actor, number):
    return actor.double.remote(number)


def refuse_odd(actor, number):
    return actor.refuse.remote(number) if number % 2 else actor.double.remote(number)


@pytest.fixture
def pool(rt):
    return ActorPool([Actor.remote() for _ in range(2)])


def test_map(pool):
    assert list(pool.map(double, range(7))) == [0, 2, 4, 6, 8, 10, 12]
    assert sorted(pool.map_unordered(double, range(7))) == [0, 2, 4, 6, 8, 10, 12]
    assert list(pool.map(double, [])) == []
    pool.map(double, [1, 2, 3])  # dropped by the next
    assert list(pool.map(double, [4])) == [8]


def test_submit_and_take_in_order(pool):
    for number in range(5):
        pool.submit(double, number)
    assert pool.has_next() and not pool.has_free() and pool.pop_idle() is None
    assert [pool.get_next(timeout=60) for _ in range(5)] == [0, 2, 4, 6, 8]
    assert pool.has_free() and not pool.has_next()
    with pytest.raises(StopIteration, match="no results"):
        pool.get_next()
    with pytest.raises(StopIteration, match="no results"):
        pool.get_next_unordered()


def test_take_as_they_come(pool, tmp_path):
    pool.submit(lambda actor, gate: actor.behind.remote(tmp_path, gate), "gate")
    for number in range(3):
        pool.submit(double, number)
    assert [pool.get_next_unordered() for _ in range(3)] == [0, 2, 4]
    with pytest.raises(TimeoutError, match="not there"):
        pool.get_next_unordered(timeout=0.01)
    with pytest.raises(ValueError, match="after get_next_unordered"):
        pool.get_next()
    marks.leave(tmp_path, "gate")
    assert pool.get_next_unordered() == "gate"
    pool.submit(double, 4)
    assert pool.get_next() == 8


def test_a_late_result_is_kept_or_given_up(pool, tmp_path):
    pool.submit(lambda actor, gate: actor.behind.remote(tmp_path, gate), "gate")
    pool.submit(double, 1)
    with pytest.raises(TimeoutError):
        pool.get_next(timeout=0.01)
    with pytest.raises(TimeoutError, match="given up"):
        pool.get_next(timeout=0.01, ignore_if_timedout=True)
    assert pool.get_next() == 2
    marks.leave(tmp_path, "gate")
    assert list(pool.map(double, range(3))) == [0, 2, 4]


def test_an_actor_whose_call_raised_goes_on(pool):
    for number in range(4):
        pool.submit(refuse_odd, number)
    assert pool.get_next() == 0
    with pytest.raises(LookupError):
        pool.get_next()
    assert pool.get_next() == 4
    with pytest.raises(LookupError):
        pool.get_next_unordered()
    assert list(pool.map(double, range(4))) == [0, 2, 4, 6]


def test_a_dead_actor_is_left_out(pool):
    pool.submit(lambda actor, _: actor.die.remote(_), 0)
    for number in range(3):
        pool.submit(double, number)
    with pytest.raises(ActorDiedError):
        pool.get_next()
    assert [pool.get_next() for _ in range(3)] == [0, 2, 4]
    assert pool.pop_idle() is not None and pool.pop_idle() is None
    pool.submit(double, 5)
    with pytest.raises(ValueError, match="no actors"):
        pool.get_next()
    pool.push(Actor.remote())
    assert pool.get_next() == 10


def test_push_and_pop(pool):
    actor = pool.pop_idle()
    with pytest.raises(ValueError, match="already"):
        pool.push(pool._idle_actors[0])
    pool.push(actor)
    assert pool.pop_idle() != actor and pool.pop_idle() == actor


def test_a_derived_pool_can_do_without_its_methods(pool):
    """As those of libraries for Ray do, which know its fields."""

    class Keyed(ActorPool):
        def take(self, key):
            index, actor = self._future_to_actor.pop(key)
            self._return_actor(actor)
            return index, rsim.get(self._index_to_future.pop(index))

    derived = Keyed([pool.pop_idle()])
    for number in range(3):
        derived.submit(double, number)
    assert len(derived._pending_submits) == 2 and derived._idle_actors == []
    taken = [derived.take(next(iter(derived._future_to_actor))) for _ in range(3)]
    assert taken == [(0, 0), (1, 2), (2, 4)] and not derived.has_next()


def test_what_must_return_a_ref(pool):
    with pytest.raises(TypeError, match="must return a ref"):
        pool.submit(lambda actor, value: value, 3)
    assert pool.has_free() and not pool.has_next()


def test_methods_with_several_results(pool):
    @rsim.remote
    class Pairs:
        @rsim.method(num_returns=2)
        def pair(self, number):
            return number, -number

    pool = ActorPool([Pairs.remote() for _ in range(2)])
    found = list(pool.map(lambda actor, number: actor.pair.remote(number), range(3)))
    assert found == [[0, 0], [1, -1], [2, -2]]
    pool.submit(lambda actor, number: actor.pair.remote(number), 5)
    assert pool.get_next_unordered() == [5, -5]
