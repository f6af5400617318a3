"""The options of remote functions: what `@rsim.remote(...)` and `.options(...)` take.

Decides their names, defaults and valid values, and what of them the core sees. Must never change
what it was given: changed options are new ones. Owns no state. What it imports inside functions
would double the time that `import rsim` takes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from rsim.api import checks
from rsim.api.placement import PLACEMENT, Checks, Place
from rsim.api.runtime_env import runtime_env, unless_empty, variables_of
from rsim.exceptions import UnserializableError

if TYPE_CHECKING:
    from rsim.core.records import TaskOptions

__tracebackhide__ = True  # pytest shows the caller's line instead

GENERATING = ("streaming", "dynamic")
"""What `num_returns` may be, other than a number, for generators."""

_MOST_RESULTS = 1_000_000
"""Of one call: each has a ref from the beginning."""

ALIASES = {"num_return_vals": "num_returns"}
"""Names that Ray had before 1.0."""
_NO_ALIASES: dict[str, str] = {}


class Options:
    """Checked options of a remote function.

    Raises TypeError or ValueError for unknown ones and bad values, naming the option;
    UnserializableError when `cost` or `retry_exceptions` cannot be pickled.
    """

    __slots__ = ("_given", "backpressure", "name", "num_returns", "refusal", "task")

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._given = given = checked(options, _CHECKS, "a remote function", ALIASES)
        self.name: str = given.get("name", "")
        """Empty: the function's."""
        self.num_returns: int | str | None = given.get("num_returns")
        """None: not said."""
        self.backpressure: int = given.get("_generator_backpressure_num_objects", -1)
        """Most values of a generator that were not asked for; -1: any number."""
        place = Place(given, self.name or "a task")
        self.refusal = place.refusal
        """Why no call can be placed."""
        self.task = _task_options(given, place)

    def changed(self, changes: Mapping[str, Any]) -> Options:
        """These options, but for `changes`; an option that is None there gets its default back."""
        if "max_calls" in changes:
            raise ValueError(
                "max_calls belongs to the function: give it to @rsim.remote, not to options"
            )
        return Options({**self._given, **renamed(unless_empty(changes))})

    def __reduce__(self) -> tuple[Any, ...]:
        return Options, (self._given,)


def renamed(given: Mapping[str, Any], aliases: Mapping[str, str] = ALIASES) -> dict[str, Any]:
    """The options under their present names."""
    found: dict[str, Any] = {}
    for name, value in given.items():
        present = aliases.get(name, name)
        if present in found:
            raise ValueError(f"{name} is another name for {present}: give one of them")
        found[present] = value
    return found


def no_dialect(given: Mapping[str, Any], what: str) -> Mapping[str, Any]:
    """Options as they are."""
    return given


def three() -> int:
    """How often a task is run again."""
    return 3


default_max_retries: Callable[[], int] = three
"""For functions that do not say it: set by rsim.as_ray, too."""

dialect: Callable[[Mapping[str, Any], str], Mapping[str, Any]] = no_dialect
"""Translates options from another interface than rsim's: set by rsim.as_ray."""


def checked(
    given: Mapping[str, Any], table: Checks, what: str, aliases: Mapping[str, str] = _NO_ALIASES
) -> dict[str, Any]:
    """The options, checked, less those that are None. `what`: whose options, for the error."""
    found: dict[str, Any] = {}
    for name, value in renamed(dialect(given, what), aliases).items():
        check = table.get(name)
        if check is None:
            valid = ", ".join(sorted(each for each in (*table, *aliases) if each[0] != "_"))
            raise ValueError(
                f"Invalid option keyword {name}: {name} is no option of {what}; valid are {valid}"
            )
        if value is not None:
            found[name] = check(name, value)
    return found


def _num_returns(name: str, value: object) -> int | str:
    if value in GENERATING:
        return GENERATING[GENERATING.index(value)]
    if isinstance(value, str):
        raise ValueError(f"{name} must be a number, 'streaming' or 'dynamic', not {value!r}")
    return checks.integer(name, value, 0, _MOST_RESULTS)


def _backpressure(name: str, value: object) -> int:
    limit = checks.integer(name, value, -1)
    if limit == 0:
        raise ValueError(f"{name} must be more than 0, or -1 for no limit, not 0")
    return limit


def _not_there(name: str, value: object) -> NoReturn:
    raise NotImplementedError(f"the option {name} is not there yet (given: {value!r})")


def _retry_exceptions(name: str, value: object) -> bool | tuple[type[Exception], ...]:
    if isinstance(value, bool):
        return value
    if not isinstance(value, list | tuple):
        raise TypeError(f"{name} must be a bool or a list of exception types, not {value!r}")
    for kind in value:
        if not (isinstance(kind, type) and issubclass(kind, Exception)):
            raise ValueError(f"{name} must list exception types, and {kind!r} is none")
    return tuple(value)


def _cost(name: str, value: object) -> object:
    return value if callable(value) else checks.seconds(name, value)


CALLING: Checks = {
    "num_returns": _num_returns,
    "retry_exceptions": _retry_exceptions,
    "name": checks.text,
    "cost": _cost,
    "enable_task_events": checks.flag,
    "_generator_backpressure_num_objects": _backpressure,
    "_num_objects_per_yield": _not_there,
}
"""What functions and methods have in common."""

_CHECKS: Checks = {
    **PLACEMENT,
    **CALLING,
    "max_retries": lambda name, value: checks.integer(name, value, -1),
    "max_calls": lambda name, value: checks.integer(name, value, 0),
    "runtime_env": runtime_env,
}


def _task_options(given: dict[str, Any], place: Place) -> TaskOptions:
    """What the core is told."""
    from rsim.core.records import TaskOptions

    return TaskOptions(
        place.demand,
        given["max_retries"] if "max_retries" in given else default_max_retries(),
        bool(given.get("retry_exceptions")),
        place.strategy,
        extras_of(given),
        max_calls=given.get("max_calls", 0),
        env_vars=variables_of(given.get("runtime_env")),
        threads=threads_of(given),
        untold=not given.get("enable_task_events", True),
    )


def threads_of(given: dict[str, Any]) -> int:
    """With how many threads libraries are to compute."""
    return max(1, int(given.get("num_cpus", 1)))


def with_function(task: TaskOptions, name: str, function: str) -> TaskOptions:
    """The options of tasks called ``name`` (empty: like their function), told the function's."""
    if not name or name == function:
        return task
    from msgspec.structs import replace

    return replace(task, function=function)


def extras_of(given: dict[str, Any]) -> bytes:
    """The options that only the executor reads, pickled."""
    extras = {name: given[name] for name in ("cost", "retry_exceptions") if given.get(name)}
    if given.get("_generator_backpressure_num_objects", -1) > 0:
        extras["backpressure"] = given["_generator_backpressure_num_objects"]
    if given.get("num_returns") == "dynamic":
        extras["dynamic"] = True
    if not extras:
        return b""
    import cloudpickle

    try:
        blob: bytes = cloudpickle.dumps(extras, 5)
    except Exception as error:
        names = " and ".join(extras)
        raise UnserializableError(f"{names} cannot be pickled: {error}", part=names) from error
    return blob
