"""One fixture for every backend: a test that takes `init` or `rt` runs once on each of them."""

from collections.abc import Callable
from typing import Any

import pytest

import rsim

BACKENDS = ("sim", "local")

Init = Callable[..., Any]


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """The address of a backend."""
    return str(request.param)


@pytest.fixture
def init(backend: str) -> Init:
    """Starts the backend with the options of `rsim.init`; tests/conftest.py ends it."""

    def start(**options: Any) -> Any:
        return rsim.init(backend, **options)

    return start


@pytest.fixture
def rt(init: Init) -> Any:
    """A running session with four CPUs."""
    return init(num_cpus=4)
