"""A minimal engine for the tests of rsim.sim.virtual: greenlets, a heap of wake-ups, no faults."""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable
from typing import Any

import greenlet

from rsim.exceptions import DeadlockError
from rsim.sim.virtual import Virtualisation, install

SECOND = 1_000_000_000


class Context:
    """The least a context must be able to do."""

    def __init__(self, hub: Hub, name: str, function: Callable[[], Any]) -> None:
        self.hub, self.name = hub, name
        self.result: Any = None
        self.wait = 0  # number of the current wait; wake-ups of earlier ones are stale

        def body() -> None:
            self.result = function()

        self.greenlet = greenlet.greenlet(body)

    def now_ns(self) -> int:
        return self.hub.now_ns

    def entropy_seed(self) -> int:
        return self.hub.seed * 1000 + sum(self.name.encode())

    def sleep_ns(self, duration_ns: int) -> None:
        self.hub.wake_at(self.hub.now_ns + duration_ns, self)
        self.greenlet.parent.switch()


class Parker(Context):
    """Can also wait without end, and be interrupted."""

    def park_forever(self, reason: str) -> None:
        self.reason = reason
        self.greenlet.parent.switch()

    def interrupt(self) -> None:
        self.hub.wake_at(self.hub.now_ns, self)


class Hub:
    """Runs functions, each in a greenlet with a context of its own."""

    def __init__(self, seed: int = 1, kind: type[Context] = Context) -> None:
        self.seed, self.kind = seed, kind
        self.now_ns = 0
        self.running: Context | None = None
        self._queue: list[tuple[int, int, int, Context]] = []
        self._sequence = 0
        self._thread = threading.get_ident()

    def current(self) -> Context | None:
        return self.running if threading.get_ident() == self._thread else None

    def wake_at(self, when_ns: int, context: Context) -> None:
        self._sequence += 1
        heapq.heappush(self._queue, (when_ns, self._sequence, context.wait, context))

    def run(self, virtual: Virtualisation, **functions: Callable[[], Any]) -> dict[str, Any]:
        """Run all to the end and return what each returned."""
        contexts = [self.kind(self, name, function) for name, function in functions.items()]
        for context in contexts:
            self.wake_at(self.now_ns, context)
        while self._queue:
            when_ns, _, wait, context = heapq.heappop(self._queue)
            if wait == context.wait and not context.greenlet.dead:
                self.now_ns = when_ns
                self._resume(virtual, context, context.greenlet.switch)
        for context in contexts:
            if not context.greenlet.dead:
                error = DeadlockError(f"{context.name} waits: {context.reason}")
                self._resume(virtual, context, lambda c=context, e=error: c.greenlet.throw(e))
        return {context.name: context.result for context in contexts}

    def _resume(self, virtual: Virtualisation, context: Context, go: Callable[[], object]) -> None:
        context.wait += 1
        virtual.switch(None, context)
        self.running = context
        try:
            go()
        finally:
            self.running = None
            virtual.switch(context, None)


def simulate(
    *anonymous: Callable[[], Any],
    seed: int = 1,
    kind: type[Context] = Context,
    **functions: Callable[[], Any],
) -> Any:
    """Install, run, remove; the results by name, or the one result of a single function."""
    hub = Hub(seed, kind)
    virtual = install(hub.current)
    try:
        if anonymous:
            return hub.run(virtual, d=anonymous[0])["d"]
        return hub.run(virtual, **functions)
    finally:
        virtual.remove()
