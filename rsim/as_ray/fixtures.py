"""The fixtures that tests of Ray find in its own conftest, for suites that come without it.

Decides what each starts, which is what Ray's starts: one CPU and 150 MiB of object store, unless
its name or its parameter says otherwise. A suite's own fixtures go before these. Owns no state.
"""

from __future__ import annotations

import json
import logging
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NoReturn

import pytest

from rsim.as_ray import session
from rsim.as_ray.cluster import Cluster

_SIZES = ("num_cpus", "num_gpus", "resources", "labels", "object_store_memory")

Scope = Literal["function", "class", "module"]

_DEFAULTS = {
    "num_cpus": 1,
    "object_store_memory": 150 * 1024 * 1024,
    "dashboard_port": None,
    "namespace": "default_test_namespace",
}


def _parameter(request: pytest.FixtureRequest) -> dict[str, Any]:
    return dict(getattr(request, "param", None) or {})


@contextmanager
def _session(settings: dict[str, Any]) -> Iterator[session.RayContext]:
    context = session.init(**settings)
    try:
        yield context
    finally:
        session.shutdown()


@contextmanager
def _cluster(settings: dict[str, Any], nodes: int, connect: bool) -> Iterator[Cluster]:
    """A cluster; the first of its nodes is the driver's. A parameter's `num_nodes` and `do_init`
    go before what the fixture's name says.
    """
    settings.pop("skip_cluster", None)
    nodes = settings.pop("num_nodes", nodes)
    connect = settings.pop("do_init", connect or nodes > 0)
    node = {**_DEFAULTS, **settings}
    namespace = node.pop("namespace")
    cluster = Cluster()
    try:
        for index in range(nodes):
            cluster.add_node(**node)
            if index == 0 and connect:
                session.init(address=cluster.address, namespace=namespace)
        yield cluster
    finally:
        session.shutdown()
        cluster.shutdown()


def _starts(name: str, scope: Scope = "function", **settings: Any) -> Any:
    """A fixture that starts a session."""

    @pytest.fixture(name=name, scope=scope)
    def started(request: pytest.FixtureRequest) -> Iterator[session.RayContext]:
        with _session({**_DEFAULTS, **settings, **_parameter(request)}) as context:
            yield context

    return started


def _starts_cluster(
    name: str, scope: Scope = "function", nodes: int = 0, connect: bool = False
) -> Any:
    """A fixture that starts a cluster."""

    @pytest.fixture(name=name, scope=scope)
    def started(request: pytest.FixtureRequest) -> Iterator[Cluster]:
        with _cluster(_parameter(request), nodes, connect) as cluster:
            yield cluster

    return started


ray_start_regular = _starts("ray_start_regular")
ray_start_regular_shared = _starts("ray_start_regular_shared", "module")
ray_start_regular_shared_2_cpus = _starts("ray_start_regular_shared_2_cpus", "module", num_cpus=2)
ray_start_no_cpu = _starts("ray_start_no_cpu", num_cpus=0)
ray_start_2_cpus = _starts("ray_start_2_cpus", num_cpus=2)
ray_start_10_cpus = _starts("ray_start_10_cpus", num_cpus=10)
ray_start_with_dashboard = _starts("ray_start_with_dashboard", include_dashboard=True)

ray_start_cluster = _starts_cluster("ray_start_cluster")
ray_start_cluster_shared = _starts_cluster("ray_start_cluster_shared", "module")
ray_start_cluster_enabled = _starts_cluster("ray_start_cluster_enabled")
ray_start_cluster_init = _starts_cluster("ray_start_cluster_init", connect=True)
ray_start_cluster_head = _starts_cluster("ray_start_cluster_head", nodes=1)
ray_start_cluster_2_nodes = _starts_cluster("ray_start_cluster_2_nodes", nodes=2)


@pytest.fixture
def ray_start_cluster_head_with_env_vars(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Cluster]:
    """A cluster with one node; the parameter's `env_vars` are set meanwhile."""
    settings = _parameter(request)
    for name, value in settings.pop("env_vars", {}).items():
        monkeypatch.setenv(name, value)
    with _cluster(settings, nodes=1, connect=True) as cluster:
        yield cluster


@pytest.fixture
def two_node_cluster() -> Iterator[tuple[Cluster, Any]]:
    """A cluster of two nodes with one CPU each, and the node that is not the driver's."""
    with _cluster({}, nodes=2, connect=True) as cluster:
        yield cluster, cluster.worker_nodes[0]


@pytest.fixture(params=["no_ray_client"])
def start_cluster() -> Iterator[tuple[Cluster, str | None]]:
    """A cluster with four CPUs to connect to, and its address."""
    with _cluster({"num_cpus": 4, "do_init": False}, nodes=1, connect=False) as cluster:
        yield cluster, cluster.address


@pytest.fixture
def ray_start_object_store_memory(request: pytest.FixtureRequest) -> Iterator[int]:
    """A session with as many bytes of object store as the parameter says."""
    with _session({"num_cpus": 1, "object_store_memory": request.param}):
        yield request.param


@pytest.fixture
def call_ray_start(request: pytest.FixtureRequest) -> Iterator[str | None]:
    """The address of a cluster with the node that the parameter, a `ray start --head ...`, tells;
    it is to be connected to in this process. The ports and folders that it names have no effect.
    """
    given = getattr(request, "param", "ray start --head --num-cpus=1")
    command = given.get("cmd", "") if isinstance(given, dict) else given
    with _cluster({**_node_of(command), "do_init": False}, nodes=1, connect=False) as cluster:
        yield cluster.address


