"""The names that there are: each is rsim's, or absent and says so when it is used."""

import importlib
import pickle
from typing import Any

import pytest

from rsim.as_ray import names as table
from rsim.as_ray.absent import Absent

pytestmark = pytest.mark.usefixtures("names")

IN_RAY = (
    "__version__ _config get_runtime_context autoscaler available_resources cancel client "
    "ClientBuilder cluster_resources get get_actor get_gpu_ids init is_initialized "
    "java_actor_class java_function cpp_function kill Language method nodes put remote shutdown "
    "timeline wait SCRIPT_MODE WORKER_MODE LoggingConfig actor internal util widgets ActorClassID "
    "ActorID NodeID JobID WorkerID FunctionID ObjectID ObjectRef ObjectRefGenerator "
    "DynamicObjectRefGenerator TaskID UniqueID PlacementGroupID"
).split()
"""Ray's own list, but for data and workflow, which are libraries."""

IN_UTIL = (
    "accelerators ActorPool as_completed map_unordered placement_group placement_group_table "
    "get_placement_group get_current_placement_group remove_placement_group list_named_actors "
    "get_node_ip_address get_node_instance_id inspect_serializability register_serializer "
    "deregister_serializer log_once enable_periodic_logging disable_log_once_globally iter pdb "
    "ray_debugpy collective connect disconnect"
).split()


def _path(module: str, name: str) -> str:
    return f"{module}.{name}"


EVERY_NAME = [_path(module, name) for module, names in table.MODULES.items() for name in names]


def _found(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def test_every_name_is_there_or_says_that_it_is_not() -> None:
    public = (*(f"ray.{name}" for name in IN_RAY), *(f"ray.util.{name}" for name in IN_UTIL))
    for path in (*public, *EVERY_NAME):
        found = _found(path)
        if isinstance(found, Absent):
            with pytest.raises(NotImplementedError, match=path):
                found()


def test_an_absent_name_is_no_use_for_anything() -> None:
    import ray

    absent = ray.java_function
    for use in (
        bool,
        len,
        iter,
        int,
        pickle.dumps,
        lambda it: it + 1,
        lambda it: it[0],
        lambda it: it.part.of_it(),
    ):
        with pytest.raises(NotImplementedError, match=r"ray\.java_function"):
            use(absent)
    assert not hasattr(absent, "__wrapped__")
    assert "ray.java_function" in repr(absent)


def test_the_module_is_a_name_of_its_own() -> None:
    import ray as module
    from ray import ray

    assert ray is module


def test_an_absent_class_can_be_a_base_and_an_annotation() -> None:
    from ray import dag

    class Node(dag.FunctionNode):
        pass

    class Both(Node, dag.InputNode):
        pass

    def annotated(node: dag.FunctionNode | None, other: dag.InputNode | None) -> Node | None:
        return None

    assert annotated(None, None) is None
    assert issubclass(Both, dag.FunctionNode) and issubclass(Both, dag.InputNode)
    assert not issubclass(Node, dag.InputNode)
    assert not isinstance(Node, dag.FunctionNode)
    for each in (Node, Both):
        with pytest.raises(NotImplementedError, match=r"ray\.dag\.FunctionNode"):
            each(1, two=2)


def test_libraries_on_ray_are_absent() -> None:
    for library in table.ABSENT_LIBRARIES:
        for module in (library, f"{library}.part"):
            with pytest.raises(NotImplementedError, match=library):
                importlib.import_module(module)
        with pytest.raises(ImportError, match=library):
            importlib.import_module(library)


def test_names_of_data_can_be_imported_and_asked_about() -> None:
    import ray
    from ray.data import Dataset, from_items
    from ray.data.dataset import Dataset as Other

    assert not isinstance([], Dataset | Other)
    for use in (from_items, ray.data.read_csv):
        with pytest.raises(NotImplementedError, match=r"ray\.data\."):
            use(["x"])


def test_a_module_that_ray_does_not_have() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"ray\.no_such_thing"):
        importlib.import_module("ray.no_such_thing")
    import ray

    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = ray.no_such_thing
    assert not hasattr(ray, "no_such_thing")


