"""What clients wait for: values (``get``) and readiness (``wait``); and what a task needs in memory
to start.

Decides when a request is answered: as soon as all is there, one error is there, or the time is up.
Must never answer twice. Owns the open requests and their timers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rsim.core.effects import CancelTimer, ReplyObjects, ReplyWait, SetTimer
from rsim.core.events import ObjectsRequested, WaitRequested
from rsim.core.facts import GETS, WAITS
from rsim.core.objects import STORED, Entry, Waiter
from rsim.core.records import DRIVER, ErrorInfo

if TYPE_CHECKING:
    from rsim.core.node import Node
    from rsim.core.work import Task


class Gather(Waiter, gc=False, eq=False, kw_only=True):
    """Brings objects into this node's memory, pinned for a client; for a ``get`` or for a task
    about to start.
    """

    client: int
    op: int
    object_ids: tuple[bytes, ...]
    task: Task | None = None
    pinned: int = 0
    """How many of the objects, from the first, need no more care."""
    timer: int = 0
    stint: int = -1
    """Of the worker that it blocks."""
    done: bool = False
    kept: tuple[bytes, ...] = ()
    """Copies that have come for it while others are missing."""


class WaitRequest(Waiter, gc=False, eq=False, kw_only=True):
    """A ``wait`` that is not answered yet. ``missing`` counts objects that are not ready."""

    client: int
    op: int
    object_ids: tuple[bytes, ...]
    num_returns: int
    timer: int = 0
    stint: int = -1
    done: bool = False
    takes: int = 0
    """It waits for the next item of a stream, to take it, and so many in all."""


class Requests:
    """The open requests of a node."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._open: dict[tuple[int, int], Gather | WaitRequest] = {}
        self._starting: dict[bytes, Gather] = {}
        self._timers: dict[int, Gather | WaitRequest] = {}
        self._kept: dict[bytes, int] = {}
        """Copies that must not be dropped, as somebody waits for others besides: how many do. Else
        those who need more than there is room for would drop what they need themselves, for ever.
        """

    # -- get ---------------------------------------------------------------------------------------

    def get(self, event: ObjectsRequested) -> None:
        """A client wants values."""
        gather = Gather(local=True, client=event.client, op=event.op, object_ids=event.object_ids)
        self._collect_missing(gather)
        if gather.missing:
            self._open[event.client, event.op] = gather
            self._begin_wait(gather, event.timeout_ns)
        else:
            self._pin_on(gather)
            if not gather.done:
                self._open[event.client, event.op] = gather
                self._begin_wait(gather, event.timeout_ns)

    def gather_for(self, task: Task, client: int) -> bool:
        """Get a task's deps into memory for a worker; whether that is done already."""
        gather = Gather(local=True, client=client, op=0, object_ids=task.spec.deps, task=task)
        self._collect_missing(gather)
        if not gather.missing:
            self._pin_on(gather)
        if not gather.done:
            self._starting[task.spec.task_id] = gather
        return gather.done and gather.task is not None

    def _collect_missing(self, gather: Gather) -> None:
        node = self._node
        for object_id in gather.object_ids:
            entry = node.objects.get(object_id)
            if entry is None:
                continue
            if entry.is_error:
                self._drop_waits(gather)
                self._note_seen(gather)
                gather.object_ids = (object_id,)
                return
            if not entry.is_local:
                self._await_here(gather, entry)

    def _await_here(self, gather: Gather, entry: Entry) -> None:
        node = self._node
        node.objects.wait(entry, gather)
        if gather.task is not None and not entry.exists:
            node.gone(entry)
        else:
            node.need(entry, local=True)

    def _note_seen(self, gather: Gather) -> None:
        """The request ends with an error, whatever becomes of the other objects."""
        for object_id in gather.object_ids:
            entry = self._node.objects.get(object_id)
            if entry is not None:
                entry.seen = True

    def receded(self, entry: Entry) -> None:
        """An object has to be made again: tasks that were about to start with it wait for it like
        others, without a worker, whose resources that may need.
        """
        starting = (
            [gather for gather in self._starting.values() if entry.object_id in gather.object_ids]
            if self._starting
            else ()
        )
        for gather in starting:
            task = gather.task
            if task is not None and not task.spec.actor:
                self.cancel_start(task)
                self._node.scheduler.abandon(task)
                self._node.tasks.await_inputs(task)

    def _drop_waits(self, gather: Gather | WaitRequest) -> None:
        if gather.missing:
            for object_id in gather.object_ids:
                entry = self._node.objects.get(object_id)
                if entry is not None:
                    self._node.objects.unwait(entry, gather)
            gather.missing = 0

    def entry_ready(self, waiter: Waiter, entry: Entry) -> None:
        """An object that a request waits for is there (the caller has counted it)."""
        if isinstance(waiter, WaitRequest):
            if len(waiter.object_ids) - waiter.missing >= waiter.num_returns:
                self._answer_wait(waiter)
        elif isinstance(waiter, Gather) and not waiter.done:
            if entry.is_error:
                self._drop_waits(waiter)
                self._unpin(waiter)
                self._note_seen(waiter)
                waiter.object_ids = (entry.object_id,)
                waiter.pinned = 0
            if not waiter.missing:
                self._pin_on(waiter)
            elif self._node.peers.directory.has_landed(entry.object_id):
                waiter.kept += (entry.object_id,)
                self._kept[entry.object_id] = self._kept.get(entry.object_id, 0) + 1

    def keeps(self, object_id: bytes) -> bool:
        """Whether a copy of another node's object may not be dropped yet."""
        return object_id in self._kept

    def let_stay(self, object_id: bytes) -> None:
        """The copy is the one that counts now: whether it may be dropped is not decided here."""
        self._kept.pop(object_id, None)

    def _release_kept(self, gather: Gather) -> None:
        kept, gather.kept = gather.kept, ()
        for object_id in kept:
            left = self._kept.get(object_id, 0) - 1
            if left > 0:
                self._kept[object_id] = left
            elif left == 0:
                del self._kept[object_id]
                self._node.shelf.set_evictable(object_id, True)

    def _pin_on(self, gather: Gather) -> None:
        """Pin what lies in the store, one after the other; those on disk take a detour."""
        node = self._node
        object_ids = gather.object_ids
        while gather.pinned < len(object_ids):
            object_id = object_ids[gather.pinned]
            entry = node.objects.get(object_id)
            if entry is not None and entry.state == STORED:
                if not node.shelf.pin(gather.client, object_id):
                    break
            elif entry is not None and not entry.is_local and not entry.is_error:
                self._await_here(gather, entry)
                return
            gather.pinned += 1
        else:
            self._finish_gather(gather, None)
            return
        node.shelf.restore(
            gather.client,
            object_id,
            lambda _offset, error: self._restored(gather, object_id, error),
        )

    def _restored(self, gather: Gather, object_id: bytes, error: ErrorInfo | None) -> None:
        if gather.done:
            if error is None:
                self._node.shelf.unpin(gather.client, object_id)
        elif error is not None and error.kind != "ObjectLostError":
            self._finish_gather(gather, error)
        else:
            if error is None:
                gather.pinned += 1
            else:
                self._node.disposal.copy_lost(object_id)
            self._pin_on(gather)

    def fail_waiters(self, entry: Entry, error: ErrorInfo) -> None:
        """The object exists but cannot be brought here: those who need it here cannot go on."""
        waiters, entry.waiters = entry.waiters or [], None
        for waiter in waiters:
            if isinstance(waiter, Gather) and not waiter.done:
                waiter.missing = 0
                self._finish_gather(waiter, error)
            elif isinstance(waiter, WaitRequest) and not waiter.done:
                waiter.local = False  # it is ready, if not here; `get` will say why
                waiter.missing -= 1
                self.entry_ready(waiter, entry)

    def _finish_gather(self, gather: Gather, error: ErrorInfo | None) -> None:
        gather.done = True
        self._release_kept(gather)
        if error is not None:
            self._unpin(gather)
        if gather.task is not None:
            waited = self._starting.pop(gather.task.spec.task_id, None) is not None
            if error is not None or self._first_error(gather):
                task, gather.task = gather.task, None
                self._node.tasks.start_failed(task, gather.object_ids, error)
            elif waited:
                self._node.tasks.send(gather.task, gather.client)
                if gather.task.spec.actor:
                    self._node.actors.call_sent(gather.task)
            return
        lent = () if error else self._lend_contained(gather)
        self._close(gather)
        self._node.step.out.append(
            ReplyObjects(gather.client, gather.op, gather.object_ids, lent, False, error)
        )

    def _unpin(self, gather: Gather) -> None:
        for object_id in gather.object_ids[: gather.pinned]:
            self._node.shelf.unpin(gather.client, object_id)

    def _first_error(self, gather: Gather) -> bool:
        entry = self._node.objects.get(gather.object_ids[0]) if gather.object_ids else None
        return entry is not None and entry.is_error

    def _lend_contained(self, gather: Gather) -> tuple[bytes, ...]:
        return self.lend_contained(gather.client, gather.object_ids)

    def lend_contained(self, client: int, object_ids: tuple[bytes, ...]) -> tuple[bytes, ...]:
        """Lend a client the refs nested in values that it is about to be given."""
        lent: tuple[bytes, ...] = ()
        objects = self._node.objects
        for object_id in object_ids:
            entry = objects.get(object_id)
            if entry is not None and entry.contained:
                lent += entry.contained
        for object_id in lent:
            objects.lend(client, object_id)
        return lent

    # -- wait --------------------------------------------------------------------------------------

    def wait(self, event: WaitRequested) -> None:
        """A client waits for some of the objects."""
        request = WaitRequest(
            local=event.fetch_local,
            client=event.client,
            op=event.op,
            object_ids=event.object_ids,
            num_returns=event.num_returns,
        )
        node = self._node
        for object_id in event.object_ids:
            entry = node.objects.get(object_id) or node.streams.expected(object_id)
            if entry is None or entry.is_local or (entry.exists and not request.local):
                continue
            node.objects.wait(entry, request)
            node.need(entry, local=request.local)
        ready = len(event.object_ids) - request.missing
        if ready >= event.num_returns or event.timeout_ns == 0:
            self._answer_wait(request)
        else:
            self.open(request, event.timeout_ns)

    def open(self, request: WaitRequest, timeout_ns: int = -1) -> None:
        """Answer the request later."""
        self._open[request.client, request.op] = request
        self._begin_wait(request, timeout_ns)

    def _answer_wait(self, request: WaitRequest) -> None:
        ready: list[bytes] = []
        for object_id in request.object_ids:
            entry = self._node.objects.get(object_id)
            if entry is None or entry.is_local or (entry.exists and not request.local):
                ready.append(object_id)
                if entry is not None and entry.is_error:
                    entry.seen = True
                if len(ready) == request.num_returns:
                    break
        request.done = True
        self._drop_waits(request)
        self._close(request)
        if request.takes:
            item = request.object_ids[0]
            self._node.streams.hand_out(request.client, request.op, item, request.takes)
        else:
            self._node.step.out.append(ReplyWait(request.client, request.op, tuple(ready)))

    # -- time and ends -----------------------------------------------------------------------------

    def _begin_wait(self, request: Gather | WaitRequest, timeout_ns: int) -> None:
        step = self._node.step
        if timeout_ns == 0 and isinstance(request, Gather):
            self._time_out(request)
            return
        if timeout_ns > 0:
            request.timer = step.next_op()
            self._timers[request.timer] = request
            step.out.append(SetTimer(request.timer, step.now_ns + timeout_ns))
        if request.client != DRIVER:
            request.stint = self._node.scheduler.block(request.client)

    def _close(self, request: Gather | WaitRequest) -> None:
        if self._open.pop((request.client, request.op), None) is None:
            return
        if request.timer:
            del self._timers[request.timer]
            self._node.step.out.append(CancelTimer(request.timer))
            request.timer = 0
        if request.client != DRIVER:
            self._node.scheduler.unblock(request.client, request.stint)

    def timer_fired(self, op: int) -> bool:
        """Whether the timer was ours; then the request's time is up."""
        request = self._timers.get(op)
        if request is None:
            return False
        if isinstance(request, WaitRequest):
            self._answer_wait(request)
        else:
            self._time_out(request)
        return True

    def _time_out(self, gather: Gather) -> None:
        gather.done = True
        self._note_seen(gather)
        self._release_kept(gather)
        missing: list[bytes] = []
        for index, object_id in enumerate(gather.object_ids):
            entry = self._node.objects.get(object_id)
            if index < gather.pinned:
                self._node.shelf.unpin(gather.client, object_id)
            if entry is not None and not entry.is_local:
                missing.append(object_id)
        self._drop_waits(gather)
        self._close(gather)
        self._node.step.out.append(
            ReplyObjects(gather.client, gather.op, tuple(missing), (), timed_out=True)
        )

    def client_gone(self, client: int) -> None:
        """Forget the requests of a dead client, before its pins are taken back."""
        for key in [key for key in self._open if key[0] == client]:
            request = self._open[key]
            request.done = True
            self._drop_waits(request)
            self._close(request)
            if isinstance(request, Gather):
                self._release_kept(request)
        for task_id in [each for each, one in self._starting.items() if one.client == client]:
            gather = self._starting.pop(task_id)
            gather.done = True
            self._drop_waits(gather)
            self._release_kept(gather)

    def is_starting(self, task_id: bytes) -> bool:
        """Whether a task has a worker, but not its inputs yet."""
        return task_id in self._starting

    def cancel_start(self, task: Task) -> None:
        """A task that is about to start will not."""
        gather = self._starting.pop(task.spec.task_id)
        gather.done = True
        self._drop_waits(gather)
        self._release_kept(gather)
        self._unpin(gather)

    @property
    def timed(self) -> bool:
        """Whether some request has a time limit."""
        return bool(self._timers)

    def pauses(self) -> dict[int, str]:
        """The workers whose task waits for an answer, and the state that it is in."""
        workers = self._node.scheduler.workers
        return {
            client: WAITS if isinstance(request, WaitRequest) else GETS
            for (client, _op), request in self._open.items()
            if client in workers and workers[client].stint == request.stint
        }

    def waiting(self) -> list[tuple[int, tuple[bytes, ...]]]:
        """Who (by client) waits for which objects."""
        found = []
        for (client, _op), request in self._open.items():
            missing = [
                object_id
                for object_id in request.object_ids
                if (entry := self._node.objects.get(object_id)) is not None and not entry.is_local
            ]
            found.append((client, tuple(missing)))
        return found
