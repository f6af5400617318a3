"""Actors by name: get_actor and list_named_actors, and what it takes to create one with a name.

Decides what a valid name is, and what is raised when one is taken or unknown. Must never decide
whose a name is: the node does. Owns no state.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rsim.api import checks
from rsim.api.handles import ActorHandle, Interface
from rsim.api.session import running_client
from rsim.exceptions import ActorAlreadyExistsError
from rsim.runtime import current

if TYPE_CHECKING:
    from rsim.core.records import ActorName, ActorOptions
    from rsim.runtime.client import Client


def get_actor(name: str, namespace: str | None = None) -> ActorHandle:
    """The handle of the actor that was created with this name, and is alive.

    namespace: the one it was created in; None: that of `rsim.init`. The handle counts like any
    other: an actor that is not detached ends when the last one goes.

    Raises ValueError when there is no such actor, or for an empty name or None; TypeError for
    anything else but a str.
    """
    from rsim.runtime.wire import NameSought

    if name is None:
        raise ValueError("name must be the one that the actor was created with, not None")

    client = current.client or running_client()
    full = _name(checks.name("name", name), namespace)
    reply = client.request(lambda op: NameSought(client.number, op, full))
    if not reply.lent:
        where = "" if namespace is None else f" in the namespace {namespace!r}"
        raise ValueError(
            f"Failed to look up actor with name {name!r}{where}: it was never created, it is dead, "
            "or it was created in another namespace"
        )
    return _handle(client, reply)


def list_named_actors(all_namespaces: bool = False) -> list[str] | list[dict[str, str]]:
    """The names of all living actors of this namespace that have one.

    all_namespaces: of every namespace, each as {"name": ..., "namespace": ...}.
    """
    from rsim.runtime.wire import NamesRequested

    client = current.client or running_client()
    everywhere = bool(all_namespaces)
    names = client.request(lambda op: NamesRequested(client.number, op, everywhere)).names
    if everywhere:
        return [{"name": each.name, "namespace": each.namespace} for each in names]
    return [each.name for each in names]


def _name(name: str, namespace: str | None) -> ActorName:
    from rsim.core.records import ActorName

    return ActorName("" if namespace is None else checks.name("namespace", namespace), name)


def _handle(client: Client, reply: Any) -> ActorHandle:
    """The handle of an actor that the node has found, and lent a ref to."""
    (actor_id,) = reply.lent
    interface: Interface = pickle.loads(reply.named.interface)
    return ActorHandle(client.take_ref(actor_id), interface)


@dataclass(slots=True)
class Claim:
    """A name that this client has, for the actor that it creates next."""

    client: Client
    index: int
    """Of the submission that creates it."""
    actor_id: bytes
    options: ActorOptions
    """Those of the actor, with its name in full."""

    def drop(self) -> None:
        """The actor will not be created after all."""
        from rsim.core.events import NameDropped

        self.client.channel.send(NameDropped(self.client.number, self.actor_id))


def claim(
    client: Client, options: ActorOptions, interface: Interface, *, reuse: bool
) -> Claim | ActorHandle:
    """Get the name among the options for an actor about to be created; with `reuse`, or the handle
    of the actor that has it. ActorAlreadyExistsError when it is taken.
    """
    import cloudpickle
    import msgspec

    from rsim.core.records import NamedActor
    from rsim.runtime.wire import NameClaimed

    assert options.name is not None
    index, actor_id = client.reserve()
    wanted = NamedActor(options.name, actor_id, "", cloudpickle.dumps(interface, 5))
    while True:
        reply = client.request(lambda op: NameClaimed(client.number, op, wanted, reuse))
        if reply.claimed:
            named = msgspec.structs.replace(options, name=reply.named.name)
            return Claim(client, index, actor_id, named)
        if reply.lent:
            return _handle(client, reply)
        if reply.named is not None:
            name, namespace = reply.named.name.name, reply.named.name.namespace
            raise ActorAlreadyExistsError(
                f"the name {name!r} (namespace={namespace!r}) is already taken. "
                f"Please use a different name, or rsim.get_actor({name!r}), or get_if_exists=True"
            )
        # else its actor has died meanwhile, and the name is free
