"""One node's store of large objects.

Decides: where an object goes, which copies are dropped (evicted), written to disk (spilled) and
read back (restored) to make room, who gets room next, and when the store is full.
Must never: touch bytes, block, or drop an object that is pinned or primary.
Owns: the table of objects with the arena, the queue for room, and the account of disk space.

An object is *primary* (must be kept; spilled when room is needed) or *evictable* (a secondary copy,
or one that only lineage may want; dropped when room is needed, and never worth disk). A restored
object keeps its file, so its memory can be dropped again without a word to anyone.

Requests for room (creates and restores) are served strictly first come, first served: a small one
waits behind a large one. The store knows no time. When the first request is stuck (no spill is
under way; only an unpin, seal, delete or the like could help), every waiting ticket is reported
once by ``Blocked``. The node then sets a timer and calls ``expire``, which refuses the ticket if
the store is still stuck: so a full store gets a grace period to drain.

The shell carries out the decisions in order. It must do the disk work of one object in the order
asked, and answer every ``Spill`` with ``spilled`` and every ``Restore`` with ``restored``, once.
"""

from __future__ import annotations

from collections.abc import Iterator

from rsim.core.arena import Arena
from rsim.core.store_decisions import (
    Blocked,
    Created,
    Decision,
    DropSpilled,
    Evict,
    Holding,
    RefusalReason,
    Refused,
    Restore,
    Restored,
    Spill,
    StoreStats,
)
from rsim.core.store_queue import RoomQueue, RoomRequest
from rsim.core.store_table import ObjectState, StoreEntry, StoreTable

SPILL_FAILURES_IN_A_ROW = 3
"""After so many the disk is left alone until ``resume_spilling``, or until a file is dropped."""


