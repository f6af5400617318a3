"""What an object store decides: room given or refused, copies to drop, disk work to do.

Decides nothing. Must never hold behaviour beyond putting a refusal into words. Owns no state: it is
plain, immutable data.
"""

from __future__ import annotations

from enum import Enum

import msgspec


class RefusalReason(Enum):
    """Why a request for room got none."""

    TOO_LARGE = "larger than the object store"
    FULL = "the object store is full"
    OUT_OF_DISK = "the object store is full and the disk takes no more spilled objects"
    EXISTS = "the object is in the store already"
    ABSENT = "the store has no sealed copy of the object"
    UNREADABLE = "the spilled object could not be read back"


class Holding(msgspec.Struct, frozen=True, gc=False):
    """A number of objects and the memory they take (or would take), as rounded up by the arena."""

    objects: int
    size_bytes: int


class StoreStats(msgspec.Struct, frozen=True, gc=False):
    """Who holds what. The first six holdings add up to ``used_bytes``."""

    creating: Holding
    pinned: Holding
    spillable: Holding
    evictable: Holding
    spilling: Holding
    restoring: Holding
    spilled: Holding
    waiting: Holding
    capacity_bytes: int
    used_bytes: int
    largest_free_bytes: int
    high_water_bytes: int
    spilled_bytes: int
    spill_limit_bytes: int | None

    @property
    def in_memory(self) -> int:
        """How many objects take up memory."""
        moving = self.creating, self.spilling, self.restoring
        resting = self.pinned, self.spillable, self.evictable
        return sum(holding.objects for holding in (*moving, *resting))


class Decision(msgspec.Struct, frozen=True, gc=False):
    """Base of all that the store decides."""


class Evict(Decision, frozen=True):
    """The object is no longer in this store."""

    object_id: bytes


class Spill(Decision, frozen=True):
    """Write these bytes to disk, then call ``spilled``."""

    object_id: bytes
    offset: int
    size_bytes: int


class Restore(Decision, frozen=True):
    """Read the object's file to ``offset``, then call ``restored``."""

    object_id: bytes
    offset: int
    size_bytes: int


class DropSpilled(Decision, frozen=True):
    """Delete the object's file."""

    object_id: bytes


class Created(Decision, frozen=True):
    """The object has room at ``offset``, to be written and then sealed or aborted."""

    ticket: int
    object_id: bytes
    offset: int


class Restored(Decision, frozen=True):
    """The object is in memory and pinned once for this ticket."""

    ticket: int
    object_id: bytes
    offset: int


class Blocked(Decision, frozen=True):
    """The ticket waits in a store that is stuck: ``expire`` it after the grace period."""

    ticket: int
    object_id: bytes
    needed_bytes: int


class Refused(Decision, frozen=True):
    """The ticket is over, without room."""

    ticket: int
    object_id: bytes
    reason: RefusalReason
    needed_bytes: int
    stats: StoreStats

    def describe(self) -> str:
        """The refusal in words, with sizes, holders and what to do."""
        text = f"object {self.object_id.hex()} ({self.needed_bytes} bytes): {self.reason.value}"
        stats = self.stats
        if self.reason is RefusalReason.TOO_LARGE:
            return f"{text}, whose capacity is {stats.capacity_bytes} bytes"
        if self.reason not in (RefusalReason.FULL, RefusalReason.OUT_OF_DISK):
            return text
        holders = ", ".join(
            f"{name} {holding.objects} objects with {holding.size_bytes} bytes"
            for name in ("pinned", "creating", "restoring", "spillable", "evictable", "spilled")
            if (holding := getattr(stats, name)).objects
        )
        limit_bytes = stats.spill_limit_bytes
        limit = "no limit" if limit_bytes is None else f"limit {limit_bytes}"
        return (
            f"{text}: {stats.used_bytes} of {stats.capacity_bytes} bytes in use, largest free "
            f"piece {stats.largest_free_bytes}; {holders or 'no objects'}; "
            f"{stats.spilled_bytes} bytes on disk ({limit}). "
            "Drop refs and values that are not needed, or give the store more memory or disk"
        )
