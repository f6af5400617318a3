"""Ray's names, served while a test runs."""

from collections.abc import Iterator

import pytest

import rsim
from rsim.as_ray import install, uninstall
from tests.as_ray.helpers import BACKENDS


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """The name of a backend."""
    return str(request.param)


@pytest.fixture
def as_ray(backend: str) -> Iterator[None]:
    """`import ray` is rsim, on each backend."""
    install(backend)
    yield
    rsim.shutdown()
    uninstall()


@pytest.fixture
def names() -> Iterator[None]:
    """`import ray` is rsim, for tests that run nothing."""
    install()
    yield
    uninstall()
