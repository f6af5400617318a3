"""A client as the consumer of streams: asks its node for the items of generators.

Decides nothing. Must never take an item twice. Owns no state: the generators know how far they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rsim.core.events import ItemReturned, NextRequested
from rsim.core.ids import consecutive
from rsim.core.records import LENT_ITEM, NO_ITEM, READY_ITEM
from rsim.runtime import wire
from rsim.runtime.refs import ObjectRef

if TYPE_CHECKING:
    from rsim.runtime.client import Client

ItemReply = wire.NextReply | wire.ObjectsReply
"""The answer to a request for items; the latter is an error of the whole runtime."""


class Consumer:
    """One per client."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def take(self, object_id: bytes, most: int) -> list[ObjectRef[Any]]:
        """The ref of an item of a stream, as soon as the item is there, and of those that follow it
        and are there, too: ``most`` in all. None at all: the stream has ended before it.
        """
        client = self._client
        op = client.next_op()
        client.channel.send(NextRequested(client.number, op, object_id, True, most))
        if client.has_dropped and client.channel.peek(object_id) is None:
            client.flush()
        else:
            client.flush_if_due()
        reply: Any = client.channel.park(op)
        return self.taken(reply)

    def ask(self, object_id: bytes, most: int, callback: Callable[[ItemReply], None]) -> None:
        """Ask for items without waiting. ``callback`` is handed the answer, for ``taken`` or
        ``decline``; the rules of ``Channel.subscribe`` are its.
        """
        client = self._client
        op = client.next_op()
        client.channel.subscribe(op, callback)
        client.channel.send(NextRequested(client.number, op, object_id, True, most))

    def taken(self, reply: ItemReply) -> list[ObjectRef[Any]]:
        """The refs of the items that the answer lends; none: the stream has ended."""
        answer: wire.NextReply = self._client.checked(reply)
        if answer.state != LENT_ITEM:
            return []
        return list(map(self._client.own_ref, consecutive(answer.object_id, answer.count)))

    def decline(self, reply: ItemReply) -> None:
        """Do not take the items: they may be asked for again."""
        if isinstance(reply, wire.NextReply) and reply.state == LENT_ITEM:
            number = self._client.number
            self._client.channel.send(ItemReturned(number, reply.object_id, reply.count))

    def has(self, object_id: bytes) -> bool | None:
        """Whether the next item of a stream is there; None: the stream has ended before it."""
        client = self._client
        op = client.next_op()
        client.channel.send(NextRequested(client.number, op, object_id, take=False))
        reply = client.channel.park(op)
        assert isinstance(reply, wire.NextReply)
        return None if reply.state == NO_ITEM else reply.state == READY_ITEM
