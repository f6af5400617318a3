"""ray.init: Ray's arguments, what becomes of them, and what it returns."""

import os
import sys
from types import ModuleType
from typing import Any

import pytest

import rsim

pytestmark = pytest.mark.usefixtures("as_ray")


def test_the_context_is_a_mapping_and_a_context_manager(backend: str) -> None:
    import ray

    with ray.init(num_cpus=2, namespace="here") as context:
        assert context["address"] == context.address_info["address"] == backend
        assert {"node_id", "session_dir", "gcs_address", "webui_url"} <= set(context)
        assert ray.is_initialized()
        assert dict(context) == context.address_info
    assert not ray.is_initialized()
    ray.shutdown()


def test_what_has_a_meaning_is_passed_on() -> None:
    import ray

    ray.init("local", num_cpus=2, resources={"own": 3}, namespace="here", log_to_driver=False)
    assert rsim.init(ignore_reinit_error=True)["namespace"] == "here"
    ref = ray.remote(resources={"own": 3, "node:__internal_head__": 0.001})(abs).remote(-1)
    assert ray.get(ref) == 1


def test_the_environment_may_keep_workers_quiet(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    import ray

    monkeypatch.setenv("RAY_LOG_TO_DRIVER", "0")
    ray.init(num_cpus=1)
    ray.get(ray.remote(print).remote("unheard"))
    ray.shutdown()
    assert "unheard" not in capfd.readouterr().out


def test_labels_are_a_dict() -> None:
    import ray

    with pytest.raises(TypeError, match="labels must be a dict"):
        ray.init(labels=3)


def test_what_is_harmless_is_ignored() -> None:
    import ray

    ray.init(
        include_dashboard=False,
        dashboard_port=None,
        logging_level="ERROR",
        configure_logging=False,
        _temp_dir="/nowhere",
        _system_config={"object_timeout_milliseconds": 200, "num_heartbeats_timeout": 10},
        job_config=ray.job_config.JobConfig(ray_namespace="of_the_job"),
        runtime_env={"env_vars": {}},
    )
    assert rsim.init(ignore_reinit_error=True)["namespace"] == "of_the_job"


def test_the_old_names_of_arguments(capfd: pytest.CaptureFixture[str]) -> None:
    import ray

    ray.init(num_cpus=1, redirect_output=True, include_webui=False, redis_address=None)
    assert ray.get(ray.remote(print).remote("from a worker")) is None
    ray.shutdown()
    ray.init(num_cpus=1, redirect_worker_output=False, memory=1000)
    assert ray.cluster_resources()["memory"] == 1000
    assert ray.get(ray.remote(num_return_vals=2)(divmod).remote(7, 2)) == [3, 1]
    ray.shutdown()
    assert "from a worker" not in capfd.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "kind", "word"),
    [
        ({"local_mode": True}, RuntimeError, "--backend sim"),
        ({"no_such": 1}, RuntimeError, "no_such"),
        ({"runtime_env": {"pip": ["a"]}}, NotImplementedError, "pip"),
        ({"runtime_env": {"working_dir": "a.zip"}}, NotImplementedError, "working_dir"),
        ({"runtime_env": 3}, TypeError, "runtime_env"),
        ({"runtime_env": {"env_vars": {"A": 1}}}, TypeError, "env_vars"),
        ({"_system_config": {"what": 1}}, NotImplementedError, "what"),
        ({"_tracing_startup_hook": "a:b"}, NotImplementedError, "_tracing_startup_hook"),
        ({"address": "ray://host:10001"}, NotImplementedError, "ray://host"),
        ({"address": "auto"}, ConnectionError, "auto"),
        ({"address": "10.0.0.1:6379"}, ConnectionError, "10.0.0.1"),
        ({"num_cpus": -1}, ValueError, "num_cpus"),
        ({"namespace": 3}, TypeError, "namespace"),
        ({"namespace": ""}, ValueError, "namespace"),
        ({"_temp_dir": "here"}, ValueError, "temp_dir must be absolute"),
        ({"resources": {"CPU": 1}}, AssertionError, "`CPU` cannot be a custom resource"),
        ({"resources": {"memory": 1}}, AssertionError, "use `_memory` instead"),
    ],
)
def test_what_would_matter_is_refused_by_name(
    arguments: dict[str, Any], kind: type[Exception], word: str
) -> None:
    import ray

    with pytest.raises(kind, match=word):
        ray.init(**arguments)
    assert not ray.is_initialized()


