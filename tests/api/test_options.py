"""The options of remote functions."""

import enum
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import rsim
from rsim.api import checks
from rsim.api.options import Options
from rsim.core.records import Strategy, TaskOptions
from rsim.util.scheduling_strategies import NodeAffinitySchedulingStrategy


def test_defaults() -> None:
    options = Options({})
    assert options.task == TaskOptions((("CPU", 10_000),), 3, False, Strategy("DEFAULT"), b"")
    assert (options.name, options.num_returns) == ("", None)
    assert Options({"num_cpus": None, "max_retries": None}).task == options.task


def test_what_the_core_is_told() -> None:
    options = Options(
        {
            "num_cpus": 0,
            "num_gpus": 0.5,
            "memory": 100,
            "resources": {"slot": 2, "none": 0},
            "max_retries": -1,
            "scheduling_strategy": NodeAffinitySchedulingStrategy("n1", soft=True),
        }
    )
    demand = (("GPU", 5_000), ("memory", 1_000_000), ("slot", 20_000))
    affinity = Strategy("AFFINITY", "n1", True, apart=True)
    assert options.task == TaskOptions(demand, -1, False, affinity, b"")
    spread = Strategy("SPREAD", apart=True)
    assert Options({"scheduling_strategy": "SPREAD"}).task.strategy == spread


def test_extras_are_for_the_executor() -> None:
    options = Options({"cost": lambda n: 2 * n, "retry_exceptions": [KeyError, OSError]})
    assert options.task.retry_exceptions
    extras = pickle.loads(options.task.extras)
    assert extras["cost"](3) == 6
    assert extras["retry_exceptions"] == (KeyError, OSError)
    assert pickle.loads(Options({"retry_exceptions": True}).task.extras) == {
        "retry_exceptions": True
    }
    assert Options({"cost": 0, "retry_exceptions": False}).task.extras == b""
    with pytest.raises(rsim.exceptions.UnserializableError, match="cost cannot be pickled"):
        Options({"cost": _uses_a_lock()})


def _uses_a_lock() -> Callable[[], object]:
    from threading import Lock

    lock = Lock()
    return lambda: lock


