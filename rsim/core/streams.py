"""Streams: the items of generators, from the worker that yields them to the client that asks.

Decides which items are kept and for whom, and when a consumer learns that there are no more. Must
never let an item go that its consumer may still ask for, nor leave a consumer waiting after the
generator's end. Owns the streams of the generators that this node owns.

The first result of a generator, its object 0, exists when the generator has ended, and is an error
when the system failed it. Items are ordinary objects of the task, numbered from 1. The stream holds
those that are not consumed as long as somebody holds object 0, as the consumer does. When a
generator runs again, what is there already stays; only what was lost is filled in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rsim.core.effects import CopyError, ReplyNext
from rsim.core.events import ItemReturned, ItemYielded, NextRequested
from rsim.core.ids import PUT_BASE, creator, index_of, return_id
from rsim.core.messages import ItemReport
from rsim.core.objects import INLINE, LOST, PENDING, Entry, Waiter
from rsim.core.pauses import Pauses
from rsim.core.records import (
    LENT_ITEM,
    NO_ITEM,
    PENDING_ITEM,
    READY_ITEM,
    STREAMING,
    ErrorInfo,
)
from rsim.core.requests import WaitRequest
from rsim.core.work import DONE, FORWARDED, SENT, STAYS, Task

if TYPE_CHECKING:
    from rsim.core.node import Node


class Stream(Waiter, gc=False, eq=False, kw_only=True):
    """The items of one generator. Waits for the generator's end."""

    task_id: bytes
    produced: int = 0
    """How many items there were so far, in any run."""
    consumed: int = 0
    """How many of them the consumer has been given."""
    failed: bool = False
    """The item that was produced last is an error: there will be none after it."""
    ended: bool = False
    open: bool = True
    """Somebody can still ask for items: those that are not consumed are held."""
    attempt: int = 0
    last: int = 0
    """The item that came last, and in which run."""
    late: bool = False
    """It was opened while the generator ran: what that run yielded before is not known."""


