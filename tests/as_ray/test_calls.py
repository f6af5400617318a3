"""get, wait and cancel, by Ray's names of their parameters; the class of the runtime context."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.usefixtures("as_ray")


def test_arguments_by_name() -> None:
    import ray

    ray.init(num_cpus=1)
    one, never = ray.put(value=1), ray.remote(resources={"none": 1})(abs).remote(1)
    assert ray.get(object_refs=one) == ray.get(object_refs=[one], timeout=1)[0] == 1
    assert ray.get(ray.remote(time.sleep).remote(0.01), timeout=-1) is None
    with pytest.raises(ValueError, match="timeout must be 0 or more, not -2"):
        ray.get(one, timeout=-2)
    assert ray.wait(ray_waitables=[one, never], num_returns=1) == ([one], [never])
    ray.cancel(ray_waitable=never, force=False, recursive=True)
    with pytest.raises(ray.exceptions.TaskCancelledError):
        ray.get(never)


def test_the_class_of_the_runtime_context() -> None:
    import ray
    from ray.runtime_context import RuntimeContext

    ray.init(num_cpus=1)
    assert isinstance(ray.get_runtime_context(), RuntimeContext)


def test_the_timeline_shows_the_execution_of_each_task(tmp_path: Path) -> None:
    import ray

    ray.init(num_cpus=1)
    ray.get(ray.remote(abs).remote(-1))
    ray.timeline(filename=str(tmp_path / "events.json"))
    written = json.loads((tmp_path / "events.json").read_text())
    assert written == ray.timeline()
    whole, execution = written
    assert whole["cat"] == "task::abs"
    assert execution["cat"] == execution["name"] == "task:execute"
    assert (execution["ts"], execution["dur"]) == (whole["ts"], whole["dur"])
    with pytest.raises(TypeError, match="filename"):
        ray.timeline(5)


def test_what_methods_say_of_their_results() -> None:
    import ray

    @ray.remote
    class Actor:
        def one(self) -> int:
            return 1

        @ray.method(num_returns=2)
        def two(self) -> tuple[int, int]:
            return 1, 2

        def some(self) -> Iterator[int]:
            yield 1

    ray.init(num_cpus=1)
    actor = Actor.remote()
    told = [getattr(actor, name)._num_returns for name in ("one", "two", "some")]
    assert told == [1, 2, "streaming"]
    assert actor.one._method_name == "one"
