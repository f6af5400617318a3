"""The driver's event loop: sockets, timers and completions of other threads.

Decides in what order things that happened at the same time are handled (what workers printed before
what they say), and that a background thread runs the loop when no user thread does. Must never
block while it holds the lock. Owns the epoll set, the timers, and the lock that guards the node and
all that belongs to it.
"""

from __future__ import annotations

import heapq
import math
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from time import monotonic_ns
from typing import Final

from rsim.backends.local.interrupts import Interrupts
from rsim.backends.local.parking import Parking
from rsim.backends.local.patience import Patience
from rsim.runtime.wire import Reply

PROCESSES, OUTPUT, MESSAGES = range(3)
"""Ranks of handlers that are due at the same time."""

_IDLE_S: Final = 0.1
"""The background thread looks so often whether a driver that does nothing has dropped refs."""

_GRACE_S: Final = 0.005
"""The background thread steps in when nobody has run the loop for so long."""

Callback = Callable[[], None]
_Ready = list[tuple[int, int]]


class Reactor:
    """One per session. ``settle`` runs at the end of every turn, under the lock."""

    def __init__(
        self,
        settle: Callback,
        interrupts: Interrupts,
        patience: Patience,
    ) -> None:
        self.lock = threading.RLock()
        self.parking = Parking(self)
        self.patience_s = patience.patience_s
        self.impatient = patience.impatient
        self.raise_interrupt = interrupts.raise_now
        self.idle: Callback = lambda: None
        """Called by the background thread, without the lock, when nothing happens for a while."""
        self.begin: Callback = lambda: None
        """Called under the lock before anything is handled."""
        self._settle = settle
        self._turns = 0
        self._closed = False
        self._epoll = select.epoll()
        self._wakeup = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._handlers: dict[int, Callable[[int], object]] = {}
        self._ranks: dict[int, int] = {}
        self._timers: list[tuple[int, int, Callback]] = []
        self._live_timers: dict[int, None] = {}
        self._last_timer = 0
        self._due_ns = math.inf
        """When the first timer is due."""
        self._sleepers: dict[int, float] = {}
        """Until when (ns) each thread sleeps that may have to be woken for a new timer."""
        self._posts: deque[Callback] = deque()
        self.add(self._wakeup, lambda events: self._woken(), PROCESSES)
        self._background = threading.Thread(target=self._stand_in, name="rsim-reactor", daemon=True)

    def start(self) -> None:
        """Start the background thread."""
        self._background.start()

    # -- what to wait for --------------------------------------------------------------------------

    def add(
        self, fd: int, handler: Callable[[int], object], rank: int, events: int = select.EPOLLIN
    ) -> None:
        """Call ``handler(epoll events)``, under the lock, whenever ``fd`` is readable, or whatever
        ``events`` say.
        """
        self._handlers[fd] = handler
        self._ranks[fd] = rank
        self._epoll.register(fd, events)

    def remove(self, fd: int) -> None:
        """Forget a fd that is about to be closed."""
        if self._handlers.pop(fd, None) is not None:
            del self._ranks[fd]
            self._epoll.unregister(fd)

    def post(self, callback: Callback) -> None:
        """Call ``callback`` under the lock, soon; from any thread."""
        self._posts.append(callback)
        self.wake()

    def set_timer(self, at_ns: int, callback: Callback) -> int:
        """Call ``callback`` under the lock at ``at_ns``; returns a handle. The lock is held."""
        self._last_timer += 1
        handle = self._last_timer
        self._live_timers[handle] = None
        heapq.heappush(self._timers, (at_ns, handle, callback))
        if at_ns < self._due_ns:
            self._due_ns = at_ns
            if any(at_ns < until_ns for until_ns in list(self._sleepers.values())):
                self.wake()
        return handle

    def cancel_timer(self, handle: int) -> None:
        """Forget a timer, whether it fired or not. The lock is held."""
        self._live_timers.pop(handle, None)
        if len(self._timers) > 2 * len(self._live_timers) + 64:
            self._timers = [timer for timer in self._timers if timer[1] in self._live_timers]
            heapq.heapify(self._timers)
            self._see_what_is_due()

    def answer(self, reply: Reply) -> None:
        """Hand an answer to the thread that asked. The lock is held."""
        self.parking.deliver(reply.op, reply)

    # -- running -----------------------------------------------------------------------------------

    def turn(self, timeout_s: float | None) -> bool:
        """Wait so long at most (None: for ever) and handle what happens. False: nothing did."""
        self._turns += 1
        if self._closed:
            return False
        if timeout_s == 0:
            ready = self._epoll.poll(0)
        else:
            with self.lock:
                self.begin()
                self._settle()  # nobody may be waiting in vain for what is still to be sent
            ready = self._sleep(self._epoll.poll, timeout_s)
        if not ready and monotonic_ns() < self._due_ns:
            return False
        with self.lock:
            self.begin()
            if len(ready) > 1:
                ranks = self._ranks
                ready.sort(key=lambda event: ranks.get(event[0], 0))
            for fd, events in ready:
                handler = self._handlers.get(fd)
                if handler is not None:
                    handler(events)
            if self._timers:
                self._fire_timers()
            self._settle()
        return True

    def wake(self) -> None:
        """End the sleep of the thread that is in ``turn``; safe in a signal handler."""
        if not self._closed:
            os.eventfd_write(self._wakeup, 1)

    def _woken(self) -> None:
        if not self.parking.sleeps_elsewhere:  # else this may be meant for the thread that sleeps
            try:
                os.eventfd_read(self._wakeup)
            except BlockingIOError:
                pass  # another thread was quicker
        for _ in range(len(self._posts)):
            self._posts.popleft()()

    def _fire_timers(self) -> None:
        now_ns = monotonic_ns()
        while self._timers and self._timers[0][0] <= now_ns:
            _, handle, callback = heapq.heappop(self._timers)
            if handle in self._live_timers:
                del self._live_timers[handle]
                callback()
        self._see_what_is_due()

    def _see_what_is_due(self) -> None:
        self._due_ns = self._timers[0][0] if self._timers else math.inf

    def _sleep(self, poll: Callable[[float | None], _Ready], limit_s: float | None) -> _Ready:
        """Poll until something is ready, the next timer is due, or the limit is reached."""
        me = threading.get_ident()
        with self.lock:
            self._sleepers[me] = until_ns = self._due_ns
        try:
            left_s = max(0.0, (until_ns - monotonic_ns()) / 1e9)
            limit_s = left_s if limit_s is None else min(limit_s, left_s)
            return poll(None if limit_s == math.inf else limit_s)
        finally:
            self._sleepers.pop(me, None)

    # -- the background thread ---------------------------------------------------------------------

    def _stand_in(self) -> None:
        """Run the loop while nobody else does; see when that is by polling the epoll set itself."""
        watch = select.poll()
        watch.register(self._epoll.fileno(), select.POLLIN)
        parking = self.parking
        while not self._closed:
            ready = self._sleep(lambda s: watch.poll(math.ceil(1e3 * (s or 0))), _IDLE_S)
            if not ready and monotonic_ns() < self._due_ns:
                self.idle()
                continue
            turns = self._turns
            time.sleep(_GRACE_S)
            with self.lock:
                parking.background_leads = turns == self._turns and not parking.led
            while parking.background_leads and not self._closed:
                if not self.turn(_IDLE_S):
                    self.idle()

    def stop(self) -> None:
        """Handle nothing any more; whoever sleeps in ``turn`` wakes up."""
        with self.lock:
            self._closed = True
            self._handlers.clear()
            self._timers.clear()
            self._see_what_is_due()
            self._settle = self.begin = lambda: None
        os.eventfd_write(self._wakeup, 1)
        if self._background.is_alive() and self._background is not threading.current_thread():
            self._background.join()

    def close(self) -> None:
        """Stop, and close what belongs to the loop itself."""
        if not self._closed:
            self.stop()
        self._epoll.close()
        os.close(self._wakeup)

    def abandon(self) -> None:
        """In a forked child: close the copies of the parent's fds."""
        self._closed = True
        self._epoll.close()
        os.close(self._wakeup)
