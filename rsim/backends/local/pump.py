"""A thread that takes answers in for those who do not wait for them, and runs their callbacks.

Decides when it parks: only while an answer is subscribed to, so that else whoever waits runs the
loop itself. Must never run a callback under the lock. Owns the thread, which starts when it is
first needed.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Final

from rsim.backends.local.parking import Parking
from rsim.core.records import ErrorInfo
from rsim.exceptions import DeadlockError, RsimError
from rsim.runtime.wire import Nudge, ObjectsReply

_PUMP: Final = -2
"""What the thread parks for, in place of the number of a request."""


class Pump:
    """One per process that has a client."""

    def __init__(self, parking: Parking, lock: threading.RLock) -> None:
        self._parking = parking
        self._lock = lock
        self._callbacks: deque[Callable[[], object]] = deque()
        self._gate: SimpleQueue[None] = SimpleQueue()
        self._parked = False
        self._closed = False
        self._thread: threading.Thread | None = None

    def subscribe(self, op: int, callback: Callable[[Any], None]) -> None:
        """Let the answer to ``op`` be handed to ``callback``."""

        def taken(reply: Any) -> None:
            callback(reply)
            if not self._parking.subscriptions:
                self._nudge()

        with self._lock:
            self._parking.subscriptions[op] = taken
            self._nudge()

    def run(self, callback: Callable[[], object]) -> None:
        """Call ``callback`` in the thread, soon."""
        self._callbacks.append(callback)
        with self._lock:
            self._nudge()

    def close(self) -> None:
        """The runtime ends: what is still subscribed to is answered by errors."""
        with self._lock:
            self._closed = True
            thread = self._thread
            self._nudge()
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _nudge(self) -> None:
        """Let the thread look what there is to do. The lock is held."""
        if self._thread is None:
            if self._closed:
                return
            self._thread = threading.Thread(target=self._live, name="rsim-callbacks", daemon=True)
            self._thread.start()
        if not self._parked:
            self._gate.put(None)
        elif _PUMP not in self._parking.replies:
            self._parking.deliver(_PUMP, Nudge(_PUMP))

    def _live(self) -> None:
        while not self._closed:
            self._call_back()
            with self._lock:
                self._parked = bool(self._parking.subscriptions)
            if not self._parked:
                self._gate.get()
                continue
            try:
                self._parking.wait(_PUMP)
            except DeadlockError as error:
                self._fail(ErrorInfo("DeadlockError", str(error)))
            except RsimError as error:
                self._fail(ErrorInfo("RsimError", str(error)))
                self._call_back()
                return
            finally:
                with self._lock:
                    self._parked = False
        self._call_back()

    def _call_back(self) -> None:
        while self._callbacks:
            self._callbacks.popleft()()

    def _fail(self, error: ErrorInfo) -> None:
        """Answer all that is subscribed to with an error."""
        with self._lock:
            subscriptions = self._parking.subscriptions
            for op, callback in list(subscriptions.items()):
                del subscriptions[op]
                callback(ObjectsReply(op, (), (), (), error=error))
