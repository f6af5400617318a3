"""What holds for every test: the runtime is shut down after it, and nothing of it stays behind; one
that hangs is ended, and says where it hung.
"""

import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests import leaks, timeouts

# How long an example takes says nothing on a busy machine. Examples are the same in every run, so
# that what passes passes everywhere; --hypothesis-profile=explore looks for new ones.
_PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("explore", _PATIENT)
settings.register_profile("rsim", _PATIENT, derandomize=True)
settings.load_profile("rsim")


def pytest_configure(config: pytest.Config) -> None:
    timeouts.prepare()
    # That others use up the machine's memory is no reason to end a test's worker.
    os.environ.setdefault("RSIM_MEMORY_USAGE_THRESHOLD", "1")
    # When a process of pytest-xdist has died, give up: some of its modes hang when it is replaced.
    if getattr(config.option, "maxworkerrestart", "") is None:
        config.option.maxworkerrestart = "0"


@pytest.hookimpl(optionalhook=True)
def pytest_timeout_set_timer(settings: Any) -> None:
    timeouts.begun(settings.timeout)


@pytest.hookimpl(trylast=True)
def pytest_exception_interact(node: pytest.Item | pytest.Collector) -> None:
    timeouts.failed(node)


@pytest.hookimpl(trylast=True)
def pytest_runtest_logfinish() -> None:
    timeouts.ended()


@pytest.fixture(autouse=True)
def no_leaks() -> Iterator[None]:
    """Shut down what the test started; fail it when something outlives that for long."""
    if leaks.runtime_is_up():  # a fixture of wider scope owns it, and may start workers any time
        yield
        return
    before = leaks.Snapshot.take()
    yield
    leaks.shutdown_runtime()
    left = leaks.left_since(before)
    assert not left, "the test left behind:\n" + "\n".join(left)
