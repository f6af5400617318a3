"""What holds for every test: the runtime is shut down after it, and nothing of it stays behind."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests import leaks

# How long an example takes says nothing on a busy machine.
settings.register_profile("rsim", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("rsim")


@pytest.fixture(autouse=True)
def no_leaks() -> Iterator[None]:
    """Shut down what the test started; fail it when something outlives that by five seconds."""
    if leaks.runtime_is_up():  # a fixture of wider scope owns it, and may start workers any time
        yield
        return
    before = leaks.Snapshot.take()
    yield
    leaks.shutdown_runtime()
    left = leaks.left_since(before)
    assert not left, "the test left behind:\n" + "\n".join(left)
