"""The object store, case by case: room, eviction, spilling, restoring, deletion."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import pytest

from rsim.core.arena import Arena
from rsim.core.store import SPILL_FAILURES_IN_A_ROW, ObjectStore
from rsim.core.store_decisions import (
    Blocked,
    Created,
    Decision,
    DropSpilled,
    Evict,
    RefusalReason,
    Refused,
    Restore,
    Restored,
    Spill,
)
from rsim.core.store_table import ObjectState

UNIT = 64
A, B, C, D = b"a", b"b", b"c", b"d"
Kind = TypeVar("Kind", bound=Decision)


def make_store(units: int = 4, spill_limit_bytes: int | None = None) -> ObjectStore:
    return ObjectStore(Arena(units * UNIT, UNIT), spill_limit_bytes)


def put(store: ObjectStore, object_id: bytes, units: int = 1, *, pins: int = 0) -> None:
    """Creates and seals at once; the store must have room."""
    decisions = store.create(object_id, units * UNIT, ticket=-1)
    assert isinstance(decisions[-1], Created), decisions
    assert store.seal(object_id, pins) == []


def only(decisions: Iterable[Decision], kind: type[Kind]) -> Kind:
    (decision,) = decisions
    assert isinstance(decision, kind), decision
    return decision


# -- room ----------------------------------------------------------------------------------------


def test_created_at_once_when_there_is_room() -> None:
    store = make_store()
    assert store.create(A, 10, 1) == [Created(1, A, 0)]
    assert store.create(B, 10, 2) == [Created(2, B, UNIT)]
    assert store.state_of(A) is ObjectState.CREATING
    assert not store.contains(A)
    assert not store.pin(A)
    store.seal(A)
    assert store.contains(A)
    assert store.in_memory(A)
    assert (store.offset_of(B), store.size_of(B)) == (UNIT, 10)


def test_an_object_larger_than_the_store_is_refused_at_once_with_both_sizes() -> None:
    store = make_store(units=4)
    refused = only(store.create(A, 4 * UNIT + 1, 1), Refused)
    assert refused.reason is RefusalReason.TOO_LARGE
    assert "257 bytes" in refused.describe()
    assert "256 bytes" in refused.describe()


def test_create_of_an_object_that_is_here_is_refused() -> None:
    store = make_store()
    put(store, A)
    assert only(store.create(A, UNIT, 1), Refused).reason is RefusalReason.EXISTS


def test_of_two_creates_of_one_object_that_wait_the_second_is_refused() -> None:
    store = make_store()
    put(store, A, 4, pins=1)
    store.create(B, UNIT, 1)
    store.create(B, UNIT, 2)
    store.delete(A)
    created, refused = store.unpin(A)
    assert created == Created(1, B, 0)
    assert isinstance(refused, Refused)
    assert (refused.ticket, refused.reason) == (2, RefusalReason.EXISTS)


def test_creates_are_served_in_order_even_if_a_later_one_would_fit() -> None:
    store = make_store(units=4, spill_limit_bytes=0)
    put(store, A, 3, pins=1)
    assert store.create(B, 2 * UNIT, 1) == [Blocked(1, B, 2 * UNIT)]
    assert store.create(C, UNIT, 2) == [Blocked(2, C, UNIT)]
    store.delete(A)
    assert store.unpin(A) == [Created(1, B, 0), Created(2, C, 2 * UNIT)]


def test_an_expired_head_lets_the_next_one_in() -> None:
    store = make_store(units=4)
    put(store, A, 3, pins=2)
    store.create(B, 2 * UNIT, 1)
    store.create(C, UNIT, 2)
    refused, created = store.expire(1)
    assert isinstance(refused, Refused)
    assert refused.reason is RefusalReason.FULL
    assert (refused.stats.pinned.objects, refused.stats.pinned.size_bytes) == (1, 3 * UNIT)
    assert "pinned 1 objects with 192 bytes" in refused.describe()
    assert created == Created(2, C, 3 * UNIT)
    assert store.expire(1) == store.expire(2) == []


def test_a_cancelled_ticket_gets_no_answer_and_makes_way() -> None:
    store = make_store(units=4)
    put(store, A, 3, pins=1)
    store.create(B, 2 * UNIT, 1)
    store.create(C, UNIT, 2)
    assert store.cancel(1) == [Created(2, C, 3 * UNIT)]
    assert store.cancel(1) == []
    store.check()


def test_aborted_writes_give_their_room_back() -> None:
    store = make_store()
    store.create(A, 4 * UNIT, 1)
    store.create(B, UNIT, 2)
    assert store.abort(A) == [Created(2, B, 0)]
    assert store.seal(A) == store.abort(A) == []
    store.seal(B)
    assert store.abort(B) == []
    assert store.contains(B)


# -- eviction ------------------------------------------------------------------------------------


def test_the_least_recently_used_evictable_object_goes_first() -> None:
    store = make_store(units=3)
    for object_id in (A, B, C):
        put(store, object_id)
        store.set_evictable(object_id, True)
    assert store.pin(A)
    store.unpin(A)
    assert store.create(D, UNIT, 1) == [Evict(B), Created(1, D, UNIT)]
    assert not store.contains(B)


def test_pinned_and_primary_objects_are_not_evicted() -> None:
    store = make_store(units=3, spill_limit_bytes=0)
    put(store, A, pins=1)
    put(store, B)
    put(store, C)
    store.set_evictable(A, True)
    store.set_evictable(C, True)
    assert store.create(D, UNIT, 1) == [Evict(C), Created(1, D, 2 * UNIT)]
    assert store.create(C, UNIT, 2) == [Blocked(2, C, UNIT)]
    assert store.unpin(A) == [Evict(A), Created(2, C, 0)]
    assert store.contains(B)


def test_copies_are_not_dropped_in_vain() -> None:
    store = make_store(units=4, spill_limit_bytes=0)
    put(store, A, 2, pins=1)
    put(store, B)
    store.set_evictable(B, True)
    assert store.create(C, 3 * UNIT, 1) == [Blocked(1, C, 3 * UNIT)]
    assert store.contains(B)


# -- spilling ------------------------------------------------------------------------------------


def test_primary_objects_are_spilled_after_evictable_ones_went() -> None:
    store = make_store(units=4)
    put(store, A, 2)
    put(store, B)
    put(store, C)
    store.set_evictable(C, True)
    assert store.create(D, 3 * UNIT, 1) == [Evict(C), Spill(A, 0, 2 * UNIT)]
    assert store.state_of(A) is ObjectState.SPILLING
    # Three units are free now, but B lies between them.
    assert store.spilled(A, True) == [Spill(B, 2 * UNIT, UNIT)]
    assert store.spilled(B, True) == [Created(1, D, 0)]


def test_a_create_waits_for_the_spill_and_takes_its_room() -> None:
    store = make_store(units=2)
    put(store, A)
    put(store, B)
    assert store.create(C, UNIT, 1) == [Spill(A, 0, UNIT)]
    assert store.expire(1) == []
    assert store.spilled(A, True) == [Created(1, C, 0)]
    assert store.spilled(A, True) == []
    assert (store.state_of(A), store.offset_of(A)) == (ObjectState.SPILLED, None)
    assert store.contains(A)
    assert not store.pin(A)
    assert store.spilled_bytes == UNIT


def test_a_grace_period_starts_anew_when_a_spill_gave_hope() -> None:
    store = make_store(units=1)
    put(store, A, pins=1)
    assert store.create(B, UNIT, 1) == [Blocked(1, B, UNIT)]
    assert store.unpin(A) == [Spill(A, 0, UNIT)]
    assert store.expire(1) == []
    store.pin(A)
    assert store.spilled(A, True) == [Blocked(1, B, UNIT)]
    assert only(store.expire(1), Refused).reason is RefusalReason.FULL


def test_an_object_that_became_evictable_while_it_was_spilled_stays_in_memory() -> None:
    store = make_store(units=2)
    put(store, A)
    put(store, B, pins=1)
    store.create(C, UNIT, 1)
    store.set_evictable(A, True)
    store.cancel(1)
    assert store.spilled(A, True) == [DropSpilled(A)]
    assert store.in_memory(A)


def test_all_who_wait_are_spilled_for_at_once() -> None:
    store = make_store(units=3)
    for object_id in (A, B, C):
        put(store, object_id)
    assert store.create(b"x", UNIT, 1) == [Spill(A, 0, UNIT)]
    assert store.create(b"y", UNIT, 2) == [Spill(B, UNIT, UNIT)]


def test_an_object_pinned_while_it_is_spilled_stays_and_can_then_go_at_once() -> None:
    store = make_store(units=2)
    put(store, A, 2)
    store.create(B, UNIT, 1)
    assert store.pin(A)
    assert store.spilled(A, True) == [Blocked(1, B, UNIT)]
    assert store.in_memory(A)
    assert store.unpin(A) == [Created(1, B, 0)]
    assert store.state_of(A) is ObjectState.SPILLED


def test_failed_spills_try_others_then_leave_the_disk_alone() -> None:
    store = make_store(units=4)
    for object_id in (A, B, C, D):
        put(store, object_id)
    decisions = store.create(b"x", UNIT, 1)
    tried = []
    for _ in range(SPILL_FAILURES_IN_A_ROW):
        spill = only(decisions, Spill)
        tried.append(spill.object_id)
        decisions = store.spilled(spill.object_id, False)
    assert tried == [A, B, C]
    assert decisions == [Blocked(1, b"x", UNIT)]
    assert store.spilled_bytes == 0
    assert only(store.expire(1), Refused).reason is RefusalReason.OUT_OF_DISK
    assert only(store.create(b"y", UNIT, 2), Blocked).ticket == 2
    assert store.resume_spilling() == [Spill(D, 3 * UNIT, UNIT)]
    assert store.spilled(D, True) == [Created(2, b"y", 3 * UNIT)]


def test_a_dropped_file_ends_the_rest_of_a_disk_that_failed() -> None:
    store = make_store(units=1)
    put(store, A)
    store.create(B, UNIT, 1)
    store.spilled(A, True)
    store.seal(B)
    store.create(C, UNIT, 2)
    for _ in range(SPILL_FAILURES_IN_A_ROW):
        decisions = store.spilled(B, False)
    assert decisions == [Blocked(2, C, UNIT)]
    assert store.delete(A) == [DropSpilled(A), Spill(B, 0, UNIT)]


def test_the_spill_limit_is_kept() -> None:
    store = make_store(units=3, spill_limit_bytes=UNIT)
    put(store, A, 2)
    put(store, B)
    assert store.create(C, UNIT, 1) == [Spill(B, 2 * UNIT, UNIT)]
    assert store.spilled(B, True) == [Created(1, C, 2 * UNIT)]
    assert store.create(D, UNIT, 2) == [Blocked(2, D, UNIT)]
    refused = only(store.expire(2), Refused)
    assert refused.reason is RefusalReason.OUT_OF_DISK
    assert "limit 64" in refused.describe()


def test_without_spilling_a_store_of_primaries_is_just_full() -> None:
    store = make_store(units=1, spill_limit_bytes=0)
    put(store, A)
    store.create(B, UNIT, 1)
    assert only(store.expire(1), Refused).reason is RefusalReason.FULL


def test_a_dropped_file_lets_spilling_go_on() -> None:
    store = make_store(units=1, spill_limit_bytes=UNIT)
    put(store, A)
    store.create(B, UNIT, 1)
    store.spilled(A, True)
    store.seal(B)
    assert store.create(C, UNIT, 2) == [Blocked(2, C, UNIT)]
    assert store.delete(A) == [DropSpilled(A), Spill(B, 0, UNIT)]


# -- restoring -----------------------------------------------------------------------------------


def spill_a(store: ObjectStore) -> None:
    """Fills a store of two units so that A is on disk, B in memory and one unit is free."""
    put(store, A)
    put(store, B)
    store.create(C, UNIT, 99)
    store.spilled(A, True)
    store.abort(C)


def test_restored_objects_carry_a_pin_per_ticket() -> None:
    store = make_store(units=2)
    spill_a(store)
    assert store.restore(A, 1) == [Restore(A, 0, UNIT)]
    assert store.restore(A, 2) == []
    assert store.restored(A, True) == [Restored(1, A, 0), Restored(2, A, 0)]
    assert store.restore(A, 3) == [Restored(3, A, 0)]
    for _ in range(3):
        assert store.unpin(A) == []
    with pytest.raises(ValueError, match="no pin to undo"):
        store.unpin(A)


def test_a_restored_object_keeps_its_file_and_is_not_written_again() -> None:
    store = make_store(units=2)
    spill_a(store)
    store.restore(A, 1)
    store.restored(A, True)
    store.unpin(A)
    assert store.create(C, UNIT, 2) == [Created(2, C, 0)]
    assert store.state_of(A) is ObjectState.SPILLED
    assert store.contains(A)


def test_a_restore_makes_room_and_waits_like_a_create() -> None:
    store = make_store(units=2)
    spill_a(store)
    put(store, C)
    assert store.restore(A, 1) == [Spill(B, UNIT, UNIT)]
    assert store.restore(A, 2) == []
    assert store.spilled(B, True) == [Restore(A, UNIT, UNIT)]
    assert store.restored(A, True) == [Restored(1, A, UNIT), Restored(2, A, UNIT)]


def test_an_unreadable_file_refuses_all_who_wait() -> None:
    store = make_store(units=2)
    spill_a(store)
    store.restore(A, 1)
    store.restore(A, 2)
    first, second = store.restored(A, False)
    assert isinstance(first, Refused)
    assert isinstance(second, Refused)
    assert first.reason is second.reason is RefusalReason.UNREADABLE
    assert (first.ticket, second.ticket) == (1, 2)
    assert store.arena.used_bytes == UNIT
    assert store.contains(A)
    assert store.delete(A) == [DropSpilled(A)]


def test_what_is_not_here_cannot_be_restored() -> None:
    store = make_store()
    store.create(B, UNIT, 1)
    for object_id in (A, B):
        assert only(store.restore(object_id, 2), Refused).reason is RefusalReason.ABSENT


def test_an_evictable_object_is_not_worth_disk() -> None:
    store = make_store(units=2)
    spill_a(store)
    assert store.set_evictable(A, True) == [DropSpilled(A), Evict(A)]
    assert (store.contains(A), store.spilled_bytes) == (False, 0)


def test_an_evictable_object_on_disk_stays_as_long_as_somebody_waits_for_it() -> None:
    store = make_store(units=2)
    spill_a(store)
    put(store, C, pins=1)
    store.pin(B)
    assert store.restore(A, 1) == [Blocked(1, A, UNIT)]
    assert store.set_evictable(A, True) == []
    assert store.cancel(1) == [DropSpilled(A), Evict(A)]


# -- deletion ------------------------------------------------------------------------------------


def test_a_pinned_object_is_deleted_by_its_last_unpin() -> None:
    store = make_store()
    put(store, A, pins=2)
    assert store.delete(A) == []
    assert not store.contains(A)
    assert not store.pin(A)
    store.unpin(A)
    assert store.arena.used_bytes == UNIT
    store.unpin(A)
    assert (store.arena.used_bytes, store.state_of(A)) == (0, None)


def test_deletion_while_being_written_waits_for_the_writer() -> None:
    store = make_store()
    store.create(A, UNIT, 1)
    store.create(B, UNIT, 2)
    store.delete(A)
    store.delete(B)
    assert store.arena.used_bytes == 2 * UNIT
    store.seal(A)
    store.abort(B)
    assert store.arena.used_bytes == 0


def test_deletion_while_spilling_drops_the_file_that_comes_of_it() -> None:
    store = make_store(units=1)
    put(store, A)
    store.create(B, UNIT, 1)
    assert store.delete(A) == []
    assert store.spilled(A, True) == [DropSpilled(A), Created(1, B, 0)]
    assert store.spilled_bytes == 0


def test_deletion_while_restoring_refuses_those_who_wait() -> None:
    store = make_store(units=2)
    spill_a(store)
    store.restore(A, 1)
    assert only(store.delete(A), Refused).reason is RefusalReason.ABSENT
    assert store.restored(A, True) == [DropSpilled(A)]
    assert store.arena.used_bytes == UNIT


def test_a_deleted_object_still_in_use_lives_on_when_created_again() -> None:
    store = make_store()
    put(store, A, pins=1)
    store.delete(A)
    assert only(store.create(A, UNIT, 1), Refused).reason is RefusalReason.EXISTS
    assert store.contains(A)
    store.unpin(A)
    assert store.in_memory(A)


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="spill_limit_bytes is -1"):
        make_store(spill_limit_bytes=-1)
    store = make_store(units=1)
    put(store, A, pins=1)
    store.create(B, UNIT, 7)
    with pytest.raises(ValueError, match="ticket is 7"):
        store.create(C, UNIT, 7)
    with pytest.raises(ValueError, match="ticket is 7"):
        store.restore(A, 7)
    with pytest.raises(ValueError, match="size_bytes is -1"):
        store.create(C, -1, 8)
    with pytest.raises(ValueError, match="pins is -1"):
        store.seal(A, -1)
    with pytest.raises(ValueError, match="no pin"):
        store.unpin(D)


def test_equal_histories_have_equal_fingerprints() -> None:
    stores = [make_store(units=2), make_store(units=2)]
    for store in stores:
        spill_a(store)
        store.restore(A, 1)
    first, second = (list(store.fingerprint_items()) for store in stores)
    assert first == second
    stores[0].restored(A, True)
    assert list(stores[0].fingerprint_items()) != second