def test_changes_add_up() -> None:
    options = Options({"num_cpus": 2, "name": "a"})
    changed = options.changed({"num_cpus": None, "num_return_vals": 3})
    assert (changed.name, changed.num_returns) == ("a", 3)
    assert changed.task.demand == (("CPU", 10_000),)
    assert options.task.demand == (("CPU", 20_000),)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (
            {"num_cpu": 1},
            ValueError,
            "num_cpu is no option .* valid are accelerator_type, cost, .*",
        ),
        ({"num_cpus": -0.5}, ValueError, "num_cpus must be a finite number, 0 or more, not -0.5"),
        ({"num_cpus": 0.00001}, ValueError, "num_cpus must be 0, or 0.0001 or more, not 1e-05"),
        ({"num_cpus": "1"}, TypeError, "num_cpus must be a number, not '1'"),
        ({"num_cpus": float("inf")}, ValueError, "finite"),
        ({"num_gpus": 1.5}, ValueError, "num_gpus must be a whole number or below 1, not 1.5"),
        ({"memory": 10**18}, ValueError, "memory must be at most"),
        ({"resources": {"CPU": 1}}, ValueError, "must not contain 'CPU': use num_cpus="),
        ({"resources": {"slot": -1}}, ValueError, r"resources\['slot'\] must be"),
        ({"resources": {1: 1}}, TypeError, "must have names as keys, not 1"),
        ({"num_returns": -1}, ValueError, "num_returns must be 0 or more, not -1"),
        ({"num_returns": 1.0}, TypeError, "num_returns must be an int, not 1.0"),
        ({"num_returns": "all"}, ValueError, "must be a number, 'streaming' or 'dynamic'"),
        ({"_generator_backpressure_num_objects": 0}, ValueError, "more than 0, or -1 .* not 0"),
        ({"_generator_backpressure_num_objects": -2}, ValueError, "must be -1 or more, not -2"),
        ({"_generator_backpressure_num_objects": "1"}, TypeError, "must be an int, not '1'"),
        ({"_num_objects_per_yield": 2}, NotImplementedError, "_num_objects_per_yield is not there"),
        ({"num_returns": 1, "num_return_vals": 1}, ValueError, "num_return_vals is another name"),
        ({"max_retries": -2}, ValueError, "max_retries must be -1 or more, not -2"),
        ({"retry_exceptions": KeyError}, TypeError, "retry_exceptions must be a bool or a list"),
        ({"retry_exceptions": [KeyError, 1]}, ValueError, "and 1 is none"),
        ({"name": 1}, TypeError, "name must be a str, not 1"),
        ({"scheduling_strategy": "BEST"}, ValueError, "'DEFAULT', 'SPREAD', or one of"),
        ({"cost": -1}, ValueError, "cost must be a finite number, 0 or more"),
        ({"cost": "1"}, TypeError, "cost must be a number"),
        ({"cost": 1e300}, ValueError, r"cost must be less than 9e\+09, not 1e\+300"),
        ({"name": "\ud800"}, ValueError, r"name must be text, and '\\ud800' has no UTF-8 encod"),
        ({"resources": {"\ud800": 1}}, ValueError, "a key of resources must be text"),
        ({"num_cpus": 10**400}, ValueError, r"finite number, 0 or more, not 10{199}\.\.\.$"),
        ({"num_gpus": 10**9}, ValueError, "num_gpus must be at most 100000, not 1000000000"),
        ({"num_returns": 1 << 31}, ValueError, "num_returns must be at most 1000000, not 2147"),
        ({"max_retries": 1 << 63}, ValueError, "max_retries must be at most 9223372036854775807"),
        ({"runtime_env": 0}, TypeError, "runtime_env must be a dict or a RuntimeEnv, not 0"),
    ],
)
def test_bad_options(given: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        rsim.remote(**given)
    with pytest.raises(error, match=message):
        rsim.remote(abs).options(**given)


class Kind(enum.StrEnum):
    """Strings that are more than strings, as numpy's are."""

    ONE = "one"


def test_kinds_of_str_are_taken_as_plain_ones() -> None:
    environment = {"env_vars": {Kind.ONE: Kind.ONE}}
    options = Options({"name": Kind.ONE, "resources": {Kind.ONE: 1}, "runtime_env": environment})
    texts = [options.name, options.task.demand[-1][0], *options.task.env_vars[0]]
    assert texts == ["one"] * 4
    assert {type(each) for each in texts} == {str}


def test_affinity_names_a_node() -> None:
    with pytest.raises(TypeError, match="node_id must be a str"):
        NodeAffinitySchedulingStrategy(1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="node_id"):
        NodeAffinitySchedulingStrategy("")
    with pytest.raises(TypeError, match="soft must be a bool"):
        NodeAffinitySchedulingStrategy("n1", "yes")  # type: ignore[arg-type]


@given(st.integers(0, 5 * 10**15))  # above, floats lie further apart than units
@example(4497860722524205)
def test_quantities_of_the_finest_unit_are_kept(units: int) -> None:
    amount = checks.quantity("num_cpus", units / 10_000)
    assert Options({"num_cpus": amount}).task.demand == ((("CPU", units),) if units else ())


@given(st.integers(1, 10**9), st.floats(0.01, 0.99))
def test_what_is_finer_than_a_unit_is_cut_off(units: int, rest: float) -> None:
    amount = (units + rest) / 10_000
    assert Options({"num_cpus": amount}).task.demand == (("CPU", units),)


@given(st.floats(0, 0.0001, exclude_min=True, exclude_max=True))
def test_less_than_a_unit_is_refused(amount: float) -> None:
    with pytest.raises(ValueError, match=r"must be 0, or 0\.0001 or more"):
        Options({"num_cpus": amount})


def test_errors_of_computing_with_floats_are_no_parts_of_units() -> None:
    for amount, units in ((0.1 + 0.2, 3000), (0.7 - 0.4, 3000), (1 / 3, 3333), (1.1 * 3, 33000)):
        assert Options({"num_cpus": amount}).task.demand == (("CPU", units),)
