"""Offsets in a fixed segment of shared memory.

Decides: which byte range of the segment a new block takes. The lowest address that fits wins, so
pages used before are used again while still warm, and the reserved part of the segment stays short.
Must never: touch memory, or move a block once it is handed out (readers map it).
Owns: the free list, the table of blocks in use and the high-water mark.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator


class Arena:
    """An allocator of offsets in `[0, capacity_bytes)`; sizes are rounded up to `alignment_bytes`.

    Args:
        capacity_bytes: size of the segment; rounded down to a whole number of alignment units.
        alignment_bytes: every offset and block size is a multiple of it.

    Raises:
        ValueError: a negative capacity or an alignment below one.
    """

    __slots__ = (
        "_blocks",
        "_sizes",
        "_starts",
        "_unfit_bytes",
        "alignment_bytes",
        "capacity_bytes",
        "high_water_bytes",
        "used_bytes",
    )

    def __init__(self, capacity_bytes: int, alignment_bytes: int = 64) -> None:
        if capacity_bytes < 0:
            raise ValueError(f"capacity_bytes is {capacity_bytes}; it must be 0 or more")
        if alignment_bytes < 1:
            raise ValueError(f"alignment_bytes is {alignment_bytes}; it must be 1 or more")
        self.alignment_bytes = alignment_bytes
        self.capacity_bytes = capacity_bytes - capacity_bytes % alignment_bytes
        self.used_bytes = 0
        self.high_water_bytes = 0  # largest end ever handed out: the segment is reserved up to it
        # Free blocks by address, in two parallel lists: no two of them touch.
        self._starts = [0] if self.capacity_bytes else []
        self._sizes = [self.capacity_bytes] if self.capacity_bytes else []
        self._blocks: dict[int, int] = {}
        # No free block has this many bytes: a full arena says no without a scan.
        self._unfit_bytes = self.capacity_bytes + 1

    @property
    def free_bytes(self) -> int:
        """Bytes in no block; they may lie in pieces."""
        return self.capacity_bytes - self.used_bytes

    @property
    def largest_free_bytes(self) -> int:
        """The largest request that `allocate` would serve now."""
        return max(self._sizes, default=0)

    @property
    def block_count(self) -> int:
        """Blocks in use."""
        return len(self._blocks)

    def block_bytes(self, size_bytes: int) -> int:
        """The bytes a block of `size_bytes` takes: rounded up, at least one alignment unit.

        Raises:
            ValueError: `size_bytes` is negative.
        """
        if size_bytes < 0:
            raise ValueError(f"size_bytes is {size_bytes}; it must be 0 or more")
        return -(-(size_bytes or 1) // self.alignment_bytes) * self.alignment_bytes

    def allocate(self, size_bytes: int) -> int | None:
        """Takes the lowest free range that holds `size_bytes`; returns its offset, or None.

        Raises:
            ValueError: `size_bytes` is negative.
        """
        wanted = self.block_bytes(size_bytes)
        if wanted >= self._unfit_bytes:
            return None
        for index, available in enumerate(self._sizes):
            if available >= wanted:
                return self._take(index, wanted)
        self._unfit_bytes = wanted
        return None

    def _take(self, index: int, wanted: int) -> int:
        """Makes the start of a free range a block."""
        offset, available = self._starts[index], self._sizes[index]
        if available == wanted:
            del self._starts[index], self._sizes[index]
        else:
            self._starts[index] = offset + wanted
            self._sizes[index] = available - wanted
        self._blocks[offset] = wanted
        self.used_bytes += wanted
        self.high_water_bytes = max(self.high_water_bytes, offset + wanted)
        return offset

    def free(self, offset: int) -> None:
        """Gives back the block at `offset` and joins it with its free neighbours.

        Raises:
            ValueError: no block in use starts at `offset`.
        """
        size = self._blocks.pop(offset, None)
        if size is None:
            raise ValueError(f"offset is {offset}; no block in use starts there")
        self.used_bytes -= size
        starts, sizes = self._starts, self._sizes
        index = bisect_left(starts, offset)
        if index < len(starts) and starts[index] == offset + size:
            size += sizes[index]
            del starts[index], sizes[index]
        if index and starts[index - 1] + sizes[index - 1] == offset:
            size += sizes[index - 1]
            sizes[index - 1] = size
        else:
            starts.insert(index, offset)
            sizes.insert(index, size)
        self._unfit_bytes = max(self._unfit_bytes, size + 1)

    def block_at(self, offset: int) -> int | None:
        """The bytes of the block in use that starts at `offset`, or None."""
        return self._blocks.get(offset)

    def free_blocks(self) -> Iterator[tuple[int, int]]:
        """Free ranges as (offset, size in bytes), lowest first."""
        return zip(self._starts, self._sizes, strict=True)

    def check(self) -> None:
        """Re-derives the layout from both tables.

        Raises:
            AssertionError: ranges overlap, leave a gap, or disagree with a counter.
        """
        ranges = [(start, size, False) for start, size in self._blocks.items()]
        ranges += [(start, size, True) for start, size in self.free_blocks()]
        end, was_free = 0, False
        for start, size, is_free in sorted(ranges):
            assert start == end, f"arena: a range starts at {start}, the one before ends at {end}"
            assert size > 0, f"arena: the range at {start} has {size} bytes"
            assert size % self.alignment_bytes == 0, f"arena: {size} bytes at {start} not aligned"
            assert not (was_free and is_free), f"arena: free ranges meet at {start}, not joined"
            end, was_free = start + size, is_free
        assert end == self.capacity_bytes, f"arena: ranges end at {end} of {self.capacity_bytes}"
        used = sum(self._blocks.values())
        assert used == self.used_bytes, f"arena: {used} bytes in blocks, {self.used_bytes} counted"
        top = max((start + size for start, size in self._blocks.items()), default=0)
        assert top <= self.high_water_bytes, f"arena: {top} is above {self.high_water_bytes}"
        assert self.largest_free_bytes < self._unfit_bytes, (
            f"arena: {self.largest_free_bytes} bytes free in one piece, "
            f"yet {self._unfit_bytes} are thought not to fit"
        )
