"""`pytest --rsim-as-ray`: an unchanged suite runs, each test for itself."""

from pathlib import Path

import pytest

from tests.as_ray.helpers import pytest_in

SUITE = """
import os
import pytest
import ray
from ray.tests.conftest import FROM_CONFTEST


@pytest.fixture(scope="module")
def shared():
    ray.init(num_cpus=1, resources={"shared": 1})


@pytest.fixture
def own():
    yield ray.init(num_cpus=1)
    ray.shutdown()


def test_with_a_fixture(own):
    assert own["address"] == os.environ["RSIM_ADDRESS"] == FROM_CONFTEST


def test_that_leaves_it_running():
    assert ray.get(ray.put(1)) == 1


def test_after_it():
    assert not ray.is_initialized()


def test_that_leaves_a_cluster():
    from ray.cluster_utils import Cluster
    Cluster(initialize_head=True)


def test_after_the_cluster(own):
    assert ray.cluster_resources()["CPU"] == 1


def test_that_shares(shared):
    assert ray.get(ray.remote(resources={"shared": 1})(abs).remote(-1)) == 1


def test_that_shares_too(shared):
    assert ray.is_initialized()


def test_that_fails():
    assert ray.get(ray.put(1)) == 2
"""
NEXT = """
import ray


def test_in_the_next_file():
    assert not ray.is_initialized()
"""


@pytest.fixture
def suite(tmp_path: Path, backend: str) -> Path:
    (tmp_path / "conftest.py").write_text(f"import ray\nFROM_CONFTEST = {backend!r}\n")
    (tmp_path / "test_a.py").write_text(SUITE)
    (tmp_path / "test_b.py").write_text(NEXT)
    return tmp_path


@pytest.mark.parametrize("workers", [(), ("-n", "2", "--dist", "loadfile")], ids=["one", "xdist"])
def test_a_suite(suite: Path, backend: str, workers: tuple[str, ...]) -> None:
    done = pytest_in(suite, f"--rsim-as-ray={backend}", *workers, ".")
    assert "1 failed, 8 passed" in done.stdout, done.stdout + done.stderr
    assert "assert 1 == 2" in done.stdout


FIXTURES = """
import logging
import os
import pytest
import ray
from ray.tests.conftest import *  # noqa


def cpus():
    return ray.cluster_resources().get("CPU", 0)


def test_regular(ray_start_regular):
    assert cpus() == 1 and ray_start_regular["node_id"] == ray.nodes()[0]["NodeID"]
    assert ray.get_runtime_context().namespace == "default_test_namespace"


@pytest.mark.parametrize("ray_start_regular", [{"num_cpus": 3}], indirect=True)
def test_a_parameter(ray_start_regular):
    assert cpus() == 3


def test_sizes(ray_start_10_cpus):
    assert cpus() == 10


def test_cluster(ray_start_cluster):
    assert not ray.is_initialized()
    ray_start_cluster.add_node(num_cpus=2)
    ray.init(address=ray_start_cluster.address)
    assert cpus() == 2


def test_cluster_head(ray_start_cluster_head):
    ray_start_cluster_head.add_node(num_cpus=2)
    assert cpus() == 3


@pytest.mark.parametrize(
    "ray_start_cluster", [{"num_nodes": 2, "num_cpus": 2, "do_init": True}], indirect=True
)
def test_cluster_of_nodes(ray_start_cluster):
    assert cpus() == 4


def test_two_nodes(ray_start_cluster_2_nodes, propagate_logs, caplog):
    assert len(ray.nodes()) == 2
    logging.getLogger("ray").warning("seen")
    assert "seen" in caplog.text


@pytest.mark.parametrize("ray_start_object_store_memory", [10**8], indirect=True)
def test_store(ray_start_object_store_memory):
    assert ray.cluster_resources()["object_store_memory"] == ray_start_object_store_memory


@pytest.mark.parametrize("ray_init_with_task_retry_delay", [100], indirect=True)
def test_delay(ray_init_with_task_retry_delay, shutdown_only):
    assert ray.is_initialized()


def test_after_all():
    assert not ray.is_initialized()


@pytest.mark.parametrize(
    "call_ray_start", ["ray start --head --num-cpus=3 --port 0 --resources='{\\"disk\\": 2}'"],
    indirect=True,
)
def test_command(call_ray_start):
    ray.init(address=call_ray_start)
    assert cpus() == 3 and ray.cluster_resources()["disk"] == 2


@pytest.mark.parametrize(
    "call_ray_start",
    [
        'ray start --head --labels={"kind":"fast","zone":"a"}',
        "ray start --head --labels kind=fast,zone=a",
    ],
    indirect=True,
)
def test_command_with_labels(call_ray_start):
    ray.init(address=call_ray_start)
    labels = ray.nodes()[0]["Labels"]
    assert (labels["kind"], labels["zone"]) == ("fast", "a")


def test_spilling(object_spilling_config, shutdown_only):
    config, folder = object_spilling_config
    ray.init(object_store_memory=10**8, _system_config={"object_spilling_config": config})
    assert folder.is_dir() and ray.get(ray.put(1)) == 1


def test_shared(ray_start_regular_shared):
    test_shared.ref = ray.put(1)


def test_shared_too(ray_start_regular_shared):
    assert ray.get(test_shared.ref) == 1


def test_that_cannot_run(log_pubsub):
    pass
"""


CONFTEST = """
import pytest


@pytest.fixture
def ray_start_10_cpus():
    import ray

    return ray.init(num_cpus=10)
"""


@pytest.mark.parametrize("conftest", ["", CONFTEST], ids=["none", "own"])
def test_the_fixtures_of_ray(tmp_path: Path, backend: str, conftest: str) -> None:
    source = FIXTURES
    if conftest:
        (tmp_path / "conftest.py").write_text(conftest)
        source = source.replace("from ray.tests.conftest import *  # noqa", "")
    (tmp_path / "test_it.py").write_text(source)
    done = pytest_in(tmp_path, f"--rsim-as-ray={backend}", "test_it.py")
    assert "16 passed, 1 error" in done.stdout, done.stdout + done.stderr
    assert "log_pubsub needs the stream of logs" in done.stdout


def test_without_a_backend_it_takes_no_path_for_one(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("import ray\ndef test_it(): assert ray.get(ray.put(1))\n")
    done = pytest_in(tmp_path, "--rsim-as-ray", "test_it.py")
    assert "1 passed" in done.stdout, done.stdout + done.stderr


def test_a_backend_that_there_is_not(tmp_path: Path) -> None:
    assert pytest_in(tmp_path, "--rsim-as-ray=cloud").returncode == 4


def test_it_does_nothing_unless_it_is_asked_to(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import sys\n"
        "def test_it():\n"
        "    assert not [name for name in sys.modules if name in ('ray', 'rsim.as_ray.finder')]\n"
    )
    done = pytest_in(tmp_path)
    assert "1 passed" in done.stdout, done.stdout + done.stderr
