"""What a driver or a worker can ask of its node: put, get, wait, submit, cancel; written once for
every backend.

Decides what travels inline and what through shared memory. Must never wait but in ``Channel.park``.
Owns the numbers of its requests, and what its process holds (``holdings.py``).
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from rsim.core import events
from rsim.core.ids import FIRST_RETURN, child_task_id, put_id, return_id
from rsim.core.records import (
    ActorOptions,
    Demand,
    ErrorInfo,
    Inline,
    Located,
    TaskOptions,
    TaskSpec,
    TaskTemplate,
    Value,
)
from rsim.exceptions import GetTimeoutError
from rsim.runtime import errors, wire
from rsim.runtime.consumer import Consumer
from rsim.runtime.context import RUNNING, TaskContext
from rsim.runtime.environment import Environment
from rsim.runtime.holdings import BATCH, OWN, OWN_CALL, Holdings
from rsim.runtime.ports import Channel
from rsim.runtime.refs import ObjectRef
from rsim.runtime.serialization import (
    NO_ARGUMENTS,
    Payload,
    deserialize,
    deserialize_call,
    deserialize_function,
    pack,
    pack_into,
    serialize,
    serialize_call,
)
from rsim.runtime.tenancy import inherited

__tracebackhide__ = True  # pytest shows the caller's line instead

INLINE_LIMIT_BYTES = 100 * 1024
"""Larger values go through shared memory (the limit that Ray uses for the same purpose)."""


_YIELDED = 1 << 30
"""No task puts so many values that it would come to those of ``put_yielded``."""


class Client(Holdings):
    """One per driver and per worker. Thread-safe."""

    def __init__(self, channel: Channel, number: int, task_id: bytes) -> None:
        super().__init__(channel, number)
        self.base = TaskContext(task_id, -1)
        """What threads that user code started itself run in: the driver, or what a worker ran last.
        """
        self.hosts_actor = False
        """Whether this is the client of an actor's worker."""
        self.has_loop = False
        """Whether that actor's calls run on an event loop, which no call should block."""
        self.exits: Callable[[], None] | None = None
        """To be told there that `exit_actor` was called."""
        self.consumer = Consumer(self)
        self.tenancy: wire.Tenancy | None = None
        """Of the task that its worker runs, or of the actor that lives there."""
        self.environment = Environment()
        self.bundles: dict[bytes, tuple[Demand, ...]] = {}
        """Of the placement groups that it has met."""
        self.captured: dict[bytes, tuple[bytes, ...]] = {}
        """The refs that functions have captured, by the function's id."""
        self.loaded_functions: Mapping[bytes, Callable[..., Any]] = {}
        """The functions and classes that this client's executor has loaded."""
        self.loading = b""
        """The function that this client's executor is loading now, for which it may import a
        module.
        """
        self.regress = ""
        """The name of that function, if the module itself calls it: to wait for that would have the
        next worker do the same, and so on.
        """
        self.creation: wire.RunTask | None = None
        """The task that creates, or has created, the actor of this worker; without arguments."""
        self._ops = itertools.count(1)
        self._warned: set[str] = set()
        self.session: wire.SessionReply | None = None
        """What is known of the session, once somebody has asked."""

    @property
    def context(self) -> TaskContext:
        """The task that the calling code belongs to; each thread, asyncio task and greenlet has its
        own.
        """
        return RUNNING.get() or self.base

    def next_op(self) -> int:
        """A number for a request to the node."""
        return next(self._ops)

    # -- functions and tasks -----------------------------------------------------------------------

    def template(
        self,
        context: TaskContext,
        function: bytes,
        name: str,
        options: TaskOptions,
        num_returns: int = 1,
        *,
        creation: ActorOptions | None = None,
        actor: bytes = b"",
        method: str = "",
    ) -> TaskTemplate:
        """What the calls of a function have in common that the task of ``context`` submits.

        ValueError when they stay in a placement group without a bundle large enough for them. With
        ``creation`` each creates an actor, which its first ref stands for; with ``actor`` and
        ``method`` it is a call of that actor.
        """
        if self.tenancy is not None and not actor:
            options, creation = inherited(self, name, options, creation)
        depth = context.depth + 1
        return TaskTemplate(
            context.task_id, depth, function, name, num_returns, options, creation, actor, method
        )

    def submit(
        self,
        context: TaskContext,
        template: TaskTemplate,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        parameters: Sequence[str] = (),
        index: int = -1,
    ) -> list[ObjectRef[Any]]:
        """Submit a task; return its refs at once.

        UnserializableError when an argument cannot be pickled (``parameters``: the function's, for
        that message). ``context``: what runs now; ``template``: what that method has given for it.
        ``index``: what ``reserve`` gave.
        """
        if args or kwargs:
            packed, deps, borrows, held = self._arguments(args, kwargs, template.name, parameters)
        else:
            packed, deps, borrows, held = NO_ARGUMENTS, (), (), None
        if self.captured and (captured := self.captured.get(template.function_id)):
            borrows = tuple(dict.fromkeys((*borrows, *captured)))
        if index < 0:
            index = next(context.submissions)
        task_id = child_task_id(template.parent_id, index)
        count = OWN_CALL if template.actor else OWN
        if template.num_returns == 1:
            refs = [self.own_ref(task_id + FIRST_RETURN, count)]
        else:
            results = range(abs(template.num_returns))
            refs = [self.own_ref(return_id(task_id, which), count) for which in results]
        spec = TaskSpec(task_id, index, packed, deps, borrows, template)
        self.channel.send(events.TaskSubmitted(self.number, spec))
        del held
        if len(self._dropped) >= BATCH:
            self.flush()
        return refs

    def _arguments(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        name: str,
        parameters: Sequence[str],
    ) -> tuple[bytes, tuple[bytes, ...], tuple[bytes, ...], ObjectRef[Any] | None]:
        """The arguments of a call: packed, the refs among them, those inside of them, and what is
        to be held until the call is submitted.
        """
        call = serialize_call(args, kwargs, name, parameters)
        payload = call.payload
        if payload.total_bytes > INLINE_LIMIT_BYTES:
            arguments = self._put_payload(payload)
            return b"", (arguments.binary(), *call.deps), (), arguments
        return pack(payload), call.deps, payload.contained, None

    def reserve(self) -> tuple[int, bytes]:
        """A place for a submission to come: its index, and the id of its first result."""
        index = next(self.context.submissions)
        return index, return_id(child_task_id(self.context.task_id, index), 0)

    def request(self, make: Callable[[int], events.Event]) -> Any:
        """Send the request that is made with this number, and wait for its answer."""
        if self.has_dropped:
            self.flush()
        op = next(self._ops)
        self.channel.send(make(op))
        return self.channel.park(op)

    def cancel(self, ref: ObjectRef[Any], force: bool, recursive: bool) -> None:
        """Cancel the task that creates the object."""
        self.channel.send(events.CancelRequested(self.number, ref.binary(), force, recursive))

    def kill(self, actor: ObjectRef[Any], no_restart: bool) -> None:
        """End an actor now; ``no_restart``: for good."""
        self.channel.send(events.ActorKilled(self.number, actor.binary(), no_restart))

    # -- objects -----------------------------------------------------------------------------------

    def put(self, value: Any) -> ObjectRef[Any]:
        """Store a value. ObjectStoreFullError when there is no room for it, UnserializableError."""
        return self._put_payload(serialize(value, "Could not serialize the put value"))

    def put_yielded(self, index: int, value: Any) -> ObjectRef[Any]:
        """Store what a generator yields, under an id that does not depend on what it puts itself:
        it may put something else when it is run again.
        """
        payload = serialize(value, "Could not serialize the yielded value")
        return self._put_payload(payload, _YIELDED + index)

    def put_raised(self, index: int, error: bytes) -> ObjectRef[Any]:
        """Store what a generator has raised, packed, as if it were the next value it yields."""
        object_id = put_id(self.context.task_id, _YIELDED + index)
        ref = self.own_ref(object_id)
        self.channel.send(
            events.ObjectPut(self.number, object_id, len(error), (), False, error, is_error=True)
        )
        return ref

    def _put_payload(self, payload: Payload, index: int = -1) -> ObjectRef[Any]:
        context = self.context
        object_id = put_id(context.task_id, next(context.puts) if index < 0 else index)
        size_bytes = payload.total_bytes
        if size_bytes <= INLINE_LIMIT_BYTES:
            if len(self._dropped) >= BATCH:
                self.flush()
            event = events.ObjectPut(
                self.number, object_id, size_bytes, payload.contained, False, pack(payload)
            )
        else:
            self.write(object_id, payload)
            event = events.ObjectPut(self.number, object_id, size_bytes, payload.contained, True)
        ref = self.own_ref(object_id)
        self.channel.send(event)
        return ref

    def write(self, object_id: bytes, payload: Payload) -> None:
        """Write a large value to shared memory; the caller's next event seals it."""
        self.flush()
        size_bytes = payload.total_bytes
        op = next(self._ops)
        self.channel.send(events.AllocationRequested(self.number, op, object_id, size_bytes))
        reply = self.channel.park(op)
        assert isinstance(reply, wire.AllocationReply)
        if reply.error is not None:
            if reply.error.kind == "exists":
                return
            raise errors.exception_of(reply.error)
        try:
            pack_into(payload, self.channel.view(reply.offset, size_bytes))
        except BaseException:
            self.channel.send(events.AllocationDropped(self.number, object_id))
            raise

    def get(self, refs: Sequence[ObjectRef[Any]], timeout_s: float | None = None) -> list[Any]:
        """The values of the refs, in order; the first error known is raised without waiting for the
        rest.

        GetTimeoutError when the time is up (0: at once), and whatever error a value is.
        """
        peek = self.channel.peek
        values: list[Any] = []
        for ref in refs:
            value = peek(ref._id)
            if type(value) is not bytes:
                values += self._get_slowly(refs, len(values), timeout_s)
                break
            values.append(deserialize(value))
        if len(self._dropped) >= BATCH:
            self.flush()
        return values

    def _get_slowly(
        self, refs: Sequence[ObjectRef[Any]], first: int, timeout_s: float | None
    ) -> list[Any]:
        """The values of those from the ``first`` on, which is not here."""
        peek, count = self.channel.peek, len(refs)
        refs = refs[first:]
        missing = dict.fromkeys(
            object_id for ref in refs if type(peek(object_id := ref.binary())) is not bytes
        )
        op = next(self._ops)
        timeout_ns = -1 if timeout_s is None else int(timeout_s * 1e9)
        if self.regress:
            self._refuse_regress()
        if self.has_loop:
            self._warn_of_blocking("get()", "await the ref")
        self.channel.send(events.ObjectsRequested(self.number, op, tuple(missing), timeout_ns))
        if self.has_dropped:
            self.flush()
        reply = self.channel.park(op)
        assert isinstance(reply, wire.ObjectsReply)
        if reply.timed_out:
            raise GetTimeoutError(_overdue(reply.object_ids, count, timeout_s))
        return self._open(refs, reply)

    def ask(self, ref: ObjectRef[Any], callback: Callable[[wire.ObjectsReply], None]) -> None:
        """Ask for a value without waiting. ``callback`` is handed the answer, for ``open``; the
        rules of ``Channel.subscribe`` are its.
        """
        op = next(self._ops)
        self.channel.subscribe(op, callback)
        self.channel.send(events.ObjectsRequested(self.number, op, (ref.binary(),)))

    def open(self, ref: ObjectRef[Any], reply: wire.ObjectsReply) -> Any:
        """The value of a ref, from the answer to ``ask``; raises if it is an error."""
        return self._open((ref,), reply)[0]

    def _open(self, refs: Sequence[ObjectRef[Any]], reply: wire.ObjectsReply) -> list[Any]:
        if reply.error is not None:
            raise errors.exception_of(reply.error)
        if len(refs) == len(reply.values) == 1 and not reply.lent:
            value = reply.values[0]
            if type(value) is Inline and not value.is_error:
                return [deserialize(value.payload)]
        peek = self.channel.peek
        self.borrow(reply.lent)
        try:
            found = dict(zip(reply.object_ids, reply.values, strict=True))
            for value in reply.values:
                if isinstance(value, ErrorInfo) or (isinstance(value, Inline) and value.is_error):
                    self.load(value)
            values: list[Any] = []
            for ref in refs:
                object_id = ref.binary()
                value_here = found.get(object_id)
                if value_here is None:
                    values.append(deserialize(peek(object_id)))  # type: ignore[arg-type]
                else:
                    values.append(self.load_any(object_id, value_here))
            return values
        finally:
            self.return_unused(reply.lent)

    def load_any(self, object_id: bytes, value: Value) -> Any:
        """A value that a node sent, as Python; raises if it is an error."""
        if isinstance(value, Located):
            return self.load_located(object_id, value)
        return self.load(value)

    def load(self, value: Value) -> Any:
        """An inline value as Python; raises if it is an error."""
        if isinstance(value, Inline):
            if value.is_error:
                raise errors.deserialize_error(value.payload)
            return deserialize(value.payload)
        assert isinstance(value, ErrorInfo)
        raise errors.exception_of(value)

    def load_located(self, object_id: bytes, value: Located) -> Any:
        """A value in shared memory as Python: its arrays look into it, and keep it pinned."""
        return deserialize(self.pinned_view(object_id, value))

    def wait(
        self,
        refs: Sequence[ObjectRef[Any]],
        num_returns: int = 1,
        timeout_s: float | None = None,
        fetch_local: bool = True,
        object_ids: list[bytes] | None = None,
    ) -> tuple[list[ObjectRef[Any]], list[ObjectRef[Any]]]:
        """Wait until ``num_returns`` refs are ready; the ready and the others, each in the order
        given. ``object_ids``: theirs, if they are at hand; the client keeps the list.
        """
        if object_ids is None:
            object_ids = [ref.binary() for ref in refs]
        peek = self.channel.peek
        ready: dict[bytes, None] = {}
        for index, object_id in enumerate(object_ids):
            if peek(object_id).__class__ is bytes:
                if num_returns == 1:
                    others = list(refs)
                    del object_ids[index]
                    self.left_over = object_ids
                    return [others.pop(index)], others
                ready[object_id] = None
                if len(ready) == num_returns:
                    break
        if len(ready) < num_returns:
            op = next(self._ops)
            timeout_ns = -1 if timeout_s is None else int(timeout_s * 1e9)
            if self.regress:
                self._refuse_regress()
            if self.has_loop:
                self._warn_of_blocking("wait()", "use asyncio.wait")
            self.channel.send(
                events.WaitRequested(
                    self.number, op, tuple(object_ids), num_returns, timeout_ns, fetch_local
                )
            )
            if self.has_dropped:
                self.flush()
            reply = self.channel.park(op)
            assert isinstance(reply, wire.WaitReply)
            ready = dict.fromkeys(reply.ready)
        self.left_over = [object_id for object_id in object_ids if object_id not in ready]
        done: list[ObjectRef[Any]] = []
        others = []
        for object_id, ref in zip(object_ids, refs, strict=True):
            (done if object_id in ready else others).append(ref)
        return done, others

    def _refuse_regress(self) -> NoReturn:
        raise RuntimeError(
            f"a worker that imports a module to load {self.regress}() would have to wait there for "
            f"a call of {self.regress}(), and so would the next: put what only the program is to "
            "do under: if __name__ == '__main__':"
        )

    def _warn_of_blocking(self, call: str, remedy: str) -> None:
        """Say once that an asynchronous actor has stopped all its calls to wait."""
        from asyncio import events as running

        if running._get_running_loop() is not None and call not in self._warned:
            self._warned.add(call)
            text = f"{call} in an asynchronous actor blocks all its calls: {remedy} instead"
            print(f"rsim: {text}", file=sys.stderr)

    # -- tasks that run here -----------------------------------------------------------------------

    def load_function(self, function_id: bytes, blob: bytes) -> Callable[..., Any]:
        """A function or class to run here."""
        self.loading = function_id
        try:
            return deserialize_function(blob)
        finally:
            self.loading, self.regress = b"", ""

    def load_arguments(self, task: wire.RunTask) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of a task. When they were too large to send, its first dep is the packed
        call.
        """
        if not task.dep_ids:
            if task.lent:
                self.borrow(task.lent)
            return deserialize_call(task.payload) if task.payload != NO_ARGUMENTS else ((), {})
        self.borrow(task.lent)
        if task.payload:
            return deserialize_call(task.payload, list(map(self.load_any, task.dep_ids, task.deps)))
        packed, values = task.deps[0], task.deps[1:]
        assert isinstance(packed, Located)
        view = self.pinned_view(task.dep_ids[0], packed)
        return deserialize_call(view, list(map(self.load_any, task.dep_ids[1:], values)))

    @staticmethod
    def checked(reply: Any) -> Any:
        """An answer to a request other than for values; raises if it is an error instead."""
        if isinstance(reply, wire.ObjectsReply):
            assert reply.error is not None
            raise errors.exception_of(reply.error)
        return reply


def _overdue(missing: Sequence[bytes], wanted: int, timeout_s: float | None) -> str:
    text = f"get() timed out after {timeout_s} s"
    if missing:
        text += f": {len(missing)} of {wanted} objects were not ready, first {missing[0].hex()}"
    return text
