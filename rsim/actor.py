"""What actors can do about themselves, under the names that Ray has for it."""

from rsim.api.actors import ActorClassInheritanceException, exit_actor
from rsim.api.handles import ActorHandle

__all__ = ["ActorClassInheritanceException", "ActorHandle", "exit_actor"]
