"""init, shutdown and the session, on a backend that does nothing."""

import subprocess
import sys
from typing import Any

import pytest

import rsim
from rsim.runtime import current

pytestmark = pytest.mark.usefixtures("fake_backends")


def test_session_tells_about_its_backend() -> None:
    session = rsim.init(num_cpus=2, resources={"slot": 0.5}, namespace="n")
    assert rsim.is_initialized()
    assert (session.address, session["address"], session["namespace"]) == ("local", "local", "n")
    assert (session.now(), session.digest(), session.infeasible()) == (1.5, "d1", [])
    assert session.poke() == "poked"
    assert session.config.num_cpus == 2
    assert session.config.resources == {"slot": 0.5}
    assert "address='local'" in repr(session)
    with pytest.raises(AttributeError, match="'local' has no attribute 'missing'"):
        _ = session.missing
    with pytest.raises(KeyError, match="a session has address"):
        session["missing"]


def test_shutdown_ends_the_session_once() -> None:
    with rsim.init() as session:
        backend = session._backend
    rsim.shutdown()
    session.shutdown()
    assert backend.shutdowns == 1
    assert not rsim.is_initialized()


def test_ended_session_still_tells_what_was() -> None:
    with rsim.init() as session:
        pass
    assert (session.now(), session.digest(), session.spare) == (1.5, "d1", "spare")
    assert session.trace is not None
    assert "ended" in repr(session)
    with pytest.raises(RuntimeError, match="poke cannot be called any more"):
        _ = session.poke


def test_ended_session_does_not_end_the_next() -> None:
    first = rsim.init()
    rsim.shutdown()
    second = rsim.init()
    first.shutdown()
    assert rsim.is_initialized()
    assert second.poke() == "poked"


def test_second_init_is_an_error_unless_ignored() -> None:
    session = rsim.init()
    with pytest.raises(RuntimeError, match="ignore_reinit_error=True"):
        rsim.init()
    with pytest.raises(TypeError, match="ignore_reinit_error must be True or False, not 1"):
        rsim.init(ignore_reinit_error=1)  # type: ignore[arg-type]
    assert rsim.init(num_cpus=7, ignore_reinit_error=True) is session


@pytest.mark.parametrize("use", [lambda: rsim.put(1), lambda: rsim.wait([])])
def test_first_use_initialises(use: Any) -> None:
    use()
    assert rsim.init(ignore_reinit_error=True).address == "local"


def test_an_address_of_the_environment_that_is_none_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RSIM_ADDRESS", "simm")
    with pytest.raises(ValueError, match="RSIM_ADDRESS must be one of 'local', 'sim', not 'simm'"):
        rsim.init()
    with pytest.raises(ValueError, match=r"^address must be one of"):
        rsim.init("locla")


def test_environment_gives_address_and_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RSIM_ADDRESS", "sim")
    monkeypatch.setenv("RSIM_SEED", "7")
    with rsim.init() as session:
        assert (session.address, session["seed"]) == ("sim", 7)
    with rsim.init(seed=8) as session:
        assert session["seed"] == 8
    with rsim.init("local") as session:  # for which RSIM_SEED means nothing
        assert (session.address, session["seed"]) == ("local", None)
    monkeypatch.setenv("RSIM_SEED", "seven")
    with pytest.raises(ValueError, match="RSIM_SEED must be a whole number, not 'seven'"):
        rsim.init()


@pytest.mark.parametrize("name", ["seed", "cluster", "faults", "policy"])
def test_arguments_of_the_simulation_need_it(name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name} is an argument for address='sim' only"):
        rsim.init("local", **{name: 0})
    with rsim.init("sim", **{name: 0}) as session:
        assert getattr(session.config, name) == 0


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"num_cpus": -1}, ValueError, "num_cpus must be a finite number, 0 or more, not -1"),
        ({"num_cpus": "2"}, TypeError, "num_cpus must be a number, not '2'"),
        ({"num_gpus": True}, TypeError, "num_gpus"),
        ({"resources": {"GPU": 1}}, ValueError, "must not contain 'GPU': use num_gpus="),
        ({"resources": [1]}, TypeError, "resources must be a dict"),
        ({"object_store_memory": 0}, ValueError, "object_store_memory must be 1 or more"),
        ({"object_store_memory": 1.5}, TypeError, "object_store_memory must be an int"),
        ({"spill_limit_bytes": -1}, ValueError, "spill_limit_bytes must be 0 or more"),
        ({"namespace": 1}, TypeError, "namespace must be a str"),
        ({"address": 1}, TypeError, "address must be a str"),
        ({"address": "elsewhere"}, ValueError, "'local', 'sim', not 'elsewhere'"),
        ({"address": "auto"}, NotImplementedError, "'auto' needs the cluster backend"),
        ({"address": "redis://h:1"}, NotImplementedError, "the cluster backend"),
        ({"num_cpu": 2}, TypeError, "num_cpu"),
        ({"address": []}, TypeError, r"address must be a str or None, not \[\]"),
        ({"num_gpus": 1 << 31}, ValueError, "num_gpus must be at most 100000"),
        ({"memory": 1 << 70}, ValueError, "memory must be at most 9223372036854775807"),
        ({"log_to_driver": "no"}, TypeError, "log_to_driver must be True or False, not 'no'"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        rsim.init(**arguments)
    assert not rsim.is_initialized()


def test_inside_a_task_there_is_no_init_and_no_shutdown(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = rsim.init()
    worker = type(driver.client)(driver.channel, 1, b"")
    with monkeypatch.context() as patch:
        patch.setattr(current, "client", worker)
        with pytest.raises(RuntimeError, match="inside a task"):
            rsim.init()
        with pytest.raises(RuntimeError, match="inside a task"):
            rsim.shutdown()
        session = rsim.init(ignore_reinit_error=True)
        assert "inside a task" in repr(session)
        with pytest.raises(RuntimeError, match="now is not known inside a task"):
            session.now()
    assert rsim.init(ignore_reinit_error=True) is driver


def test_arguments_are_checked_also_where_they_would_not_matter() -> None:
    with pytest.raises(TypeError, match="ignore_reinit_error must be True or False, not 'x'"):
        rsim.init(ignore_reinit_error="x")  # type: ignore[arg-type]


def test_missing_extra_is_named() -> None:
    program = "import sys, rsim; sys.modules['simpy'] = None; rsim.init('sim')"
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert "simpy, which is not installed: pip install rsim[sim]" in result.stderr


def test_end_of_the_program_shuts_down() -> None:
    program = (
        "import rsim; from rsim.api import registry; "
        "registry._BUILT_IN['local'] = 'tests.api.fakes:start'; backend = rsim.init()._backend; "
        "backend.shutdown = lambda: print('down')"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert result.stdout == "down\n"


def test_a_call_while_another_thread_shuts_down(monkeypatch: pytest.MonkeyPatch) -> None:
    rsim.init(num_cpus=1)
    with monkeypatch.context() as midway:
        midway.setattr(current, "client", None)
        with pytest.raises(rsim.exceptions.RsimError, match="is being shut down"):
            rsim.put(1)
