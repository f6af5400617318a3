"""Handles of actors, and the methods that are called through them.

Decides which methods an actor has and what `.remote()` checks before it submits a call. Must never
run a method, nor wait. Owns, for handles with `max_pending_calls`, their unanswered calls.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from inspect import Parameter
from typing import TYPE_CHECKING, Any, NoReturn

from rsim.api import checks
from rsim.api.actor_options import MethodOptions, number_of_results
from rsim.api.options import with_function
from rsim.api.parameters import Parameters
from rsim.api.returning import returned
from rsim.api.session import running_client
from rsim.exceptions import PendingCallsLimitExceeded
from rsim.runtime import current
from rsim.runtime.context import RUNNING, TaskContext
from rsim.runtime.refs import ObjectRef

if TYPE_CHECKING:
    from rsim.core.records import TaskTemplate
    from rsim.runtime.client import Client

__tracebackhide__ = True  # pytest shows the caller's line instead

Described = tuple[Parameters, dict[str, Any], bool]
"""A method's parameters and options, and whether it is a generator."""

_HIDDEN: dict[str, Described] = {
    "__ray_ready__": (Parameters(()), {}, False),
    "__ray_terminate__": (Parameters(()), {}, False),
    "__ray_call__": (Parameters(None), {}, False),
}


class Interface:
    """What handles know of an actor's class."""

    __slots__ = (
        "groups",
        "max_pending_calls",
        "max_task_retries",
        "methods",
        "name",
        "out_of_order",
        "untold",
    )

    def __init__(
        self,
        name: str,
        methods: dict[str, Described],
        max_task_retries: int,
        max_pending_calls: int,
        out_of_order: bool = False,
        groups: tuple[str, ...] = (),
        untold: bool = False,
    ) -> None:
        self.name = name
        self.methods = methods
        self.max_task_retries = max_task_retries
        self.max_pending_calls = max_pending_calls
        self.out_of_order = out_of_order
        self.groups = groups
        self.untold = untold

    def __reduce__(self) -> tuple[Any, ...]:
        limits = self.max_task_retries, self.max_pending_calls
        calls = self.out_of_order, self.groups, self.untold
        return Interface, (self.name, self.methods, *limits, *calls)


def methods_of(cls: type) -> dict[str, Described]:
    """The methods that can be called."""
    return dict(_described_methods(cls))


def is_async(cls: type) -> bool:
    """Whether any of them is an ``async def`` method."""
    return any(_is_async(getattr(cls, name)) for name in methods_of(cls))


def _is_async(function: object) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


def _described_methods(cls: type) -> Iterator[tuple[str, Described]]:
    for name in dir(cls):
        static = inspect.getattr_static(cls, name)
        if name.startswith("__") and name.endswith("__") and not _is_own(name, static):
            continue
        bound = isinstance(static, staticmethod | classmethod)
        if not (bound or inspect.isroutine(static)):
            continue
        function = getattr(cls, name)
        parameters = Parameters.of(function)
        if not bound:
            parameters = _without_self(parameters)
        options = getattr(function, "__rsim_method__", {})
        generates = inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)
        number_of_results(f"{cls.__name__}.{name}", options, generates)  # which checks them
        yield name, (parameters, options, generates)


def _is_own(name: str, static: object) -> bool:
    """Whether a special method can be called: one that the program has written, unless handles, as
    all objects, have it themselves.
    """
    return inspect.isfunction(static) and name not in vars(object)


def _without_self(parameters: Parameters) -> Parameters:
    shape = parameters.shape
    if shape and shape[0][1] <= Parameter.POSITIONAL_OR_KEYWORD:
        return Parameters(shape[1:])
    return parameters


class ActorHandle:
    """An actor, for whoever wants to call it: `handle.method.remote(...)`.

    Made by `ActorClass.remote`. Handles may be passed on like refs, in arguments, results and
    objects; the actor ends when none is left and its calls are done.
    """

    def __init__(self, ref: ObjectRef[Any], interface: Interface) -> None:
        self._rsim_ref = ref
        self._rsim_interface = interface
        limit = interface.max_pending_calls
        self._rsim_pending = _PendingCalls(limit) if limit > 0 else None

    def __getattr__(self, name: str) -> ActorMethod:
        interface = self._rsim_interface
        described = interface.methods.get(name) or _HIDDEN.get(name)
        if described is None:
            methods = ", ".join(interface.methods) or "none"
            message = f"the actor {interface.name} has no method {name!r}; it has {methods}"
            raise AttributeError(message, name=name, obj=self)
        options = MethodOptions(
            described[1],
            interface.max_task_retries,
            interface.out_of_order,
            interface.groups,
            interface.untold,
        )
        method = ActorMethod(self, name, described, options)
        vars(self)[name] = method  # it holds the ref, not the handle: no cycle
        return method

    def __dir__(self) -> list[str]:
        return ["__init__", *self._rsim_interface.methods, *_HIDDEN]

    def __repr__(self) -> str:
        return f"Actor({self._rsim_interface.name}, {self._rsim_ref.hex()})"

    def __eq__(self, other: object) -> bool:
        if type(other) is not ActorHandle:
            return NotImplemented
        return self._rsim_ref == other._rsim_ref

    def __hash__(self) -> int:
        return hash(self._rsim_ref)

    def __copy__(self) -> ActorHandle:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> ActorHandle:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return ActorHandle, (self._rsim_ref, self._rsim_interface)


