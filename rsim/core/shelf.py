"""A node's use of its object store: room for writers, pins for readers, and the answers that come
later.

Decides who is told what when the store has decided, and who writes an object first. Must never
touch bytes, let two write at once, or let a client's pins outlive it. Owns the store, the tickets
that wait for it, those who wait for another writer, and the pins of each client.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from rsim.core import store_decisions as decisions
from rsim.core.effects import DropSpilled, RestoreObject, SetTimer, SpillObject
from rsim.core.machine import Step
from rsim.core.records import ErrorInfo
from rsim.core.store import ObjectStore

EXISTS = "exists"
"""The kind of the "error" that a writer gets whose object is in the store already: nothing to
write.
"""

Answer = Callable[[int, ErrorInfo | None], None]
"""Called once with an offset, or with an error."""

_ERROR_KINDS = {
    decisions.RefusalReason.EXISTS: EXISTS,
    decisions.RefusalReason.OUT_OF_DISK: "OutOfDiskError",
    decisions.RefusalReason.ABSENT: "ObjectLostError",
    decisions.RefusalReason.UNREADABLE: "ObjectLostError",
}


class Shelf:
    """The store of a node and those who wait for it. ``on_evicted(object_id)``: the store dropped a
    copy. ``is_known(object_id)``: somebody may want the object.
    """

    def __init__(
        self,
        step: Step,
        store: ObjectStore,
        grace_ns: int,
        on_evicted: Callable[[bytes], None],
        is_known: Callable[[bytes], bool],
    ) -> None:
        self.store = store
        self._step = step
        self._grace_ns = grace_ns
        self._on_evicted = on_evicted
        self._is_known = is_known
        self._answers: dict[int, tuple[int, bytes, Answer]] = {}
        self._decided: deque[decisions.Decision] = deque()
        self._applying = False
        self._timers: dict[int, int] = {}
        self._retry_timer = 0
        self._pins: dict[int, dict[bytes, int]] = {}
        self._writing: dict[bytes, int] = {}
        self._next_writers: dict[bytes, list[tuple[int, int, Answer]]] = {}
        """Who (by client) waits for another one to have written the same object, and its size."""
        self.written = self.read = (0, 0)
        """How many objects the disk has taken and given back so far, and their bytes."""

    # -- writers -----------------------------------------------------------------------------------

    def allocate(self, client: int, object_id: bytes, size_bytes: int, answer: Answer) -> None:
        """Room for an object that ``client`` writes (the node itself: -1). Whoever would write what
        another one is writing is told when that has ended.
        """
        ticket = self._step.next_op()

        def granted(offset: int, error: ErrorInfo | None) -> None:
            if error is None:
                self._writing[object_id] = client
            elif error.kind == EXISTS and self._writing.get(object_id, client) != client:
                waiting = self._next_writers.setdefault(object_id, [])
                waiting.append((client, size_bytes, answer))
                return
            answer(offset, error)

        self._answers[ticket] = (client, object_id, granted)
        self.apply(self.store.create(object_id, size_bytes, ticket))

    def release(self, client: int, object_id: bytes) -> None:
        """The writer has written all, but what it writes does not count yet: until it does, the
        object is no use to others, and may go to disk.
        """
        if self._writing.get(object_id) == client:
            self.apply(self.store.seal(object_id))

    def seal(self, client: int, object_id: bytes) -> bool:
        """The writer is done; whether the object is there now (if it was not the writer, thanks to
        another one).
        """
        if self._writing.get(object_id) != client:
            return self.store.contains(object_id)
        del self._writing[object_id]
        self.apply(self.store.seal(object_id))
        self._written(object_id)
        return self.store.contains(object_id)

    def abort(self, client: int, object_id: bytes) -> None:
        """The writer gave up; another one is not touched."""
        if self._writing.get(object_id) != client:
            self._withdraw(client, object_id)
            if object_id not in self._writing and not self._is_known(object_id):
                self.delete(object_id)  # it was kept, in use after its end, for this writer
            return
        del self._writing[object_id]
        if self.store.contains(object_id):
            self.delete(object_id)  # all was written
        self.apply(self.store.abort(object_id))
        self._written(object_id)

    def _withdraw(self, client: int, object_id: bytes) -> None:
        """Somebody does not want to write the object any more, if it ever did."""
        tickets = [
            ticket
            for ticket, (who, what, _) in self._answers.items()
            if who == client and what == object_id
        ]
        for ticket in tickets:
            del self._answers[ticket]
            self.apply(self.store.cancel(ticket))
        others = [each for each in self._next_writers.pop(object_id, ()) if each[0] != client]
        if others:
            self._next_writers[object_id] = others

    def _written(self, object_id: bytes) -> None:
        """Nobody is writing the object any more: tell those who waited for that."""
        if self._next_writers:
            for client, size_bytes, answer in self._next_writers.pop(object_id, ()):
                self.allocate(client, object_id, size_bytes, answer)

    # -- readers -----------------------------------------------------------------------------------

    def pin(self, client: int, object_id: bytes) -> bool:
        """Pin an object for a client; False when it is not in memory (then ``restore``)."""
        if not self.store.pin(object_id):
            return False
        self._count_pin(client, object_id)
        return True

    def restore(self, client: int, object_id: bytes, answer: Answer) -> None:
        """Read a spilled object back, pinned for the client."""
        ticket = self._step.next_op()

        def pinned(offset: int, error: ErrorInfo | None) -> None:
            if error is None:
                self._count_pin(client, object_id)
            answer(offset, error)

        self._answers[ticket] = (client, object_id, pinned)
        self.apply(self.store.restore(object_id, ticket))

    def unpin(self, client: int, object_id: bytes) -> None:
        """A client no longer looks at the object."""
        pins = self._pins.get(client)
        if pins is None or object_id not in pins:
            return
        if pins[object_id] == 1:
            del pins[object_id]
        else:
            pins[object_id] -= 1
        self.apply(self.store.unpin(object_id))

    def is_pinned(self, object_id: bytes) -> bool:
        """Whether a client looks at the object's memory."""
        return any(object_id in pins for pins in self._pins.values())

    def client_gone(self, client: int) -> None:
        """Take back all that a dead client asked for, pinned or was writing."""
        for ticket in [each for each, (who, _, _) in self._answers.items() if who == client]:
            del self._answers[ticket]
            self.apply(self.store.cancel(ticket))
        for object_id in list(self._next_writers):
            self._withdraw(client, object_id)
        for object_id, count in self._pins.pop(client, {}).items():
            for _ in range(count):
                self.apply(self.store.unpin(object_id))
        for object_id in [each for each, who in self._writing.items() if who == client]:
            self.abort(client, object_id)

    def _count_pin(self, client: int, object_id: bytes) -> None:
        pins = self._pins.setdefault(client, {})
        pins[object_id] = pins.get(object_id, 0) + 1

    # -- what the store decided --------------------------------------------------------------------

    def delete(self, object_id: bytes) -> None:
        """Nobody needs the object."""
        self.apply(self.store.delete(object_id))

    def set_evictable(self, object_id: bytes, evictable: bool) -> None:
        """Whether the object may be dropped when room is short."""
        self.apply(self.store.set_evictable(object_id, evictable))

    def spilled(self, object_id: bytes, ok: bool) -> None:
        """The disk answered."""
        if ok:
            self.written = self._one_more(self.written, object_id)
        self.apply(self.store.spilled(object_id, ok))
        if not ok and not self._retry_timer:
            self._retry_timer = self._step.next_op()
            self._step.out.append(SetTimer(self._retry_timer, self._step.now_ns + self._grace_ns))

    def restored(self, object_id: bytes, ok: bool) -> None:
        """The disk answered."""
        if ok:
            self.read = self._one_more(self.read, object_id)
        self.apply(self.store.restored(object_id, ok))

    def _one_more(self, sums: tuple[int, int], object_id: bytes) -> tuple[int, int]:
        size_bytes = self.store.size_of(object_id)
        return sums if size_bytes is None else (sums[0] + 1, sums[1] + size_bytes)

    def timer_fired(self, op: int) -> bool:
        """Whether the timer was ours; then a full store refuses, or tries the disk again."""
        if op and op == self._retry_timer:
            self._retry_timer = 0
            self.apply(self.store.resume_spilling())
            return True
        ticket = self._timers.pop(op, None)
        if ticket is None:
            return False
        self.apply(self.store.expire(ticket))
        return True

    def apply(self, decided: list[decisions.Decision]) -> None:
        """Turn the store's decisions into effects and answers, in the order they were made."""
        self._decided += decided
        if self._applying:
            return
        self._applying = True
        while self._decided:
            self._apply_one(self._decided.popleft())
        self._applying = False

    def _apply_one(self, decision: decisions.Decision) -> None:
        out = self._step.out
        if isinstance(decision, decisions.Created | decisions.Restored):
            self._answer(decision.ticket, decision.offset, None)
        elif isinstance(decision, decisions.Refused):
            kind = _ERROR_KINDS.get(decision.reason, "ObjectStoreFullError")
            self._answer(decision.ticket, -1, ErrorInfo(kind, decision.describe()))
        elif isinstance(decision, decisions.Blocked):
            timer = self._step.next_op()
            self._timers[timer] = decision.ticket
            out.append(SetTimer(timer, self._step.now_ns + self._grace_ns))
        elif isinstance(decision, decisions.Evict):
            self._on_evicted(decision.object_id)
        elif isinstance(decision, decisions.Spill):
            out.append(SpillObject(decision.object_id, decision.offset, decision.size_bytes))
        elif isinstance(decision, decisions.Restore):
            out.append(RestoreObject(decision.object_id, decision.offset, decision.size_bytes))
        elif isinstance(decision, decisions.DropSpilled):
            out.append(DropSpilled(decision.object_id))

    def _answer(self, ticket: int, offset: int, error: ErrorInfo | None) -> None:
        _client, _object_id, answer = self._answers.pop(ticket)
        answer(offset, error)

    @property
    def active(self) -> bool:
        """Whether some answer is still to come."""
        return bool(self._answers or self._next_writers)

    def check(self) -> None:
        """Check the store, and that nobody waits for a writer that is gone."""
        self.store.check()
        for object_id in self._next_writers:
            assert object_id in self._writing, object_id.hex()

    def fingerprint_items(self) -> Iterator[tuple[object, ...]]:
        """The store and the pins as plain tuples."""
        yield from self.store.fingerprint_items()
        for client, pins in self._pins.items():
            yield client, tuple(pins.items())
