"""What a process holds of its node: refs, which are counted, and views of shared memory, which pin
what they show.

Decides when the node is told that something is not held any more. Must never take a lock or send
anything when a ref or a view is dropped: that happens at any moment, in any thread. Owns the counts
of refs and the views that are still in use.
"""

from __future__ import annotations

import ctypes
import itertools
import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from rsim.core import events
from rsim.core.records import Located
from rsim.runtime.ports import Channel
from rsim.runtime.refs import ObjectRef

_LOAN = 1 << 32
_CALL = 1 << 31
_LIVE = _CALL - 1
OWN = _LOAN + 1
OWN_CALL = OWN | _CALL
"""What ``own_ref`` is to count: anything, or the result of an actor's call."""

BATCH = 64
"""Dropped refs that are collected before the node is told, unless the client is about to wait."""


class Holdings:
    """Of one process: its client is one. Thread-safe.

    A count holds the live refs of this process in its low 31 bits, then one that tells results of
    an actor's calls, submitted here, from all else, and above them the loans it has seen.
    """

    def __init__(self, channel: Channel, number: int) -> None:
        self.channel = channel
        self.number = number
        self._lock = threading.Lock()
        self._counts: dict[bytes, int] = {}
        self._dropped: deque[bytes] = deque()
        self._unpinned: deque[bytes] = deque()
        self._views: dict[int, weakref.ref[Any]] = {}
        self._view_keys = itertools.count()
        self._closed = False
        self._telling: list[None] = []
        """One for each thread that is in ``flush``."""
        self.left_over: list[bytes] = []
        """What the last wait has left over. The next one is mostly for that, which is known to be
        good; ids, as refs would keep the objects.
        """
        self._on_drop: Callable[[], None] | None = None
        self.dropped: Callable[[bytes], None] = self._dropped.append
        """Told of a ref that was dropped; called from ``__del__``, so at any moment."""

    @property
    def on_drop(self) -> Callable[[], None] | None:
        """Told that something was dropped, while the process is at rest: at any moment, too."""
        return self._on_drop

    @on_drop.setter
    def on_drop(self, callback: Callable[[], None] | None) -> None:
        self._on_drop = callback
        self.dropped = self._dropped.append if callback is None else self._dropped_at_rest

    def _dropped_at_rest(self, object_id: bytes) -> None:
        self._dropped.append(object_id)
        if self._on_drop is not None:
            self._on_drop()

    # -- refs --------------------------------------------------------------------------------------

    def added(self, object_id: bytes) -> None:
        """A ref came to be in this process."""
        with self._lock:
            self._counts[object_id] = self._counts.get(object_id, 0) + 1

    def make_ref(self, object_id: bytes) -> ObjectRef[Any]:
        """A ref to an object that exists elsewhere already."""
        self.added(object_id)
        return ObjectRef(object_id, self)

    def own_ref(self, object_id: bytes, count: int = OWN) -> ObjectRef[Any]:
        """The first ref to an object that this client creates: one loan, unspoken."""
        counts = self._counts
        if object_id not in counts:  # nobody else can know it yet
            counts[object_id] = count
        else:  # of a task that runs again
            with self._lock:
                known = counts.get(object_id, 0)
                counts[object_id] = (known + OWN) | (count & _CALL)
        return ObjectRef(object_id, self)

    def take_ref(self, object_id: bytes) -> ObjectRef[Any]:
        """The ref that the node has just lent to this client."""
        ref = self.make_ref(object_id)
        self.borrow((object_id,))
        return ref

    def is_call(self, ref: ObjectRef[Any]) -> bool:
        """Whether the ref is known here to be the result of an actor's call."""
        return bool(self._counts.get(ref.binary(), 0) & _CALL)

    def holds(self, object_id: bytes) -> bool:
        """Whether there is a ref to this object in this process."""
        return bool(self._counts.get(object_id, 0) & _LIVE)

    def live_refs(self) -> dict[bytes, int]:
        """How many refs there are in this process, by object."""
        self.flush()
        with self._lock:
            live = {object_id: count & _LIVE for object_id, count in self._counts.items()}
        return {object_id: count for object_id, count in live.items() if count}

    def ids_of(self, refs: Sequence[ObjectRef[Any]]) -> list[bytes] | None:
        """The ids of refs of this process, each given once; None if these are anything else:
        quicker than to find out what.
        """
        try:
            object_ids = [ref._id for ref in refs]
            if object_ids == self.left_over and refs and refs[0]._counter is self:
                return object_ids
            counters = {ref._counter for ref in refs}
        except (AttributeError, TypeError):
            return None
        unique = len(set(object_ids)) == len(refs) and counters <= {self}
        return object_ids if unique else None

    def borrow(self, object_ids: Sequence[bytes]) -> None:
        """The node has lent these."""
        with self._lock:
            for object_id in object_ids:
                self._counts[object_id] = self._counts.get(object_id, 0) + _LOAN

    def return_unused(self, object_ids: Sequence[bytes]) -> None:
        """Of the refs that were lent, return those that nobody has kept."""
        with self._lock:
            for object_id in object_ids:
                count = self._counts.get(object_id, 1)
                if not count & _LIVE:
                    self._counts[object_id] = count + 1
                    self._dropped.append(object_id)

    # -- views -------------------------------------------------------------------------------------

    def pinned_view(self, object_id: bytes, value: Located) -> memoryview:
        """A read-only view of a pinned object; the pin is released when nothing refers to the view
        any more.
        """
        memory = self.channel.view(value.offset, value.size_bytes)
        exporter = (ctypes.c_ubyte * value.size_bytes).from_buffer(memory)
        key = next(self._view_keys)
        self._views[key] = weakref.ref(exporter, self._unpinner(key, object_id))
        return memoryview(exporter).cast("B").toreadonly()

    def _unpinner(self, key: int, object_id: bytes) -> Callable[[Any], None]:
        views, unpinned = self._views, self._unpinned

        def unpin(_ref: object) -> None:
            views.pop(key, None)
            unpinned.append(object_id)
            if self.on_drop is not None:
                self.on_drop()

        return unpin

    # -- what is not held any more -----------------------------------------------------------------

    @property
    def has_dropped(self) -> bool:
        """Whether the node is yet to hear of something: ``flush`` tells it, or another thread is
        about to.
        """
        return bool(self._dropped or self._unpinned or self._telling)

    @property
    def holds_any(self) -> bool:
        """Whether this process holds anything of its node."""
        return bool(self._counts or self._views)

    def flush_if_due(self) -> None:
        """``flush`` when many refs were dropped."""
        if len(self._dropped) >= BATCH:
            self.flush()

    def flush(self) -> None:
        """Tell the node which refs and views were dropped."""
        self._telling.append(None)
        try:
            self._tell()
        finally:
            self._telling.pop()

    def _tell(self) -> None:
        object_ids: list[bytes] = []
        counts: list[int] = []
        with self._lock:
            dropped, held = self._dropped, self._counts
            while dropped:
                object_id = dropped.popleft()
                count = held.pop(object_id, 0)
                if count == OWN:  # as mostly
                    object_ids.append(object_id)
                    counts.append(1)
                elif (count - 1) & _LIVE:  # others are left
                    held[object_id] = count - 1
                else:
                    object_ids.append(object_id)
                    counts.append(count >> 32)
        if self._closed:
            return
        if object_ids:
            self.channel.send(events.RefsReleased(self.number, tuple(object_ids), tuple(counts)))
        unpinned: list[bytes] = []
        if self._unpinned:
            with self._lock:  # another thread may do the same
                while self._unpinned:
                    unpinned.append(self._unpinned.popleft())
        if unpinned:
            self.channel.send(events.PinsReleased(self.number, tuple(unpinned)))

    def close(self) -> None:
        """The runtime ends: refs that are dropped from now on are nobody's business."""
        self._closed = True
