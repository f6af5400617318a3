"""The options of actor classes and of their methods.

Decides their names, defaults and valid values, and what of them the core sees. Must never accept
one that has no effect: what is not there yet raises NotImplementedError. Owns no state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from rsim.api import checks
from rsim.api.options import CALLING, PLACEMENT, Checks, checked, extras_of, strategy_of

if TYPE_CHECKING:
    from rsim.core.records import ActorOptions, TaskOptions


def _absent(name: str, value: object) -> NoReturn:
    raise NotImplementedError(f"the option {name} of actors is not there yet (given: {value!r})")


def _retries(name: str, value: object) -> int:
    return checks.integer(name, value, -1)


def _max_pending_calls(name: str, value: object) -> int:
    limit = checks.integer(name, value, -1)
    if limit == 0:
        raise ValueError(f"{name} must be -1, for no limit, or more than 0, not 0")
    return limit


def _max_concurrency(name: str, value: object) -> int:
    limit = checks.integer(name, value, 1)
    if limit > 1:
        _absent(name, value)
    return limit


_OF_CLASSES: Checks = {
    "max_restarts": _retries,
    "max_task_retries": _retries,
    "max_pending_calls": _max_pending_calls,
    "max_concurrency": _max_concurrency,
    "concurrency_groups": _absent,
    "name": _absent,
    "namespace": _absent,
    "get_if_exists": _absent,
    "lifetime": _absent,
}
_CLASS_CHECKS: Checks = {**PLACEMENT, **_OF_CLASSES}
_METHOD_CHECKS: Checks = {
    **CALLING,
    "max_task_retries": _retries,
    "concurrency_group": _absent,
}

CLASS_ONLY = frozenset(_OF_CLASSES) - {"name"}
"""Options that functions do not have."""


class ClassOptions:
    """Checked options of an actor class. Raises TypeError or ValueError, naming the option."""

    __slots__ = ("_given", "creation", "max_pending_calls", "max_task_retries", "task")

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._given = given = checked(options, _CLASS_CHECKS, "an actor class")
        self.max_task_retries: int = given.get("max_task_retries", 0)
        self.max_pending_calls: int = given.get("max_pending_calls", -1)
        self.task, self.creation = _core_options(given)

    def changed(self, changes: Mapping[str, Any]) -> ClassOptions:
        """These options, but for `changes`; an option that is None there gets its default back."""
        return ClassOptions({**self._given, **changes})

    def __reduce__(self) -> tuple[Any, ...]:
        return ClassOptions, (self._given,)


def _core_options(given: dict[str, Any]) -> tuple[TaskOptions, ActorOptions]:
    """What the core is told: how to place the actor, and what to do while it lives."""
    from rsim.core.records import ActorOptions, TaskOptions
    from rsim.core.resources import demand_of

    others = given.get("num_gpus"), given.get("memory"), given.get("resources")
    placed = demand_of(given.get("num_cpus", 1.0), *others)
    held = demand_of(given.get("num_cpus", 0.0), *others)
    restarts = given.get("max_restarts", 0)
    return (
        TaskOptions(placed, restarts, strategy=strategy_of(given)),
        ActorOptions(restarts, held),
    )


class MethodOptions:
    """Checked options of a method. `actor_retries`: max_task_retries where it has none itself."""

    __slots__ = ("_given", "name", "num_returns", "task")

    def __init__(self, options: Mapping[str, Any], actor_retries: int) -> None:
        from rsim.core.records import TaskOptions

        self._given = given = method_options(options)
        self.name: str = given.get("name", "")
        """Empty: the method's."""
        self.num_returns: int | None = given.get("num_returns")
        """None: not said."""
        retries = given.get("max_task_retries", actor_retries)
        retry_exceptions = bool(given.get("retry_exceptions"))
        self.task = TaskOptions((), retries, retry_exceptions, extras=extras_of(given))

    def changed(self, changes: Mapping[str, Any], actor_retries: int) -> MethodOptions:
        """These options, but for `changes`."""
        return MethodOptions({**self._given, **changes}, actor_retries)


def method_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Check the options of a method."""
    return checked(options, _METHOD_CHECKS, "an actor's method")


def method(**options: Any) -> Callable[[Any], Any]:
    """Give a method of an actor class options: `@rsim.method(num_returns=2)`.

    num_returns, name, cost: as of a function. max_task_retries: how often a call is made again
    when the actor died during it (-1: without limit; default: the actor's). retry_exceptions:
    whether also when the method raises; or a list of the exceptions.

    Raises TypeError or ValueError for bad options.
    """
    if not options:
        raise TypeError("method takes options by keyword, as in @rsim.method(num_returns=2)")
    given = method_options(options)

    def mark(function: Any) -> Any:
        function.__rsim_method__ = given
        return function

    return mark
