"""Threads that simulated code starts: strands of its own process, in virtual time.

Decides what `start`, `join` and `is_alive` of a `threading.Thread` mean there, and which thread is
the current one; through them `Timer`, `ThreadPoolExecutor`, `asyncio.to_thread`. Must never start a
real thread for simulated code. Owns which threads are running.

It takes a context that can `spawn`; without, a thread is an escape. Threads take turns where they
wait, never elsewhere.
"""

from __future__ import annotations

import concurrent.futures.thread
import itertools
import logging
import threading
from collections.abc import Callable
from typing import Any

from greenlet import GreenletExit

from rsim.sim.virtual.context import Current, VirtualContext
from rsim.sim.virtual.escapes import NO_THREADS, escape_error
from rsim.sim.virtual.locks import thread_of
from rsim.sim.virtual.patching import Function, Patcher
from rsim.sim.virtual.waits import sleep_until

_FIRST_IDENT = 1 << 48
"""Above all addresses, which the identifiers of real threads are."""

_LIFE = "_rsim_life"

_numbers = itertools.count(_FIRST_IDENT)


class _Life:
    """That of one thread."""

    def __init__(self, process: object) -> None:
        self.process = process
        self.is_over = False
        self.waiting: dict[VirtualContext, None] = {}
        """Who waits for its end."""


class Threads:
    """The threads of simulated code that have begun and not ended; `bury` is told of each end."""

    def __init__(self, current: Current, bury: Callable[[object], None]) -> None:
        self._current = current
        self._bury = bury
        self._started: dict[int, threading.Thread] = {}
        """Those that are not over, by their identifiers."""
        self._running: dict[object, threading.Thread] = {}
        """Those that have begun, by what stands for them in their contexts."""
        self._waits_at_exit = False

    def install(self, patcher: Patcher) -> None:
        """Replace the methods, and `threading.current_thread`."""
        patcher.replace(threading, "Thread.start", self._make_start)
        patcher.replace(threading, "Thread.join", self._make_join)
        patcher.replace(threading, "Thread.is_alive", self._make_is_alive)
        patcher.replace(threading, "current_thread", self._make_current)
        patcher.replace(concurrent.futures.thread, "ThreadPoolExecutor.submit", self._make_submit)
        log = logging.getLogger("concurrent.futures")
        patcher.set(log, "filters", [*log.filters, _is_no_end])

    def _wait_at_exit(self) -> None:
        """Have the program wait at its end for its threads, all but daemons, as Python does.

        Python calls back before it ends the session, and, as it knows no way to take that back,
        whatever has become of it.
        """
        register = getattr(threading, "_register_atexit", None)
        if register is not None and not self._waits_at_exit:
            self._waits_at_exit = True
            register(self._join_all)

    def _join_all(self) -> None:
        """Wait for the program's own threads. Those of workers end with the session, so that
        Python's look at pools, which comes next, is to leave them alone.
        """
        while (context := self._current()) is not None:
            mine = _process_of(context)
            own = [each for each in self._started.values() if _life_of(each).process is mine]
            left = [thread for thread in own if not thread.daemon]
            if not left:
                for thread in self._started.values():
                    if thread not in own:
                        concurrent.futures.thread._threads_queues.pop(thread, None)  # type: ignore[attr-defined]
                return
            left[0].join()

    def _make_start(self, real: Any) -> Function:
        def start(thread: Any) -> None:
            context = self._current()
            if context is None:
                real(thread)
                return
            spawn = getattr(context, "spawn", None)
            if spawn is None:
                raise escape_error("threading.Thread.start", NO_THREADS, context)
            if not getattr(thread, "_initialized", False):
                raise RuntimeError("thread.__init__() not called")
            if thread._started.is_set():
                raise RuntimeError("threads can only be started once")
            life = _Life(_process_of(context))
            setattr(thread, _LIFE, life)
            thread._ident = thread._native_id = next(_numbers)
            self._started[thread.ident] = thread
            thread._started.set()
            self._wait_at_exit()
            spawn(lambda: self._live(thread, life))

        return start

    def _live(self, thread: Any, life: _Life) -> None:
        me = thread_of(self._current())
        self._running[me] = threading._active[thread._ident] = thread  # type: ignore[attr-defined]
        pool = _pool_of(thread)
        try:
            thread.run()
        except GreenletExit:
            raise
        except BaseException:
            thread._invoke_excepthook(thread)  # which says nothing of SystemExit
        finally:
            del self._running[me], self._started[thread.ident]
            threading._active.pop(thread._ident, None)  # type: ignore[attr-defined]
            life.is_over = True
            _leave(pool(), thread)
            _has_ended(thread)
            self._bury(me)
            for context in life.waiting:
                getattr(context, "interrupt", int)()

    def _make_join(self, real: Any) -> Function:
        def join(thread: Any, timeout: float | None = None) -> None:
            life: _Life | None = vars(thread).get(_LIFE)
            if life is None or life.is_over:
                real(thread, timeout)
                return
            context = self._current()
            if thread is threading.current_thread():
                raise RuntimeError("cannot join current thread")
            if context is None:
                return  # the simulation is over, and so is its thread
            life.waiting[context] = None
            try:
                call = "threading.Thread.join"
                sleep_until(context, timeout, lambda: life.is_over, call, interrupted=True)
            finally:
                del life.waiting[context]

        return join

    def _make_is_alive(self, real: Any) -> Function:
        def is_alive(thread: Any) -> bool:
            life: _Life | None = vars(thread).get(_LIFE)
            return bool(real(thread)) if life is None else not life.is_over

        return is_alive

    def _make_current(self, real: Any) -> Function:
        def current_thread() -> threading.Thread:
            context = self._current() if self._running else None
            found = None if context is None else self._running.get(thread_of(context))
            return real() if found is None else found

        return current_thread

    def _make_submit(self, real: Any) -> Function:
        def submit(pool: Any, /, *args: Any, **kwargs: Any) -> Any:
            context = self._current()
            if context is not None and any(_LIFE not in vars(each) for each in pool._threads):
                call = "concurrent.futures.thread.ThreadPoolExecutor.submit"
                raise escape_error(call, "the threads of this pool are real ones", context)
            return real(pool, *args, **kwargs)

        return submit