class Streams:
    """The streams that a node owns."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.table: dict[bytes, Stream] = {}
        self.pauses = Pauses(node)
        self._missed: dict[bytes, None] = {}
        """Unfinished generators of which an earlier item is wanted again."""
        self._cut: dict[bytes, int] = {}
        """Generators of which a run was told to end, and which run, for another to follow."""

    # -- beginnings and ends -----------------------------------------------------------------------

    def opened(self, task: Task) -> None:
        """A client of this node has called a generator, perhaps once more (it is run again)."""
        node = self._node
        task_id = task.spec.task_id
        end = node.objects.entries[return_id(task_id, 0)]
        stream = self.table.get(task_id)
        if stream is None:
            stream = self.table[task_id] = Stream(task_id=task_id)
            stream.late = task.state == SENT or (task.attempt > 0 and task.state != DONE)
            if not end.exists:
                node.objects.wait(end, stream)
            return
        given = stream.consumed if stream.open else stream.produced
        items = _items(stream, 1, given)
        for object_id in items:
            self._claim(object_id, LOST).holds += 1
        node.objects.revive(items)
        was_open, stream.open, stream.consumed = stream.open, True, 0
        if stream.ended and end.is_error and not was_open:
            self._append_error(stream, end)

    def take_over(self, client: int, task: Task) -> None:
        """A client calls a generator that runs here for another owner already (its parent ran there
        once): the items go to this one from now on.
        """
        node = self._node
        task_id = task.spec.task_id
        node.peers.ask_again(task_id, task.owner, task.attempt)
        if task.state != SENT:
            node.peers.accepted(task)
        self.pauses.end(task_id)
        task.owner = ""
        task.client = client
        task.retries_left = task.spec.options.max_retries
        task.live += 1
        end = node.objects.declare(return_id(task_id, 0))
        node.peers.succession.take(end)
        node.objects.lend_entry(client, end)
        self.opened(task)

    def ended(self, stream: Stream, end: Entry) -> None:
        """The generator has ended: its error, if it is one, is the last item."""
        if stream.ended:
            return
        stream.ended = end.seen = True  # whoever consumes the items gets the error as one
        if end.is_error and stream.open and not stream.failed:
            self._append_error(stream, end)
            return
        following = self._node.objects.get(return_id(stream.task_id, stream.produced + 1))
        if following is not None and not following.exists:
            following.state = INLINE  # there is no such item: whoever waits for it learns it now
            self._node.announce(following)
            self._node.objects.touch(following)

    def _append_error(self, stream: Stream, end: Entry) -> None:
        stream.produced += 1
        entry = self._claim(return_id(stream.task_id, stream.produced))
        entry.holds += 1
        if not entry.exists:
            self._node.step.out.append(CopyError(end.object_id, entry.object_id))
            self._node.objects.set_contained(entry, end.contained)
            self._node.tasks.resolve_error(entry)

    def unwanted(self, entry: Entry) -> None:
        """Nobody holds an object (any more): if it is a stream's end, nobody consumes its items."""
        stream = self.table.get(creator(entry.object_id))
        if stream is not None and stream.open and not index_of(entry.object_id):
            stream.open = False
            self._node.objects.release(_items(stream, stream.consumed + 1, stream.produced))
            self.pauses.consumed(stream)

    def forget(self, task_id: bytes) -> None:
        """Nothing of what a generator made is known any more."""
        self.table.pop(task_id, None)
        self._missed.pop(task_id, None)
        self._cut.pop(task_id, None)
        self.pauses.forget(task_id)

    # -- production --------------------------------------------------------------------------------

    def yielded(self, event: ItemYielded) -> None:
        """A worker reports an item."""
        task = self.running(event.client, event.task_id)
        if task is None or event.index < 1 or event.error:  # it may have been written all the same
            self._node.shelf.abort(event.client, return_id(event.task_id, event.index))
        if task is None or event.index < 1:
            return
        if task.owner:
            self._node.peers.send_item(task, event)
        else:
            self._add(task, event, event.client)

    def reported(self, source: str, message: ItemReport) -> None:
        """Another node reports an item; the refs in it are received."""
        task = self.forwarded(source, message.task_id, message.attempt)
        if task is None or message.index < 1:
            object_id = return_id(message.task_id, message.index)
            self._node.tasks.refuse(object_id, message.result, source)
        else:
            self._add(task, message, source)

    def _add(self, task: Task, item: ItemYielded | ItemReport, executor: int | str) -> None:
        node = self._node
        task_id = task.spec.task_id
        object_id = return_id(task_id, item.index)
        wanted = self._wants(task, item)
        stream = self.table.get(task_id)
        again = self._runs_again_after(task, item)
        if stream is not None:
            stream.attempt, stream.last = task.attempt, item.index
        if stream is not None and not again and self._is_next(stream, item):
            stream.produced += 1
            stream.failed = item.error
            if stream.open:
                self._claim(object_id).holds += 1
        entry = node.objects.get(object_id)
        if entry is None or not wanted:
            node.tasks.refuse(object_id, item.result, executor)
        else:
            node.tasks.fill(entry, item.result, item.error, executor)

    def _wants(self, task: Task, item: ItemYielded | ItemReport) -> bool:
        """Whether the value that came with an item is to be kept."""
        entry = self._node.objects.get(return_id(task.spec.task_id, item.index))
        if entry is not None and (entry.exists or entry.owner):
            return False
        if self._runs_again_after(task, item):
            return False
        stream = self.table.get(task.spec.task_id)
        if stream is None or item.index <= stream.produced:
            return entry is not None
        return self._is_next(stream, item) and (stream.open or entry is not None)

    def _runs_again_after(self, task: Task, item: ItemYielded | ItemReport) -> bool:
        """Whether the item is an error that means another try."""
        if item.retryable:
            return self._node.tasks.may_retry(task)
        return item.error and self.is_cut(task)

    @staticmethod
    def _is_next(stream: Stream, item: ItemYielded | ItemReport) -> bool:
        return item.index == stream.produced + 1 and not stream.ended

    def wants_yielded(self, event: ItemYielded) -> bool:
        """Whether the shell is to keep the value that a worker sent."""
        task = self.running(event.client, event.task_id)
        return task is not None and not task.owner and event.index > 0 and self._wants(task, event)

    def wants_reported(self, source: str, message: ItemReport) -> bool:
        """The same for a value from another node."""
        task = self.forwarded(source, message.task_id, message.attempt)
        return task is not None and message.index > 0 and self._wants(task, message)

    def running(self, client: int, task_id: bytes) -> Task | None:
        """The generator that the worker runs, if that is so."""
        task = self._node.tasks.table.get(task_id)
        if task is None or task.state != SENT or task.executor != client:
            return None
        return task if task.spec.num_returns == STREAMING else None

    def forwarded(self, source: str, task_id: bytes, attempt: int) -> Task | None:
        """The generator of this node's own that the other node runs, if that is so."""
        task = self._node.tasks.table.get(task_id)
        if task is None or task.state != FORWARDED or task.executor != source:
            return None
        if task.attempt != attempt or task.spec.num_returns != STREAMING:
            return None
        return task

    # -- running again -----------------------------------------------------------------------------

    def missed(self, task: Task, object_id: bytes) -> None:
        """An item is wanted again while its generator runs, and may have passed it: this run must
        end, for another to fill it in. It is told to if it has passed it; a call of an actor is
        not, for what it has changed stays changed.
        """
        task_id = task.spec.task_id
        self._missed[task_id] = None
        stream = self.table.get(task_id)
        if stream is None:
            return
        self.pauses.consumed(stream)
        passed = stream.attempt == task.attempt and 0 < index_of(object_id) <= stream.last
        again = not task.spec.actor and self._node.tasks.may_retry(task)
        if passed and again and self._cut.get(task_id) != task.attempt:
            self._cut[task_id] = task.attempt
            self._node.cancellation.cut_short(task)

    def is_cut(self, task: Task) -> bool:
        """Whether this run of a generator was told to end, and another is to follow."""
        if self._cut.get(task.spec.task_id, -1) != task.attempt:
            return False
        return self._node.tasks.may_retry(task)

    def is_hurried(self, stream: Stream) -> bool:
        """Whether the generator must not pause: nobody consumes this run, or it is to run again."""
        return not stream.open or stream.late or stream.task_id in self._missed

    def run_ended(self, task: Task) -> bool:
        """After a run: whether what it yielded counts. It does not if its consumer came late, and
        the items that it missed are not known.
        """
        stream = self.table.get(task.spec.task_id)
        if stream is None or not stream.late:
            return True
        stream.late = False
        if self._node.tasks.may_retry(task):
            self._node.tasks.retry(task)
        else:
            text = f"{task.spec.name} was called again while it ran, and has no retries left"
            error = ErrorInfo("ObjectReconstructionFailedError", text)
            self._node.tasks.fail(task, error)
        return False

    def looks_back(self, task: Task) -> bool:
        """Whether items may be missing after the first run."""
        return task.spec.task_id in self._missed

    def runs_again(self, task: Task) -> bool:
        """Whether a run may fill in the items that are missing after this one."""
        if task.spec.task_id not in self._missed:
            return False
        del self._missed[task.spec.task_id]
        return self._node.tasks.may_retry(task)

    def is_awaited(self, object_id: bytes) -> bool:
        """Whether the object is no more than an item that somebody waits for."""
        stream = self.table.get(creator(object_id))
        return stream is not None and stream.produced < index_of(object_id) < PUT_BASE

    def contested(self, task: Task) -> None:
        """The node that was to run a generator owns it, too (their parent ran there once): it
        cannot say from where on its items are missing here. Run it here.
        """
        node = self._node
        if task.spec.actor or not node.scheduler.pool.fits_total(task.spec.options.demand):
            text = f"the items of {task.spec.name} belong to another node, and cannot be made here"
            node.tasks.fail(task, ErrorInfo("ObjectLostError", text))
        else:
            task.requested = STAYS
            node.scheduler.enqueue(task)

    def _claim(self, object_id: bytes, state: int = PENDING) -> Entry:
        """The entry of an item; in this state if there was none."""
        entry = self._node.objects.get(object_id)
        if entry is None:
            entry = self._node.objects.declare(object_id)
            entry.state = state
            self._node.lineage.object_claimed(object_id)
        return entry

    # -- consumption -------------------------------------------------------------------------------

    def requested(self, event: NextRequested) -> None:
        """A consumer wants an item, or to know whether there is one."""
        node = self._node
        object_id = event.object_id
        entry = self.expected(object_id)
        if entry is None:
            self.hand_out(event.client, event.op, object_id, event.most if event.take else 0)
        elif event.take:
            request = WaitRequest(
                client=event.client,
                op=event.op,
                object_ids=(object_id,),
                num_returns=1,
                takes=event.most,
            )
            node.objects.wait(entry, request)
            node.requests.open(request)
        else:
            node.step.out.append(ReplyNext(event.client, event.op, object_id, PENDING_ITEM))

    def expected(self, object_id: bytes) -> Entry | None:
        """The entry of an item that comes next; None: it has come, or never will."""
        stream = self.table.get(creator(object_id))
        if stream is None or stream.ended or index_of(object_id) != stream.produced + 1:
            return None
        self._node.need(self._node.objects.entries[return_id(stream.task_id, 0)], local=False)
        return self._claim(object_id)

    def hand_out(self, client: int, op: int, object_id: bytes, most: int) -> None:
        """Answer a consumer: the item is there, and perhaps more (``most``: how many it takes), or
        the stream has ended.
        """
        objects = self._node.objects
        stream = self.table.get(creator(object_id))
        index = index_of(object_id)
        state, count = NO_ITEM, 1
        if stream is not None and 0 < index <= stream.produced:
            state = LENT_ITEM if most else READY_ITEM
            last = min(index + most - 1, stream.produced)
            count = max(last - index + 1, 1)
            for each in _items(stream, index, last):
                objects.lend_entry(client, self._claim(each, LOST))
            if most and stream.open and last > stream.consumed:
                given = _items(stream, stream.consumed + 1, last)
                stream.consumed = last
                objects.release(given)
                self.pauses.consumed(stream)
        self._node.step.out.append(ReplyNext(client, op, object_id, state, count))

    def item_returned(self, event: ItemReturned) -> None:
        """A consumer was interrupted before it had the items: it may ask for them again."""
        objects = self._node.objects
        task_id, first = creator(event.object_id), index_of(event.object_id)
        stream = self.table.get(task_id)
        for index in range(first + event.count - 1, first - 1, -1):
            object_id = return_id(task_id, index)
            entry = objects.get(object_id)
            was_last = stream is not None and 0 < index == stream.consumed
            if stream is not None and stream.open and entry is not None and was_last:
                stream.consumed -= 1
                entry.holds += 1
            objects.returned(event.client, object_id, 1)

    # -- checks ------------------------------------------------------------------------------------

    def add_holds(self, held: dict[bytes, int]) -> None:
        """Add what streams hold, by object."""
        for stream in self.table.values():
            if stream.open:
                for object_id in _items(stream, stream.consumed + 1, stream.produced):
                    held[object_id] = held.get(object_id, 0) + 1

    def check(self) -> None:
        """Streams agree with the objects that they are made of."""
        for task_id, stream in self.table.items():
            assert stream.task_id == task_id and task_id in self._node.tasks.table
            assert 0 <= stream.consumed <= stream.produced
        self.pauses.check()


def _items(stream: Stream, first: int, last: int) -> list[bytes]:
    return [return_id(stream.task_id, index) for index in range(first, last + 1)]
