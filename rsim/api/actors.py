"""Actor classes: what `@rsim.remote` makes of a class, and how actors end.

Decides which classes can be actors' and what `.remote()` checks before it submits a creation. Must
never make an instance. Owns nothing: what is known of a class is in its definition.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, NoReturn

from rsim.api import checks, names
from rsim.api.actor_options import ClassOptions, check_group
from rsim.api.definitions import Definition, rebuilt
from rsim.api.handles import ActorHandle, Described, Interface, is_async, methods_of
from rsim.api.options import with_function
from rsim.api.parameters import Parameters
from rsim.api.session import running_client
from rsim.runtime import current
from rsim.runtime.refs import ObjectRef

if TYPE_CHECKING:
    from rsim.core.records import ActorOptions
    from rsim.runtime.client import Client


class ActorClassInheritanceException(TypeError):
    """A class inherits from an actor class."""


class ActorClass:
    """A class whose instances are actors: `Class.remote(...)`. Made by `remote`."""

    def __init__(
        self, definition: Definition, options: ClassOptions, methods: dict[str, Described]
    ) -> None:
        self._definition = definition
        self._options = options
        self._task = with_function(options.task, definition.name, definition.qualified)
        self._methods = methods
        self._interface = Interface(
            definition.name,
            methods,
            options.max_task_retries,
            options.max_pending_calls,
            options.out_of_order,
            options.groups,
            options.task.untold,
        )
        definition.describe(self)

    def remote(self, /, *args: Any, **kwargs: Any) -> ActorHandle:
        """Create an actor; return its handle at once.

        The arguments are the constructor's, and are treated as those of remote functions. Raises
        TypeError when they do not fit or the class is abstract, UnserializableError when one
        cannot be pickled, ActorAlreadyExistsError when its name is taken. If the constructor
        raises, or an argument of it is an error, calls of the actor raise ActorDiedError.
        """
        client = current.client or running_client()
        if self._options.refusal is not None:
            raise self._options.refusal
        definition = self._definition
        if inspect.isabstract(definition.function):
            raise TypeError(f"{definition.name} is an abstract class: it has no instances")
        definition.parameters.check(definition.name, args, kwargs)
        for value in (*args, *kwargs.values()):
            if type(value) is ObjectRef and value._counter is not client:
                raise checks.foreign(value)
        if definition.client() is not client:
            definition.bind(client)
        options = self._options
        if options.creation.name is None:
            return self._create(client, args, kwargs, options.creation)
        claim = names.claim(client, options.creation, self._interface, reuse=options.get_if_exists)
        if isinstance(claim, ActorHandle):
            return claim
        try:
            return self._create(client, args, kwargs, claim.options, claim.index)
        except BaseException:
            claim.drop()
            raise

    def _create(
        self,
        client: Client,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        creation: ActorOptions,
        index: int = -1,
    ) -> ActorHandle:
        definition = self._definition
        context = client.context
        template = client.template(
            context, definition.function_id, definition.name, self._task, creation=creation
        )
        (ref,) = client.submit(context, template, args, kwargs, definition.parameters.names, index)
        return ActorHandle(ref, self._interface)

    def options(self, **options: Any) -> ActorClass:
        """The same class with some options changed. They are those of `remote`."""
        return ActorClass(self._definition, self._options.changed(options), self._methods)

    @property
    def _cls(self) -> Any:
        """The class itself. AttributeError where it is defined in another process and not in use
        in this one.
        """
        definition = self._definition
        if definition.function is not None:
            return definition.function
        client = current.client
        if client is None or definition.function_id not in client.loaded_functions:
            raise AttributeError(f"{self!r} is defined in another process")
        return client.loaded_functions[definition.function_id]

    def __getattr__(self, name: str) -> Any:
        """What the class itself has: constants, static methods and class methods."""
        if name.startswith("_"):
            message = f"{type(self).__name__!r} object has no attribute {name!r}"
            raise AttributeError(message, name=name, obj=self)
        return getattr(self._cls, name)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._methods]

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        name = self._definition.name
        raise TypeError(
            f"Actors cannot be instantiated directly: instead of {name}(), use {name}.remote()"
        )

    def __mro_entries__(self, bases: tuple[Any, ...]) -> NoReturn:
        name = self._definition.name
        raise ActorClassInheritanceException(
            "Inheriting from actor classes is not currently supported. Let both classes inherit "
            f"from one that is not remote, or make {name} remote under another name"
        )

    def __repr__(self) -> str:
        return f"<rsim actor class {self._definition.name}>"

    def __copy__(self) -> ActorClass:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> ActorClass:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        definition = self._definition
        function_id = definition.id_here(self)
        names = definition.name, definition.qualified
        state = definition.parameters, self._options, self._methods
        return _rebuild, (function_id, *names, *state, definition.captured)


def _rebuild(
    function_id: bytes,
    name: str,
    qualified: str,
    parameters: Parameters,
    options: ClassOptions,
    methods: dict[str, Described],
    captured: tuple[ObjectRef[Any], ...],
) -> ActorClass:
    definition = rebuilt("actor class", name, parameters, function_id, captured)
    definition.qualified = qualified
    return ActorClass(definition, options, methods)


def actor_class(cls: type, options: ClassOptions) -> ActorClass:
    """Make a class remote. TypeError if its constructor is an 'async def' one; ValueError if a
    method is of a concurrency group that the class does not have, or the options contradict it.
    """
    if inspect.iscoroutinefunction(cls.__init__):  # type: ignore[misc]
        raise TypeError(f"{cls.__name__}.__init__ cannot be an 'async def' method: no class's can")
    options = options.for_class(is_async(cls))
    methods = methods_of(cls)
    for _, given, _ in methods.values():
        check_group(given.get("concurrency_group", ""), options.groups)
    definition = Definition(cls.__name__, Parameters.of(cls), cls)
    definition.qualified = cls.__qualname__
    return ActorClass(definition, options, methods)


def kill(actor: ActorHandle, *, no_restart: bool = True) -> None:
    """End an actor at once; its calls that are not answered yet raise ActorDiedError.

    no_restart: for good; otherwise it is as if its worker had died, and `max_restarts` decides.
    Does nothing when the actor is dead. Raises ValueError for anything but a handle, and
    ActorHandleNotFoundError, a ValueError, for one of an earlier session.
    """
    if type(actor) is not ActorHandle:
        raise ValueError(f"kill() takes the handle of an actor, not {actor!r}; for tasks: cancel()")
    client = current.client or running_client()
    ref = actor._rsim_ref
    if ref._counter is not client:
        raise checks.foreign_handle(actor)
    client.kill(ref, checks.flag("no_restart", no_restart))


def exit_actor() -> NoReturn:
    """End the actor in whose method this is called; it is not restarted.

    The call that does it, and those that the actor has not begun, raise ActorDiedError. Raises
    TypeError outside of an actor.
    """
    from rsim.runtime.methods import ActorExit

    client = current.client
    if client is None or not client.hosts_actor:
        raise TypeError(
            "exit_actor API is called on a non-actor worker: it is for the methods of an actor"
        )
    if client.exits is not None:
        client.exits()
    raise ActorExit("exit_actor() was called")
