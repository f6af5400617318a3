"""Options of tasks and actors that only Ray has."""

import os
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("as_ray")


def f() -> int:
    return 1


class A:
    def call(self) -> int:
        return 2


def test_some_are_without_effect() -> None:
    import ray

    ray.init(num_cpus=1)
    assert ray.get(ray.remote(_labels={"a": "b"})(f).remote()) == 1
    assert ray.get(ray.remote(f).options(runtime_env={}).remote()) == 1
    assert ray.get(ray.remote(f).options(_num_objects_per_yield=1).remote()) == 1


@pytest.mark.parametrize("value", ["no", None])
def test_whether_events_are_recorded_is_a_bool(value: object) -> None:
    import ray

    for plain in (f, A):
        with pytest.raises(TypeError, match="'enable_task_events' must be"):
            ray.remote(plain).options(enable_task_events=value)


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"placement_group_bundle_index": 1}, ValueError, "bundle index must be -1"),
        ({"runtime_env": {"pip": ["a"]}}, NotImplementedError, "pip"),
        ({"runtime_env": {"env_vars": {"A": 1}}}, TypeError, "env_vars"),
        ({"object_store_memory": 1}, ValueError, "not implemented for tasks"),
        ({"max_retries": -2}, ValueError, "only accepts None, 0, -1 or a positive integer"),
        ({"num_returns": 0.5}, TypeError, "The type of keyword 'num_returns' must be"),
        ({"num_gpus": 1e-7}, ValueError, "resource num_gpus cannot go beyond 0.0001"),
        ({"resources": {"CPU": 1}}, ValueError, "keyword instead of 'CPU' and 'GPU'"),
        ({"resources": {"a": -1}}, ValueError, "resource a cannot be negative"),
        ({"_num_objects_per_yield": 2}, NotImplementedError, "_num_objects_per_yield"),
        ({"no_such": 1}, ValueError, "no_such is no option"),
    ],
)
def test_others_are_refused(options: dict[str, Any], kind: type[Exception], words: str) -> None:
    import ray

    with pytest.raises(kind, match=words):
        ray.remote(**options)(f)
    with pytest.raises(kind, match=words):
        ray.remote(f).options(**options)


def test_the_older_way_to_call() -> None:
    import ray

    ray.init(num_cpus=2)
    assert ray.get(ray.remote(abs)._remote(args=[-3], num_cpus=2)) == 3
    actor = ray.remote(A)._remote(num_cpus=1)
    assert ray.get(actor.call._remote()) == 2
    assert len(actor._actor_id.binary()) == ray.ActorID.size()
    assert ray.remote(A).__ray_metadata__.modified_class is A
    for bound in (ray.remote(f), ray.remote(A), actor.call):
        with pytest.raises(NotImplementedError, match="bind"):
            bound.bind()


def test_an_accelerator_type_is_a_resource() -> None:
    import ray

    ray.init(num_cpus=1, resources={"accelerator_type:A100": 1})
    assert ray.get(ray.remote(accelerator_type="A100")(f).remote()) == 1


def test_an_accelerator_type_is_a_name() -> None:
    import ray

    with pytest.raises(TypeError, match="accelerator_type"):
        ray.remote(accelerator_type=3)(abs)


def test_the_environment_says_how_often_tasks_are_run_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import ray

    def die() -> None:
        with (tmp_path / "runs").open("a") as file:
            file.write(".")
        os._exit(1)

    ray.init(num_cpus=1)
    monkeypatch.setenv("RAY_TASK_MAX_RETRIES", "1")
    for options in ({}, {"max_retries": 0}):
        with pytest.raises(ray.exceptions.WorkerCrashedError):
            ray.get((ray.remote(**options) if options else ray.remote)(die).remote())
    assert (tmp_path / "runs").read_text() == "..."


def test_method_may_stand_alone() -> None:
    import ray

    class B:
        @ray.method
        def call(self) -> int:
            return 3

    ray.init(num_cpus=1)
    assert ray.get(ray.remote(B).remote().call.remote()) == 3


def test_the_old_name_of_how_many_values_a_method_returns() -> None:
    import ray

    class Pair:
        @ray.method(num_return_vals=2)
        def both(self) -> tuple[int, int]:
            return 1, 2

    ray.init(num_cpus=1)
    pair = ray.remote(Pair).remote()
    assert ray.get(pair.both.remote()) == [1, 2]
    assert ray.get(pair.both.options(num_return_vals=1).remote()) == (1, 2)


def test_a_serializer_of_ones_own() -> None:
    import ray

    ray.init(num_cpus=1)
    ray.util.register_serializer(A, serializer=lambda a: "it was", deserializer=str.upper)
    try:
        assert ray.get(ray.put([A()])) == ["IT WAS"]
    finally:
        ray.util.deregister_serializer(A)
    assert isinstance(ray.get(ray.put([A()]))[0], A)


def test_functions_and_classes_tell_their_options() -> None:
    import ray

    task = ray.remote(num_cpus=0, resources={"slot": 1}, max_retries=0)(abs)
    assert task._default_options == {"num_cpus": 0, "resources": {"slot": 1}, "max_retries": 0}
    assert ray.remote(num_cpus=2)(A)._default_options == {"num_cpus": 2}
    assert ray.remote(A)._default_options == {}
