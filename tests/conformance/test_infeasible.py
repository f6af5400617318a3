"""Tasks that no node can ever run: told at once, listed, and no reason to wait for ever."""

import pytest

import rsim
from tests.conformance import marks


@rsim.remote
def identity(value):
    return value


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"num_cpus": 100}, "CPU"),
        ({"num_gpus": 1}, "GPU"),
        ({"resources": {"unicorn": 1}}, "unicorn"),
        ({"num_cpus": 4.0001}, "CPU"),
        ({"memory": 1 << 49}, "memory"),
    ],
)
def test_it_warns_at_once_and_is_listed(rt, capfd, options, named):
    ref = identity.options(**options).remote(1)
    text = ""

    def warned():
        nonlocal text
        captured = capfd.readouterr()
        text += captured.out + captured.err
        return named in text

    marks.await_that(warned, "the warning")
    assert "identity" in text
    marks.await_that(rt.infeasible, "the list")
    (line,) = rt.infeasible()
    assert "identity" in line
    assert named in line
    with pytest.raises(rsim.exceptions.GetTimeoutError):
        rsim.get(ref, timeout=0.05)
    assert rsim.wait([ref], timeout=0) == ([], [ref])


def test_others_run_meanwhile(rt):
    never = identity.options(num_cpus=100).remote(1)
    assert rsim.get([identity.remote(number) for number in range(10)]) == list(range(10))
    assert rsim.wait([never], timeout=0) == ([], [never])


def test_it_can_be_cancelled(rt):
    ref = identity.options(resources={"unicorn": 1}).remote(1)
    marks.await_that(rt.infeasible, "the list")
    rsim.cancel(ref)
    with pytest.raises(rsim.exceptions.TaskCancelledError):
        rsim.get(ref, timeout=60)
    assert rt.infeasible() == []


def test_all_that_a_node_has_is_feasible(rt):
    assert rsim.get(identity.options(num_cpus=4).remote(1)) == 1
    assert rt.infeasible() == []


def test_many_that_ask_for_the_same_are_one_warning(rt, capfd):
    refs = [identity.options(resources={"unicorn": 1}).remote(number) for number in range(20)]
    marks.await_that(lambda: len(rt.infeasible()) == 20, "the list")
    rsim.get(identity.remote(0))
    captured = capfd.readouterr()
    assert (captured.out + captured.err).count("unicorn") == 1
    assert rsim.wait(refs, timeout=0)[0] == []
