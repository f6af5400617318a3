"""What virtualised user code sees of its world, as an interface for the engine to implement.

Decides nothing; it names the few things the virtualisation needs from the engine. Must never
import the engine. Owns no state.

The optional abilities (`thread`, `park_forever`, `interrupt`, `spawn`) are looked up by name, so
that an engine, or a test, can do without them; each use says what happens then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class TimedContext(Protocol):
    """What has a time of its own."""

    def now_ns(self) -> int:
        """Virtual nanoseconds since virtual time began."""
        ...

    def sleep_ns(self, duration_ns: int) -> None:
        """Park the calling greenlet for `duration_ns` of virtual time; 0 only lets others run."""
        ...


class VirtualContext(TimedContext, Protocol):
    """What simulated user code sees of its world; one object per running driver or task.

    State (random streams, the current event loop) is kept per object, so the engine hands out
    the same object for as long as the driver or task runs, and a new one for a new attempt.
    """

    @property
    def name(self) -> str:
        """A stable path, such as "d" or "d/0/3"."""
        ...

    def entropy_seed(self) -> int:
        """The seed of all randomness of this context: a function of session seed and name."""
        ...


class ThreadContext(VirtualContext, Protocol):
    """A context whose code goes on in another one, as a worker runs one task after another."""

    @property
    def thread(self) -> object:
        """What stands for the thread that the code runs in: the same for all its contexts.

        Locks are held by it. Without it, by the context.
        """
        ...


class ParkingContext(VirtualContext, Protocol):
    """A context that can also wait for something that is not a moment in time."""

    def park_forever(self, reason: str) -> None:
        """Park until `interrupt`; where that cannot happen any more, raise or report a deadlock.

        Without it, a wait without end raises at once.
        """
        ...

    def interrupt(self) -> None:
        """Make this context's `sleep_ns` or `park_forever` return early; called by other code.

        Without it, a sleeping context notices at the end of its sleep.
        """
        ...


class SpawningContext(ParkingContext, Protocol):
    """A context whose code can start threads."""

    @property
    def process(self) -> object:
        """What stands for the process that its threads belong to."""
        ...

    def spawn(self, work: Callable[[], None]) -> None:
        """Run `work` in a thread of its own of this context's process, which is a context, too."""
        ...


Current = Callable[[], VirtualContext | None]
"""The context of the running code; None outside simulated user code, on every other thread, in
the engine's own code."""
