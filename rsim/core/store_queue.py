"""The tickets that wait for room in an object store, in the order they came.

Decides: whose turn it is, and who has not yet been told that the store is stuck.
Must never: give or refuse room; that is ``rsim.core.store``.
Owns: the line of requests, the tickets in it, and the tickets that wait for a restore under way.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

import msgspec


class RoomRequest(msgspec.Struct, frozen=True, gc=False):
    """A ticket that waits to create an object, or (``restores``) to see a spilled one in memory."""

    ticket: int
    object_id: bytes
    size_bytes: int
    block_bytes: int
    restores: bool

    @property
    def place(self) -> int | bytes:
        """Its key in the line: every create has a place of its own, every restored object one."""
        return self.object_id if self.restores else self.ticket


class RoomQueue:
    """Who waits for room, first come, first served."""

    __slots__ = ("_line", "_restores", "_tickets", "_unreported", "queued_bytes")

    def __init__(self) -> None:
        self.queued_bytes = 0
        self._line: OrderedDict[int | bytes, RoomRequest] = OrderedDict()
        self._tickets: dict[int, RoomRequest] = {}
        self._restores: dict[bytes, dict[int, None]] = {}  # tickets, also once out of the line
        self._unreported: dict[int, RoomRequest] = {}

    def __len__(self) -> int:
        """Places in the line."""
        return len(self._line)

    def __contains__(self, place: int | bytes) -> bool:
        return place in self._line

    def head(self) -> RoomRequest:
        """The request that is served next; there must be one."""
        return next(iter(self._line.values()))

    def get(self, ticket: int) -> RoomRequest | None:
        """The request of a ticket that waits, in the line or for a restore under way."""
        return self._tickets.get(ticket)

    def waiters(self, object_id: bytes) -> tuple[int, ...]:
        """The tickets that wait for the restore of an object, oldest first."""
        return tuple(self._restores.get(object_id, ()))

    def join(self, request: RoomRequest, *, under_way: bool = False) -> None:
        """Lets a new ticket wait: in the line, or just for the restore that is ``under_way``."""
        self._tickets[request.ticket] = request
        if request.restores:
            self._restores.setdefault(request.object_id, {})[request.ticket] = None
        if under_way:
            return
        self._unreported[request.ticket] = request
        if request.place not in self._line:
            self._line[request.place] = request
            self.queued_bytes += request.block_bytes

    def start_restore(self, object_id: bytes) -> None:
        """The object has room: its place is given up, its tickets wait for the bytes."""
        self._vacate(object_id)
        for ticket in self._restores[object_id]:
            self._unreported.pop(ticket, None)

    def remove(self, ticket: int) -> None:
        """The ticket waits no longer."""
        request = self._tickets.pop(ticket)
        self._unreported.pop(ticket, None)
        if request.restores:
            waiters = self._restores[request.object_id]
            del waiters[ticket]
            if waiters:
                return
            del self._restores[request.object_id]
        self._vacate(request.place)

    def _vacate(self, place: int | bytes) -> None:
        request = self._line.pop(place, None)
        if request is not None:
            self.queued_bytes -= request.block_bytes

    def take_unreported(self) -> list[RoomRequest]:
        """Those in the line who were not told that the store is stuck; from now on they were."""
        requests = list(self._unreported.values())
        self._unreported.clear()
        return requests

    def report_again(self, request: RoomRequest) -> None:
        """Forgets that a request in the line was told."""
        self._unreported[request.ticket] = request

    def fingerprint_items(self) -> Iterator[tuple[object, ...]]:
        """The whole state as plain tuples."""
        yield ("line", *self._line)
        yield ("tickets", *self._tickets)
        yield ("unreported", *self._unreported)

    def check(self) -> None:
        """Re-derives what is kept twice.

        Raises:
            AssertionError: the state contradicts itself.
        """
        total = sum(request.block_bytes for request in self._line.values())
        assert total == self.queued_bytes, f"queue: {total} bytes, {self.queued_bytes} counted"
        for place, request in self._line.items():
            assert request.place == place, f"queue: ticket {request.ticket} is in the wrong place"
            waits = place in self._restores if request.restores else place in self._tickets
            assert waits, f"queue: nobody waits in the place of ticket {request.ticket}"
        for ticket, request in self._tickets.items():
            known = request.place in self._line or ticket in self.waiters(request.object_id)
            assert known, f"queue: ticket {ticket} is lost"
        for ticket, request in self._unreported.items():
            assert self._tickets.get(ticket) is request, f"queue: ticket {ticket} is over"
            assert request.place in self._line, f"queue: ticket {ticket} is not in the line"
        restores = sum(len(tickets) for tickets in self._restores.values())
        expected = sum(request.restores for request in self._tickets.values())
        assert restores == expected, f"queue: {restores} restores wait, {expected} tickets"
