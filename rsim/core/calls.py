"""The calls of an actor, at the node where it lives.

Decides which of those that have arrived goes to the worker next. Must never let a call overtake one
that the same caller has submitted before. Owns no state: ``actors.py`` has these records.
"""

from __future__ import annotations

from collections import deque

import msgspec

from rsim.core.work import Task

CALLS_AHEAD = 256
"""Most calls of a concurrency group that are sent to the worker before it can begin them."""


class CallQueue(msgspec.Struct, gc=False, eq=False):
    """The calls of one concurrency group of an actor that lives here."""

    room: int
    """How many more the worker may be sent."""
    arrived: deque[Task]
    """Those that are not sent yet, in order."""
    gathering: list[Task] = msgspec.field(default_factory=list)
    """Those that have left it, but still wait for their inputs: the next must not overtake them."""

    def next(self) -> Task | None:
        """The first that may go, and goes. What a call waits for may be the result of an earlier
        one that is lost and is made again: that one must not queue behind it.
        """
        if not self.gathering:
            return self.arrived.popleft() if self.arrived else None
        ahead = list(self.gathering)
        for task in self.arrived:
            if task.attempt and not any(_follows(task, each) for each in ahead):
                self.arrived.remove(task)
                return task
            ahead.append(task)
        return None


class LocalActor(msgspec.Struct, gc=False, eq=False):
    """An actor that lives on this node."""

    actor_id: bytes
    client: int
    owner: str
    queues: dict[str, CallQueue]
    """By concurrency group."""
    ended: str = ""
    """Why it is ending: nothing more is sent to it."""
    exited: bool = False
    """It ended itself, and is not to be created again."""

    def queue_of(self, task: Task) -> CallQueue:
        """That of a call's concurrency group."""
        return self.queues.get(task.spec.template.options.group) or self.queues[""]


def _follows(task: Task, other: Task) -> bool:
    """Whether a call was submitted by the same caller, after another."""
    call, before = task.spec, other.spec
    return call.parent_id == before.parent_id and call.index > before.index
