"""The object table of a node: which objects it knows, who holds refs to them, and when one can go.

Decides when an object (its value, or the last trace of it) is freed. Must never free an object
while a client, a task, another object or another node holds it, and never recurse over chains of
objects. Owns the entries, the counts of refs lent to clients and nodes, and the lineage holds that
finished tasks have on their inputs.

Counting. The node *lends* refs: every message that carries a ref to a client or to another node
counts one; the borrower returns the number of loans that it has seen when it drops its last ref. A
loan that is still on its way is therefore never forgotten. Tasks and values hold refs too, counted
in ``Entry.holds``. What is lent to the driver, as most is, is counted in ``Entry.lent``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import msgspec

from rsim.core.ids import is_put
from rsim.core.records import DRIVER

if TYPE_CHECKING:
    from rsim.core.work import Task

PENDING, INLINE, STORED, REMOTE, FREED, LOST = range(6)
"""States of an entry: not produced yet; value in the shell; in this node's store; only in other
nodes' stores; dropped but wanted by lineage; gone against our will."""

STATE_NAMES = ("pending", "inline", "stored", "remote", "freed", "lost")


class Waiter(msgspec.Struct, gc=False, eq=False):
    """Something that waits for ``missing`` entries. ``local``: existing somewhere is not enough."""

    local: bool = False
    missing: int = 0


class Entry(msgspec.Struct, gc=False, eq=False):
    """What a node knows of one object."""

    object_id: bytes
    owner: str = ""
    """The owning node; empty: this one."""
    state: int = PENDING
    size_bytes: int = 0
    holds: int = 0
    lent: int = 0
    """Loans to this node's driver."""
    lineage_holds: int = 0
    contained: tuple[bytes, ...] = ()
    waiters: list[Waiter] | None = None
    locations: list[str] | None = None
    """Other nodes whose store has it."""
    is_error: bool = False
    seen: bool = False
    """Somebody has asked for it, so that if it is an error, that is no secret."""
    primary: bool = False
    """Foreign, and this node keeps the copy that the owner relies on."""
    cached: bool = False
    """Foreign, and this node has a copy that may be of use again. The owner knows of it, and says
    when the object is freed.
    """
    actor_at: str = ""
    """It stands for an actor that lives on this node."""
    plain: Task | None = None
    """The plain task of which it is the result, just a small value, unless its state says
    otherwise.
    """
    dormant: bool = False
    """Only lineage wants it: what its value contains is held for lineage, too, not for users."""
    received: int = 0
    """Foreign: loans that the owner has made to this node."""

    @property
    def exists(self) -> bool:
        return INLINE <= self.state <= REMOTE

    @property
    def is_local(self) -> bool:
        return self.state == INLINE or self.state == STORED


