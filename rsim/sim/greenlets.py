"""Who runs: the driver and every worker are strands, and one hub greenlet runs the world between
them.

Decides nothing about order: the world does. It makes each switch complete, so that all that counts
as the state of a process (current client, ref factory, virtual clock and entropy, standard streams)
is the running strand's. Must never run two strands at once, nor let a suspended greenlet of a dead
worker be collected, as that would run its `finally` blocks in the midst of something else. Owns the
hub, the pool of greenlets and the strands of the session.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextvars import Context
from typing import Any, NoReturn, TextIO

from greenlet import GreenletExit, getcurrent, greenlet
from simpy.core import EmptySchedule

from rsim.exceptions import RsimError, SimulationEscapeError
from rsim.sim.engine import Happening, Key, World

__tracebackhide__ = True  # pytest shows the caller's line instead

_PATIENCE = 100
"""How often a strand may refuse to end at the close of a session before it is left where it is."""

_UNENDING: list[greenlet] = []
"""Strands that refused: they must not be collected, which would ask them again."""


class Strand:
    """One simulated process: the driver's program, or a worker's."""

    __slots__ = (
        "alive",
        "client",
        "greenlet",
        "key",
        "label",
        "name",
        "napping",
        "pausing",
        "process",
        "refusals",
        "streams",
        "virtual",
        "wake",
    )

    def __init__(self, name: str, key: Key, streams: tuple[TextIO, TextIO]) -> None:
        self.name = name
        self.key = key
        """Who it works for at the moment: a task id, or its own name."""
        self.streams = streams
        """Its sys.stdout and sys.stderr while it does not run."""
        self.label = ""
        """What goes before each line that it prints."""
        self.process: Any = None
        """The worker that it belongs to; None for the driver."""
        self.client: Any = None
        self.virtual: Any = None
        self.greenlet: greenlet | None = None
        """None while it has nothing to run."""
        self.pausing: Callable[[], None] | None = None
        """Called by it before it sleeps or waits."""
        self.wake: Happening | None = None
        self.napping = ""
        """Why it sleeps; empty while it does not."""
        self.alive = True
        self.refusals = 0


Switched = Callable[[Strand | None], None]
"""Told of every change of the running strand; None: the world itself runs."""


class Hub:
    """The greenlet that runs the world, and the switches from and to it.

    `switched` sets the state of the process for a strand; `stuck` makes the error that the driver
    gets when it waits and nothing can ever happen again, unless it makes something happen; `bury`
    is told of each strand that will never run again.
    """

    def __init__(
        self,
        world: World,
        driver: Strand,
        switched: Switched,
        stuck: Callable[[], BaseException | None],
        tidy: Callable[[], None],
        bury: Callable[[Strand], None],
    ) -> None:
        self.world = world
        self.driver = driver
        self.running: Strand | None = driver
        self.closing = False
        self.began_ns = 0
        """Virtual time before the session."""
        self.timer_slack_ns = 0
        """By how much user code sleeps too long."""
        self._switched = switched
        self._stuck = stuck
        self._tidy = tidy
        self._bury = bury
        self._interrupt: BaseException | None = None
        self._thread = threading.get_ident()
        self._greenlet = greenlet(self._run)
        self._strands: dict[Strand, None] = {}
        self._idle: list[greenlet] = []
        driver.greenlet = getcurrent()

    # -- in the hub ----------------------------------------------------------------------------

    def launch(self, strand: Strand, work: Callable[[], None]) -> None:
        """Run `work` as `strand` until it is suspended or done."""
        self._strands[strand] = None
        pooled = self._idle.pop() if self._idle else greenlet(self._loop, self._greenlet)
        pooled.gr_context = Context()
        strand.greenlet = pooled
        self.resume(strand, work)

    def resume(self, strand: Strand, value: object = None) -> None:
        """Let a suspended strand go on, with `value` as the result of its `suspend`."""
        if strand.alive:
            assert strand.greenlet is not None
            self._enter(strand)
            strand.greenlet.switch(value)
            self._leave(strand)

    def throw(self, strand: Strand, error: BaseException | type[BaseException]) -> None:
        """Let a suspended strand go on with an exception.

        A type, and not an instance that this frame would keep alive, with the strand's frames.
        """
        if strand.alive:
            assert strand.greenlet is not None
            self._enter(strand)
            strand.greenlet.throw(error)
            self._leave(strand)

    def _run(self, _: object = None) -> None:
        self._leave(self.driver)
        world = self.world
        while True:
            try:
                world.step()
            except EmptySchedule:
                error = self._stuck()
                if error is not None:
                    self.throw(self.driver, error)
            if self._interrupt is not None:
                interrupt, self._interrupt = self._interrupt, None
                self.throw(self.driver, interrupt)
            if not world.steps % 1009:
                self._tidy()

    def _loop(self, work: Callable[[], None]) -> None:
        """The life of a pooled greenlet."""
        while True:
            work()
            if self.closing:
                return
            strand = self._current()
            strand.greenlet = None
            del self._strands[strand]
            self._idle.append(getcurrent())
            work = self._greenlet.switch()

    def _enter(self, strand: Strand) -> None:
        self.driver.streams = (sys.stdout, sys.stderr)
        sys.stdout, sys.stderr = strand.streams
        self.running = strand
        self._switched(strand)

    def _leave(self, strand: Strand) -> None:
        strand.streams = (sys.stdout, sys.stderr)
        sys.stdout, sys.stderr = self.driver.streams
        self.running = None
        self._switched(None)

    # -- in a strand ---------------------------------------------------------------------------

    def suspend(self) -> Any:
        """Stop the running strand until it is resumed; the world runs meanwhile."""
        if self.closing:
            self._refused()
        if self._greenlet.dead:
            self._must_be_home()
            raise RuntimeError("the simulation has failed before and cannot go on: shut it down")
        current = getcurrent()
        if self.running is self.driver and current is not self.driver.greenlet:
            self._adopt(current)
        try:
            return self._greenlet.switch()
        except BaseException:
            if self._greenlet.dead and current is self.driver.greenlet:
                self._failed()
            raise

    def _failed(self) -> None:
        """The hub ended with an error, which the driver gets: what ran last did not leave."""
        self.running = self.driver
        sys.stdout, sys.stderr = self.driver.streams
        self.refresh()

    def sleep(self, duration_ns: int) -> None:
        """Let virtual time pass for the running strand, unless it is woken before."""
        strand = self._current()
        self.pause()
        at_ns = self.world.now_ns + max(duration_ns, 0)
        strand.wake = self.world.post_at(at_ns, None, strand.key, self.resume, strand)
        self._nap(strand, "sleep")

    def sleep_until_woken(self, reason: str) -> None:
        """Stop the running strand until somebody calls `wake`."""
        self.pause()
        self._nap(self._current(), reason)

    def wake(self, strand: Strand) -> None:
        """End the sleep of a strand now; does nothing if it is not asleep."""
        if strand.napping:
            strand.napping = ""
            if strand.wake is not None:
                self.world.cancel(strand.wake)
            strand.wake = self.world.post(None, strand.key, self.resume, strand)

    def _nap(self, strand: Strand, reason: str) -> None:
        strand.napping = reason
        try:
            self.suspend()
        except BaseException:
            if strand.wake is not None:
                self.world.cancel(strand.wake)
            raise
        finally:
            strand.napping = ""
            strand.wake = None

    def _current(self) -> Strand:
        strand = self.running
        assert strand is not None, "only a strand can be suspended"
        return strand

    def pause(self) -> None:
        """To be called by the running strand when it is about to wait."""
        strand = self._current()
        if strand.pausing is not None:
            strand.pausing()

    def kill(self, strand: Strand) -> None:
        """A strand's process is gone: never let it go on again. The running one must `perish`."""
        strand.alive = False
        strand.napping = ""
        if strand.wake is not None:
            self.world.cancel(strand.wake)
        self._bury(strand)

    def perish(self) -> NoReturn:
        """Stop the running strand for good, as if its process were gone."""
        self.kill(self._current())
        while True:
            self.suspend()

    def interrupt_driver(self, error: BaseException) -> None:
        """Raise `error` in the driver, whoever runs now (from a signal handler)."""
        if self.running is None and self._interrupt is None:
            self._interrupt = error  # a step must not be torn apart
            return
        if self.running is None or self.running is self.driver:
            raise error
        self._interrupt = error
        self.sleep(0)

    def _adopt(self, current: greenlet) -> None:
        """The driver's program has moved to another greenlet (of its own) since it began."""
        self._must_be_home()
        self.driver.greenlet = self._greenlet.parent = current

    def _must_be_home(self) -> None:
        if threading.get_ident() != self._thread:
            raise SimulationEscapeError(
                "rsim was called from a real thread, other than the one that called rsim.init(): "
                "start threads after that, and they are simulated",
                call="threading.Thread",
            )

    def insist_on_life(self) -> None:
        """End the running strand if the session is over: it must not begin anything new."""
        if self.closing:
            self._refused()

    def _refused(self) -> None:
        """A strand that shall end waits once more."""
        strand = self._current()
        if strand is self.driver:
            raise RsimError("the simulation has ended: there is nothing left to wait for")
        strand.refusals += 1
        if strand.refusals >= _PATIENCE:
            current = getcurrent()
            _UNENDING.append(current)
            assert current.parent is not None
            current.parent.switch()
        raise GreenletExit

    def refresh(self) -> None:
        """Set the state of the process anew: the running strand's has changed."""
        self._switched(self.running)

    # -- at the end ----------------------------------------------------------------------------

    def close(self) -> None:
        """End every greenlet, in the order of their starts; their `finally` blocks run now, unless
        the thread of the greenlets is another one: it has ended, perhaps.
        """
        if self.closing:
            return
        self.closing = True
        driver = self.driver
        driver.alive = False
        if threading.get_ident() != self._thread:
            return
        for strand in self._strands:
            assert strand.greenlet is not None
            self._enter(strand)
            _end(strand.greenlet)
            self._leave(strand)
            self._bury(strand)
        for pooled in self._idle:
            _end(pooled)
        _end(self._greenlet)
        self._strands.clear()
        self._idle.clear()
        self.running = driver


def _end(suspended: greenlet) -> None:
    if suspended:  # started, and not dead
        suspended.parent = getcurrent()
        try:
            suspended.throw(GreenletExit)
        except (Exception, SystemExit):
            # Raised by a finally block of user code whose process is long gone.
            return
