"""Workers that die: retries, and what is told when none is left."""

import ctypes
import os
import signal
import sys

import pytest

import rsim
from rsim.exceptions import RsimTaskError, WorkerCrashedError
from tests.conformance import marks


def leave_by_exit():
    os._exit(3)


def leave_by_kill():
    os.kill(os.getpid(), signal.SIGKILL)


def leave_by_abort():
    os.abort()


def leave_in_good_order():
    sys.exit()


def leave_with_a_word():
    sys.exit("done with it")


DEATHS = [leave_by_exit, leave_by_kill, leave_by_abort, leave_in_good_order, leave_with_a_word]


@rsim.remote
def identity(value):
    return value


@rsim.remote
def die(folder, how, times, value=None):
    """Dies in its first executions; returns the value in the next."""
    marks.leave(folder, "ran")
    if marks.count(folder, "ran") <= times:
        how()
    return value


@pytest.mark.parametrize("how", DEATHS)
def test_a_task_is_retried_when_its_worker_dies(rt, tmp_path, how):
    assert rsim.get(die.remote(tmp_path, how, 2, "value")) == "value"
    assert marks.count(tmp_path, "ran") == 3


@pytest.mark.parametrize("how", DEATHS)
@pytest.mark.parametrize("max_retries", [0, 2])
def test_in_the_end_it_is_an_error(rt, tmp_path, how, max_retries):
    ref = die.options(max_retries=max_retries).remote(tmp_path, how, 99)
    with pytest.raises(WorkerCrashedError, match="die"):
        rsim.get(ref)
    assert marks.count(tmp_path, "ran") == max_retries + 1
    assert rsim.get(identity.remote(1)) == 1


def test_three_retries_are_the_default(rt, tmp_path):
    with pytest.raises(WorkerCrashedError):
        rsim.get(die.remote(tmp_path, leave_by_exit, 99))
    assert marks.count(tmp_path, "ran") == 4


def test_any_number_of_retries(rt, tmp_path):
    ref = die.options(max_retries=-1).remote(tmp_path, leave_by_exit, 6, "value")
    assert rsim.get(ref) == "value"
    assert marks.count(tmp_path, "ran") == 7


@pytest.mark.parametrize("backend", ["local"])
def test_a_segmentation_fault_tells_where_it_was(rt, tmp_path, capfd):
    def fault():
        ctypes.string_at(0)

    assert rsim.get(die.remote(tmp_path, fault, 1, "value")) == "value"
    with pytest.raises(WorkerCrashedError):
        rsim.get(die.options(max_retries=0).remote(tmp_path, fault, 99))
    printed = capfd.readouterr().err
    assert "Segmentation fault" in printed and "in fault" in printed


def test_others_are_not_disturbed(rt, tmp_path):
    refs = []
    for number in range(20):
        if number % 5 == 0:
            (tmp_path / str(number)).mkdir()
            refs.append(die.remote(tmp_path / str(number), leave_by_kill, 1, number))
        else:
            refs.append(identity.options(max_retries=0).remote(number))
    assert rsim.get(refs) == list(range(20))


def test_a_crash_flows_through_dependants(rt, tmp_path):
    ref = identity.remote(die.options(max_retries=0).remote(tmp_path, leave_by_exit, 99))
    with pytest.raises(WorkerCrashedError):
        rsim.get(ref)


def test_a_crash_is_each_of_the_results(rt, tmp_path):
    refs = die.options(max_retries=0, num_returns=2).remote(tmp_path, leave_by_exit, 99)
    for ref in refs:
        with pytest.raises(WorkerCrashedError):
            rsim.get(ref)


def test_a_parent_that_dies_runs_its_children_again(rt, tmp_path):
    @rsim.remote
    def parent(folder):
        refs = [identity.remote(number) for number in range(3)]
        marks.leave(folder, "ran")
        total = sum(rsim.get(refs))
        if marks.count(folder, "ran") == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return total + sum(rsim.get([identity.remote(number) for number in range(3)]))

    assert rsim.get(parent.remote(tmp_path)) == 6
    assert marks.count(tmp_path, "ran") == 2


def test_what_a_dead_parent_had_started_is_not_its_retrys_business(rt, tmp_path):
    @rsim.remote
    def child(folder, number):
        marks.leave(folder, "child")
        return number

    @rsim.remote
    def parent(folder):
        refs = [child.remote(folder, number) for number in range(4)]
        marks.leave(folder, "parent")
        if marks.count(folder, "parent") <= 2:
            os._exit(1)
        return rsim.get(refs)

    assert rsim.get(parent.remote(tmp_path)) == [0, 1, 2, 3]


def test_a_worker_that_dies_while_it_waits(init, tmp_path):
    init(num_cpus=1)

    @rsim.remote
    def child(folder, pid):
        marks.leave(folder, "ran")
        if marks.count(folder, "ran") == 1:
            os.kill(pid, signal.SIGKILL)
        return 5

    @rsim.remote
    def parent(folder):
        return rsim.get(child.remote(folder, os.getpid()))

    assert rsim.get(parent.remote(tmp_path)) == 5


# -- retry_exceptions ------------------------------------------------------------------------------


@rsim.remote
def fail_first(folder, error, times):
    marks.leave(folder, "ran")
    if marks.count(folder, "ran") <= times:
        raise error
    return "value"


def test_user_exceptions_are_not_retried(rt, tmp_path):
    with pytest.raises(KeyError):
        rsim.get(fail_first.remote(tmp_path, KeyError(), 1))
    assert marks.count(tmp_path, "ran") == 1


@pytest.mark.parametrize("wanted", [True, [KeyError], [ValueError, LookupError], (KeyError,)])
def test_unless_asked_for(rt, tmp_path, wanted):
    task = fail_first.options(retry_exceptions=wanted)
    assert rsim.get(task.remote(tmp_path, KeyError(), 2)) == "value"
    assert marks.count(tmp_path, "ran") == 3


def test_only_those_asked_for(rt, tmp_path):
    task = fail_first.options(retry_exceptions=[ValueError])
    with pytest.raises(KeyError):
        rsim.get(task.remote(tmp_path, KeyError(), 1))
    assert marks.count(tmp_path, "ran") == 1


def test_max_retries_bounds_them(rt, tmp_path):
    task = fail_first.options(retry_exceptions=True, max_retries=2)
    with pytest.raises(KeyError) as caught:
        rsim.get(task.remote(tmp_path, KeyError("still"), 99))
    assert isinstance(caught.value, RsimTaskError)
    assert marks.count(tmp_path, "ran") == 3
