"""Pool: every method beside what multiprocessing.Pool would give."""

import os
import threading
from functools import partial

import pytest

from rsim.exceptions import ActorDiedError, ActorUnavailableError
from rsim.util.multiprocessing import Pool, TimeoutError
from tests.conformance import marks


def square(number):
    return number * number


def refuse(value):
    raise ValueError(value)


def behind(folder, gate):
    marks.leave(folder, "begun")
    marks.await_marks(folder, gate)
    return gate


def test_apply(rt):
    with Pool(2) as pool:
        assert pool.apply(int, ("11",), {"base": 2}) == 3
        with pytest.raises(ValueError, match="bad"):
            pool.apply(refuse, ("bad",))


@pytest.mark.parametrize("chunksize", [None, 1, 4, 100])
def test_map_and_starmap(rt, chunksize):
    with Pool(2) as pool:
        squares = [square(number) for number in range(10)]
        assert pool.map(square, iter(range(10)), chunksize) == squares
        assert pool.map_async(square, range(10), chunksize).get() == squares
        assert pool.starmap(pow, [(2, 3), (3, 2)], chunksize) == [8, 9]
        assert pool.starmap_async(pow, [(2, 3)], chunksize).get() == [8]
        assert pool.map(square, [], chunksize) == []


def test_imap(rt, tmp_path):
    with Pool(2, num_cpus=0) as pool:
        assert list(pool.imap(square, range(5), chunksize=2)) == [0, 1, 4, 9, 16]
        assert sorted(pool.imap_unordered(square, range(5), chunksize=2)) == [0, 1, 4, 9, 16]

        def work(number):
            return behind(tmp_path, "gate") if number == 0 else number

        unordered = pool.imap_unordered(work, range(2))
        first = next(unordered)
        marks.leave(tmp_path, "gate")
        assert [first, *unordered] == [1, "gate"]


def test_a_result_is_ready_when_its_callback_has_run(rt):
    values, begun, gate = [], threading.Event(), threading.Event()

    def callback(value):
        begun.set()
        gate.wait(60)
        values.append(value)

    with Pool(1) as pool:
        result = pool.apply_async(square, (3,), callback=callback)
        assert begun.wait(60)
        assert not result.ready()
        gate.set()
        result.wait(60)
        assert values == [9] and result.ready()


def test_a_callback_may_look_at_its_result(rt):
    found = []
    with Pool(1) as pool:
        result = pool.apply_async(square, (3,), callback=lambda _: found.append(result.get(60)))
        result.wait(60)
    assert found == [9]


def test_async_result(rt, tmp_path):
    with Pool() as pool:
        values, errors = [], []
        result = pool.apply_async(behind, (tmp_path, "gate"), {}, values.append, errors.append)
        assert not result.ready()
        with pytest.raises(TimeoutError):
            result.get(timeout=0.01)
        with pytest.raises(ValueError, match="not ready"):
            result.successful()
        marks.leave(tmp_path, "gate")
        result.wait(60)
        assert result.successful() and result.get() == "gate" and values == ["gate"]
        failed = pool.map_async(refuse, ["bad"], error_callback=errors.append)
        failed.wait()
        assert not failed.successful() and len(errors) == 1
        assert isinstance(errors[0], ValueError)


def test_close_and_join(rt):
    pool, values = Pool(), []
    pool.map_async(square, range(3), callback=values.append)
    with pytest.raises(ValueError, match="still running"):
        pool.join()
    pool.close()
    with pytest.raises(ValueError, match="not running"):
        pool.apply(square, (1,))
    pool.join()
    assert values == [[0, 1, 4]]


def test_terminate_cancels(rt, tmp_path):
    with Pool() as pool:
        result = pool.apply_async(behind, (tmp_path, "never"))
        marks.await_marks(tmp_path, "begun")
    pool.join()
    assert result.ready() and not result.successful()


def test_imap_with_a_timeout(rt, tmp_path):
    with Pool(1) as pool:
        results = pool.imap(partial(behind, tmp_path), ["gate"])
        with pytest.raises(TimeoutError, match="not there"):
            results.next(timeout=0.01)
        marks.leave(tmp_path, "gate")
        assert results.next(timeout=60) == "gate"
        with pytest.raises(StopIteration):
            results.next()
        failing = pool.imap(refuse, ["bad", "worse"])
        for word in ("bad", "worse"):
            with pytest.raises(ValueError, match=word):
                next(failing)


STATE = {}


def set_up(**values):
    STATE.update(values)


def look_up(name):
    return STATE.get(name), os.getpid()


def test_the_initializer_runs_in_each_process(rt):
    with Pool(2, partial(set_up, a=1), max_restarts=0) as pool:
        found = pool.map(look_up, ["a"] * 8, chunksize=1)
        assert {value for value, _ in found} == {1}
        assert 1 <= len({pid for _, pid in found}) <= 2
    with Pool(1, refuse, ("no",)) as pool, pytest.raises(ActorDiedError, match="no"):
        pool.apply(look_up, ("a",))


def test_a_process_makes_so_many_calls_only(rt):
    with Pool(1, maxtasksperchild=2) as pool:
        pids = [pool.apply(look_up, ("a",))[1] for _ in range(5)]
        assert pids[0] == pids[1] and pids[2] == pids[3]
        assert len(set(pids)) == 3


def test_processes_are_a_limit(rt, tmp_path):
    with Pool(1) as pool:
        first = pool.apply_async(behind, (tmp_path, "gate"))
        second = pool.apply_async(marks.leave, (tmp_path, "second"))
        marks.await_marks(tmp_path, "begun")
        assert marks.count(tmp_path, "second") == 0 and not second.ready()
        marks.leave(tmp_path, "gate")
        assert first.get(60) == "gate" and second.get(60) is None


def test_a_process_that_dies_is_replaced(rt):
    with Pool(1) as pool:
        with pytest.raises(ActorUnavailableError):
            pool.apply(os._exit, (1,))
        assert pool.apply(square, (3,)) == 9


def test_what_is_refused():
    with pytest.raises(TypeError, match="initializer must be callable"):
        Pool(initializer=3)
    for name in ("processes", "maxtasksperchild"):
        with pytest.raises(ValueError, match=f"{name} must be 1 or more"):
            Pool(**{name: 0})
