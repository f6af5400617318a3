"""Executor: its futures know of their tasks, and it keeps its limit."""

import asyncio
import concurrent.futures

import pytest

import rsim
from rsim.util import Executor
from tests.conformance import marks


def behind(folder, gate):
    marks.leave(folder, "begun")
    marks.await_marks(folder, gate)
    return gate


def refuse(value):
    raise ValueError(value)


def test_submit_functions_classes_and_methods(rt):
    with Executor() as executor:
        assert isinstance(executor, concurrent.futures.Executor)
        assert executor.submit(divmod, 7, 2).result() == (3, 1)
        assert executor.submit(int, "11", base=2).result() == 3
        assert executor.submit("a,b".split, ",").result() == ["a", "b"]
        assert executor.submit(abs, rsim.put(-4)).result() == 4


def test_an_exception(rt):
    with Executor() as executor:
        future = executor.submit(refuse, "bad")
        assert isinstance(future.exception(), ValueError)
        with pytest.raises(ValueError, match="bad"):
            future.result()
        assert future.done() and not future.cancelled()


def test_states_timeout_and_callbacks(rt, tmp_path):
    seen = []
    with Executor() as executor:
        future = executor.submit(behind, tmp_path, "gate")
        future.add_done_callback(seen.append)
        with pytest.raises(TimeoutError):
            future.result(timeout=0.01)
        with pytest.raises(TimeoutError):
            future.exception(timeout=0)
        assert future.running() and not future.done() and seen == []
        marks.leave(tmp_path, "gate")
        assert future.result(timeout=60) == "gate"
        assert not future.running() and not future.cancel()
        future.add_done_callback(seen.append)
    assert seen == [future, future]


def test_what_waits_for_futures_knows_those_of_an_executor(rt, tmp_path):
    with Executor() as executor:
        late = executor.submit(behind, tmp_path, "gate")
        early = executor.submit(abs, -1)
        completed = concurrent.futures.as_completed([late, early])
        assert next(completed) is early
        marks.leave(tmp_path, "gate")
        assert list(completed) == [late]
        never = executor.submit(behind, tmp_path, "never")
        never.cancel()
        assert not concurrent.futures.wait([early, late, never]).not_done

        async def call():
            return await asyncio.get_running_loop().run_in_executor(executor, divmod, 7, 2)

        assert asyncio.run(call()) == (3, 1)


def test_a_callback_may_shut_the_executor_down(rt):
    executor = Executor()
    executor.submit(abs, -1).add_done_callback(lambda future: executor.shutdown())
    marks.await_that(lambda: executor._closed)


def test_done_by_polling(rt):
    with Executor() as executor:
        future = executor.submit(sum, [1, 2])
        marks.await_that(future.done)
        assert future.result(timeout=0) == 3


def test_cancel_a_running_task(rt, tmp_path):
    with Executor() as executor:
        future = executor.submit(behind, tmp_path, "never")
        marks.await_marks(tmp_path, "begun")
        assert future.cancel() and future.cancelled() and future.cancel()
        with pytest.raises(concurrent.futures.CancelledError):
            future.result()


@pytest.mark.parametrize("chunksize", [1, 3])
def test_map(rt, chunksize):
    with Executor() as executor:
        assert list(executor.map(pow, range(7), [2] * 9, chunksize=chunksize)) == [
            0, 1, 4, 9, 16, 25, 36,
        ]  # fmt: skip
        with pytest.raises(ValueError, match="bad"):
            list(executor.map(refuse, ["bad"], chunksize=chunksize))


def test_max_workers_bounds_the_unfinished_tasks(rt, tmp_path):
    @rsim.remote(num_cpus=0)
    def open_gate():
        marks.await_marks(tmp_path, "begun")
        marks.leave(tmp_path, "gate")

    with Executor(max_workers=1, num_cpus=0) as executor:
        opened = open_gate.remote()
        first = executor.submit(behind, tmp_path, "gate")
        second = executor.submit(marks.count, tmp_path, "gate")
        # the second was not submitted before the first was over
        assert concurrent.futures.Future.done(first)
        assert second.result() == 1
        rsim.get(opened)


def test_shutdown(rt, tmp_path):
    executor, seen = Executor(), []
    executor.submit(abs, -1).add_done_callback(lambda future: seen.append(future.result()))
    executor.shutdown()
    assert seen == [1]
    with pytest.raises(RuntimeError, match="after its shutdown"):
        executor.submit(abs, -1)

    executor = Executor()
    future = executor.submit(behind, tmp_path, "never")
    marks.await_marks(tmp_path, "begun")
    executor.shutdown(cancel_futures=True)
    assert future.cancelled()


def test_finished_futures_are_forgotten(rt):
    executor = Executor()
    for number in range(200):
        executor.submit(abs, number).result()
    assert len(executor._unfinished) <= 64
    executor.shutdown()


def test_wrong_arguments():
    with pytest.raises(ValueError, match="max_workers must be 1 or more, or None, not 0"):
        Executor(max_workers=0)
    with pytest.raises(ValueError, match="num_returns"):
        Executor(num_returns=2)
    with pytest.raises((TypeError, ValueError), match="num_cpu"):
        Executor(num_cpu=2)
