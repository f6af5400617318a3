"""ray.init(logging_config=...)."""

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("as_ray", "root")


@pytest.fixture
def root() -> Iterator[None]:
    """The root logger is afterwards what it was."""
    logger = logging.getLogger()
    level = logger.level
    yield
    logger.setLevel(level)


def log_from_everywhere(config: Any) -> None:
    import ray

    ray.init(num_cpus=1, logging_config=config)
    log = logging.getLogger("of.the.program")

    @ray.remote
    def task() -> None:
        try:
            raise ValueError("mistake")
        except ValueError:
            log.exception("the task says %d", 2, extra={"own": 5})
        log.debug("not shown")

    @ray.remote
    class Actor:
        def method(self) -> None:
            log.info("the actor says 3")

    log.info("the driver says 1")
    ray.get(task.remote())
    ray.get(Actor.remote().method.remote())
    ray.shutdown()


def test_lines_of_json(capfd: pytest.CaptureFixture[str]) -> None:
    import ray

    log_from_everywhere(ray.LoggingConfig("JSON", additional_log_standard_attrs=["name"]))
    shown = [line for line in capfd.readouterr().err.splitlines() if "says" in line]
    driver, task, actor = [json.loads(line[line.index("{") :]) for line in shown]
    assert [each["message"] for each in (driver, task, actor)] == [
        "the driver says 1",
        "the task says 2",
        "the actor says 3",
    ]
    assert {each["name"] for each in (driver, task, actor)} == {"of.the.program"}
    assert {"asctime", "levelname", "filename", "lineno", "process", "timestamp_ns"} <= set(driver)
    assert "task_id" not in driver and "actor_id" not in task
    assert (task["own"], task["levelname"], task["task_name"]) == (5, "ERROR", "task")
    assert task["exc_text"].endswith("ValueError: mistake")
    assert actor["actor_id"] and actor["task_name"] == "Actor.method"
    assert len({each["job_id"] for each in (driver, task, actor)}) == 1


def test_lines_of_text(capfd: pytest.CaptureFixture[str]) -> None:
    import ray

    log_from_everywhere(ray.LoggingConfig(log_level="WARNING"))
    shown = capfd.readouterr().err
    assert "the driver says" not in shown and "the actor says" not in shown
    assert "ERROR test_logs.py:" in shown and "-- the task says 2" in shown
    assert "ValueError: mistake own=5 job_id=" in shown and " task_name=task " in shown