def test_settings_of_logging_are_checked() -> None:
    import ray
    from ray.job_config import LoggingConfig

    assert LoggingConfig is ray.LoggingConfig
    settings = LoggingConfig("JSON", additional_log_standard_attrs=["name", "taskName", "message"])
    assert settings.additional_log_standard_attrs == ["name", "taskName", "message"]
    with pytest.raises(ValueError, match="encoding type: XML"):
        LoggingConfig(encoding="XML")
    with pytest.raises(ValueError, match="standard attribute: color"):
        LoggingConfig(additional_log_standard_attrs=["color"])


def test_twice() -> None:
    import ray

    first = ray.init(num_cpus=1)
    with pytest.raises(RuntimeError, match=r"ray\.init"):
        ray.init()
    assert ray.init(ignore_reinit_error=True) is first


def test_any_first_call_does_it() -> None:
    import ray

    assert ray.get(ray.put(1)) == 1
    assert ray.is_initialized()


def test_unless_the_environment_forbids_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    monkeypatch.setenv("RAY_ENABLE_AUTO_CONNECT", "0")
    with pytest.raises(ray.exceptions.RaySystemError, match="RAY_ENABLE_AUTO_CONNECT"):
        ray.put(1)
    for mistake in (ray.cancel, ray.kill):
        with pytest.raises(ray.exceptions.RaySystemError, match="has not been started yet"):
            mistake(None)
    monkeypatch.delenv("RAY_ENABLE_AUTO_CONNECT")
    with pytest.raises(TypeError, match="cancel"):
        ray.cancel(None)
    assert ray.is_initialized()


def test_environment_variables_of_the_job() -> None:
    import ray

    variables = {"env_vars": {"OF_THE_JOB": "yes"}}
    ray.init(num_cpus=1, runtime_env=ray.runtime_env.RuntimeEnv(**variables))
    assert ray.get(ray.remote(os.getenv).remote("OF_THE_JOB")) == "yes"
    assert "OF_THE_JOB" not in os.environ


def test_the_environment_may_say_what_the_node_has(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    told = '{"CPU": 3, "disk": 4, "own": 5, "object_store_memory": 100000000}'
    monkeypatch.setenv("RAY_OVERRIDE_RESOURCES", told)
    ray.init(num_cpus=1, num_gpus=2, resources={"own": 1})
    has = ray.cluster_resources()
    assert (has["CPU"], has["GPU"], has["disk"], has["own"]) == (3, 2, 4, 5)
    assert has["object_store_memory"] == 100_000_000
    ray.shutdown()
    monkeypatch.setenv("RAY_OVERRIDE_RESOURCES", "[]")
    with pytest.raises(ValueError, match="RAY_OVERRIDE_RESOURCES must be the JSON of a dict"):
        ray.init()


def greet(environment: dict[str, Any] | None) -> dict[str, Any]:
    return {**(environment or {}), "env_vars": {"RSIM_GREETING": "hello"}}


@pytest.mark.parametrize("skipped", [False, True])
def test_a_hook_makes_the_environment(monkeypatch: pytest.MonkeyPatch, skipped: bool) -> None:
    import ray

    monkeypatch.setenv("RAY_RUNTIME_ENV_HOOK", f"{__name__}.greet")
    if skipped:
        ray.init(num_cpus=1, _skip_env_hook=True)
    greeting = ray.get(ray.remote(os.getenv).remote("RSIM_GREETING"))
    assert greeting == (None if skipped else "hello")


def test_a_state_that_cannot_be_asked_is_pickled(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    starlette = ModuleType("starlette.datastructures")
    exec(_STATE, vars(starlette))
    for name in ("starlette", "starlette.datastructures"):
        monkeypatch.setitem(sys.modules, name, starlette)
    ray.init(num_cpus=1)
    assert ray.get(ray.put(starlette.State({"x": 1}))).x == 1


_STATE = """
class State:
    def __init__(self, state):
        self._state = state
    def __getattr__(self, name):
        try:
            return self._state[name]
        except KeyError:
            raise AttributeError(name) from None
"""