class ObjectStore:
    """The store of one node. Object ids are bytes; tickets are numbers that the node chooses.

    Any change can make room, so the decisions a method returns may end other tickets too. Methods
    but ``unpin`` ignore objects that they do not fit (a late ``seal``, an answer to nothing).

    Args:
        arena: the segment; the store is its only user.
        spill_limit_bytes: bytes of files allowed on disk; None: no limit, 0: no spilling.

    Raises:
        ValueError: a negative limit.
    """

    def __init__(self, arena: Arena, spill_limit_bytes: int | None = None) -> None:
        if spill_limit_bytes is not None and spill_limit_bytes < 0:
            raise ValueError(f"spill_limit_bytes is {spill_limit_bytes}; valid: None, 0 or more")
        self.arena = arena
        self.spill_limit_bytes = spill_limit_bytes
        self.spilled_bytes = 0  # files on disk, and those being written
        self._table = StoreTable(arena)
        self._objects = self._table.objects
        self._queue = RoomQueue()
        self._stuck: RefusalReason | None = None
        self._spill_failures = 0

    # -- room ------------------------------------------------------------------------------------

    def create(self, object_id: bytes, size_bytes: int, ticket: int) -> list[Decision]:
        """Asks for room for a new object; ends, perhaps later, in one ``Created`` or ``Refused``.

        An object that was deleted but is still in use lives on: the create is refused as EXISTS.

        Raises:
            ValueError: a negative size, or a ticket that is waiting already.
        """
        self._check_ticket(ticket)
        block_bytes = self.arena.block_bytes(size_bytes)
        out: list[Decision] = []
        if object_id in self._objects:
            self._refuse_existing(ticket, object_id, size_bytes, out)
        elif block_bytes > self.arena.capacity_bytes:
            self._refuse(ticket, object_id, RefusalReason.TOO_LARGE, size_bytes, out)
        elif not self._queue and (offset := self.arena.allocate(size_bytes)) is not None:
            self._table.add(object_id, size_bytes, offset)
            out.append(Created(ticket, object_id, offset))
        else:
            self._queue.join(
                RoomRequest(ticket, object_id, size_bytes, block_bytes, restores=False)
            )
            self._pump(out)
        return out

    def restore(self, object_id: bytes, ticket: int) -> list[Decision]:
        """Asks for an object in memory; ends, perhaps later, in one ``Restored`` (which carries a
        pin, to be undone by ``unpin``) or ``Refused``.

        Raises:
            ValueError: a ticket that is waiting already.
        """
        self._check_ticket(ticket)
        out: list[Decision] = []
        entry = self._objects.get(object_id)
        if entry is None or not self.contains(object_id):
            self._refuse(ticket, object_id, RefusalReason.ABSENT, 0, out)
        elif self.pin(object_id):
            assert entry.offset is not None
            out.append(Restored(ticket, object_id, entry.offset))
        else:
            request = RoomRequest(
                ticket, object_id, entry.size_bytes, entry.block_bytes, restores=True
            )
            under_way = entry.state is ObjectState.RESTORING
            self._queue.join(request, under_way=under_way)
            if not under_way:
                self._pump(out)
        return out

    def expire(self, ticket: int) -> list[Decision]:
        """The grace period of a ``Blocked`` ticket is over: refuses it if the store is still stuck.

        Otherwise it waits on, and is reported again if the store is stuck again. Unknown: ignored.
        """
        out: list[Decision] = []
        request = self._queue.get(ticket)
        if request is None or request.place not in self._queue:
            return out
        if self._stuck is None:
            self._queue.report_again(request)
            return out
        self._refuse(ticket, request.object_id, self._stuck, request.size_bytes, out)
        return self._withdraw(request, out)

    def cancel(self, ticket: int) -> list[Decision]:
        """Whoever asked is gone: forgets a waiting ticket, without an answer. Unknown: ignored."""
        request = self._queue.get(ticket)
        return [] if request is None else self._withdraw(request, [])

    # -- the life of an object -------------------------------------------------------------------

    def seal(self, object_id: bytes, pins: int = 0) -> list[Decision]:
        """The writer is done. ``pins`` readers hold it at once, lest it goes in this very step.

        Raises:
            ValueError: ``pins`` is negative.
        """
        if pins < 0:
            raise ValueError(f"pins is {pins}; it must be 0 or more")
        out: list[Decision] = []
        entry = self._objects.get(object_id)
        if entry is not None and entry.state is ObjectState.CREATING:
            entry.state = ObjectState.SEALED
            entry.pins = pins
            self._changed(entry, out)
        return out

    def abort(self, object_id: bytes) -> list[Decision]:
        """The writer died or gave up: an object that is not sealed goes."""
        out: list[Decision] = []
        entry = self._objects.get(object_id)
        if entry is not None and entry.state is ObjectState.CREATING:
            self._table.remove(entry)
            self._pump(out)
        return out

    def pin(self, object_id: bytes) -> bool:
        """Keeps a sealed object where it is until ``unpin``; False if it is not in memory."""
        entry = self._objects.get(object_id)
        if entry is None or entry.doomed or not entry.readable:
            return False
        entry.pins += 1
        if entry.pins == 1:
            self._table.place(entry)
        return True

    def unpin(self, object_id: bytes) -> list[Decision]:
        """Undoes one pin. Without pins the object is the most recently used.

        Raises:
            ValueError: there is no pin to undo; some reader may be looking at reused memory.
        """
        entry = self._objects.get(object_id)
        if entry is None or not entry.pins:
            raise ValueError(f"object_id is {object_id.hex()}; it has no pin to undo")
        out: list[Decision] = []
        entry.pins -= 1
        if not entry.pins:
            self._changed(entry, out)
        return out

    def set_evictable(self, object_id: bytes, evictable: bool) -> list[Decision]:
        """Says whether the object may be dropped at any time. One that is only on disk goes now."""
        out: list[Decision] = []
        entry = self._objects.get(object_id)
        if entry is not None and entry.evictable != evictable:
            entry.evictable = evictable
            self._changed(entry, out)
        return out

    def delete(self, object_id: bytes) -> list[Decision]:
        """Nobody needs the object: it goes now, or as soon as nothing pins, writes or moves it.

        A create of the same id that waits for room is not touched.
        """
        out: list[Decision] = []
        entry = self._objects.get(object_id)
        if entry is not None and not entry.doomed:
            entry.doomed = True
            for ticket in self._queue.waiters(object_id):
                self._queue.remove(ticket)
                self._refuse(ticket, object_id, RefusalReason.ABSENT, entry.size_bytes, out)
            self._changed(entry, out)
        return out

    # -- answers of the shell --------------------------------------------------------------------

    def spilled(self, object_id: bytes, ok: bool) -> list[Decision]:
        """A ``Spill`` ended. If it failed the object stays, and is the last to be tried again."""
        out: list[Decision] = []
        entry = self._objects.get(object_id)
        if entry is None or entry.state is not ObjectState.SPILLING:
            return out
        entry.state = ObjectState.SEALED
        entry.on_disk = ok
        self._spill_failures = 0 if ok else self._spill_failures + 1
        if not ok:
            self.spilled_bytes -= entry.size_bytes
        elif not (entry.pins or entry.evictable):
            self._table.drop_memory(entry)
        self._changed(entry, out)
        return out

    def restored(self, object_id: bytes, ok: bool) -> list[Decision]:
        """A ``Restore`` ended. If it failed the file stays; the node may ``delete`` the object."""
        out: list[Decision] = []
        entry = self._objects.get(object_id)
        if entry is None or entry.state is not ObjectState.RESTORING:
            return out
        entry.state = ObjectState.SEALED
        for ticket in self._queue.waiters(object_id):
            self._queue.remove(ticket)
            if ok:
                assert entry.offset is not None
                entry.pins += 1
                out.append(Restored(ticket, object_id, entry.offset))
            else:
                self._refuse(ticket, object_id, RefusalReason.UNREADABLE, entry.size_bytes, out)
        if not ok:
            self._table.drop_memory(entry)
        self._changed(entry, out)
        return out

    def resume_spilling(self) -> list[Decision]:
        """Tries the disk again. The node calls it some time after a failed spill: the backoff."""
        out: list[Decision] = []
        self._spill_failures = 0
        self._pump(out)
        return out

    # -- queries ---------------------------------------------------------------------------------

    def state_of(self, object_id: bytes) -> ObjectState | None:
        """The object's state, even if deleted and still in use; None if it is not here."""
        entry = self._objects.get(object_id)
        return None if entry is None else entry.state

    def contains(self, object_id: bytes) -> bool:
        """Whether a sealed copy is here, in memory or on disk, and not deleted."""
        entry = self._objects.get(object_id)
        return entry is not None and not entry.doomed and entry.state is not ObjectState.CREATING

    def in_memory(self, object_id: bytes) -> bool:
        """Whether ``pin`` would succeed."""
        entry = self._objects.get(object_id)
        return entry is not None and not entry.doomed and entry.readable

    def offset_of(self, object_id: bytes) -> int | None:
        """The offset of the object's block, sealed or not; None if it has none."""
        entry = self._objects.get(object_id)
        return None if entry is None else entry.offset

    def size_of(self, object_id: bytes) -> int | None:
        """The size in bytes that ``create`` was given; None if the object is not here."""
        entry = self._objects.get(object_id)
        return None if entry is None else entry.size_bytes

    def stats(self) -> StoreStats:
        """Who holds what."""
        table, arena = self._table, self.arena
        return StoreStats(
            creating=table.creating.holding(),
            pinned=table.pinned.holding(),
            spillable=table.spillable.holding(),
            evictable=table.evictable.holding(),
            spilling=table.spilling.holding(),
            restoring=table.restoring.holding(),
            spilled=table.spilled.holding(),
            waiting=Holding(len(self._queue), self._queue.queued_bytes),
            capacity_bytes=arena.capacity_bytes,
            used_bytes=arena.used_bytes,
            largest_free_bytes=arena.largest_free_bytes,
            high_water_bytes=arena.high_water_bytes,
            spilled_bytes=self.spilled_bytes,
            spill_limit_bytes=self.spill_limit_bytes,
        )

    def check(self) -> None:
        """Re-derives what is kept twice, and that nobody waits unseen.

        Raises:
            AssertionError: the state contradicts itself.
        """
        self._table.check()
        self._queue.check()
        disk_bytes, spilling = 0, False
        for object_id, entry in self._objects.items():
            name = f"store: object {object_id.hex()} ({entry.state.value})"
            spilling |= entry.state is ObjectState.SPILLING
            if entry.on_disk or entry.state is ObjectState.SPILLING:
                disk_bytes += entry.size_bytes
            waited_for = bool(self._queue.waiters(object_id))
            restoring = entry.state is ObjectState.RESTORING
            if restoring or entry.state is ObjectState.SPILLED:
                assert entry.on_disk, f"{name} has no file"
                queued = object_id in self._queue
                assert queued == (waited_for and not restoring), f"{name} and its queue disagree"
            else:
                assert not waited_for, f"{name} is in memory, yet waited for"
            if entry.on_disk and (entry.evictable or entry.doomed):
                assert waited_for or restoring, f"{name} is not worth its file"
        assert disk_bytes == self.spilled_bytes, (
            f"store: {disk_bytes} bytes on disk, {self.spilled_bytes} counted"
        )
        limit = self.spill_limit_bytes
        assert limit is None or disk_bytes <= limit, f"store: {disk_bytes} on disk, limit {limit}"
        if self._queue:
            assert spilling or self._stuck, "store: requests wait though nothing is under way"
            too_large = self._queue.head().block_bytes > self.arena.largest_free_bytes
            assert too_large, "store: the first request would fit, yet it waits"
        else:
            assert self._stuck is None, "store: stuck without requests"

    def fingerprint_items(self) -> Iterator[tuple[object, ...]]:
        """The whole state as plain tuples, in an order that follows from the calls made alone."""
        stuck = None if self._stuck is None else self._stuck.value
        yield ("store", self.spilled_bytes, self._spill_failures, stuck)
        yield ("arena", self.arena.high_water_bytes, *self.arena.free_blocks())
        yield from self._table.fingerprint_items()
        yield from self._queue.fingerprint_items()

    # -- inside ----------------------------------------------------------------------------------

    def _check_ticket(self, ticket: int) -> None:
        if self._queue.get(ticket) is not None:
            raise ValueError(f"ticket is {ticket}; it is waiting already, and each must be new")

    def _refuse(
        self,
        ticket: int,
        object_id: bytes,
        why: RefusalReason,
        size_bytes: int,
        out: list[Decision],
    ) -> None:
        out.append(Refused(ticket, object_id, why, size_bytes, self.stats()))

    def _refuse_existing(
        self, ticket: int, object_id: bytes, size_bytes: int, out: list[Decision]
    ) -> None:
        self._objects[object_id].doomed = False  # the same id is the same value
        self._refuse(ticket, object_id, RefusalReason.EXISTS, size_bytes, out)

    def _withdraw(self, request: RoomRequest, out: list[Decision]) -> list[Decision]:
        self._queue.remove(request.ticket)
        if request.restores:
            self._settle(self._objects[request.object_id], out)
        self._pump(out)
        return out

    def _changed(self, entry: StoreEntry, out: list[Decision]) -> None:
        self._settle(entry, out)
        self._pump(out)

    def _settle(self, entry: StoreEntry, out: list[Decision]) -> None:
        """Drops the file or memory of an object that nothing keeps any more; shelves the rest."""
        on_disk_only = entry.state is ObjectState.SPILLED
        sealed = entry.state is ObjectState.SEALED
        if entry.on_disk and (entry.evictable or entry.doomed) and (sealed or on_disk_only):
            if self._queue.waiters(entry.object_id):
                return
            entry.on_disk = False
            self.spilled_bytes -= entry.size_bytes
            self._spill_failures = 0  # there is room on disk again
            out.append(DropSpilled(entry.object_id))
            if on_disk_only and not entry.doomed:
                out.append(Evict(entry.object_id))
        deleted = sealed and entry.doomed and not entry.pins
        if deleted or (on_disk_only and not entry.on_disk):
            self._table.remove(entry)
        else:
            self._table.place(entry)

    def _pump(self, out: list[Decision]) -> None:
        """Serves the queue from its head as far as room goes, and makes room for the rest."""
        while self._queue:
            request = self._queue.head()
            ticket, object_id = request.ticket, request.object_id
            entry = self._objects.get(object_id)
            if entry is not None and not request.restores:
                self._queue.remove(ticket)
                self._refuse_existing(ticket, object_id, request.size_bytes, out)
                continue
            offset = self._find_room(request.block_bytes, out)
            if offset is None:
                self._report(request.block_bytes, out)
                return
            if entry is None:
                self._queue.remove(ticket)
                self._table.add(object_id, request.size_bytes, offset)
                out.append(Created(ticket, object_id, offset))
            else:
                self._queue.start_restore(object_id)
                entry.state = ObjectState.RESTORING
                entry.offset = offset
                self._table.place(entry)
                out.append(Restore(object_id, offset, request.size_bytes))
        self._stuck = None

    def _find_room(self, block_bytes: int, out: list[Decision]) -> int | None:
        """Allocates; evicts as needed, and where that is not enough, starts spills."""
        table, arena = self._table, self.arena
        offset = arena.allocate(block_bytes)
        if offset is not None:
            return offset
        reach_bytes = arena.free_bytes + table.evictable.size_bytes + table.spilling.size_bytes
        if self._disk_room_bytes() > 0:
            reach_bytes += table.spillable.size_bytes
        if reach_bytes < block_bytes:
            return None  # to drop copies would not help
        while offset is None and table.evictable.entries:
            entry = next(iter(table.evictable.entries.values()))
            if entry.on_disk:
                table.drop_memory(entry)
                table.place(entry)
            else:
                table.remove(entry)
                out.append(Evict(entry.object_id))
            offset = arena.allocate(block_bytes)
        if offset is None:
            self._start_spills(block_bytes, out)
        return offset

    def _disk_room_bytes(self) -> int:
        if self._spill_failures >= SPILL_FAILURES_IN_A_ROW:
            return 0
        if self.spill_limit_bytes is None:
            return self._table.spillable.size_bytes
        return self.spill_limit_bytes - self.spilled_bytes

    def _start_spills(self, block_bytes: int, out: list[Decision]) -> None:
        """Spills the least recently used objects, as many at once as all who wait will need."""
        table = self._table
        room_bytes = self._disk_room_bytes()
        goal_bytes = self._queue.queued_bytes - self.arena.free_bytes - table.spilling.size_bytes
        if goal_bytes <= 0 and not table.spilling.entries:
            goal_bytes = block_bytes  # there is enough free memory, but in pieces
        victims: list[StoreEntry] = []
        for entry in table.spillable.entries.values():
            if goal_bytes <= 0 or room_bytes <= 0:
                break
            if entry.size_bytes <= room_bytes:
                victims.append(entry)
                room_bytes -= entry.size_bytes
                goal_bytes -= entry.block_bytes
        for entry in victims:
            assert entry.offset is not None
            entry.state = ObjectState.SPILLING
            self.spilled_bytes += entry.size_bytes
            table.place(entry)
            out.append(Spill(entry.object_id, entry.offset, entry.size_bytes))

    def _report(self, block_bytes: int, out: list[Decision]) -> None:
        """The head of the queue got no room: unless a spill is under way, tells all who wait."""
        table = self._table
        if table.spilling.entries:
            self._stuck = None
            return
        unspilled_bytes = table.spillable.size_bytes if self.spill_limit_bytes != 0 else 0
        reach_bytes = self.arena.free_bytes + table.evictable.size_bytes + unspilled_bytes
        no_disk = unspilled_bytes and reach_bytes >= block_bytes
        self._stuck = RefusalReason.OUT_OF_DISK if no_disk else RefusalReason.FULL
        for request in self._queue.take_unreported():
            out.append(Blocked(request.ticket, request.object_id, request.size_bytes))
