"""get and wait: order, timeouts, and what they refuse."""

import time

import pytest

import rsim
from tests.conformance import marks


@rsim.remote
def identity(value):
    return value


@rsim.remote(num_cpus=0)
def behind(folder, gate, value):
    """The value, once the gate's mark is left."""
    marks.await_marks(folder, gate)
    return value


@pytest.fixture
def closed(rt, tmp_path):
    """Makes refs to tasks that wait for a gate; all gates are open in the end."""
    gates = set()

    def make(gate, value=None):
        gates.add(gate)
        return behind.remote(tmp_path, gate, value)

    yield make
    for gate in gates:
        marks.leave(tmp_path, gate)


# -- get -------------------------------------------------------------------------------------------


def test_get_keeps_the_order_given(rt):
    refs = [identity.remote(number) for number in range(10)]
    assert rsim.get(refs[::-1]) == list(range(10))[::-1]


def test_get_the_same_ref_twice_in_a_list_and_again(rt):
    ref = identity.remote([1])
    assert rsim.get([ref, ref]) == [[1], [1]]
    assert rsim.get(ref) == [1]


def test_get_nothing(rt):
    assert rsim.get([]) == []


@pytest.mark.parametrize("timeout", [0, 0.05])
def test_get_in_vain_raises_timeout_error(closed, timeout):
    done, ref = identity.remote(1), closed("gate")
    rsim.wait([done])
    with pytest.raises(rsim.exceptions.GetTimeoutError, match=ref.hex()) as caught:
        rsim.get([done, ref], timeout=timeout)
    assert isinstance(caught.value, TimeoutError)


def test_get_in_time(closed, tmp_path):
    ref = closed("gate", "value")
    with pytest.raises(TimeoutError):
        rsim.get(ref, timeout=0)
    marks.leave(tmp_path, "gate")
    assert rsim.get(ref, timeout=60) == "value"
    assert rsim.get(ref, timeout=0) == "value"


def test_get_in_a_task_times_out_as_well(closed):
    @rsim.remote
    def impatient(refs):
        try:
            return rsim.get(refs[0], timeout=0.02)
        except TimeoutError as error:
            return type(error).__name__

    assert rsim.get(impatient.remote([closed("gate")])) == "GetTimeoutError"


def test_get_raises_the_first_error_without_waiting_for_the_rest(closed):
    @rsim.remote
    def fail():
        raise KeyError("early")

    with pytest.raises(KeyError, match="early"):
        rsim.get([closed("gate"), fail.remote(), closed("other")])


@pytest.mark.parametrize("refs", [1, "ref", None, {"a": 1}])
def test_get_refuses_what_is_no_ref(rt, refs):
    with pytest.raises((TypeError, ValueError), match="ObjectRef"):
        rsim.get(refs)


def test_get_refuses_a_list_with_something_else_in_it(rt):
    with pytest.raises((TypeError, ValueError), match="ObjectRef"):
        rsim.get([rsim.put(1), 2])


def test_get_refuses_a_negative_timeout(rt):
    with pytest.raises(ValueError, match="timeout"):
        rsim.get(rsim.put(1), timeout=-1)


# -- wait ------------------------------------------------------------------------------------------


def test_wait_gives_ready_and_others_each_in_the_order_given(closed, tmp_path):
    refs = [closed(gate, gate) for gate in "abcd"]
    for gate in "db":
        marks.leave(tmp_path, gate)
    ready, rest = rsim.wait(refs, num_returns=2)
    assert (ready, rest) == ([refs[1], refs[3]], [refs[0], refs[2]])
    assert rsim.get(ready) == ["b", "d"]


def test_wait_returns_one_unless_told_otherwise(rt):
    refs = [identity.remote(number) for number in range(4)]
    rsim.get(refs)
    assert rsim.wait(refs) == (refs[:1], refs[1:])


def test_wait_never_returns_more_than_asked_for(rt):
    refs = [rsim.put(number) for number in range(5)]
    ready, rest = rsim.wait(refs, num_returns=3)
    assert (ready, rest) == (refs[:3], refs[3:])


