"""The options of actor classes and of their methods.

Decides their names, defaults and valid values, and what of them the core sees. Must never accept
one that has no effect: what is not there yet raises NotImplementedError. Owns no state.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from rsim.api import checks
from rsim.api.options import ALIASES, CALLING, checked, extras_of, renamed, threads_of
from rsim.api.placement import PLACEMENT, Checks, Place
from rsim.api.returning import number_of
from rsim.api.runtime_env import runtime_env, unless_empty, variables_of

if TYPE_CHECKING:
    from rsim.core.records import ActorOptions, TaskOptions


def _no_limit(name: str, value: object) -> int:
    if checks.integer(name, value, -1) != -1:
        raise NotImplementedError(
            f"the option {name} of actors is not there yet (given: {value!r}; valid: -1, for no "
            "limit): give _generator_backpressure_num_objects to methods"
        )
    return -1


def _retries(name: str, value: object) -> int:
    return checks.integer(name, value, -1)


def _max_pending_calls(name: str, value: object) -> int:
    limit = checks.integer(name, value, -1)
    if limit == 0:
        raise ValueError(f"{name} must be -1, for no limit, or more than 0, not 0")
    return limit


def _concurrency_groups(name: str, value: object) -> dict[str, int]:
    limits = checks.by_name(name, value, "calls at a time by group")
    return {group: checks.integer(f"{name}[{group!r}]", limits[group], 1) for group in limits}


def _concurrency_group(name: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError(f"{name} must be the name of a concurrency group, not {value!r}")
    return checks.text(name, value)


def _lifetime(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str or None, not {value!r}")
    if value not in _LIFETIMES:
        raise ValueError(f"{name} must be 'detached', 'non_detached' or None, not {value!r}")
    return value


_OF_CLASSES: Checks = {
    "max_restarts": _retries,
    "max_task_retries": _retries,
    "max_pending_calls": _max_pending_calls,
    "max_concurrency": lambda name, value: checks.integer(name, value, 1),
    "concurrency_groups": _concurrency_groups,
    "allow_out_of_order_execution": checks.flag,
    "_actor_generator_backpressure_num_objects": _no_limit,
    "name": lambda _, value: checks.name("Actor name", value),
    "namespace": checks.name,
    "get_if_exists": checks.flag,
    "lifetime": _lifetime,
}
_ASYNC_CONCURRENCY = 1000
"""Calls at a time of an actor with ``async def`` methods, unless it says something else."""

_CLASS_CHECKS: Checks = {
    **PLACEMENT,
    **_OF_CLASSES,
    "runtime_env": runtime_env,
    "enable_task_events": checks.flag,
}
_METHOD_CHECKS: Checks = {
    **CALLING,
    "max_task_retries": _retries,
    "concurrency_group": _concurrency_group,
}

_LIFETIMES = ("detached", "non_detached")

CLASS_ONLY = frozenset(_OF_CLASSES) - {"name"}
"""Options that functions do not have."""


HANDLE_OPTIONS = ("max_task_retries", "allow_out_of_order_execution", "enable_task_events")
"""Options that an actor is told, for handles of itself."""


class ClassOptions:
    """Checked options of an actor class. Raises TypeError or ValueError, naming the option."""

    __slots__ = (
        "_given",
        "creation",
        "get_if_exists",
        "groups",
        "max_pending_calls",
        "max_task_retries",
        "out_of_order",
        "refusal",
        "task",
    )

    def __init__(self, options: Mapping[str, Any], is_async: bool = False) -> None:
        # `is_async`: the class has `async def` methods
        self._given = given = checked(options, _CLASS_CHECKS, "an actor class")
        self.max_task_retries: int = given.get("max_task_retries", 0)
        self.max_pending_calls: int = given.get("max_pending_calls", -1)
        self.get_if_exists: bool = given.get("get_if_exists", False)
        if self.get_if_exists and "name" not in given:
            raise ValueError("get_if_exists needs the option name: the actor's that may exist")
        self.groups: tuple[str, ...] = tuple(given.get("concurrency_groups", ()))
        place = Place(given, "an actor", is_actor=True)
        self.refusal = place.refusal
        """Why no actor can be placed."""
        self.task, self.creation = _core_options(given, is_async, place)
        self.out_of_order: bool = _out_of_order(given, self.creation)

    def changed(self, changes: Mapping[str, Any]) -> ClassOptions:
        """These options, but for `changes`; an option that is None there gets its default back."""
        if "concurrency_groups" in changes:
            raise ValueError(
                "concurrency_groups belong to the class: give them to @rsim.remote, not to options"
            )
        return ClassOptions({**self._given, **unless_empty(changes)}, self.creation.asyncio)

    def for_class(self, is_async: bool) -> ClassOptions:
        """The same for a class that has ``async def`` methods, or has none."""
        return ClassOptions(self._given, is_async)

    def __reduce__(self) -> tuple[Any, ...]:
        return ClassOptions, (self._given, self.creation.asyncio)


def _out_of_order(given: dict[str, Any], creation: ActorOptions) -> bool:
    """Whether a call may overtake one that waits for its inputs."""
    loose = creation.asyncio or creation.max_concurrency > 1
    chosen: bool = given.get("allow_out_of_order_execution", loose)
    if loose and not chosen:
        kind = "async def methods" if creation.asyncio else "max_concurrency > 1"
        raise ValueError(
            "allow_out_of_order_execution cannot be False for an actor with "
            f"{kind}, whose calls are not kept in order"
        )
    return chosen


def _core_options(
    given: dict[str, Any], is_async: bool, place: Place
) -> tuple[TaskOptions, ActorOptions]:
    """What the core is told: how to place the actor, and what to do while it lives."""
    from rsim.core.records import ActorName, ActorOptions, TaskOptions

    restarts = given.get("max_restarts", 0)
    name = given.get("name")
    of_handles = {name: given[name] for name in HANDLE_OPTIONS if name in given}
    extras = pickle.dumps(of_handles) if of_handles else b""
    return (
        TaskOptions(
            place.demand,
            restarts,
            strategy=place.strategy,
            extras=extras,
            env_vars=variables_of(given.get("runtime_env")),
            threads=threads_of(given),
            untold=not given.get("enable_task_events", True),
        ),
        ActorOptions(
            restarts,
            place.held,
            given.get("max_concurrency", _ASYNC_CONCURRENCY if is_async else 1),
            is_async,
            tuple(given.get("concurrency_groups", {}).items()),
            name=None if name is None else ActorName(given.get("namespace", ""), name),
            detached=given.get("lifetime") == "detached",
            namespace="" if name is not None else given.get("namespace", ""),
            patient=given.get("max_task_retries", 0) != 0,
        ),
    )


class MethodOptions:
    """Checked options of a method. `actor_retries`: max_task_retries where it has none itself;
    `out_of_order` and `groups` are the actor's; `untold`: where it does not say whether it is.
    """

    __slots__ = ("_given", "_groups", "_out_of_order", "_retries", "_untold", "name", "task")

    def __init__(
        self,
        options: Mapping[str, Any],
        actor_retries: int,
        out_of_order: bool = False,
        groups: tuple[str, ...] = (),
        untold: bool = False,
    ) -> None:
        from rsim.core.records import TaskOptions

        self._given = given = method_options(options)
        self.name: str = given.get("name", "")
        """Empty: the method's."""
        self._retries, self._out_of_order, self._groups = actor_retries, out_of_order, groups
        self._untold = untold
        group = given.get("concurrency_group", "")
        check_group(group, groups)
        self.task = TaskOptions(
            (),
            given.get("max_task_retries", actor_retries),
            bool(given.get("retry_exceptions")),
            extras=extras_of(given),
            out_of_order=out_of_order,
            group=group,
            untold=not given.get("enable_task_events", not untold),
        )

    def number_of_results(self, name: str, generates: bool) -> int:
        """How many results a call has. `name`: the method's; `generates`: it is a generator."""
        return number_of_results(name, self._given, generates)

    def changed(self, changes: Mapping[str, Any]) -> MethodOptions:
        """These options, but for `changes`."""
        given = {**self._given, **renamed(changes)}
        return MethodOptions(given, self._retries, self._out_of_order, self._groups, self._untold)


