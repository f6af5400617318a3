"""Answers that come when nobody waits for them any more.

Decides what is done with them. Must never wait. Owns no state.
"""

from __future__ import annotations

from collections.abc import Callable

from rsim.core.events import Event, ItemReturned, NameDropped, PinsReleased, RefsReleased
from rsim.core.records import LENT_ITEM, Located
from rsim.runtime.wire import Delivery, NameReply, NextReply, ObjectsReply


def give_back(client: int, reply: Delivery, send: Callable[[Event], None]) -> None:
    """Return what the answer lends to, and pins for, a client that does not want it any more."""
    if isinstance(reply, ObjectsReply):
        pairs = zip(reply.object_ids, reply.values, strict=False)
        pinned = tuple(object_id for object_id, value in pairs if isinstance(value, Located))
        if pinned:
            send(PinsReleased(client, pinned))
        if reply.lent:
            send(RefsReleased(client, reply.lent, (1,) * len(reply.lent)))
    elif isinstance(reply, NextReply) and reply.state == LENT_ITEM:
        send(ItemReturned(client, reply.object_id, reply.count))
    elif isinstance(reply, NameReply):
        if reply.lent:
            send(RefsReleased(client, reply.lent, (1,) * len(reply.lent)))
        if reply.claimed and reply.named is not None:
            send(NameDropped(client, reply.named.actor_id))
