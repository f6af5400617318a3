"""Refs and ids made of bytes, and the attributes by which older programs ask for ids."""

import pickle
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("as_ray")


@pytest.fixture
def ray(as_ray: None) -> Iterator[Any]:
    import ray

    ray.init(num_cpus=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield ray


def test_a_ref_made_of_an_id_that_is_held(ray: Any) -> None:
    ref = ray.put(3)
    for again in (
        ray.ObjectRef(ref.binary()),
        ray.ObjectRef.from_binary(ref.binary()),
        ray.ObjectRef.from_hex(ref.hex()),
        ray.ObjectID(ref.binary()),
    ):
        assert again == ref and hash(again) == hash(ref) and ray.get(again) == 3
    again = ray.ObjectRef(ref.binary())
    del ref
    assert ray.get(again) == 3 and ray.wait([again]) == ([again], [])
    assert ray.get(ray.remote(lambda value: value + 1).remote(again)) == 4


def test_a_ref_made_of_any_other_id(ray: Any) -> None:
    for ref in (ray.ObjectRef(b"a" * 20), ray.ObjectRef.nil(), ray.ObjectRef.from_random()):
        assert ref.hex() == ref.binary().hex() and ref.size() == 20
        assert ref.is_nil() == (ref == ray.ObjectRef.nil())
        with pytest.raises(ValueError, match="cannot be used here"):
            ray.get(ref)
        with pytest.raises(ValueError, match="cannot be used here"):
            ray.wait([ref])
        with pytest.raises(ValueError, match="cannot be used here"):
            ray.remote(abs).remote(ref)


def test_what_is_no_id(ray: Any) -> None:
    with pytest.raises(ValueError, match="length 20, got 3"):
        ray.ObjectRef(b"abc")
    with pytest.raises(TypeError, match="expected bytes"):
        ray.ObjectRef("a" * 20)


def test_a_ref_tells_its_task_and_its_job(ray: Any) -> None:
    ref = ray.remote(lambda: ray.get_runtime_context().get_task_id()).remote()
    assert ref.task_id().hex() == ray.get(ref)
    assert isinstance(ref.task_id(), ray.TaskID) and isinstance(ref.job_id(), ray.JobID)
    job = ray.get_runtime_context().get_job_id()
    assert ref.job_id().hex() == ref.task_id().job_id().hex() == job
    with pytest.raises(NotImplementedError, match="actor_id"):
        ref.task_id().actor_id()


def test_the_old_attributes_of_the_runtime_context(ray: Any) -> None:
    context = ray.get_runtime_context()
    assert context.job_id.hex() == context.get_job_id()
    assert context.node_id.hex() == context.get_node_id() == ray.nodes()[0]["NodeID"]
    assert context.current_placement_group_id.is_nil()
    assert context.get_resource_ids() == context.get_accelerator_ids()
    for name in ("task_id", "actor_id"):
        with pytest.raises(AssertionError):
            getattr(context, name)
    assert context.get() == {
        "job_id": context.job_id,
        "node_id": context.node_id,
        "namespace": context.namespace,
    }


def test_the_old_attributes_in_tasks_and_actors(ray: Any) -> None:
    @ray.remote
    def ask() -> Any:
        context = ray.get_runtime_context()
        return context.task_id, context.actor_id, context.current_placement_group_id, context.get()

    @ray.remote
    class Actor:
        def ask(self) -> Any:
            context = ray.get_runtime_context()
            return context.task_id, context.actor_id, context.get()

    group = ray.util.placement_group([{"CPU": 1}])
    strategy = ray.util.scheduling_strategies.PlacementGroupSchedulingStrategy(group)
    ref = ask.options(scheduling_strategy=strategy).remote()
    task_id, actor_id, group_id, found = ray.get(ref)
    assert task_id == ref.task_id() == found["task_id"] and actor_id is None
    assert "actor_id" not in found and group_id.hex() == group.id.hex()
    actor = Actor.remote()
    ref = actor.ask.remote()
    task_id, actor_id, found = ray.get(ref)
    assert task_id == ref.task_id() == found["task_id"]
    assert actor_id == actor._actor_id == found["actor_id"]
    assert actor_id.job_id() == found["job_id"]


def test_ids_of_nodes(ray: Any) -> None:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    name = ray.nodes()[0]["NodeID"]
    node_id = ray.NodeID.from_hex(name)
    assert node_id.hex() == name and not node_id.is_nil() and name in repr(node_id)
    assert pickle.loads(pickle.dumps(node_id)) == node_id
    assert ray.NodeID.from_binary(b"a" * 28).hex() == (b"a" * 28).hex()
    strategy = NodeAffinitySchedulingStrategy(node_id, soft=False)
    assert strategy == NodeAffinitySchedulingStrategy(node_id=node_id.hex(), soft=False)
    with pytest.raises(ValueError, match="Invalid node_id 'ffff"):
        NodeAffinitySchedulingStrategy(ray.NodeID.nil())
    with pytest.raises(ValueError, match="cannot be set when soft is False"):
        NodeAffinitySchedulingStrategy(node_id, soft=False, _spill_on_unavailable=True)
    with pytest.raises(ValueError, match="cannot be set when soft is True"):
        NodeAffinitySchedulingStrategy(node_id, soft=True, _fail_on_unavailable=True)
    assert ray.get(ray.remote(abs).options(scheduling_strategy=strategy).remote(-1)) == 1


def test_arguments_as_ray_names_them(ray: Any, capsys: pytest.CaptureFixture[str]) -> None:
    group = ray.util.placement_group([{"CPU": 1}], strategy=None)
    assert group.wait(10)
    with pytest.raises(NotImplementedError, match="topology_strategy"):
        ray.util.placement_group([{"CPU": 1}], topology_strategy="x")
    assert ray.util.inspect_serializability(base_obj=1)[0]
    assert sorted(ray.util.map_unordered(ray.remote(abs), [-1, -2])) == [1, 2]
    assert ray.util.get_node_ip_address("8.8.8.8:53") == "127.0.0.1"
    assert ray._private.services.get_node_ip_address() == "127.0.0.1"
    with pytest.raises(ValueError, match="_owner"):
        ray.put(1, _owner=group)
    with pytest.raises(NotImplementedError, match="_tensor_transport"):
        ray.put(1, _tensor_transport="nccl")
