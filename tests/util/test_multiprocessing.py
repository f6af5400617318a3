"""Pool: every method beside what multiprocessing.Pool would give."""

import pytest

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


def test_what_is_refused():
    with pytest.raises(NotImplementedError, match="initializer"):
        Pool(initializer=print)
    with pytest.raises(NotImplementedError, match="maxtasksperchild"):
        Pool(maxtasksperchild=1)
    with pytest.raises(ValueError, match="processes must be 1 or more"):
        Pool(0)
