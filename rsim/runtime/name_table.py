"""The names of actors, as a control store in memory keeps them.

Decides nothing but what it says: the first to claim a name has it until it is released. Owns the
table.
"""

from __future__ import annotations

from rsim.core.records import ActorName, NamedActor


class NameTable:
    """See ``ControlStore`` of the ports, whose calls these are, but for the way of answering."""

    def __init__(self) -> None:
        self._actors: dict[ActorName, NamedActor] = {}

    def claim(self, named: NamedActor) -> NamedActor:
        """Note the actor's name if it is free; the actor that has it now."""
        return self._actors.setdefault(named.name, named)

    def find(self, name: ActorName) -> NamedActor | None:
        """The actor of that name."""
        return self._actors.get(name)

    def release(self, name: ActorName, actor_id: bytes, owner: str) -> None:
        """Forget a name, unless it is another actor's by now."""
        named = self._actors.get(name)
        if named is not None and (named.actor_id, named.owner) == (actor_id, owner):
            del self._actors[name]

    def release_all(self, owner: str) -> None:
        """Forget the names of an owner's actors."""
        for name, named in list(self._actors.items()):
            if named.owner == owner:
                del self._actors[name]

    def names(self, namespace: str | None) -> tuple[ActorName, ...]:
        """The names of a namespace, or all."""
        return tuple(name for name in self._actors if namespace in (None, name.namespace))
