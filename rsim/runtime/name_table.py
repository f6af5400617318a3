"""The names of actors, as a control store in memory keeps them.

Decides nothing but what it says: the first to claim a name has it until it is released, as often as
that one has claimed it (a task that runs again claims it again, perhaps before its first claim, as
its worker died, is released). Owns the table.
"""

from __future__ import annotations

from rsim.core.records import ActorName, NamedActor


class NameTable:
    """See ``ControlStore`` of the ports, whose calls these are, but for the way of answering."""

    def __init__(self) -> None:
        self._actors: dict[ActorName, NamedActor] = {}
        self._claims: dict[ActorName, int] = {}

    def claim(self, named: NamedActor) -> NamedActor:
        """Note the actor's name if it is free; the actor that has it now."""
        has_it = self._actors.setdefault(named.name, named)
        if _same(has_it, named.actor_id, named.owner):
            self._claims[named.name] = self._claims.get(named.name, 0) + 1
        return has_it

    def find(self, name: ActorName) -> NamedActor | None:
        """The actor of that name."""
        return self._actors.get(name)

    def release(self, name: ActorName, actor_id: bytes, owner: str) -> None:
        """Take back one claim of a name, unless it is another actor's by now."""
        named = self._actors.get(name)
        if named is not None and _same(named, actor_id, owner):
            self._claims[name] -= 1
            if not self._claims[name]:
                self._forget(name)

    def release_all(self, owner: str) -> None:
        """Forget the names of an owner's actors."""
        for name, named in list(self._actors.items()):
            if named.owner == owner:
                self._forget(name)

    def _forget(self, name: ActorName) -> None:
        del self._actors[name], self._claims[name]

    def names(self, namespace: str | None) -> tuple[ActorName, ...]:
        """The names of a namespace, or all."""
        return tuple(name for name in self._actors if namespace in (None, name.namespace))


def _same(named: NamedActor, actor_id: bytes, owner: str) -> bool:
    return named.actor_id == actor_id and named.owner == owner