def number_of_results(name: str, given: Mapping[str, Any], generates: bool) -> int:
    """How many results a call with these checked options has. ValueError when they are for
    generators, and the method `name` is none.
    """
    limited = given.get("_generator_backpressure_num_objects", -1) > 0
    return number_of(name, given.get("num_returns"), limited, generates)


def check_group(group: str, groups: tuple[str, ...]) -> None:
    """Raise ValueError unless `group` is one of `groups`; empty stands for the default one."""
    if group and group not in groups:
        known = ", ".join(map(repr, groups)) or "none"
        raise ValueError(
            f"the actor has no concurrency group {group!r}: concurrency_groups of its class has "
            f"{known}"
        )


def method_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Check the options of a method."""
    return checked(options, _METHOD_CHECKS, "an actor's method", ALIASES)


def method(**options: Any) -> Callable[[Any], Any]:
    """Give a method of an actor class options: `@rsim.method(num_returns=2)`.

    num_returns, name, cost, enable_task_events, _generator_backpressure_num_objects: as of a
    function; enable_task_events goes before the actor's.
    max_task_retries: how often a call is made again when the actor died during it (-1: without
    limit; default: the actor's). retry_exceptions: whether also when the method raises; or a list
    of the exceptions. concurrency_group: one of the class's concurrency_groups; without it, the
    method is of the default group.

    Raises TypeError or ValueError for bad options.
    """
    if not options:
        raise TypeError("method takes options by keyword, as in @rsim.method(num_returns=2)")
    given = method_options(options)

    def mark(function: Any) -> Any:
        function.__rsim_method__ = given
        return function

    return mark
