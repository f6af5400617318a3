"""The arena: first fit by address, joining of neighbours, and its counters."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from rsim.core.arena import Arena


def test_blocks_are_aligned_and_ascend() -> None:
    arena = Arena(1024)
    assert [arena.allocate(size) for size in (1, 64, 65, 0)] == [0, 64, 128, 256]
    assert arena.used_bytes == 64 + 64 + 128 + 64
    assert arena.high_water_bytes == 320
    assert arena.block_at(128) == 128


def test_lowest_hole_is_reused_and_the_high_water_mark_stays() -> None:
    arena = Arena(1024)
    first, second, third, fourth = (arena.allocate(128) for _ in range(4))
    assert first is not None
    assert third is not None
    arena.free(third)
    arena.free(first)
    assert arena.allocate(64) == first
    assert arena.allocate(128) == third
    assert arena.high_water_bytes == 512
    assert (second, fourth) == (128, 384)


@pytest.mark.parametrize(
    "order", [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]
)
def test_neighbours_join_in_every_order(order: tuple[int, ...]) -> None:
    arena = Arena(192)
    offsets = [arena.allocate(64) for _ in range(3)]
    for index in order:
        offset = offsets[index]
        assert offset is not None
        arena.free(offset)
        arena.check()
    assert list(arena.free_blocks()) == [(0, 192)]
    assert arena.largest_free_bytes == 192


def test_pieces_that_do_not_touch_serve_no_larger_request() -> None:
    arena = Arena(256)
    for _ in range(4):
        arena.allocate(64)
    arena.free(0)
    arena.free(128)
    assert (arena.free_bytes, arena.largest_free_bytes) == (128, 64)
    assert arena.allocate(65) is None
    arena.free(64)
    assert arena.allocate(65) == 0


def test_capacity_is_rounded_down() -> None:
    arena = Arena(130)
    assert arena.capacity_bytes == 128
    assert arena.allocate(129) is None
    assert arena.allocate(128) == 0
    assert arena.largest_free_bytes == 0
    empty = Arena(63)
    assert (empty.capacity_bytes, empty.allocate(0)) == (0, None)
    empty.check()


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="capacity_bytes is -1"):
        Arena(-1)
    with pytest.raises(ValueError, match="alignment_bytes is 0"):
        Arena(64, 0)
    arena = Arena(64)
    with pytest.raises(ValueError, match="size_bytes is -5"):
        arena.allocate(-5)
    arena.allocate(1)
    with pytest.raises(ValueError, match="offset is 8"):
        arena.free(8)
    arena.free(0)
    with pytest.raises(ValueError, match="offset is 0"):
        arena.free(0)


class ArenaMachine(RuleBasedStateMachine):
    """Against a plain map of units, searched from address zero."""

    UNITS, UNIT_BYTES = 24, 8

    def __init__(self) -> None:
        super().__init__()
        self.arena = Arena(self.UNITS * self.UNIT_BYTES + 3, self.UNIT_BYTES)
        self.units = [False] * self.UNITS
        self.blocks: dict[int, int] = {}
        self.top = 0

    @rule(size_bytes=st.integers(0, 80))
    def allocate(self, size_bytes: int) -> None:
        count = max(1, -(-size_bytes // self.UNIT_BYTES))
        fits = (
            unit
            for unit in range(self.UNITS - count + 1)
            if not any(self.units[unit : unit + count])
        )
        unit = next(fits, None)
        offset = self.arena.allocate(size_bytes)
        if unit is None:
            assert offset is None
            return
        assert offset == unit * self.UNIT_BYTES
        self.units[unit : unit + count] = [True] * count
        self.blocks[unit] = count
        self.top = max(self.top, unit + count)

    @rule(data=st.data())
    def free(self, data: st.DataObject) -> None:
        if not self.blocks:
            return
        unit = data.draw(st.sampled_from(list(self.blocks)))
        count = self.blocks.pop(unit)
        self.arena.free(unit * self.UNIT_BYTES)
        self.units[unit : unit + count] = [False] * count

    @invariant()
    def agrees(self) -> None:
        self.arena.check()
        assert self.arena.used_bytes == sum(self.units) * self.UNIT_BYTES
        assert self.arena.free_bytes == (self.UNITS - sum(self.units)) * self.UNIT_BYTES
        assert self.arena.high_water_bytes == self.top * self.UNIT_BYTES
        assert self.arena.block_count == len(self.blocks)
        run = longest = 0
        for taken in self.units:
            run = 0 if taken else run + 1
            longest = max(longest, run)
        assert self.arena.largest_free_bytes == longest * self.UNIT_BYTES


TestArenaMachine = ArenaMachine.TestCase
TestArenaMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