def test_wait_for_all(rt):
    refs = [identity.remote(number) for number in range(20)]
    assert rsim.wait(refs, num_returns=20) == (refs, [])


def test_wait_returns_fewer_when_its_time_is_up(closed):
    refs = [closed("gate"), rsim.put(1)]
    assert rsim.wait(refs, num_returns=2, timeout=0.05) == ([refs[1]], [refs[0]])


def test_wait_without_time_is_a_look(closed):
    refs = [closed("gate")]
    assert rsim.wait(refs, timeout=0) == ([], refs)
    done = [rsim.put(1)]
    assert rsim.wait(done, timeout=0) == (done, [])


def test_wait_counts_a_failed_task_as_ready(closed):
    @rsim.remote
    def fail():
        raise ValueError

    refs = [closed("gate"), fail.remote()]
    assert rsim.wait(refs) == ([refs[1]], [refs[0]])


def test_wait_for_nothing(rt):
    assert rsim.wait([]) == ([], [])


@pytest.mark.parametrize("fetch_local", [True, False])
def test_wait_for_a_large_object(rt, fetch_local):
    refs = [identity.remote(b"x" * 300_000)]
    assert rsim.wait(refs, fetch_local=fetch_local) == (refs, [])
    assert len(rsim.get(refs[0])) == 300_000


def test_as_completed(closed, tmp_path):
    """The tutorial's way to take results as they come."""
    rest = [closed(gate, gate) for gate in "abc"]
    taken = []
    for gate in "cab":
        marks.leave(tmp_path, gate)
        ready, rest = rsim.wait(rest)
        taken += rsim.get(ready)
    assert (taken, rest) == (["c", "a", "b"], [])


def test_wait_in_a_task(closed, tmp_path):
    @rsim.remote
    def choose(refs):
        ready, rest = rsim.wait(refs)
        return rsim.get(ready), len(rest)

    chosen = choose.remote([closed("a", "a"), closed("b", "b")])
    marks.leave(tmp_path, "b")
    assert rsim.get(chosen) == (["b"], 1)


@pytest.mark.parametrize(
    ("options", "error", "names"),
    [
        ({"num_returns": 0}, ValueError, "num_returns"),
        ({"num_returns": 3}, ValueError, "num_returns"),
        ({"num_returns": -1}, ValueError, "num_returns"),
        ({"timeout": -1}, ValueError, "timeout"),
    ],
)
def test_wait_refuses_impossible_numbers(rt, options, error, names):
    with pytest.raises(error, match=names):
        rsim.wait([rsim.put(1), rsim.put(2)], **options)


def test_wait_refuses_what_is_no_list_of_refs(rt):
    ref = rsim.put(1)
    with pytest.raises(TypeError, match="list"):
        rsim.wait(ref)
    with pytest.raises(TypeError, match="ObjectRef"):
        rsim.wait([ref, 1])
    with pytest.raises(ValueError, match=r"(?i)unique|twice|duplicate"):
        rsim.wait([ref, ref])


def test_what_a_wait_has_left_over_is_looked_at_again(rt):
    ready, others = rsim.wait([rsim.put(n) for n in range(4)])
    assert rsim.get(ready + others) == [0, 1, 2, 3]
    others[1] = others[0]
    with pytest.raises(ValueError, match=r"(?i)unique|twice|duplicate"):
        rsim.wait(others)
    others[1] = "no ref"
    with pytest.raises(TypeError):
        rsim.wait(others)
    others[1] = rsim.put(5)
    ready, others = rsim.wait(others, num_returns=2)
    assert rsim.get(ready + others) == [1, 5, 3]


def test_a_long_task_is_not_taken_for_a_deadlock(rt):
    @rsim.remote
    def long():
        time.sleep(0.6)  # user program: longer than a driver waits before it looks
        return "done"

    assert rsim.get(long.remote()) == "done"
