"""The options of tasks and actors that Ray has and rsim has under another name, or not at all.

Decides what each becomes in rsim. Must never drop one that would change what a program does: those
raise NotImplementedError. Owns no state.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from typing import Any

import rsim
from rsim.api import options as rsim_options
from rsim.runtime import checks

_WITHOUT_EFFECT = ("_labels", "_metadata")
"""What is recorded of a task, not what it does."""

_ACCELERATOR_SHARE = 0.001
"""How much of a node's resource `accelerator_type:X` each task takes that asks for X; Ray's."""

_FINEST = 0.0001
_COUNTS = {
    "num_returns": 0,
    "max_calls": 0,
    "max_concurrency": 0,
    "max_retries": -1,
    "max_restarts": -1,
    "max_task_retries": -1,
    "max_pending_calls": -1,
}
"""The options that are whole numbers, and the least each may be."""

_ALLOWED: dict[int | str, str] = {
    "num_returns": "a non-negative integer, 'streaming' (for generators), or 'dynamic'",
    -1: "0, -1 or a positive integer, where -1 represents infinity.",
    0: "0 or a positive integer",
}

_REFUSED = {
    "tensor_transport": "there are no GPU objects",
    "enable_tensor_transport": "there are no GPU objects",
}


def learn() -> None:
    """Understand Ray's options from now on."""
    rsim_options.dialect = translated
    rsim_options.default_max_retries = _default_max_retries


def forget() -> None:
    """Understand rsim's only."""
    rsim_options.dialect = rsim_options.no_dialect
    rsim_options.default_max_retries = rsim_options.three


def _default_max_retries() -> int:
    given = os.environ.get("RAY_TASK_MAX_RETRIES", "")
    return int(given) if given else rsim_options.three()


def translated(given: Mapping[str, Any], what: str) -> dict[str, Any]:
    """Options of Ray as options of rsim. `what`: whose options."""
    options = dict(given)
    _check(options, what)
    for name in _WITHOUT_EFFECT:
        options.pop(name, None)
    if options.get("_num_objects_per_yield") == 1:  # Ray's default
        del options["_num_objects_per_yield"]
    for name, reason in _REFUSED.items():
        if options.pop(name, None):
            raise NotImplementedError(f"the option {name} of Ray is not in rsim: {reason}")
    if isinstance(options.get("memory"), float):
        options["memory"] = int(options["memory"])
    _object_store_memory(options, what)
    _accelerator_type(options)
    _placement_group(options)
    return options


# Tests match these words of Ray's, so they are part of its interface.


def _check(options: dict[str, Any], what: str) -> None:
    """What rsim would check as well, in the words by which programs know it."""
    for name, least in _COUNTS.items():
        value = options.get(name)
        if value is None or (name == "num_returns" and isinstance(value, str)):
            continue
        if not isinstance(value, int):
            valid = (int, str, type(None)) if name == "num_returns" else (int, type(None))
            raise TypeError(
                f"The type of keyword '{name}' must be {valid}, but received type {type(value)}"
            )
        if value < least and what == "an actor's method" and name == "num_returns":
            raise ValueError(f"num_returns must be >= 0, but got {value}")
        if value < least:
            kind = name if name in _ALLOWED else least
            raise ValueError(f"The keyword '{name}' only accepts None, {_ALLOWED[kind]}")
    told = options.get("enable_task_events", True)
    if not isinstance(told, bool):
        raise TypeError(
            f"The type of keyword 'enable_task_events' must be {bool}, but received type "
            f"{type(told)}"
        )
    resources = options.get("resources")
    if isinstance(resources, Mapping):
        if "CPU" in resources or "GPU" in resources:
            raise ValueError(
                "Use the 'num_cpus' and 'num_gpus' keyword instead of 'CPU' and 'GPU' in "
                "'resources' keyword"
            )
        _check_quantities(resources)
    _check_quantities({name: options.get(name) for name in ("num_cpus", "num_gpus", "memory")})


def _check_quantities(quantities: Mapping[str, Any]) -> None:
    for name, quantity in quantities.items():
        if not isinstance(quantity, int | float) or isinstance(quantity, bool):
            continue
        if quantity < 0:
            raise ValueError(f"The quantity of resource {name} cannot be negative")
        if 0 < quantity < _FINEST:
            raise ValueError(
                f"The precision of the fractional quantity of resource {name} cannot go beyond "
                f"{_FINEST:.4f}"
            )


def _object_store_memory(options: dict[str, Any], what: str) -> None:
    if options.pop("object_store_memory", None) is None:
        return
    if what != "an actor class":
        raise ValueError("Setting 'object_store_memory' is not implemented for tasks")
    message = "object_store_memory of actors reserves nothing, as in Ray, and is deprecated there"
    warnings.warn(message, DeprecationWarning, stacklevel=6)


def _accelerator_type(options: dict[str, Any]) -> None:
    kind = options.pop("accelerator_type", None)
    if kind is not None:
        checks.text("accelerator_type", kind)
        share = {f"accelerator_type:{kind}": _ACCELERATOR_SHARE}
        options["resources"] = {**(options.get("resources") or {}), **share}


def _placement_group(options: dict[str, Any]) -> None:
    """The three options that scheduling_strategy has replaced."""
    apart = "placement_group" in options and options["placement_group"] is None
    group = options.pop("placement_group", None)
    index = options.pop("placement_group_bundle_index", -1)
    children = options.pop("placement_group_capture_child_tasks", None)
    if group is None or group == "default":
        if index != -1:
            raise ValueError("If placement group is not set, the value of bundle index must be -1.")
        if apart and options.get("scheduling_strategy") is None:
            options["scheduling_strategy"] = "DEFAULT"  # not in its parent's group
        return
    if options.get("scheduling_strategy") is not None:
        raise ValueError(
            "Placement groups should be specified via the scheduling_strategy option: "
            "placement_group is its old name, and both are given"
        )
    from rsim.util import scheduling_strategies

    options["scheduling_strategy"] = scheduling_strategies.PlacementGroupSchedulingStrategy(
        group, index, children
    )


def method(*args: Any, **options: Any) -> Any:
    """rsim.method, which Ray lets stand without options, too."""
    if len(args) == 1 and not options and callable(args[0]):
        return args[0]
    return rsim.method(*args, **options)
