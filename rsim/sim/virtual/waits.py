"""Blocking waits of threads, in virtual time.

Decides how `threading.Condition.wait` waits; through it `Event.wait`, `Semaphore.acquire`,
`Barrier.wait`, `queue.Queue.get/put` and `Future.result`. Decides the same for
`queue.SimpleQueue.get`, a C function. Must never block the one real thread. Owns no state.

A wait with a time-out sleeps until notified. Where the context cannot be interrupted, it looks
again after 1 ms, then each time after an eighth of the time waited so far. A wait without a
time-out needs a context that can park and be interrupted; otherwise it is an escape.

Locks are in a file of their own.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any

from rsim.sim.virtual.clock import to_ns
from rsim.sim.virtual.context import Current, VirtualContext
from rsim.sim.virtual.escapes import blocking_call, escape_error, user_line
from rsim.sim.virtual.patching import Function, Patcher

FIRST_STEP_NS = 1_000_000
_FOREVER = "it would wait without a time-out for other code of the same thread"


def install_waits(patcher: Patcher, current: Current) -> None:
    """Replace the waits of `threading` and `queue`."""

    def make_wait(real: Any) -> Function:
        def wait(self: Any, timeout: float | None = None) -> bool:
            context = current()
            if context is None:
                return real(self, timeout)  # type: ignore[no-any-return]
            return _wait_on_condition(self, context, timeout)

        return wait

    def make_get(real: Any) -> Function:
        def get(self: Any, block: bool = True, timeout: float | None = None) -> Any:
            context = current() if block else None
            if context is None:
                return real(self, block, timeout)
            waiting = getting.setdefault(id(self), {})
            waiting[context] = None
            try:
                there = sleep_until(
                    context,
                    timeout,
                    lambda: not self.empty(),
                    "queue.SimpleQueue.get",
                    interrupted=hasattr(context, "interrupt"),
                )
            finally:
                del waiting[context]
                if not waiting:
                    getting.pop(id(self), None)
            if not there:
                raise queue.Empty
            return real(self, False)

        return get

    def make_put(real: Any) -> Function:
        def put(self: Any, *args: Any, **kwargs: Any) -> None:
            real(self, *args, **kwargs)
            for context in getting.get(id(self), ()):
                getattr(context, "interrupt", int)()

        return put

    getting: dict[int, dict[VirtualContext, None]] = {}
    patcher.replace(threading, "Condition.wait", make_wait)
    patcher.replace(queue, "SimpleQueue.get", make_get)
    patcher.replace(queue, "SimpleQueue.put", make_put)
    patcher.replace(queue, "SimpleQueue.put_nowait", make_put)


def sleep_until(
    context: VirtualContext,
    timeout_s: float | None,
    done: Callable[[], bool],
    call: str,
    interrupted: bool = False,
) -> bool:
    """Sleep virtually until `done()`, at most `timeout_s`; what `done()` says at the end.

    `call` is what an error names, unless user code called it through the standard library.
    `interrupted` promises that `done` comes with a call of `context.interrupt()`.
    """
    park_forever = getattr(context, "park_forever", None) if interrupted else None
    start_ns = context.now_ns()
    while not done():
        waited_ns = context.now_ns() - start_ns
        if timeout_s is None:
            if park_forever is None:
                raise escape_error(blocking_call(call), _FOREVER, context)
            park_forever(f"{blocking_call(call)} at {user_line()}")
            continue
        left_ns = to_ns(max(0, timeout_s)) - waited_ns
        if left_ns <= 0:
            return False
        step_ns = left_ns if interrupted else max(FIRST_STEP_NS, waited_ns // 8)
        context.sleep_ns(min(left_ns, step_ns))
    return True


class _Waiter:
    """Takes the place of the lock that `Condition.notify` releases."""

    def __init__(self, interrupt: Callable[[], None] | None) -> None:
        self._interrupt = interrupt
        self._notified = False

    def notified(self) -> bool:
        return self._notified

    def release(self) -> None:
        self._notified = True
        if self._interrupt is not None:
            self._interrupt()


def _wait_on_condition(condition: Any, context: VirtualContext, timeout_s: float | None) -> bool:
    if not _method(condition._lock, "_is_owned", condition._is_owned)():
        raise RuntimeError("cannot wait on un-acquired lock")
    interrupt = getattr(context, "interrupt", None)
    waiter = _Waiter(interrupt)
    condition._waiters.append(waiter)
    saved = _method(condition._lock, "_release_save", condition._lock.release)()
    try:
        return sleep_until(
            context, timeout_s, waiter.notified, "threading.Condition.wait", interrupt is not None
        )
    finally:
        _take_back(condition._lock, saved)
        if not waiter.notified():
            try:
                condition._waiters.remove(waiter)
            except ValueError:
                pass


def _method(lock: Any, name: str, default: Function) -> Function:
    """A method of a condition's lock. The condition keeps the one that was there when it was made,
    which may have been the real one.
    """
    return getattr(lock, name, default)


def _take_back(lock: Any, saved: Any) -> None:
    restore = getattr(lock, "_acquire_restore", None)
    if restore is None:
        lock.acquire()
    else:
        restore(saved)
