"""The table of objects in a node's store, and who takes how much of its memory.

Decides: which shelf an object stands on, from its state, pins and its owner's wishes; the order of
a shelf is recency.
Must never: choose what is dropped, spilled or served first; that is ``rsim.core.store``.
Owns: the entries, the shelves with their byte counts, and the blocks of the arena.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from enum import Enum

from rsim.core.arena import Arena
from rsim.core.store_decisions import Holding


class ObjectState(Enum):
    """What an object in the store is doing; its bytes can be read in SEALED and SPILLING."""

    CREATING = "creating"
    SEALED = "sealed"
    SPILLING = "spilling"
    SPILLED = "spilled"
    RESTORING = "restoring"


class StoreEntry:
    """One object in the store."""

    __slots__ = (
        "block_bytes",
        "doomed",
        "evictable",
        "object_id",
        "offset",
        "on_disk",
        "pins",
        "shelf",
        "size_bytes",
        "state",
    )

    def __init__(self, object_id: bytes, size_bytes: int, block_bytes: int, offset: int) -> None:
        self.object_id = object_id
        self.size_bytes = size_bytes
        self.block_bytes = block_bytes
        self.offset: int | None = offset  # None: no memory
        self.state = ObjectState.CREATING
        self.pins = 0
        self.evictable = False
        self.on_disk = False  # a whole file exists
        self.doomed = False  # deleted, but still in use
        self.shelf: StoreShelf | None = None

    @property
    def readable(self) -> bool:
        """Whether the bytes are whole and in memory."""
        return self.state is ObjectState.SEALED or self.state is ObjectState.SPILLING


class StoreShelf:
    """Objects in the same situation, least recently used first, and the memory they take."""

    __slots__ = ("entries", "size_bytes")

    def __init__(self) -> None:
        self.entries: OrderedDict[bytes, StoreEntry] = OrderedDict()
        self.size_bytes = 0

    def holding(self) -> Holding:
        return Holding(len(self.entries), self.size_bytes)


class StoreTable:
    """All objects of a store, each on exactly one shelf."""

    __slots__ = (
        "arena",
        "creating",
        "evictable",
        "objects",
        "pinned",
        "restoring",
        "spillable",
        "spilled",
        "spilling",
    )

    def __init__(self, arena: Arena) -> None:
        self.arena = arena
        self.objects: dict[bytes, StoreEntry] = {}
        self.creating = StoreShelf()
        self.pinned = StoreShelf()
        self.spillable = StoreShelf()  # unpinned, primary, not on disk
        self.evictable = StoreShelf()  # unpinned, and evictable or on disk as well
        self.spilling = StoreShelf()  # unpinned: the memory is free once the file is written
        self.restoring = StoreShelf()
        self.spilled = StoreShelf()  # on disk only

    def add(self, object_id: bytes, size_bytes: int, offset: int) -> None:
        """Enters a new object, whose block of the arena is at ``offset``."""
        entry = StoreEntry(object_id, size_bytes, self.arena.block_bytes(size_bytes), offset)
        self.objects[object_id] = entry
        self.place(entry)

    def remove(self, entry: StoreEntry) -> None:
        """Forgets an object and frees its memory, if it has any."""
        self._take_off(entry)
        del self.objects[entry.object_id]
        if entry.offset is not None:
            self.arena.free(entry.offset)
            entry.offset = None

    def drop_memory(self, entry: StoreEntry) -> None:
        """Frees the memory of an object that is on disk; the caller places it."""
        assert entry.offset is not None, f"store: object {entry.object_id.hex()} has no memory"
        self.arena.free(entry.offset)
        entry.offset = None
        entry.state = ObjectState.SPILLED

    def place(self, entry: StoreEntry) -> None:
        """Puts the object last on the shelf where it belongs, unless it is there already."""
        shelf = self._shelf_for(entry)
        if shelf is not entry.shelf:
            self._take_off(entry)
            shelf.entries[entry.object_id] = entry
            shelf.size_bytes += entry.block_bytes
            entry.shelf = shelf

    def _take_off(self, entry: StoreEntry) -> None:
        if entry.shelf is not None:
            del entry.shelf.entries[entry.object_id]
            entry.shelf.size_bytes -= entry.block_bytes
            entry.shelf = None

    def _shelf_for(self, entry: StoreEntry) -> StoreShelf:
        state = entry.state
        if entry.pins:
            return self.pinned
        if state is ObjectState.SEALED:
            return self.evictable if entry.evictable or entry.on_disk else self.spillable
        if state is ObjectState.CREATING:
            return self.creating
        if state is ObjectState.SPILLING:
            return self.spilling
        return self.restoring if state is ObjectState.RESTORING else self.spilled

    def _shelves(self) -> tuple[StoreShelf, ...]:
        unpinned = (self.spillable, self.evictable, self.spilling)
        return (self.creating, self.pinned, *unpinned, self.restoring, self.spilled)

    def fingerprint_items(self) -> Iterator[tuple[object, ...]]:
        """Every object as a plain tuple, and the order on the shelves."""
        for entry in self.objects.values():
            flags = (entry.evictable, entry.on_disk, entry.doomed)
            facts = (entry.size_bytes, entry.state.value, entry.offset, entry.pins)
            yield ("object", entry.object_id, *facts, *flags)
        for shelf in self._shelves():
            yield ("shelf", *shelf.entries)

    def check(self) -> None:
        """Re-derives shelves, counters and blocks from the entries.

        Raises:
            AssertionError: they disagree.
        """
        self.arena.check()
        blocks = 0
        for object_id, entry in self.objects.items():
            name = f"store: object {object_id.hex()} ({entry.state.value})"
            assert entry.object_id == object_id, f"{name} is filed under another id"
            shelf = self._shelf_for(entry)
            assert entry.shelf is shelf, f"{name} is on the wrong shelf"
            assert shelf.entries.get(object_id) is entry, f"{name} is not on its shelf"
            assert entry.pins >= 0, f"{name} has {entry.pins} pins"
            assert entry.pins == 0 or entry.readable, f"{name} has {entry.pins} pins, unreadable"
            if entry.state is ObjectState.SPILLED:
                assert entry.offset is None, f"{name} has memory at {entry.offset}"
                continue
            assert entry.offset is not None, f"{name} has no memory"
            held = self.arena.block_at(entry.offset)
            assert held == entry.block_bytes, f"{name} has {held}, not {entry.block_bytes} bytes"
            blocks += 1
        assert blocks == self.arena.block_count, (
            f"store: {blocks} objects in memory, {self.arena.block_count} blocks in use"
        )
        for shelf in self._shelves():
            total = sum(entry.block_bytes for entry in shelf.entries.values())
            assert total == shelf.size_bytes, f"store: a shelf of {total}, not {shelf.size_bytes}"
        shelved = sum(len(shelf.entries) for shelf in self._shelves())
        assert shelved == len(self.objects), f"store: {shelved} of {len(self.objects)} on shelves"
