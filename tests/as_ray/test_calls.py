"""get, wait and cancel, by Ray's names of their parameters; the class of the runtime context."""

import pytest

pytestmark = pytest.mark.usefixtures("as_ray")


def test_arguments_by_name() -> None:
    import ray

    ray.init(num_cpus=1)
    one, never = ray.put(value=1), ray.remote(resources={"none": 1})(abs).remote(1)
    assert ray.get(object_refs=one) == ray.get(object_refs=[one], timeout=1)[0] == 1
    assert ray.wait(ray_waitables=[one, never], num_returns=1) == ([one], [never])
    ray.cancel(ray_waitable=never, force=False, recursive=True)
    with pytest.raises(ray.exceptions.TaskCancelledError):
        ray.get(never)


def test_the_class_of_the_runtime_context() -> None:
    import ray
    from ray.runtime_context import RuntimeContext

    ray.init(num_cpus=1)
    assert isinstance(ray.get_runtime_context(), RuntimeContext)
