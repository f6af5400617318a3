"""How to test remote code: in a simulated cluster, with pytest, in milliseconds.

    pytest examples/unit_test_example.py

No process is started and no real time passes. The code under test is what you deploy, and it runs
through the same scheduler as on a real cluster.
"""

import time
from collections.abc import Iterator

import pytest

import rsim
from rsim.sim import Cluster, Faults

# --- the code under test: usually imported from your package ------------------------------------


@rsim.remote(max_retries=5)
def fetch(page: int) -> str:
    time.sleep(60)  # a slow service
    if page < 0:
        raise ValueError(f"there is no page {page}")
    return f"page {page}"


def fetch_all(pages: list[int], deadline_s: float) -> list[str]:
    """The pages that arrive before the deadline, in order."""
    refs = [fetch.remote(page) for page in pages]
    ready, _ = rsim.wait(refs, num_returns=len(refs), timeout=deadline_s)
    return rsim.get(ready)


# --- the tests ----------------------------------------------------------------------------------


@pytest.fixture
def cluster() -> Iterator[None]:
    with rsim.init("sim", cluster=Cluster(nodes=2, num_cpus=2), seed=0):
        yield


@pytest.mark.usefixtures("cluster")
def test_all_pages_arrive() -> None:
    assert fetch_all([1, 2, 3], deadline_s=300) == ["page 1", "page 2", "page 3"]


@pytest.mark.usefixtures("cluster")
def test_what_is_late_is_left_out() -> None:
    # Four CPUs: four pages in the first minute, the rest in the second.
    assert len(fetch_all(list(range(8)), deadline_s=90)) == 4


@pytest.mark.usefixtures("cluster")
def test_an_error_keeps_its_type() -> None:
    with pytest.raises(ValueError, match="no page -1"):
        fetch_all([-1], deadline_s=300)


@pytest.mark.parametrize("seed", range(10))
def test_pages_arrive_although_workers_die(seed: int) -> None:
    faults = Faults(kill_worker=0.3, max_faults=3)
    with rsim.init("sim", cluster=Cluster(nodes=2, num_cpus=2), seed=seed, faults=faults):
        assert len(fetch_all([1, 2, 3], deadline_s=3600)) == 3
