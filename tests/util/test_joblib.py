"""The joblib backend: Parallel over the actors of a pool."""

import os

import joblib
import pytest

from rsim.util.joblib import RsimBackend, register_rsim
from tests.conformance import marks


@pytest.fixture(autouse=True)
def registered(rt):
    register_rsim()
    with joblib.parallel_config(backend="rsim", n_jobs=2):
        yield


def square(number):
    return number * number


def refuse(value):
    raise LookupError(value)


def pid(_):
    return os.getpid()


def test_results_come_in_order():
    assert joblib.Parallel()(joblib.delayed(square)(n) for n in range(50)) == [
        n * n for n in range(50)
    ]
    many = joblib.Parallel(n_jobs=2, batch_size=5, pre_dispatch="all")
    assert many(joblib.delayed(square)(n) for n in range(23)) == [n * n for n in range(23)]


def test_it_runs_elsewhere():
    pids = joblib.Parallel(batch_size=1)(joblib.delayed(pid)(n) for n in range(8))
    assert os.getpid() not in pids and len(set(pids)) <= 2


def test_an_error_is_raised_here():
    with pytest.raises(LookupError, match="bad"):
        joblib.Parallel()(joblib.delayed(refuse)("bad") for _ in range(3))
    assert joblib.Parallel()(joblib.delayed(square)(n) for n in range(3)) == [0, 1, 4]


def test_a_timeout(tmp_path):
    with pytest.raises(TimeoutError):
        joblib.Parallel(timeout=0.05)(
            joblib.delayed(marks.await_marks)(tmp_path, "never") for _ in range(2)
        )


def test_how_many_jobs():
    backend, cpus = RsimBackend(), os.cpu_count()
    assert [backend.effective_n_jobs(n) for n in (None, 3, -1)] == [1, 3, cpus]
    with pytest.raises(ValueError, match="n_jobs"):
        backend.effective_n_jobs(0)