def _node_of(command: str) -> dict[str, Any]:
    """The arguments of `Cluster.add_node` that are like those of a `ray start`."""
    words = shlex.shlex(command, posix=True, punctuation_chars=False)
    words.quotes, words.whitespace_split, words.commenters = "'", True, ""
    found: dict[str, Any] = {}
    for word in words:
        option, given, value = word.removeprefix("--").partition("=")
        name = option.replace("-", "_")
        if not word.startswith("--") or name in ("head", "block", "include_dashboard"):
            continue
        value = value if given else next(words)
        if name == "labels" and not value.startswith("{"):
            value = json.dumps(dict(each.split("=") for each in value.split(",")))
        if name != "port":
            found[name] = json.loads(value) if name in _SIZES else value
    return found


def _spilling(name: str) -> Any:
    """A fixture for where Ray shall spill, which is without effect: the setting and a folder."""

    @pytest.fixture(name=name, params=[file_system_object_spilling_config])
    def setting(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
        folder = tmp_path / "spill"
        folder.mkdir()
        params = {**request.param["params"], "directory_path": str(folder)}
        return json.dumps({**request.param, "params": params}), folder

    return setting


_SPILLED = {"directory_path": "/tmp/spill"}
file_system_object_spilling_config = {"type": "filesystem", "params": _SPILLED}
buffer_object_spilling_config = {
    "type": "filesystem",
    "params": {**_SPILLED, "buffer_size": 1_000_000},
}
mock_distributed_fs_object_spilling_config = {"type": "mock_distributed_fs", "params": _SPILLED}

object_spilling_config = _spilling("object_spilling_config")
fs_only_object_spilling_config = _spilling("fs_only_object_spilling_config")
multi_node_object_spilling_config = _spilling("multi_node_object_spilling_config")


@pytest.fixture
def ray_init_with_task_retry_delay(request: pytest.FixtureRequest) -> Iterator[None]:
    """A session in which a task that is retried may wait before."""
    with _session({"_system_config": {"task_retry_delay_ms": request.param}}):
        yield


@pytest.fixture(scope="class")
def class_ray_instance() -> Iterator[session.RayContext]:
    """A session for the tests of a class."""
    with _session({}) as context:
        yield context


@pytest.fixture
def shutdown_only() -> Iterator[None]:
    """Ends what the test starts."""
    yield
    session.shutdown()


@pytest.fixture
def propagate_logs() -> Iterator[None]:
    """Lets `caplog` see what is logged under the name of Ray."""
    logger = logging.getLogger("ray")
    before, logger.propagate = logger.propagate, True
    yield
    logger.propagate = before


@pytest.fixture
def enable_pickle_debug(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sets RAY_PICKLE_VERBOSE_DEBUG, which is without effect: rsim always says what it is."""
    monkeypatch.setenv("RAY_PICKLE_VERBOSE_DEBUG", "1")


@pytest.fixture
def set_enable_auto_connect(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Forbids calls to start a session by themselves, unless the parameter is "1"."""
    value = str(getattr(request, "param", "0"))
    monkeypatch.setenv("RAY_ENABLE_AUTO_CONNECT", value)
    return value


@pytest.fixture
def tmp_working_dir(tmp_path: Path) -> str:
    """A folder with the file `hello` and the package `test_module`."""
    (tmp_path / "hello").write_text("world")
    package = tmp_path / "test_module"
    package.mkdir()
    (package / "test.py").write_text("def one():\n    return 1\n")
    (package / "__init__.py").write_text("from test_module.test import one\n")
    return str(tmp_path)


@pytest.fixture
def maybe_external_redis() -> None:
    """Does nothing: there is no Redis."""


@pytest.fixture
def maybe_setup_external_redis() -> None:
    """Does nothing; the newer name."""


@pytest.fixture
def error_pubsub() -> Iterator[Any]:
    """The errors that come from now on."""
    from rsim.as_ray.errors import init_error_pubsub

    subscriber = init_error_pubsub()
    yield subscriber
    subscriber.close()


def _absent(name: str, what: str) -> Any:
    """A fixture for what rsim does not have."""

    @pytest.fixture(name=name)
    def refuse() -> NoReturn:
        raise NotImplementedError(f"the fixture {name} needs {what}, of Ray, which is not in rsim")

    return refuse


call_ray_stop_only = _absent("call_ray_stop_only", "the command ray")
log_pubsub = _absent("log_pubsub", "the stream of logs")
external_redis = _absent("external_redis", "Redis")
ray_start_regular_with_external_redis = _absent("ray_start_regular_with_external_redis", "Redis")
ray_start_cluster_head_with_external_redis = _absent(
    "ray_start_cluster_head_with_external_redis", "Redis"
)
unstable_spilling_config = _absent("unstable_spilling_config", "a disk that fails")
slow_spilling_config = _absent("slow_spilling_config", "a slow disk")
init_and_serve = _absent("init_and_serve", "Ray Client")
ray_start_chaos_cluster = _absent("ray_start_chaos_cluster", "the autoscaler")
use_tls = _absent("use_tls", "encryption")
cloned_virtualenv = _absent("cloned_virtualenv", "runtime_env={'pip': ...}")
