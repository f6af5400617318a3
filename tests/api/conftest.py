"""The fake backend under the addresses that it stands in for, and a session of it."""

from collections.abc import Iterator

import pytest

import rsim
from rsim.api import registry


@pytest.fixture
def fake_backends(monkeypatch: pytest.MonkeyPatch) -> None:
    for address in ("local", "sim"):
        monkeypatch.setitem(registry._BUILT_IN, address, "tests.api.fakes:start")
    for variable in ("RSIM_ADDRESS", "RSIM_SEED"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def session(fake_backends: None) -> Iterator[rsim.Session]:
    with rsim.init() as session:
        yield session


@pytest.fixture(params=["sim", "local"])
def real_session(request: pytest.FixtureRequest) -> Iterator[rsim.Session]:
    with rsim.init(request.param, num_cpus=2) as session:
        yield session