class ObjectTable:
    """Entries, holds and loans of one node.

    ``on_freed(entry)`` must release the value, if there is one, of an entry that lineage may still
    want: what can stay for free may stay; it returns whether it did. ``on_removed(entry)`` must do
    so for an entry that is gone, ``on_plain_removed(entries)`` for plain ones. ``on_unheld(
    entry)`` is told that one stays though nobody here holds it: this node keeps its copy, or the
    object is still to come.
    ``on_missing(object_id)`` makes an entry for an object that is to be held, and that the table
    does not know.
    """

    def __init__(
        self,
        on_freed: Callable[[Entry], bool],
        on_unheld: Callable[[Entry], None],
        on_removed: Callable[[Entry], None],
        on_plain_removed: Callable[[list[Entry]], None],
        on_missing: Callable[[bytes], Entry],
    ) -> None:
        self.entries: dict[bytes, Entry] = {}
        self._loans: dict[int | str, dict[bytes, int]] = {}
        self.garbage: list[Entry] = []
        """What ``collect`` is to look at."""
        self._on_freed = on_freed
        self._on_unheld = on_unheld
        self._on_removed = on_removed
        self._on_plain_removed = on_plain_removed
        self._on_missing = on_missing

    # -- entries -----------------------------------------------------------------------------------

    def get(self, object_id: bytes) -> Entry | None:
        return self.entries.get(object_id)

    def exists(self, object_id: bytes) -> bool:
        """Whether the object has a value or an error, wherever that is."""
        entry = self.entries.get(object_id)
        return entry is not None and entry.exists

    def declare(self, object_id: bytes) -> Entry:
        """The entry of an object owned here, made if need be."""
        entry = self.entries.get(object_id)
        if entry is None:
            entry = self.entries[object_id] = Entry(object_id)
            self.garbage.append(entry)
        return entry

    def declare_foreign(self, object_id: bytes, owner: str) -> Entry:
        """The entry of an object that another node owns, made if need be."""
        entry = self.entries.get(object_id)
        if entry is None:
            entry = self.entries[object_id] = Entry(object_id, owner)
            self.garbage.append(entry)
        return entry

    # -- holds -------------------------------------------------------------------------------------

    def hold(self, object_ids: Iterable[bytes]) -> None:
        """Count a hold on each object; one that was freed, or never was, ``on_missing`` makes."""
        for object_id in object_ids:
            entry = self.entries.get(object_id) or self._on_missing(object_id)
            entry.holds += 1

    def release(self, object_ids: Iterable[bytes]) -> None:
        """Take back ``hold``."""
        for object_id in object_ids:
            entry = self.entries.get(object_id)
            if entry is not None:
                self.release_entry(entry)

    def hold_one(self, object_id: bytes, count: int) -> None:
        """``hold``, so many times."""
        entry = self.entries.get(object_id) or self._on_missing(object_id)
        entry.holds += count

    def release_one(self, object_id: bytes, count: int) -> None:
        """Take back ``hold_one``."""
        entry = self.entries.get(object_id)
        if entry is not None:
            entry.holds -= count
            if entry.holds == 0:
                self.garbage.append(entry)

    def set_contained(self, entry: Entry, contained: tuple[bytes, ...]) -> None:
        """The entry's value holds these refs (an earlier value of the same object may have held
        others), but not itself.
        """
        if contained or entry.contained:
            contained = tuple(each for each in contained if each != entry.object_id)
            self.hold(contained)
            self._release_contained(entry)
            entry.contained = contained

    def release_entry(self, entry: Entry) -> None:
        """Take back one hold on an entry."""
        entry.holds -= 1
        if entry.holds == 0:
            self.garbage.append(entry)

    def hold_lineage(self, object_ids: Iterable[bytes]) -> None:
        """A finished task may have to read these again."""
        for object_id in object_ids:
            entry = self.entries.get(object_id)
            if entry is not None:
                entry.lineage_holds += 1

    def release_lineage(self, object_ids: Iterable[bytes]) -> None:
        """Take back ``hold_lineage``."""
        for object_id in object_ids:
            entry = self.entries.get(object_id)
            if entry is not None and entry.lineage_holds:
                entry.lineage_holds -= 1
                if entry.lineage_holds == 0 and entry.holds == 0:
                    self.garbage.append(entry)

    def revive(self, object_ids: Iterable[bytes]) -> None:
        """A task is to read these again, and what they contain."""
        todo = list(object_ids)
        while todo:
            entry = self.entries.get(todo.pop())
            if entry is not None and entry.dormant:
                entry.dormant = False
                self.hold(entry.contained)
                self.release_lineage(entry.contained)
                todo += entry.contained

    # -- loans -------------------------------------------------------------------------------------

    def open_account(self, borrower: int | str) -> None:
        """A client or node may now borrow."""
        self._loans.setdefault(borrower, {})  # the driver's is always empty

    def has_account(self, borrower: int | str) -> bool:
        """Whether the client or node is there to borrow."""
        return borrower in self._loans

    def lend(self, borrower: int | str, object_id: bytes) -> None:
        """Count one more loan of the ref; the first one holds the object."""
        if borrower in self._loans:
            self.lend_entry(borrower, self.entries[object_id])

    def promise(self, borrower: int, object_id: bytes) -> Entry:
        """Declare an object that is to be made for a client, and lend it to that one."""
        if borrower == DRIVER:
            entry = Entry(object_id, holds=1, lent=1)
            if self.entries.setdefault(object_id, entry) is entry:
                return entry
        entry = self.declare(object_id)
        self.lend_entry(borrower, entry)
        return entry

    def lend_entry(self, borrower: int | str, entry: Entry) -> None:
        """``lend`` for an entry at hand."""
        loans = self._loans.get(borrower)
        if loans is None:
            return
        if borrower == DRIVER:
            entry.holds += not entry.lent
            entry.lent += 1
            return
        count = loans.get(entry.object_id)
        if count is None:
            loans[entry.object_id] = 1
            entry.holds += 1
        else:
            loans[entry.object_id] = count + 1

    def lend_once(self, borrower: str, object_id: bytes) -> bool:
        """Lend the ref, unless that node has it on loan. Whether it had not."""
        loans = self._loans.get(borrower)
        if loans is None or object_id in loans:
            return False
        loans[object_id] = 1
        self.entries[object_id].holds += 1
        return True

    def settle_loans(self, object_id: bytes, nodes: Iterable[str]) -> list[str]:
        """All that was lent of a ref to one of these nodes is one loan. Who has got one."""
        borrowers = [node for node in nodes if object_id in self._loans.get(node, ())]
        for node in borrowers:
            self._loans[node][object_id] = 1
        return borrowers

    def forget_loans(self, object_id: bytes, nodes: Iterable[str]) -> None:
        """Whoever was lent this foreign ref is known to its owner now."""
        for node in nodes:
            if self._loans.get(node, {}).pop(object_id, None) is not None:
                self.release_entry(self.entries[object_id])

    def returned(self, borrower: int | str, object_id: bytes, count: int) -> None:
        """The borrower dropped its refs, having seen ``count`` loans."""
        self.returned_all(borrower, (object_id,), (count,))

    def returned_all(
        self, borrower: int | str, object_ids: Iterable[bytes], counts: Iterable[int]
    ) -> None:
        """``returned`` for several objects."""
        loans = self._loans.get(borrower)
        if loans is None:
            return
        if borrower == DRIVER:
            self._returned_by_driver(object_ids, counts)
            return
        entries, take = self.entries, loans.pop
        for object_id, count in zip(object_ids, counts, strict=True):
            lent = take(object_id, 0)
            if lent > count:
                loans[object_id] = lent - count
            elif lent:
                entry = entries[object_id]
                entry.holds -= 1
                if not entry.holds:
                    self.garbage.append(entry)

    def _returned_by_driver(self, object_ids: Iterable[bytes], counts: Iterable[int]) -> None:
        entries = self.entries
        plain: list[Entry] = []
        for object_id, count in zip(object_ids, counts, strict=True):
            entry = entries.get(object_id)
            if entry is None or not entry.lent:
                continue
            if entry.lent > count:
                entry.lent -= count
            elif (
                entry.plain is not None
                and entry.holds == 1
                and entry.state == INLINE
                and not entry.lineage_holds
            ):  # nothing that is still to come in this step can want it
                del entries[object_id]
                plain.append(entry)
            else:
                entry.lent = 0
                self.release_entry(entry)
        if plain:
            self._on_plain_removed(plain)

    def close_account(self, borrower: int | str) -> None:
        """The borrower is gone: all that it held is released."""
        for object_id in self._loans.pop(borrower, {}):
            self.release_entry(self.entries[object_id])

    def borrowers(self, object_id: bytes) -> list[int | str]:
        """Who has the ref on loan."""
        entry = self.entries.get(object_id)
        lent: list[int | str] = [DRIVER] if entry is not None and entry.lent else []
        return lent + [who for who, loans in self._loans.items() if object_id in loans]

    # -- waiting -----------------------------------------------------------------------------------

    @staticmethod
    def wait(entry: Entry, waiter: Waiter) -> None:
        """Let ``waiter`` be told when the entry is ready for it."""
        waiter.missing += 1
        if entry.waiters is None:
            entry.waiters = [waiter]
        else:
            entry.waiters.append(waiter)

    @staticmethod
    def unwait(entry: Entry, waiter: Waiter) -> None:
        """``waiter`` no longer cares."""
        if entry.waiters is not None and waiter in entry.waiters:
            entry.waiters.remove(waiter)

    @staticmethod
    def announce(entry: Entry) -> list[Waiter]:
        """The waiters for which an entry that exists now is ready; the others stay with it."""
        waiters = entry.waiters
        if waiters is None:
            return []
        entry.waiters = None
        if entry.is_local:
            return waiters
        kept = [waiter for waiter in waiters if waiter.local]
        if kept:
            entry.waiters = kept
        return [waiter for waiter in waiters if not waiter.local]

    # -- freeing -----------------------------------------------------------------------------------

    def touch(self, entry: Entry) -> None:
        """Look at the entry again when the step ends: it may be free to go."""
        self.garbage.append(entry)

    def collect(self) -> None:
        """Free what nobody holds any more. Called once, at the end of a step."""
        garbage, entries = self.garbage, self.entries
        plain: list[Entry] = []
        while garbage:
            entry = garbage.pop()
            object_id = entry.object_id
            if entry.holds or entries.get(object_id) is not entry:
                continue
            if entry.plain is not None:
                if entry.state == INLINE and not entry.lineage_holds:
                    del entries[object_id]
                    plain.append(entry)
                    continue
                entry.plain = None
            if entry.primary or entry.cached:
                self._on_unheld(entry)
            elif entry.lineage_holds:
                if entry.exists and not self._on_freed(entry):
                    entry.state = FREED
                    self._release_contained(entry)
                elif entry.contained and not entry.dormant:
                    entry.dormant = True
                    self.hold_lineage(entry.contained)
                    self.release(entry.contained)
            elif entry.state or entry.owner or is_put(object_id):  # not one still to come
                del entries[object_id]
                self._on_removed(entry)
                if entry.contained:
                    self._release_contained(entry)
            else:
                self._on_unheld(entry)
        if plain:
            self._on_plain_removed(plain)

    def _release_contained(self, entry: Entry) -> None:
        contained, entry.contained = entry.contained, ()
        dormant, entry.dormant = entry.dormant, False
        (self.release_lineage if dormant else self.release)(contained)

    # -- checks ------------------------------------------------------------------------------------

    def check(self, task_holds: dict[bytes, int]) -> None:
        """Derive every hold again (``task_holds``: what tasks and the node itself hold) and
        compare.
        """
        derived = dict(task_holds)
        for loans in self._loans.values():
            for object_id, count in loans.items():
                assert count > 0, f"loan of {object_id.hex()} counts {count}"
                derived[object_id] = derived.get(object_id, 0) + 1
        for entry in self.entries.values():
            if entry.lent:
                derived[entry.object_id] = derived.get(entry.object_id, 0) + 1
            for object_id in () if entry.dormant else entry.contained:
                derived[object_id] = derived.get(object_id, 0) + 1
        for object_id, entry in self.entries.items():
            assert entry.holds == derived.pop(object_id, 0), (
                f"object {object_id.hex()} ({STATE_NAMES[entry.state]}) counts {entry.holds} holds"
            )
        assert not derived, f"holds on unknown objects: {[key.hex() for key in derived]}"

    def fingerprint_items(self) -> Iterator[tuple[object, ...]]:
        """The table as plain tuples, for digests."""
        for object_id, entry in self.entries.items():
            yield object_id, entry.owner, entry.state, entry.holds, entry.lineage_holds
