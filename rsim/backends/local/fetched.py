"""Values that came to a worker before it asked for them: those of small items, with their refs.

Decides how long they are kept: until their refs are dropped, or there are too many. Must never be
relied upon: the node has the same values. Owns them.
"""

from __future__ import annotations

from rsim.core.events import Event, ItemReturned, RefsReleased
from rsim.core.ids import consecutive
from rsim.runtime.wire import NextReply

ROOM_BYTES = 16 << 20


class Fetched:
    """Of one worker. Its caller has the lock, but for ``get``."""

    def __init__(self) -> None:
        self._values: dict[bytes, bytes] = {}
        self._bytes = 0
        self.get = self._values.get
        """The value of an object, if it is here."""

    def came(self, reply: NextReply) -> None:
        """Keep what came with items."""
        for object_id, value in zip(
            consecutive(reply.object_id, reply.count), reply.values, strict=True
        ):
            if value is not None:
                self._forget(object_id)
                self._values[object_id] = value
                self._bytes += len(value)
        while self._bytes > ROOM_BYTES:
            self._forget(next(iter(self._values)))

    def sent(self, event: Event) -> None:
        """The worker tells its node something: perhaps that it has dropped refs."""
        if not self._values:
            return
        if type(event) is RefsReleased:
            for object_id in event.object_ids:
                self._forget(object_id)
        elif type(event) is ItemReturned:
            for object_id in consecutive(event.object_id, event.count):
                self._forget(object_id)

    def _forget(self, object_id: bytes) -> None:
        value = self._values.pop(object_id, None)
        if value is not None:
            self._bytes -= len(value)
