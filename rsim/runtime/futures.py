"""Refs as futures: for asyncio, for `concurrent.futures`, and for callbacks.

Decides in which thread or loop a value is unpacked: an asyncio future's on its loop, all others in
the client's own thread for callbacks. Must never unpack where the answer came in, as that may be
under the lock of a node. Owns the futures by which `asyncio.wait` watches refs.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import traceback
from asyncio import events
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from rsim.core.events import ConsumptionAwaited
from rsim.exceptions import RsimError
from rsim.runtime import wire
from rsim.runtime.refs import ObjectRef

if TYPE_CHECKING:
    from rsim.runtime.client import Client
    from rsim.runtime.consumer import ItemReply

AnyFuture = asyncio.Future[Any] | concurrent.futures.Future[Any]


class RefFuture(concurrent.futures.Future[Any]):
    """The value of a ref, when it is there: for threads. Who asks for it waits as in `get`."""

    def __init__(self, ref: ObjectRef[Any]) -> None:
        super().__init__()
        self._ref = ref
        when_done(ref, partial(_settle, self))

    def running(self) -> bool:
        """Whether the value is not there yet; its task may still be waiting for a worker."""
        return not self.done()

    def cancel(self) -> bool:
        """Nothing: False. The task is cancelled by `rsim.cancel`."""
        return False

    def result(self, timeout: float | None = None) -> Any:
        """The value. Raises TimeoutError after `timeout` seconds, and what the value is if it is
        an error.
        """
        try:
            self._await(timeout)
            return super().result(0)
        finally:
            del self  # an error knows the frames it went through: it would hold what holds it

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """The error that the value is, if any. Raises TimeoutError after `timeout` seconds."""
        try:
            self._await(timeout)
            return super().exception(0)
        finally:
            del self

    def _await(self, timeout: float | None) -> None:
        try:
            if self.done():
                return
            ref = self._ref
            client = _client_of(ref)
            ready, _ = client.wait((ref,), 1, None if timeout is None else max(timeout, 0))
            if not ready:
                raise TimeoutError(f"{ref!r} was not ready after {timeout} s")
            _settle(self, lambda: client.get((ref,))[0])
        finally:
            del self


def asyncio_future(ref: ObjectRef[Any]) -> asyncio.Future[Any]:
    """A future of the running event loop, or of the one that asyncio takes for the current one,
    which is to run later. RuntimeError if it has none.
    """
    client = _client_of(ref)
    loop = asyncio.get_event_loop()
    future = loop.create_future()

    def answered(reply: wire.ObjectsReply) -> None:
        _call_soon(loop, partial(_settle, future, partial(client.open, ref, reply)), client)

    client.ask(ref, answered)
    return future


def items_future(client: Client, object_id: bytes, most: int) -> asyncio.Future[Any]:
    """A future of the running event loop for the refs of an item of a stream and those that follow
    it (``most``: in all); its result is empty when the stream has ended before that item.
    """
    loop = asyncio.get_running_loop()
    future = loop.create_future()

    def settle(reply: ItemReply) -> None:
        if future.done():  # cancelled
            client.consumer.decline(reply)
        else:
            _settle(future, partial(client.consumer.taken, reply))

    def answered(reply: ItemReply) -> None:
        _call_soon(loop, partial(settle, reply), client)

    client.consumer.ask(object_id, most, answered)
    return future


def answer_future(client: Client, request: ConsumptionAwaited) -> asyncio.Future[Any]:
    """A future of the running event loop for the answer to a request, which is sent."""
    loop = asyncio.get_running_loop()
    future = loop.create_future()

    def answered(reply: wire.ConsumptionReply | wire.ObjectsReply) -> None:
        _call_soon(loop, partial(_settle, future, partial(client.checked, reply)), client)

    client.channel.subscribe(request.op, answered)
    client.channel.send(request)
    return future


def when_done(ref: ObjectRef[Any], use: Callable[[Callable[[], Any]], object]) -> None:
    """Call `use` when the ref's value is there, in the client's thread for callbacks, with a
    function that gives the value or raises the error that it is.
    """
    client = _client_of(ref)

    def answered(reply: wire.ObjectsReply) -> None:
        _run(client, partial(use, partial(client.open, ref, reply)))

    client.ask(ref, answered)


def call_back(callback: Callable[[Any], object], value_of: Callable[[], Any]) -> None:
    """Call back with a value, or with the error that it is."""
    try:
        value = value_of()
    except BaseException as error:
        value = error
    try:
        callback(value)
    except Exception:
        traceback.print_exc()  # nobody else is there to see it


def _call_soon(
    loop: asyncio.AbstractEventLoop, callback: Callable[[], object], client: Client
) -> None:
    """Call back on the loop, if it still runs; from wherever an answer came in."""
    if events._get_running_loop() is loop:
        loop.call_soon(callback)
        return
    try:
        loop.call_soon_threadsafe(callback)
    except RuntimeError:  # the loop is closed
        _run(client, callback)


def _run(client: Client, callback: Callable[[], object]) -> None:
    """Call back in the client's thread for callbacks. What is dropped there is told at once: a
    worker may have nothing else to do.
    """
    only = [callback]

    def call() -> None:
        only.pop()()
        if client.has_dropped:
            with contextlib.suppress(RsimError):  # the session ends: nobody cares any more
                client.flush()

    client.channel.run(call)


def _client_of(ref: ObjectRef[Any]) -> Client:
    return cast("Client", ref._counter)


def _settle(future: AnyFuture, value_of: Callable[[], Any]) -> None:
    try:
        value = value_of()  # also when nobody wants it any more: what it lends goes back
    except BaseException as error:
        problem = error
        if isinstance(error, StopIteration):  # futures refuse it
            problem = RuntimeError(f"the task raised {error!r}")
            problem.__cause__ = error
        _end(future, future.set_exception, problem)
        del problem
    else:
        _end(future, future.set_result, value)
    finally:
        del future


def _end(future: AnyFuture, end: Callable[[Any], object], outcome: Any) -> None:
    if not future.done():
        try:
            end(outcome)
        except concurrent.futures.InvalidStateError:
            pass  # another thread was quicker


# -- what `asyncio.wait` asks of what it waits for -------------------------------------------------


def watch(ref: ObjectRef[Any], callback: Callable[[Any], object], **context: Any) -> None:
    """Call `callback(ref)` on the running loop when the value is there."""
    if ref._watch is None or ref._watch[0].get_loop() is not asyncio.get_running_loop():
        ref._watch = asyncio_future(ref), {}
    future, callbacks = ref._watch

    def call(done: asyncio.Future[Any]) -> None:
        callbacks.pop(callback, None)  # it holds the ref, which holds these
        if not done.cancelled():
            done.exception()  # it is seen: asyncio need not complain
        callback(ref)

    callbacks[callback] = call
    future.add_done_callback(call, **context)


def unwatch(ref: ObjectRef[Any], callback: Callable[[Any], object]) -> int:
    """Forget what `watch` was told; how many callbacks that were."""
    if ref._watch is None:
        return 0
    future, callbacks = ref._watch
    call = callbacks.pop(callback, None)
    if call is None:
        return 0
    if not callbacks and not future.done():
        ref._watch = None
    return future.remove_done_callback(call)


def watched(ref: ObjectRef[Any]) -> asyncio.Future[Any] | None:
    """The future of a ref that is, or was, watched."""
    return None if ref._watch is None else ref._watch[0]