def _process_of(context: VirtualContext) -> object:
    """What stands for the process that the code runs in; without such a thing all is one."""
    return getattr(context, "process", None)


def _life_of(thread: threading.Thread) -> _Life:
    life: _Life = vars(thread)[_LIFE]
    return life


def _is_no_end(record: logging.LogRecord) -> bool:
    """Not the complaint of a pool about a thread that ended with the simulation."""
    return not (record.exc_info and record.exc_info[0] is GreenletExit)


def _pool_of(thread: Any) -> Callable[[], Any]:
    """Finds the pool that a thread works for, as long as there is one."""
    if getattr(thread, "_target", None) is not concurrent.futures.thread._worker:
        return lambda: None
    found: Callable[[], Any] = thread._args[0]
    return found


def _leave(pool: Any, thread: Any) -> None:
    """A thread of a pool has ended. If that is still open, the simulation has, and the pool is to
    start other threads.
    """
    if pool is not None and not pool._shutdown:
        pool._threads.discard(thread)
        pool._idle_semaphore = threading.Semaphore(0)


class _Ended:
    """What a thread has instead of the handle of a real one, since Python 3.13."""

    def __init__(self, ident: int) -> None:
        self.ident = ident

    def is_done(self) -> bool:
        return True

    def join(self, timeout: float | None = None) -> None:
        return


def _has_ended(thread: Any) -> None:
    """Let the thread know it, so that it does without this module from now on."""
    if hasattr(thread, "_handle"):
        thread._handle = _Ended(thread._ident)
    else:
        thread._is_stopped = True
    vars(thread).pop(_LIFE, None)
