"""Ray's old `ray.util.actor_group`: actors of one class that are all called at once.

Decides nothing but that: the calls are those of ordinary actors. Owns, per group, its actors.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import rsim
from rsim.api import checks

_GRACE_S = 5.0


class ActorWrapper:
    """One actor of a group, and what it said of itself when it began."""

    def __init__(self, actor: Any, metadata: Any) -> None:
        self.actor = actor
        self.metadata = metadata


class ActorGroupMethod:
    """A method of all actors of a group."""

    def __init__(self, group: ActorGroup, name: str) -> None:
        self._group = group
        self._name = name

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        """Refuse."""
        raise TypeError(f"use {self._name}.remote() to call the actors of a group")

    def remote(self, *args: Any, **kwargs: Any) -> list[Any]:
        """Call it on all actors, with these arguments; their refs."""
        methods = [getattr(each.actor, self._name) for each in self._group.actors]
        return [method.remote(*args, **kwargs) for method in methods]


class ActorGroup:
    """As many actors of a class as are asked for; it may have a method `get_actor_metadata`."""

    def __init__(
        self,
        actor_cls: type,
        num_actors: int = 1,
        num_cpus_per_actor: float = 1,
        num_gpus_per_actor: float = 0,
        resources_per_actor: dict[str, float] | None = None,
        init_args: Sequence[Any] | None = None,
        init_kwargs: dict[str, Any] | None = None,
    ) -> None:
        warnings.warn(
            "ActorGroup is deprecated: use ray.util.multiprocessing instead",
            DeprecationWarning,
            stacklevel=2,
        )
        self.num_actors = checks.integer("num_actors", num_actors, 1)
        self.num_cpus_per_actor = checks.quantity("num_cpus_per_actor", num_cpus_per_actor)
        self.num_gpus_per_actor = checks.quantity("num_gpus_per_actor", num_gpus_per_actor)
        self.actor_cls = actor_cls
        self._remote_cls = rsim.remote(
            num_cpus=num_cpus_per_actor,
            num_gpus=num_gpus_per_actor,
            resources=resources_per_actor or {},
        )(actor_cls)
        self._init = tuple(init_args or ()), dict(init_kwargs or {})
        self.actors: list[ActorWrapper] = []
        self.start()

    def start(self) -> None:
        """Create the actors. RuntimeError if they are there."""
        if self.actors:
            raise RuntimeError("the actors of this group have been started: shutdown() comes first")
        self.add_actors(self.num_actors)

    def add_actors(self, num_actors: int) -> None:
        """Create more actors."""
        args, kwargs = self._init
        new = [self._remote_cls.remote(*args, **kwargs) for _ in range(num_actors)]
        told: list[Any] = [None] * num_actors
        if hasattr(self.actor_cls, "get_actor_metadata"):
            told = rsim.get([actor.get_actor_metadata.remote() for actor in new])
        self.actors += map(ActorWrapper, new, told)

    def remove_actors(self, actor_indexes: Sequence[int]) -> None:
        """Let the actors at these places go."""
        gone = set(actor_indexes)
        self.actors = [each for place, each in enumerate(self.actors) if place not in gone]

    def shutdown(self, patience_s: float = _GRACE_S) -> None:
        """End all actors, those by force that have not ended by themselves in time."""
        ended = [each.actor.__ray_terminate__.remote() for each in self.actors]
        if patience_s > 0 and ended:
            rsim.wait(ended, num_returns=len(ended), timeout=patience_s)
        for each in self.actors:
            rsim.kill(each.actor)
        self.actors = []

    @property
    def actor_metadata(self) -> list[Any]:
        """What each actor said of itself when it began."""
        return [each.metadata for each in self.actors]

    def __len__(self) -> int:
        """How many actors there are."""
        return len(self.actors)

    def __getitem__(self, index: int) -> ActorWrapper:
        """The actor at a place."""
        return self.actors[index]

    def __getattr__(self, name: str) -> ActorGroupMethod:
        """The method of that name of all actors. RuntimeError if they are shut down."""
        if name.startswith("_") or not hasattr(self.actor_cls, name):
            raise AttributeError(f"the class of this group's actors has no method {name!r}")
        if not self.actors:
            raise RuntimeError("the actors of this group are shut down: start() begins them anew")
        return ActorGroupMethod(self, name)
