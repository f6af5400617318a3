"""What a worker process runs concurrent calls of its actor on: threads, or an event loop that also
reads the node's socket.

Decides which thread takes a call, and when the loop looks at the socket: whenever it looks at its
own files, so that a call needs no switch of threads. Must never run a call anywhere but there. Owns
the threads and the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import selectors
import threading
from collections.abc import Callable, Coroutine
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from rsim.backends.local.naming import name_process
from rsim.backends.local.rest import Rest
from rsim.backends.local.spinning import Spinner
from rsim.runtime.async_calls import abandon
from rsim.runtime.wire import RunTask

if TYPE_CHECKING:
    from rsim.backends.local.worker import WorkerChannel

Work = Callable[[], None]
Ready = list[tuple[selectors.SelectorKey, int]]


class LocalStage:
    """The stage of one worker."""

    def __init__(self, channel: WorkerChannel) -> None:
        self._channel = channel
        self.main_thread = threading.get_ident()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()
        self._work: SimpleQueue[Work] = SimpleQueue()
        self._idle_threads = 0

    # -- Stage -------------------------------------------------------------------------------------

    def hosts(self, name: str) -> None:
        """Call the process after its actor."""
        name_process(name)

    def spawn(self, work: Work) -> None:
        """Run ``work`` in a thread that is idle, or a new one."""
        with self._lock:
            idle = self._idle_threads > 0
            self._idle_threads -= idle
        self._work.put(work)
        if not idle:
            threading.Thread(target=self._serve, name="rsim-calls", daemon=True).start()

    def run_loop(self, life: Coroutine[Any, Any, None]) -> None:
        """Run ``life`` on a loop that reads the socket, too."""
        channel = self._channel
        selector = ServingSelector(channel.inlet.fd, channel.read, channel.rest)
        loop = self._loop = asyncio.SelectorEventLoop(selector)
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(life)
        finally:
            self._loop = None
            asyncio.set_event_loop(None)
            abandon(loop)
            loop.close()

    def began(self, task: RunTask) -> None:
        """Nothing is to be noted."""

    def ended(self, task: RunTask) -> None:
        """Nothing is to be noted."""

    def fell_idle(self) -> None:
        """Let the worker end if it is to."""
        if self._channel.stopping:
            self._channel.executor.leave()
            self._channel.nudge()
        elif not self.has_loop and self._channel.rest.behind:  # since ends were reported
            self._channel.nudge()

    def withdraw(self, task_id: bytes) -> bool:
        """Take a call out of the queue."""
        return self._channel.withdraw(task_id)

    # -- for the channel ---------------------------------------------------------------------------

    @property
    def has_loop(self) -> bool:
        """Whether the loop runs, and takes what comes for the executor."""
        return self._loop is not None

    def rouse(self) -> None:
        """End the sleep of the main thread; at any moment."""
        loop = self._loop
        if loop is None:
            self._channel.wake()
        else:
            with contextlib.suppress(RuntimeError):  # it has ended
                loop.call_soon_threadsafe(_look_around)

    def hand(self, take: Callable[..., object], *args: object) -> None:
        """Call ``take`` on the loop: at once if this is its thread, which may be reading for it, or
        be parked in a call.
        """
        if threading.get_ident() == self.main_thread:
            take(*args)
            return
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # it has ended
                loop.call_soon_threadsafe(take, *args)

    def _serve(self) -> None:
        """The life of a thread."""
        while True:
            self._work.get()()
            with self._lock:
                self._idle_threads += 1


def _look_around() -> None:
    """The loop only needs to turn."""


class ServingSelector(selectors.DefaultSelector):
    """Looks at a socket along with what an event loop asks for, and has it read at once."""

    def __init__(self, fd: int, read: Callable[[], None], rest: Rest) -> None:
        super().__init__()
        self._fd = fd
        self._read = read
        self._rest = rest
        self._spinner = Spinner()
        self.register(fd, selectors.EVENT_READ)

    def select(self, timeout: float | None = None) -> Ready:
        """As ever, but for the socket."""
        look = super().select
        ready = look(0)
        if not ready and (timeout is None or timeout > 0):
            ready = self._sleep(look, timeout)
        for index, (key, _) in enumerate(ready):
            if key.fileobj == self._fd:
                del ready[index]
                self._rest.ran()
                self._read()
                break
        return ready

    def _sleep(self, look: Callable[[float | None], Ready], timeout: float | None) -> Ready:
        rest = self._rest
        rest.begin()
        limit = rest.patience_s()
        limited = limit is not None and (timeout is None or limit < timeout)
        ready = self._spinner.spin(lambda: look(0)) or look(limit if limited else timeout)
        self._spinner.rested()
        rest.end()
        if limited and not ready:
            rest.slept()
        return ready
