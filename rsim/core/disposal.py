"""What becomes of values that nobody holds any more, that the store drops, or that are lost.

Decides which of them stay, as lineage may want them and they cannot be made again. Must never drop
what somebody holds (``objects.py`` sees to that). Owns the list of inline values that the shell is
to forget when the step ends.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rsim.core.effects import ForgetValues
from rsim.core.objects import FREED, INLINE, LOST, PENDING, REMOTE, STORED, Entry

if TYPE_CHECKING:
    from rsim.core.node import Node


class Disposal:
    """The part of a node that lets values go."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.forgotten: list[bytes] = []
        """What the shell is to forget when the step ends."""
        self._unseen: list[bytes] = []
        """Those of them that are errors for which nobody has asked."""

    def end_step(self) -> None:
        """Tell the shell what to forget."""
        forgotten, unseen = tuple(self.forgotten), tuple(self._unseen)
        self._node.step.out.append(ForgetValues(forgotten, unseen))
        self.forgotten, self._unseen = [], []

    def freed(self, entry: Entry) -> bool:
        """Let go of a value that lineage may want; one that cannot be made again stays."""
        object_id = entry.object_id
        if entry.owner:
            return True
        if entry.actor_at:  # lineage has handles, but nobody uses them
            self._node.actors.abandoned(object_id)
            entry.actor_at = ""
        stays = not self._node.lineage.can_recompute(object_id)
        if entry.state == INLINE:
            if not stays:
                self._forget_inline(entry)
                entry.is_error = False
        elif entry.state == STORED:
            self._node.shelf.set_evictable(object_id, True)
            if entry.state == STORED:
                return True
        if entry.locations and not stays:
            self._node.peers.delete_copies(entry)
        return stays

    def _forget_inline(self, entry: Entry) -> None:
        self.forgotten.append(entry.object_id)
        if entry.is_error and not (entry.seen or entry.owner):
            self._unseen.append(entry.object_id)

    def forget(self, object_ids: Iterable[bytes]) -> None:
        """The shell was given inline values that nobody wants any more."""
        self.forgotten += object_ids

    def unheld(self, entry: Entry) -> None:
        """The entry stays, though nobody here holds it."""
        self._node.peers.return_ref(entry)
        if self._node.streams.table:
            self._node.streams.unwanted(entry)

    def removed(self, entry: Entry) -> None:
        """The entry is gone."""
        object_id = entry.object_id
        if entry.state == INLINE:
            self._forget_inline(entry)
        elif entry.state == STORED:
            self._node.shelf.delete(object_id)
        if entry.owner:
            self._node.peers.directory.forget(object_id)
            self._node.peers.return_ref(entry)
        elif entry.locations and entry.exists:
            self._node.peers.delete_copies(entry)
        if object_id in self._node.actors.owned:
            self._node.actors.abandoned(object_id)
        elif self._node.streams.table and not entry.owner:
            self._node.streams.unwanted(entry)
        if not entry.owner:
            self._node.lineage.object_removed(object_id)

    def missing(self, object_id: bytes) -> Entry:
        """An object is to be held that is not known here: lost, or an actor that refers to itself,
        which a handle of its own does not hold.
        """
        entry = self._node.actors.recalled(object_id)
        if entry is None:
            entry = self._node.objects.declare(object_id)
            entry.state = LOST
            self._node.lineage.object_claimed(object_id)
        return entry

    def evicted(self, object_id: bytes) -> None:
        """The store dropped a copy that was free to go."""
        entry = self._node.objects.get(object_id)
        if entry is None or entry.state != STORED:
            return
        if entry.owner:
            entry.state = PENDING
            self._node.peers.copy_dropped(entry)
        else:
            entry.state = REMOTE if entry.locations else FREED

    def copy_lost(self, object_id: bytes) -> None:
        """The copy on disk cannot be read: as if it had never been."""
        entry = self._node.objects.get(object_id)
        if entry is not None and entry.state == STORED:
            self._node.shelf.delete(object_id)
            self.evicted(object_id)
            if entry.state == FREED:
                entry.state = LOST  # against our will