def test_modules_can_be_reached_as_attributes() -> None:
    import ray

    assert ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
    assert ray.exceptions.RayError
    assert ray._private.test_utils.wait_for_condition


def test_a_function_keeps_its_name_from_the_module_that_is_called_the_same() -> None:
    import ray.util

    module = importlib.import_module("ray.util.placement_group")
    assert module.__name__ == "ray.util.placement_group"
    assert ray.util.placement_group is not module


def test_everything_by_a_star() -> None:
    scope: dict[str, Any] = {}
    exec("from ray.exceptions import *", scope)
    assert scope["GetTimeoutError"] is importlib.import_module("rsim").exceptions.GetTimeoutError


def test_errors_are_the_same_classes() -> None:
    import ray.exceptions as theirs

    import rsim.exceptions as ours

    assert theirs.RayError is ours.RsimError
    assert theirs.RayTaskError is ours.RsimTaskError
    assert theirs.RayActorError is ours.RsimActorError
    assert theirs.ActorDiedError is ours.ActorDiedError
    for name in table.MODULES["ray.exceptions"]:
        if name != "RAY_EXCEPTION_TYPES":
            assert issubclass(getattr(theirs, name), ours.RsimError), name


def test_a_module_can_be_pickled() -> None:
    import ray

    assert pickle.loads(pickle.dumps(ray)) is ray


def test_ids() -> None:
    import ray

    for kind in (ray.NodeID, ray.ActorID, ray.TaskID, ray.JobID, ray.PlacementGroupID):
        some = kind.from_random()
        assert not some.is_nil() and kind.nil().is_nil()
        assert kind.from_hex(some.hex()) == kind(some.binary()) == some != kind.nil()
        assert len(some.binary()) == kind.size() and hash(some) == hash(kind(some.binary()))
        assert pickle.loads(pickle.dumps(some)) == some
        assert some.hex() in repr(some)
        with pytest.raises(ValueError, match=f"length {kind.size()}"):
            kind(b"")
        with pytest.raises(TypeError, match="bytes"):
            kind("text")
    assert ray.JobID.from_int(3).int() == 3
    assert ray.ObjectRef.nil().is_nil() and not ray.ObjectRef.from_random().is_nil()
    assert ray.ObjectRef[int]


def test_metrics_count_where_they_are() -> None:
    from ray.util.metrics import Counter, Gauge, Histogram

    counter = Counter("requests", tag_keys=("path",))
    counter.set_default_tags({"path": "/"})
    counter.inc()
    counter.inc(2, tags={"path": "/a"})
    assert counter.values == {(("path", "/"),): 1, (("path", "/a"),): 2}
    assert counter.info["tag_keys"] == ("path",)
    gauge = pickle.loads(pickle.dumps(Gauge("size", description="of it")))
    gauge.set(4)
    assert gauge.values == {(): 4}
    histogram = Histogram("time", boundaries=[1, 10])
    for value in (0.5, 5, 50):
        histogram.observe(value)
    assert histogram.values == {(): [1, 1, 1]}
    for bad in (
        lambda: Counter(""),
        lambda: counter.inc(0),
        lambda: counter.set_default_tags({"other": "x"}),
        lambda: Counter("a", tag_keys=("b",)).inc(),
        lambda: Histogram("a", boundaries=[]),
    ):
        with pytest.raises(ValueError):
            bad()
    with pytest.raises(TypeError, match="Tag values"):
        counter.inc(tags={"path": 1})
    with pytest.warns(UserWarning, match="Invalid metric name: no spaces"):
        nameless = Counter("no spaces")
    nameless.inc()
    assert nameless.values == {}