class ActorMethod:
    """A method of an actor: `.remote(...)` calls it. Made by handles."""

    __slots__ = (
        "_actor",
        "_bound",
        "_described",
        "_fewest",
        "_interface",
        "_most",
        "_name",
        "_options",
        "_pending",
        "_qualified",
        "_ref",
        "_results",
        "_task",
    )

    def __init__(
        self,
        handle: ActorHandle | ActorMethod,
        name: str,
        described: Described,
        options: MethodOptions,
    ) -> None:
        if isinstance(handle, ActorHandle):
            self._ref = handle._rsim_ref
            self._interface, self._pending = handle._rsim_interface, handle._rsim_pending
        else:
            self._ref = handle._ref
            self._interface, self._pending = handle._interface, handle._pending
        self._actor = self._ref.binary()
        self._bound: tuple[TaskContext, TaskTemplate] | None = None
        self._name = name
        self._described = described
        self._options = options
        method = f"{self._interface.name}.{name}"
        self._qualified = options.name or method
        self._task = with_function(options.task, options.name, method)
        parameters, _, streams = described
        self._results = options.number_of_results(self._qualified, streams)
        self._fewest, self._most = parameters.fewest, parameters.most

    def remote(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call the method; return the refs of its results at once: one, or a list, None for 0, an
        ObjectRefGenerator for a generator.

        Calls through handles of one process begin in the order in which they were made, unless the
        actor is asynchronous, threaded, or allows them out of order. Arguments are
        as those of remote functions. Raises TypeError when they do not fit the method,
        UnserializableError when one cannot be pickled, PendingCallsLimitExceeded when the actor's
        `max_pending_calls` of this handle are not answered yet.
        """
        client = current.client or running_client()
        if self._ref._counter is not client:
            raise checks.foreign_handle(ActorHandle(self._ref, self._interface))
        if kwargs or not self._fewest <= len(args) <= self._most:
            self._check(args, kwargs)
        for value in (*args, *kwargs.values()) if kwargs else args:
            if type(value) is ObjectRef and value._counter is not client:
                raise checks.foreign(value)
        if self._pending is not None:
            self._pending.make_room(client, self._qualified)
        context = RUNNING.get() or client.base
        bound = self._bound
        if bound is None or bound[0] is not context:
            template = client.template(
                context,
                b"",
                self._qualified,
                self._task,
                self._results,
                actor=self._actor,
                method=self._name,
            )
            self._bound = bound = context, template
        refs = client.submit(context, bound[1], args, kwargs, self._described[0].names)
        if self._pending is not None:
            self._pending.calls += refs[:1]
        return refs[0] if self._results == 1 else returned(refs, self._results, self._task.extras)

    def options(self, **options: Any) -> ActorMethod:
        """The same method with some options changed. They are those of `rsim.method`."""
        changed = self._options.changed(options)
        return ActorMethod(self, self._name, self._described, changed)

    def _check(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._described[0].check(self._qualified, args, kwargs)

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        name = self._name
        raise TypeError(
            f"Actor methods cannot be called directly: instead of {name}(), use {name}.remote()"
        )

    def __repr__(self) -> str:
        return f"<rsim actor method {self._interface.name}.{self._name} of {self._ref.hex()}>"

    def __reduce__(self) -> tuple[Any, ...]:
        handle = ActorHandle(self._ref, self._interface)
        return _rebuild_method, (handle, self._name, self._options._given)


def _rebuild_method(handle: ActorHandle, name: str, options: dict[str, Any]) -> ActorMethod:
    method: ActorMethod = getattr(handle, name)
    return method.options(**options)


class _PendingCalls:
    """The calls of one handle that may not be answered yet."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.calls: list[ObjectRef[Any]] = []

    def make_room(self, client: Client, name: str) -> None:
        """Forget those that are answered, if it matters; raise if there is room for no more."""
        if len(self.calls) < self.limit:
            return
        self.calls = client.wait(self.calls, len(self.calls), 0, fetch_local=False)[1]
        if len(self.calls) >= self.limit:
            raise PendingCallsLimitExceeded(
                f"{name} cannot be called now: {len(self.calls)} calls through this handle are not "
                f"answered yet, and max_pending_calls is {self.limit}"
            )
