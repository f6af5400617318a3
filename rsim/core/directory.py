"""Where objects are: asking owners, answering borrowers, pulling copies from other nodes.

Decides from which node a copy is pulled and what to do when that fails. Must never pull an object
twice at once, nor wait for a node that is dead. Owns the open questions and the pulls under way.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rsim.core.effects import SendObject
from rsim.core.events import ObjectReceived
from rsim.core.messages import (
    ObjectAbsence,
    ObjectAwaited,
    ObjectCopy,
    ObjectDeletion,
    ObjectLocation,
    ObjectPull,
    ObjectQuery,
)
from rsim.core.objects import INLINE, LOST, PENDING, REMOTE, STORED, Entry, Waiter
from rsim.core.records import ErrorInfo
from rsim.core.shelf import EXISTS
from rsim.core.work import WAITING, Task

if TYPE_CHECKING:
    from rsim.core.node import Node

NODE_ITSELF = -1
"""The client number under which the node itself writes and pins."""


class RemoteWaiter(Waiter, gc=False, eq=False, kw_only=True):
    """Another node that asked for an object of ours before it existed."""

    node: str


class Directory:
    """The locations of objects, as far as one node is concerned with them."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._asked: dict[bytes, str] = {}
        self._awaited: dict[bytes, bool] = {}
        """What its owner has said not to exist; True: an actor that refuses calls."""
        self._pulls: dict[bytes, str] = {}
        self.landed: dict[bytes, None] = {}
        """Copies that have come, to be dropped when room is short: as soon as those who wait have
        looked at them.
        """

    # -- questions ---------------------------------------------------------------------------------

    def query(self, entry: Entry, lost_at: tuple[str, ...] = ()) -> None:
        """Ask the owner for an object, once at a time; for a dead one, its heir when known."""
        object_id, owner = entry.object_id, entry.owner
        if owner in self._node.peers.others and (self._asked.get(object_id) != owner or lost_at):
            self._asked[object_id] = owner
            self._node.peers.borrowing.send(owner, ObjectQuery(object_id, lost_at))

    def forget(self, object_id: bytes) -> None:
        """Nobody here wants to know any more; the owner may never have an answer."""
        self._asked.pop(object_id, None)
        self._awaited.pop(object_id, None)

    def queried(self, source: str, message: ObjectQuery) -> None:
        """A borrower asks: answer as soon as the object exists."""
        node = self._node
        entry = node.objects.get(message.object_id)
        if entry is None:
            text = f"object {message.object_id.hex()} was freed by its owner, {node.name}"
            lost = ObjectLocation(
                message.object_id,
                0,
                (),
                (),
                failure="ObjectLostError",
                message=text,
                subject=message.object_id,
            )
            node.peers.borrowing.send(source, lost)
            return
        for where in message.lost_at:
            self._give_up(entry, where)
        if entry.exists:
            self._answer(source, entry)
        else:
            node.objects.wait(entry, RemoteWaiter(node=source))
            node.need(entry, local=False)
            refuses = node.actors.refuses(entry.object_id)
            node.peers.borrowing.send(source, ObjectAwaited(entry.object_id, refuses))

    def entry_ready(self, waiter: RemoteWaiter, entry: Entry) -> None:
        """An object that another node asked for exists."""
        self._answer(waiter.node, entry)

    def _answer(self, to: str, entry: Entry) -> None:
        borrowing = self._node.peers.borrowing
        entry.seen = True
        refs = borrowing.lend(to, entry.contained)
        nodes = tuple(entry.locations or ())
        if entry.state == STORED:
            nodes = (self._node.name, *nodes)
        size_bytes = -1 if entry.state == INLINE else entry.size_bytes
        message = ObjectLocation(
            entry.object_id,
            size_bytes,
            nodes,
            refs,
            is_error=entry.is_error,
            actor_at=entry.actor_at,
        )
        borrowing.send(to, message, refs)

    def awaited(self, source: str, message: ObjectAwaited) -> None:
        """The owner's first answer, if the object does not exist: tasks of other nodes must not
        wait for it here, for the room that is kept for them may be what it takes to make it.
        """
        object_id = message.object_id
        if self._asked.get(object_id) != source:
            return
        self._awaited[object_id] = message.refuses
        self._node.lanes.actor_awaited(object_id)
        entry = self._node.objects.get(object_id)
        for waiter in list(entry.waiters or ()) if entry is not None else ():
            if isinstance(waiter, Task) and waiter.owner and waiter.state == WAITING:
                self._node.tasks.give_back(waiter)

    def awaits(self, object_ids: Iterable[bytes]) -> bool:
        """Whether one of these does not exist, as far as its owner has said."""
        return bool(self._awaited) and any(each in self._awaited for each in object_ids)

    def refuses(self, actor_id: bytes) -> bool:
        """Whether the actor of another node refuses calls, as far as its owner has said."""
        return self._awaited.get(actor_id, False)

    def located(self, source: str, message: ObjectLocation) -> None:
        """The owner's answer."""
        node = self._node
        node.peers.borrowing.receive(source, message.contained)
        self.forget(message.object_id)
        entry = node.objects.get(message.object_id)
        if entry is None or not entry.owner or entry.exists:
            if message.inline is not None and (entry is None or entry.state != INLINE):
                node.disposal.forget((message.object_id,))
            return
        if message.failure:
            error = ErrorInfo(message.failure, message.message, message.subject)
            node.tasks.fail_object(entry, error)
            return
        lives_at = message.actor_at
        if lives_at and lives_at != node.name and lives_at not in node.peers.others:
            # Its owner is yet to hear that the node is dead.
            node.disposal.forget((message.object_id,))
            if entry.waiters is not None:
                self.query(entry)
            return
        node.objects.set_contained(entry, tuple(ref.object_id for ref in message.contained))
        entry.size_bytes = message.size_bytes
        entry.actor_at = message.actor_at
        if message.inline is not None:
            entry.state = INLINE
            entry.is_error = message.is_error
        else:
            entry.state = REMOTE
            entry.locations = list(message.nodes)
        node.announce(entry)
        node.objects.touch(entry)

    # -- pulls -------------------------------------------------------------------------------------

    def fetch(self, entry: Entry) -> None:
        """Bring a copy here."""
        node = self._node
        object_id = entry.object_id
        if object_id in self._pulls:
            return
        sources = [each for each in entry.locations or () if each in node.peers.others]
        if not sources:
            self._lost_everywhere(entry)
            return
        which = 0
        if len(sources) > 1:
            which = node.choices.pick("source", sources)
        source = self._pulls[object_id] = sources[which]

        def answer(_offset: int, error: ErrorInfo | None) -> None:
            if error is None:
                node.peers.borrowing.send(source, ObjectPull(object_id))
                return
            self._pulls.pop(object_id, None)
            if error.kind != EXISTS:
                node.requests.fail_waiters(entry, error)
            elif entry.state == REMOTE:  # it was let go of while somebody here looked at it
                self._here(entry)

        node.shelf.allocate(NODE_ITSELF, object_id, entry.size_bytes, answer)

    def pulled(self, source: str, message: ObjectPull) -> None:
        """Another node wants our copy."""
        node = self._node
        object_id = message.object_id
        entry = node.objects.get(object_id)
        if entry is None or entry.state != STORED:
            node.peers.borrowing.send(source, ObjectAbsence(object_id))
            return
        size_bytes = entry.size_bytes

        def pinned(offset: int, error: ErrorInfo | None) -> None:
            if error is not None:
                if error.kind == "ObjectLostError":
                    node.disposal.copy_lost(object_id)
                node.peers.borrowing.send(source, ObjectAbsence(object_id))
                return
            node.step.out.append(SendObject(source, object_id, offset, size_bytes))
            node.shelf.unpin(NODE_ITSELF, object_id)

        if node.shelf.pin(NODE_ITSELF, object_id):
            pinned(node.shelf.store.offset_of(object_id) or 0, None)
        else:
            node.shelf.restore(NODE_ITSELF, object_id, pinned)

    def landing_offset(self, object_id: bytes) -> int | None:
        """Where an object under way is to be written; None when it is not expected."""
        if object_id not in self._pulls:
            return None
        return self._node.shelf.store.offset_of(object_id)

    def received(self, event: ObjectReceived) -> None:
        """The bytes are here."""
        node = self._node
        if self._pulls.get(event.object_id) != event.source:
            return
        if not event.ok:
            self._pull_failed(event.object_id, event.source)
            return
        entry = node.objects.get(event.object_id)
        del self._pulls[event.object_id]
        if entry is None or entry.state != REMOTE or event.error is not None:
            node.shelf.abort(NODE_ITSELF, event.object_id)
            if entry is not None and event.error is not None:
                node.requests.fail_waiters(entry, event.error)
            return
        self._here(entry)

    def _here(self, entry: Entry) -> None:
        """A copy is in this node's store."""
        node = self._node
        entry.state = STORED
        node.shelf.seal(NODE_ITSELF, entry.object_id)
        if entry.state == STORED:
            if entry.owner:
                entry.cached = True
                node.peers.borrowing.send(entry.owner, ObjectCopy(entry.object_id, True))
            node.announce(entry)
            if entry.waiters is None:
                node.shelf.set_evictable(entry.object_id, True)
            else:
                self.landed[entry.object_id] = None

    def has_landed(self, object_id: bytes) -> bool:
        """Whether a copy has come in this step, which may be dropped when room is short, unless
        there is no disk for what it would have to make room.
        """
        return object_id in self.landed and self._node.shelf.store.spill_limit_bytes != 0

    def absent(self, source: str, message: ObjectAbsence) -> None:
        """The node that we asked has no copy."""
        if self._pulls.get(message.object_id) == source:
            self._pull_failed(message.object_id, source)

    def _pull_failed(self, object_id: bytes, source: str) -> None:
        node = self._node
        del self._pulls[object_id]
        node.shelf.abort(NODE_ITSELF, object_id)
        entry = node.objects.get(object_id)
        if entry is None or entry.state != REMOTE:
            return
        if not entry.owner:
            self._delete_at(object_id, source)
        if entry.locations and source in entry.locations:
            entry.locations.remove(source)
        if entry.locations:
            node.need(entry, local=True)
        elif entry.owner:
            entry.state = PENDING
            node.gone(entry)
            self.query(entry, lost_at=(source,))
        else:
            self._lost_everywhere(entry)

    def _lost_everywhere(self, entry: Entry) -> None:
        """No node that we know of has a copy."""
        name = self._node.name
        wrong = (name,) if name in (entry.locations or ()) else ()  # what we had is gone
        entry.locations = None
        if entry.owner:
            entry.state = PENDING
            self._node.gone(entry)
            self.query(entry, lost_at=wrong)
        else:
            entry.state = LOST
            if entry.waiters is not None:
                self._node.need(entry, local=False)

    # -- copies ------------------------------------------------------------------------------------

    def copy_changed(self, source: str, message: ObjectCopy) -> None:
        """A borrower has, or no longer has, a copy of our object."""
        entry = self._node.objects.get(message.object_id)
        if entry is None or entry.owner:
            if message.present:  # the owner will not know of it: it stays while it is held there
                self._delete_at(message.object_id, source)
        elif not message.present:
            self.location_lost(entry, source)
        elif not entry.exists:  # it is being made again: that may turn out differently
            self._delete_at(entry.object_id, source)
        elif source not in (entry.locations or ()):
            entry.locations = [*(entry.locations or ()), source]

    def _give_up(self, entry: Entry, where: str) -> None:
        """A copy that a borrower wanted could not be had: it may be there all the same."""
        if not entry.owner:
            self._delete_at(entry.object_id, where)
        self.location_lost(entry, where)

    def _delete_at(self, object_id: bytes, where: str) -> None:
        if where in self._node.peers.others:
            self._node.peers.borrowing.send(where, ObjectDeletion((object_id,)))

    def location_lost(self, entry: Entry, where: str) -> None:
        """An owned object is no longer at ``where``."""
        if entry.locations and where in entry.locations:
            entry.locations.remove(where)
            if not entry.locations and entry.state == REMOTE:
                self._lost_everywhere(entry)

    def delete_copies(self, entry: Entry) -> None:
        """Free an owned object in other nodes' stores."""
        for where in entry.locations or ():
            self._node.peers.borrowing.send(where, ObjectDeletion((entry.object_id,)))
        entry.locations = None

    def deleted(self, message: ObjectDeletion) -> None:
        """The owner freed objects of which we have copies."""
        for object_id in message.object_ids:
            entry = self._node.objects.get(object_id)
            if entry is not None and (entry.primary or entry.cached):
                entry.primary = entry.cached = False
                self._node.objects.touch(entry)

    def node_died(self, dead: str) -> None:
        """Copies and actors at the dead node are gone, and so are answers from it."""
        node = self._node
        for object_id in [each for each, source in self._pulls.items() if source == dead]:
            self._pull_failed(object_id, dead)
        for object_id in [each for each, owner in self._asked.items() if owner == dead]:
            self.forget(object_id)
        for entry in list(node.objects.entries.values()):
            if not entry.owner:
                self.location_lost(entry, dead)
            elif entry.actor_at == dead and entry.exists and not entry.is_error:
                entry.state = PENDING  # its owner knows whether it lives again
                entry.actor_at = ""

    @property
    def active(self) -> bool:
        """Whether an answer or a copy is under way."""
        return bool(self._asked or self._pulls)
