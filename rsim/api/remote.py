"""`@rsim.remote` and the remote functions that it makes.

Decides what can be made remote, and what `.remote()` checks before it submits a task. Must never
run the function. Owns nothing: what is known of a function is in its definition.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Generic, NoReturn, Protocol, TypeVar, overload

from rsim.api import checks
from rsim.api.actor_options import CLASS_ONLY, ClassOptions
from rsim.api.actors import ActorClass, actor_class
from rsim.api.definitions import Definition, rebuilt
from rsim.api.options import Options, with_function
from rsim.api.parameters import Parameters
from rsim.api.returning import number_of, returned
from rsim.api.session import running_client
from rsim.runtime import current
from rsim.runtime.context import RUNNING, TaskContext
from rsim.runtime.refs import ObjectRef

if TYPE_CHECKING:
    from rsim.core.records import TaskTemplate
    from rsim.runtime.client import Client
    from rsim.runtime.generators import ObjectRefGenerator

    Bound = tuple[TaskContext, TaskTemplate]

__tracebackhide__ = True  # pytest shows the caller's line instead

R = TypeVar("R")
T_co = TypeVar("T_co", covariant=True)


class RemoteFunction(Generic[T_co]):
    """A function whose calls are tasks: `f.remote(...)`. Made by `remote`.

    `T_co` is what `remote` returns: an ObjectRef of the result; with the option `num_returns` a
    list of them, and None for 0. For a generator function it is an ObjectRefGenerator.
    """

    __slots__ = (  # a little quicker than attributes of __dict__, which holds the description
        "__dict__",
        "_bound",
        "_definition",
        "_fewest",
        "_most",
        "_name",
        "_num_returns",
        "_options",
        "_parameters",
        "_streams",
        "_task",
    )

    def __init__(self, definition: Definition, options: Options, streams: bool = False) -> None:
        # `streams`: the function is a generator
        self._definition = definition
        self._options = options
        self._streams = streams
        self._bound: Bound | None = None
        self._task = with_function(options.task, options.name, definition.name)
        self._name = options.name or definition.name
        backpressure = options.backpressure > 0
        self._num_returns = number_of(self._name, options.num_returns, backpressure, streams)
        parameters = definition.parameters
        self._parameters = parameters.names
        self._fewest, self._most = parameters.fewest, parameters.most
        if options.refusal is not None:
            self._most = -1  # so that every call is checked, and refused
        definition.describe(self)

    def remote(self, /, *args: Any, **kwargs: Any) -> T_co:
        """Submit a task that calls the function; return its refs at once.

        ObjectRefs among the arguments are waited for and replaced by their values before the task
        starts; refs inside other values are passed on as they are. Raises TypeError when the
        arguments do not fit the function, UnserializableError when one cannot be pickled.
        """
        client = current.client or running_client()
        if kwargs or not self._fewest <= len(args) <= self._most:
            self._check(args, kwargs)
        for value in args:
            if type(value) is ObjectRef and value._counter is not client:
                raise checks.foreign(value)
        context = RUNNING.get() or client.base
        bound = self._bound
        if bound is None or bound[0] is not context:
            bound = self._bind(client, context)
        refs = client.submit(context, bound[1], args, kwargs, self._parameters)
        made: Any = (
            refs[0]
            if self._num_returns == 1
            else returned(refs, self._num_returns, self._task.extras)
        )
        return made  # type: ignore[no-any-return]  # its type is T_co by construction

    @overload
    def options(self, *, num_returns: int | str | None, **options: Any) -> RemoteFunction[Any]: ...
    @overload
    def options(self, **options: Any) -> RemoteFunction[T_co]: ...
    def options(self, **options: Any) -> RemoteFunction[Any]:
        """The same function with some options changed. They are those of `remote`."""
        return RemoteFunction(self._definition, self._options.changed(options), self._streams)

    def _bind(self, client: Client, context: TaskContext) -> Bound:
        definition = self._definition
        if definition.client() is not client:
            definition.bind(client)
        function_id = definition.function_id
        template = client.template(context, function_id, self._name, self._task, self._num_returns)
        self._bound = bound = context, template
        return bound

    def _check(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self._options.refusal is not None:
            raise self._options.refusal
        self._definition.parameters.check(self._definition.name, args, kwargs)
        for value in kwargs.values():
            if type(value) is ObjectRef and value._counter is not current.client:
                raise checks.foreign(value)

    @property
    def _function(self) -> Callable[..., Any]:
        """The function itself. AttributeError where it is defined in another process."""
        function = self._definition.function
        if function is None:
            raise AttributeError(f"{self!r} is defined in another process")
        return function

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        name = self._definition.name
        raise TypeError(
            f"Remote functions cannot be called directly: instead of {name}(), use {name}.remote()"
        )

    def __repr__(self) -> str:
        return f"<rsim remote function {self._definition.name}>"

    def __copy__(self) -> RemoteFunction[T_co]:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> RemoteFunction[T_co]:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        definition = self._definition
        function_id = definition.id_here(self)
        state = definition.name, definition.parameters, self._options, self._streams
        return _rebuild, (function_id, *state, definition.captured)


def _rebuild(
    function_id: bytes,
    name: str,
    parameters: Parameters,
    options: Options,
    streams: bool,
    captured: tuple[ObjectRef[Any], ...],
) -> RemoteFunction[Any]:
    definition = rebuilt("remote function", name, parameters, function_id, captured)
    return RemoteFunction(definition, options, streams)


class _Decorator(Protocol):
    """`remote` with options."""

    @overload
    def __call__(self, function: type[Any], /) -> ActorClass: ...  # type: ignore[overload-overlap]  # a class is callable, too
    @overload
    def __call__(  # type: ignore[overload-overlap]  # what generates has a ref for each value
        self, function: Callable[..., Iterator[R]], /
    ) -> RemoteFunction[ObjectRefGenerator[R]]: ...
    @overload
    def __call__(self, function: Callable[..., R], /) -> RemoteFunction[ObjectRef[R]]: ...


@overload
def remote(function: type[Any], /) -> ActorClass: ...  # type: ignore[overload-overlap]  # as above
@overload
def remote(  # type: ignore[overload-overlap]  # as above
    function: Callable[..., Iterator[R]], /
) -> RemoteFunction[ObjectRefGenerator[R]]: ...
@overload
def remote(function: Callable[..., R], /) -> RemoteFunction[ObjectRef[R]]: ...
@overload
def remote(
    *, num_returns: int | str | None, **options: Any
) -> Callable[[Callable[..., Any]], Any]: ...
@overload
def remote(**options: Any) -> _Decorator: ...
def remote(*args: Any, **options: Any) -> Any:
    """Make a function or a class remote: `@remote`, `@remote(num_cpus=2)` or `remote(function)`.

    Options of functions:
    num_cpus (default 1), num_gpus, resources: what the task takes while it runs, by 0.0001.
    memory: bytes that its node must have free.
    num_returns: how many values the function returns, each to have a ref of its own (default 1).
        A generator function's refs come one by one, from an ObjectRefGenerator ("streaming", its
        default), unless their number is given.
    _generator_backpressure_num_objects: a generator waits when so many of its values were not asked
        for (default -1: it never waits).
    max_retries: how often it is run again when its worker dies (default 3; -1: without limit).
    retry_exceptions: whether also when it raises; or a list of the exceptions.
    max_calls: after so many calls a worker ends and is replaced, which gives back what the function
        leaks (default 0: never).
    accelerator_type: of the node's GPUs, as it is declared by a resource of the node.
    scheduling_strategy: "DEFAULT", "SPREAD" or one of rsim.util.scheduling_strategies.
    label_selector: labels that the node must have, as {"region": "us", "disk": "in(ssd,nvme)",
        "zone": "!x"}. fallback_strategy: [{"label_selector": {...}}], for when no node can.
    runtime_env: {"env_vars": {"NAME": "value"}}: environment variables, for what it submits, too.
    name: of its tasks, in messages and traces.
    enable_task_events: whether the state API and the timeline tell of its tasks (default True).
    cost: seconds of virtual time that a call takes in a simulation, or a function of the
        arguments that tells.

    Options of classes: those about resources, places and the environment are the actor's, held for
    its life; without num_cpus it needs one CPU to be placed, and holds none. enable_task_events is
    also that of its methods.
    max_restarts: how often it is created again when its worker died (default 0; -1: always).
    max_task_retries: how often a call is made again that its death interrupted (default 0; -1).
    max_pending_calls: most unanswered calls of a handle (default -1: no limit).
    max_concurrency: calls that run at a time: in threads, or on an event loop if the class has
        'async def' methods (default 1; with such methods 1000).
    concurrency_groups: other groups of calls, with how many run at a time in each; see `method`.
    allow_out_of_order_execution: whether a call may overtake one that waits for its arguments
        (default: only if calls run at the same time).
    name, namespace: by which rsim.get_actor finds the actor; one living actor only may have them
        (default of namespace: that of rsim.init). get_if_exists: return the handle of the actor
        that has the name already, if there is one.
    lifetime: "detached": the actor lives on without handles, until it is killed.

    Raises TypeError or ValueError for what cannot be made remote and for bad options.
    """
    if len(args) == 1 and not options and callable(args[0]):
        return _made_remote(args[0], {})
    if args or not options:
        given = ", ".join(map(repr, args)) or "nothing"
        raise TypeError(
            "remote must be applied either to a function or a class, as in @rsim.remote, or with "
            f"options by keyword, as in @rsim.remote(num_cpus=2); not to {given}"
        )
    if CLASS_ONLY.isdisjoint(options):
        Options(options)  # bad ones are told here, not first where they are applied
    return lambda function: _made_remote(function, options)


def _made_remote(function: Any, given: dict[str, Any]) -> RemoteFunction[Any] | ActorClass:
    if isinstance(function, type):
        return actor_class(function, ClassOptions(given))
    options = Options(given)
    if isinstance(function, RemoteFunction | ActorClass):
        raise TypeError(f"{function!r} is remote already; use .options() to change its options")
    if not callable(function):
        raise TypeError(f"only a function or a class can be made remote, not {function!r}")
    name = getattr(function, "__name__", None) or type(function).__name__
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise ValueError(
            f"{name} is an 'async def' function, which cannot be a task: make it a method of an "
            "actor, or call it by asyncio.run() in a plain function"
        )
    definition = Definition(name, Parameters.of(function), function)
    return RemoteFunction(definition, options, inspect.isgeneratorfunction(function))
