"""The object store under random use: no byte is ever lost, overwritten or read too early."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from rsim.core.arena import Arena
from rsim.core.store import ObjectStore
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
CAPACITY_UNITS = 8
object_ids = st.sampled_from([bytes([number]) for number in range(9)])


@dataclass
class Known:
    """What a node knows of one object; ``value`` stands for its bytes."""

    size_bytes: int
    value: int
    sealed: bool = False
    pins: int = 0
    evictable: bool = False
    deleted: bool = False
    busy: str = ""


class StoreMachine(RuleBasedStateMachine):
    """Plays node and shell: carries out every decision on real (tiny) memory and files."""

    @initialize(
        limit_units=st.sampled_from([None, None, 12, 6, 0]),
        evictable=st.lists(st.sampled_from([False, False, True]), min_size=4, max_size=6),
    )
    def start(self, limit_units: int | None, evictable: list[bool]) -> None:
        """A store that is nearly full, with some objects on disk already."""
        self.limit_bytes = None if limit_units is None else limit_units * UNIT
        self.store = ObjectStore(Arena(CAPACITY_UNITS * UNIT, UNIT), self.limit_bytes)
        self.memory: dict[int, int] = {}
        self.files: dict[bytes, int] = {}
        self.known: dict[bytes, Known] = {}
        self.asked: dict[int, tuple[str, bytes]] = {}
        self.blocked: dict[int, None] = {}
        self.sizes: dict[int, int] = {}
        self.last_ticket = 0
        for number, flag in enumerate(evictable):
            self.put(number, 2, flag)
            self.finish_operations()

    # The node's and the shell's side of a decision.

    def carry_out(self, decisions: list[Decision]) -> None:
        for decision in decisions:
            getattr(self, "do_" + type(decision).__name__.lower())(decision)
        self.store.check()

    def answer(self, ticket: int, kind: str) -> None:
        asked, _ = self.asked.pop(ticket)
        self.blocked.pop(ticket, None)
        assert asked == kind

    def write(self, offset: int, size_bytes: int, value: int) -> None:
        assert offset % UNIT == 0
        first = offset // UNIT
        for unit in range(first, first + max(1, -(-size_bytes // UNIT))):
            assert unit < CAPACITY_UNITS
            self.memory[unit] = value

    def read(self, offset: int, size_bytes: int) -> int:
        first = offset // UNIT
        count = max(1, -(-size_bytes // UNIT))
        (value,) = {self.memory[unit] for unit in range(first, first + count)}
        return value

    def do_created(self, created: Created) -> None:
        earlier = [t for t, (kind, _) in self.asked.items() if kind == "create"]
        assert created.ticket == earlier[0], "creates are served in order"
        self.answer(created.ticket, "create")
        known = Known(self.sizes[created.ticket], value=created.ticket)
        assert created.object_id not in self.known
        self.known[created.object_id] = known
        self.write(created.offset, known.size_bytes, known.value)

    def do_refused(self, refused: Refused) -> None:
        kind, object_id = self.asked[refused.ticket]
        assert object_id == refused.object_id
        self.answer(refused.ticket, kind)
        if refused.reason is RefusalReason.EXISTS:
            self.known[object_id].deleted = False
        elif refused.reason is RefusalReason.TOO_LARGE:
            assert refused.needed_bytes > CAPACITY_UNITS * UNIT
        elif refused.reason is RefusalReason.OUT_OF_DISK:
            assert self.limit_bytes != 0
        assert refused.describe()

    def do_blocked(self, blocked: Blocked) -> None:
        assert self.asked[blocked.ticket][1] == blocked.object_id
        assert blocked.ticket not in self.blocked, "reported once"
        self.blocked[blocked.ticket] = None

    def do_evict(self, evict: Evict) -> None:
        known = self.known.pop(evict.object_id)
        assert known.sealed
        assert known.evictable
        assert not (known.pins or known.busy or known.deleted)

    def do_spill(self, spill: Spill) -> None:
        known = self.known[spill.object_id]
        assert known.sealed
        assert not (known.pins or known.busy or known.evictable or known.deleted)
        assert spill.object_id not in self.files
        known.busy = "spill"

    def do_restore(self, restore: Restore) -> None:
        known = self.known[restore.object_id]
        assert not (known.pins or known.busy)
        known.busy = "restore"
        self.write(restore.offset, restore.size_bytes, -known.value)  # not there yet

    def do_restored(self, restored: Restored) -> None:
        self.answer(restored.ticket, "restore")
        self.known[restored.object_id].pins += 1

    def do_dropspilled(self, drop: DropSpilled) -> None:
        known = self.known.get(drop.object_id)
        assert known is None or known.evictable or known.deleted
        del self.files[drop.object_id]

    def forget_deleted(self) -> None:
        for object_id, known in list(self.known.items()):
            in_use = not known.sealed or known.pins or known.busy
            if known.deleted and not in_use:
                del self.known[object_id]
                assert self.store.state_of(object_id) is None
                assert object_id not in self.files

    def ticket(self, kind: str, object_id: bytes) -> int:
        self.last_ticket += 1
        self.asked[self.last_ticket] = (kind, object_id)
        return self.last_ticket

    # What happens to a node. Most rules pick an object to which they apply.

    def pick(self, data: st.DataObject, fits: Callable[[Known], object]) -> bytes | None:
        fitting = [object_id for object_id, known in self.known.items() if fits(known)]
        return data.draw(st.sampled_from(fitting)) if fitting else None

    @rule(object_id=object_ids, size_bytes=st.integers(0, (CAPACITY_UNITS + 1) * UNIT))
    def create(self, object_id: bytes, size_bytes: int) -> None:
        ticket = self.ticket("create", object_id)
        self.sizes[ticket] = size_bytes
        self.carry_out(self.store.create(object_id, size_bytes, ticket))

    @rule(data=st.data(), units=st.integers(1, 4), evictable=st.booleans())
    def put_another(self, data: st.DataObject, units: int, evictable: bool) -> None:
        """The common case, so that stores fill up."""
        absent = [number for number in range(12) if bytes([number]) not in self.known]
        if absent:
            self.put(data.draw(st.sampled_from(absent)), units, evictable)

    def put(self, number: int, units: int, evictable: bool) -> None:
        object_id = bytes([number])
        self.create(object_id, units * UNIT - number)
        known = self.known.get(object_id)
        if known is not None and not known.sealed:
            self.set_evictable(object_id, evictable)
            self.finish_write(object_id, 0)

    @rule(data=st.data(), pins=st.integers(0, 2))
    def seal(self, data: st.DataObject, pins: int) -> None:
        object_id = self.pick(data, lambda known: not known.sealed)
        if object_id is not None:
            self.finish_write(object_id, pins)

    def finish_write(self, object_id: bytes, pins: int) -> None:
        known = self.known[object_id]
        known.sealed, known.pins = True, pins
        self.carry_out(self.store.seal(object_id, pins))
        self.forget_deleted()

    @rule(object_id=object_ids)
    def pin(self, object_id: bytes) -> None:
        expected = self.store.in_memory(object_id)
        assert self.store.pin(object_id) == expected
        if expected:
            self.known[object_id].pins += 1

    @rule(data=st.data())
    def unpin(self, data: st.DataObject) -> None:
        object_id = self.pick(data, lambda known: known.pins)
        if object_id is not None:
            self.known[object_id].pins -= 1
            self.carry_out(self.store.unpin(object_id))
            self.forget_deleted()

    @rule(object_id=object_ids, evictable=st.booleans())
    def set_evictable(self, object_id: bytes, evictable: bool) -> None:
        if object_id in self.known:
            self.known[object_id].evictable = evictable
        self.carry_out(self.store.set_evictable(object_id, evictable))

    def delete(self, object_id: bytes) -> None:
        if object_id in self.known:
            self.known[object_id].deleted = True
        self.carry_out(self.store.delete(object_id))
        self.forget_deleted()

    @rule(data=st.data())
    def restore(self, data: st.DataObject) -> None:
        missing = [i for i in self.known if self.store.offset_of(i) is None]
        object_id = data.draw(st.sampled_from(missing) if missing else object_ids)
        self.carry_out(self.store.restore(object_id, self.ticket("restore", object_id)))

    @rule(data=st.data(), ok=st.sampled_from([True, True, False]))
    def finish_spill(self, data: st.DataObject, ok: bool) -> None:
        object_id = self.pick(data, lambda known: known.busy == "spill")
        if object_id is not None:
            self.end_spill(object_id, ok)

    def end_spill(self, object_id: bytes, ok: bool) -> None:
        known, offset = self.known[object_id], self.store.offset_of(object_id)
        assert offset is not None
        if ok:
            self.files[object_id] = self.read(offset, known.size_bytes)
        known.busy = ""
        self.carry_out(self.store.spilled(object_id, ok))
        self.forget_deleted()

    @rule(data=st.data(), ok=st.sampled_from([True, True, False]))
    def finish_restore(self, data: st.DataObject, ok: bool) -> None:
        object_id = self.pick(data, lambda known: known.busy == "restore")
        if object_id is not None:
            self.end_restore(object_id, ok)

    def end_restore(self, object_id: bytes, ok: bool) -> None:
        known, offset = self.known[object_id], self.store.offset_of(object_id)
        assert offset is not None
        if ok:
            self.write(offset, known.size_bytes, self.files[object_id])
        known.busy = ""
        self.carry_out(self.store.restored(object_id, ok))
        self.forget_deleted()

    @rule(data=st.data())
    def expire(self, data: st.DataObject) -> None:
        if self.blocked:
            ticket = data.draw(st.sampled_from(list(self.blocked)))
            self.blocked.pop(ticket)
            self.carry_out(self.store.expire(ticket))

    @rule(data=st.data(), what=st.sampled_from(["abort", "cancel", "delete", "resume", "stray"]))
    def rarely(self, data: st.DataObject, what: str) -> None:
        if what == "abort":
            object_id = self.pick(data, lambda known: not known.sealed)
            if object_id is not None:
                del self.known[object_id]
                self.carry_out(self.store.abort(object_id))
        elif what == "cancel" and self.asked:
            ticket = data.draw(st.sampled_from(list(self.asked)))
            del self.asked[ticket]
            self.blocked.pop(ticket, None)
            self.carry_out(self.store.cancel(ticket))
        elif what == "delete":
            self.delete(data.draw(object_ids))
        elif what == "resume":
            self.carry_out(self.store.resume_spilling())
        elif what == "stray":
            self.stray(data.draw(object_ids), data.draw(st.booleans()))

    def stray(self, object_id: bytes, ok: bool) -> None:
        """Messages that come late, twice or for nothing."""
        known = self.known.get(object_id)
        if known is None or not known.busy:
            assert self.store.spilled(object_id, ok) == self.store.restored(object_id, ok) == []
        if known is None or known.sealed:
            assert self.store.seal(object_id, 1) == self.store.abort(object_id) == []
        if known is None or not known.pins:
            with pytest.raises(ValueError, match="no pin"):
                self.store.unpin(object_id)

    # What must hold at all times.

    @invariant()
    def every_object_is_whole(self) -> None:
        for object_id, known in self.known.items():
            offset = self.store.offset_of(object_id)
            if not known.sealed or self.store.state_of(object_id) is ObjectState.SEALED:
                assert offset is not None
                assert self.read(offset, known.size_bytes) == known.value
            if known.pins:
                assert self.store.state_of(object_id) in (ObjectState.SEALED, ObjectState.SPILLING)
            if offset is None:
                assert self.files[object_id] == known.value
            assert self.store.contains(object_id) == (known.sealed and not known.deleted)

    @invariant()
    def counters_agree(self) -> None:
        stats = self.store.stats()
        held = stats.creating, stats.pinned, stats.spillable, stats.evictable, stats.spilling
        total = sum(holding.size_bytes for holding in held) + stats.restoring.size_bytes
        assert total == stats.used_bytes == self.store.arena.used_bytes
        if self.limit_bytes is not None:
            on_disk = [i for i, known in self.known.items() if known.busy == "spill"]
            on_disk += self.files
            assert sum(self.known[i].size_bytes for i in on_disk) <= self.limit_bytes

    @invariant()
    def nobody_waits_unseen(self) -> None:
        """Each waiting ticket has a timer, unless an operation under way will be answered."""
        if not any(known.busy for known in self.known.values()):
            assert list(self.asked) == sorted(self.blocked)

    def teardown(self) -> None:
        """Quiescent and expired, every ticket is answered; all deleted, everything is free."""
        if not hasattr(self, "store"):
            return
        self.finish_operations()
        while self.blocked:
            ticket = next(iter(self.blocked))
            del self.blocked[ticket]
            self.carry_out(self.store.expire(ticket))
            self.finish_operations()
        assert not self.asked
        for object_id, known in list(self.known.items()):
            if not known.sealed:
                del self.known[object_id]
                self.carry_out(self.store.abort(object_id))
                continue
            self.delete(object_id)
            while known.pins:
                known.pins -= 1
                self.carry_out(self.store.unpin(object_id))
            self.forget_deleted()
        assert not self.known
        assert not self.files
        assert (self.store.arena.used_bytes, self.store.spilled_bytes) == (0, 0)

    def finish_operations(self) -> None:
        while busy := [(i, known.busy) for i, known in self.known.items() if known.busy]:
            for object_id, operation in busy:
                (self.end_spill if operation == "spill" else self.end_restore)(object_id, True)


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
