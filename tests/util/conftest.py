"""One running session per module and backend: the utilities keep nothing of a session."""

from collections.abc import Iterator
from typing import Any

import pytest

import rsim


@pytest.fixture(scope="module", params=("sim", "local"))
def rt(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A running session with two CPUs."""
    with rsim.init(request.param, num_cpus=2) as session:
        yield session
