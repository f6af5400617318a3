"""The calls inside tasks, on the real backends."""

import pytest

import rsim


@rsim.remote
def add(a: int, b: int) -> int:
    return a + b


@rsim.remote
def fibonacci(n: int) -> int:
    if n < 2:
        return n
    return sum(rsim.get([fibonacci.remote(n - 1), fibonacci.remote(n - 2)]))


def test_tasks_submit_tasks(real_session: rsim.Session) -> None:
    assert rsim.get(fibonacci.remote(5)) == 5
    assert rsim.get(add.remote(add.remote(1, 2), b=rsim.put(3))) == 6


def test_remote_functions_and_refs_travel(real_session: rsim.Session) -> None:
    @rsim.remote(num_returns=2)
    def apply(function, refs):  # type: ignore[no-untyped-def]
        (ready,), rest = rsim.wait(refs, num_returns=1)
        return function, [function.remote(rsim.get(ready), rsim.get(rest[0])), rsim.put("put")]

    function, refs = rsim.get(apply.remote(add, [rsim.put(1), rsim.put(2)]))
    assert rsim.get(refs) == [3, "put"]
    assert rsim.get(function.remote(3, 4)) == 7


def test_init_and_shutdown_in_a_task_are_refused(real_session: rsim.Session) -> None:
    @rsim.remote
    def attempt(call):  # type: ignore[no-untyped-def]
        assert rsim.is_initialized()
        call()

    for call in (rsim.init, rsim.shutdown):
        with pytest.raises(RuntimeError, match="inside a task"):
            rsim.get(attempt.remote(call))
    rsim.get(attempt.remote(lambda: rsim.init(ignore_reinit_error=True)))


@pytest.mark.parametrize("address", ["sim", "local"])
def test_one_runtime_after_another(address: str) -> None:
    for _ in range(2):
        with rsim.init(address, num_cpus=1):
            assert rsim.get(fibonacci.remote(3)) == 2
        assert not rsim.is_initialized()


def test_worker_deaths_do_not_mix_up_functions() -> None:
    faults = rsim.sim.Faults(kill_worker=0.4, max_faults=6)

    @rsim.remote(max_retries=-1)
    def nested(depth):  # type: ignore[no-untyped-def]
        # each is a new function in each attempt of this task
        first = rsim.remote(lambda: "first").options(max_retries=-1)
        second = rsim.remote(lambda: "second").options(max_retries=-1)
        inner = [nested.remote(depth - 1)] if depth else []
        return rsim.get([first.remote(), second.remote(), *inner])

    for seed in range(20):
        with rsim.init("sim", num_cpus=2, seed=seed, faults=faults):
            result = rsim.get(nested.remote(2))
        assert result == ["first", "second", ["first", "second", ["first", "second"]]]
