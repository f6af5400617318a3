"""Makes unmodified asyncio programs use the virtual event loop.

Decides which loop `asyncio.run`, `asyncio.Runner`, `new_event_loop` and `get_event_loop` give to
simulated code. Must never change what asyncio does outside it. Owns what asyncio keeps per thread
and greenlets must not share: the running loop and the hooks of asynchronous generators.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from asyncio import base_events, events, runners
from collections.abc import Callable
from typing import Any

from rsim.sim.virtual.context import Current, VirtualContext
from rsim.sim.virtual.locks import thread_of
from rsim.sim.virtual.loop import VirtualEventLoop
from rsim.sim.virtual.patching import Function, Patcher
from rsim.sim.virtual.state import ContextStates


class RunningLoops:
    """The running loop of every context that is not running."""

    def __init__(self) -> None:
        self._parked: dict[int, tuple[Any, ...]] = {}
        self._outer_hooks = sys.get_asyncgen_hooks()

    def switch(self, old: VirtualContext | None, new: VirtualContext | None) -> None:
        """Put away what belongs to `old` and bring back what belongs to `new`; None is the hub."""
        running = events._get_running_loop()
        if running is not None:
            # `old` is kept alive, so that its id() stays its own.
            self._parked[id(old)] = running, sys.get_asyncgen_hooks(), old
            events._set_running_loop(None)
            sys.set_asyncgen_hooks(*self._outer_hooks)
        if self._parked:
            parked = self._parked.pop(id(new), None)
            if parked is not None:
                events._set_running_loop(parked[0])
                sys.set_asyncgen_hooks(*parked[1])

    def hand_over(self, context: VirtualContext) -> Any:
        """The loop that runs, outside any context, if any, is that of `context` from now on."""
        running = events._get_running_loop()
        if running is not None:
            self._parked[id(context)] = running, sys.get_asyncgen_hooks(), context
            events._set_running_loop(None)
            sys.set_asyncgen_hooks(None, None)
            self._outer_hooks = sys.get_asyncgen_hooks()
        return running

    def forget(self, context: VirtualContext) -> None:
        self._parked.pop(id(context), None)

    def clear(self) -> None:
        """Nothing is virtual any more: a loop that has not ended yet runs where this is called."""
        for running, hooks, _ in self._parked.values():
            if running.is_running() and events._get_running_loop() is None:
                events._set_running_loop(running)
                sys.set_asyncgen_hooks(*hooks)
        self._parked.clear()


class _NoInterruptHandler:
    """The module `signal` as asyncio.runners sees it.

    In a context Ctrl-C must stop the whole test, not cancel one task, so asyncio is told that
    SIGINT is somebody else's, and installs no handler.
    """

    def __init__(self, current: Current) -> None:
        self._current = current

    def __getattr__(self, name: str) -> Any:
        return getattr(signal, name)

    def getsignal(self, number: int) -> Any:
        return signal.getsignal(number) if self._current() is None else None


def install_asyncio(
    patcher: Patcher, current: Current, states: ContextStates, enter: Callable[[Any], None]
) -> None:
    """Replace asyncio's functions that make, set and get the current event loop.

    `enter` is told of each real loop that begins to run.
    """

    def make_new(real: Any) -> Function:
        def new_event_loop() -> asyncio.AbstractEventLoop:
            context = current()
            return real() if context is None else VirtualEventLoop(context)

        return new_event_loop

    def make_set(real: Any) -> Function:
        def set_event_loop(loop: asyncio.AbstractEventLoop | None) -> None:
            context = current()
            if context is None:
                real(loop)
            else:
                states.of(context).event_loop = loop

        return set_event_loop

    def make_get(real: Any) -> Function:
        def get_event_loop(*args: Any, **kwargs: Any) -> asyncio.AbstractEventLoop:
            context = current()
            if context is None:
                return real(*args, **kwargs)  # type: ignore[no-any-return]
            running = events._get_running_loop()
            if running is not None:
                return running
            state = states.of(context)
            if state.event_loop is None:
                state.event_loop = VirtualEventLoop(context)
            return state.event_loop

        return get_event_loop

    def make_run(real: Any) -> Function:
        def run_forever(self: Any) -> None:
            context = current()
            if not isinstance(self, VirtualEventLoop):
                enter(self)
            elif context is not None and thread_of(context) is not thread_of(self.context):
                self.move_to(context)
            real(self)

        return run_forever

    patcher.replace(base_events, "BaseEventLoop.run_forever", make_run)
    for name, make in (
        ("new_event_loop", make_new),
        ("set_event_loop", make_set),
        ("get_event_loop", make_get),
        ("_get_event_loop", make_get),  # what 3.11's ensure_future and gather call
    ):
        patcher.replace(events, name, make)
        if hasattr(asyncio, name):
            patcher.set(asyncio, name, getattr(events, name))
    patcher.set(runners, "signal", _NoInterruptHandler(current))
