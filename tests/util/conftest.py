"""Every test on both backends: a simulated session each, and a local one for all of a module."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

import rsim

CPUS = 2


@pytest.fixture(scope="module", params=("sim", "local"))
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a backend; the local one has been started."""
    with ExitStack() as sessions:
        if request.param == "local":
            sessions.enter_context(rsim.init("local", num_cpus=CPUS))
        yield request.param


@pytest.fixture
def rt(backend: str) -> Iterator[None]:
    """A running session with two CPUs."""
    with ExitStack() as sessions:
        # not for longer than a test: the test runner's own waits would be in virtual time
        if backend == "sim":
            sessions.enter_context(rsim.init("sim", num_cpus=CPUS))
        yield
