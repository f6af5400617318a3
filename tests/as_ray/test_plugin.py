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
