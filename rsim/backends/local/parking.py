"""Threads that wait for replies, and which of them runs the event loop meanwhile.

Decides who leads: a thread that waits runs the loop itself, so that a reply needs no thread switch;
further threads follow, and one of them takes over when the leader leaves. Also puts Ctrl-C off
until it can do no harm. Must never lose a wake-up, nor leave the loop without a leader while
threads wait. Owns the replies that nobody has fetched yet.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any, Protocol

from rsim.backends.local.spinning import Spinner
from rsim.exceptions import RsimError
from rsim.runtime.wire import Delivery


class Loop(Protocol):
    """The event loop that parked threads run."""

    lock: threading.RLock
    """Guards everything that the loop touches."""

    def turn(self, timeout_s: float | None) -> bool:
        """Wait so long at most (None: for ever) and handle what happens. False: nothing did."""

    def wake(self) -> None:
        """End the sleep of the thread that is in ``turn``; safe in a signal handler."""

    def patience_s(self, rounds: int) -> float | None:
        """How long to sleep at most after ``rounds`` sleeps in which nothing happened."""

    def impatient(self, rounds: int, parked: Sequence[int]) -> None:
        """Nothing happened for so long to the ``parked`` threads. May raise DeadlockError."""

    def raise_interrupt(self) -> None:
        """Let an interrupt that was put off take effect: in the main thread, without the lock."""


class _Waiter:
    __slots__ = ("gate", "op", "thread")

    def __init__(self, op: int, thread: int) -> None:
        self.op = op
        self.thread = thread
        self.gate: SimpleQueue[None] | None = None
        """Where a follower sleeps. None: it leads."""


class Parking:
    """The waiting threads of one process."""

    def __init__(self, loop: Loop) -> None:
        self.discard: Callable[[Delivery], None] = _ignore
        """Takes replies that came after their threads had given up; the lock is held."""
        self.replies: dict[int, Delivery] = {}
        self.subscriptions: dict[int, Callable[[Any], None]] = {}
        """Who takes replies that no thread waits for."""
        self.background_leads = False
        """Set by a thread that runs the loop for want of a better one."""
        self.interrupted = False
        """Ctrl-C was pressed at a bad moment, and put off."""
        self._closed = ""
        self._loop = loop
        self._lock = loop.lock
        self._waiters: dict[int, _Waiter] = {}
        self._followers: list[_Waiter] = []
        self._leader: _Waiter | None = None
        self._asleep = False
        self._abandoned: dict[int, None] = {}
        self._spinner = Spinner()
        self._lookout = _Waiter(0, 0)
        """Stands for a thread that looks out, while it leads."""
        self._spun = False
        """The thread that is about to lead has looked out before."""
        self._main_thread = threading.main_thread().ident
        self._main_waiter: _Waiter | None = None

    @property
    def led(self) -> bool:
        """Whether a parked thread runs the loop."""
        return self._leader is not None

    @property
    def sleeps_elsewhere(self) -> bool:
        """Whether a thread that is not this one runs the loop, and must be woken."""
        leader = self._leader
        return self._asleep and leader is not None and leader.thread != threading.get_ident()

    def awaits(self, op: int) -> bool:
        """Whether a thread is parked for ``op``."""
        return op in self._waiters

    def deliver(self, op: int, reply: Delivery) -> None:
        """Hand a reply to who takes it: a subscriber, or the thread that waits, or will wait, for
        it. The lock is held.
        """
        if self.subscriptions and op in self.subscriptions:
            self.subscriptions.pop(op)(reply)
            return
        if op in self._abandoned:
            del self._abandoned[op]
            self.discard(reply)
            return
        self.replies[op] = reply
        waiter = self._waiters.get(op)
        if waiter is not None:
            if waiter.gate is not None:
                waiter.gate.put(None)
            elif self._asleep:
                self._loop.wake()

    def wait(self, op: int) -> Delivery:
        """Block until the reply to ``op`` is there."""
        replies = self.replies
        thread = threading.get_ident()
        me = _Waiter(op, thread)
        is_main = thread == self._main_thread
        if is_main:
            self._main_waiter = me
        try:
            self._enter(me)
            try:
                self._run(me, is_main)
            finally:
                self._leave(me)
            reply = replies.pop(op)
        finally:
            if is_main:
                self._main_waiter = None
        if is_main and self.interrupted:
            try:
                self.raise_interrupt()
            except BaseException:
                self.discard(reply)
                raise
        return reply

    def look_out(self) -> bool:
        """Run the loop for a moment, if no thread does: whether anything happened. For a thread
        that is about to wait, and need not if something comes at once; no answer may be due to it.
        """
        with self._lock:
            if self._leader is not None:
                return False
            self._leader = self._lookout
        turn = self._loop.turn
        try:
            happened = turn(0) or self._spinner.spin(lambda: turn(0))
        finally:
            with self._lock:
                self._hand_over()
        self._spun = not happened
        return bool(happened)

    def relieve(self) -> None:
        """A user's thread takes over from the background thread."""
        self.background_leads = False
        self._loop.wake()

    def _run(self, me: _Waiter, is_main: bool) -> None:
        rounds = 0
        while me.op not in self.replies:
            if self._closed:
                raise RsimError(self._closed)
            gate = me.gate
            if self.interrupted and is_main:
                self.raise_interrupt()
            elif gate is not None:
                gate.get()
            elif self._lead(me, rounds):
                rounds = 0
            else:
                rounds += 1
                with self._lock:
                    if me.op not in self.replies:
                        parked = [waiter.thread for waiter in self._waiters.values()]
                        self._loop.impatient(rounds, parked)

    def _enter(self, me: _Waiter) -> None:
        with self._lock:
            self._waiters[me.op] = me
            if self._leader is None:
                self._leader = me
                if self.background_leads:
                    self.relieve()
            else:
                me.gate = SimpleQueue()
                self._followers.append(me)

    def _leave(self, me: _Waiter) -> None:
        with self._lock:
            del self._waiters[me.op]
            if me.op not in self.replies:
                self._abandoned[me.op] = None
            if me is not self._leader:
                self._followers.remove(me)
            else:
                self._hand_over()

    def _hand_over(self) -> None:
        """The leader leaves. The lock is held."""
        if not self._followers:
            self._leader = None
            return
        self._leader = successor = self._followers.pop(0)
        gate, successor.gate = successor.gate, None
        assert gate is not None
        gate.put(None)

    def _lead(self, me: _Waiter, rounds: int) -> bool:
        """Run the loop until something happens. False: nothing did while patience lasted."""
        turn = self._loop.turn
        if turn(0):
            return True
        spun, self._spun = self._spun, False
        if not spun and self._spinner.spin(lambda: turn(0)):
            return True
        self._asleep = True
        try:
            if me.op in self.replies or self.interrupted:
                return True
            happened = turn(self._loop.patience_s(rounds))
        finally:
            self._asleep = False
        self._spinner.rested()
        return happened

    def close(self, reason: str) -> None:
        """Let all that wait raise ``RsimError(reason)``. The lock is held."""
        self._closed = reason
        for waiter in self._waiters.values():
            if waiter.gate is not None:
                waiter.gate.put(None)
        self._loop.wake()

    # -- Ctrl-C ------------------------------------------------------------------------------------

    def interrupt(self) -> bool:
        """Called by a signal handler: whether the main thread is where an exception would do harm.

        Then it is put off: ``interrupted`` is set, and whoever holds the lock or waits sees to it
        soon.
        """
        waiter = self._main_waiter
        if waiter is None and not self._lock._is_owned():  # type: ignore[attr-defined]
            return False
        self.interrupted = True
        if waiter is not None:
            gate = waiter.gate  # read once: another thread may be making it the leader
            if gate is not None:
                gate.put(None)
            self._loop.wake()
        return True

    def raise_interrupt(self) -> None:
        """Let what was put off take effect, in the main thread, without the lock."""
        self.interrupted = False
        self._loop.raise_interrupt()

    def see_to_interrupt(self) -> None:
        """Call after letting go of the lock, when ``interrupted``."""
        if threading.get_ident() == self._main_thread:
            self.raise_interrupt()


def _ignore(reply: Delivery) -> None:
    pass
