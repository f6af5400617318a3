"""What virtualised user code sees of the simulated world: the time, its sleep and its entropy.

Decides the seed of a task's randomness: the session's seed, the task's path and the attempt, so
that no other task's draws, and no other schedule, can shift it. Must never read anything but the
world. Owns nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar

from rsim.sim.greenlets import Hub, Strand
from rsim.sim.sources import subseed


class StrandContext:
    """Implements `rsim.sim.virtual.SpawningContext` for one run of a strand's code."""

    __slots__ = ("_attempt", "_hub", "_seed", "_strand", "is_over", "name")

    def __init__(self, hub: Hub, strand: Strand, name: str, seed: int, attempt: int = 0) -> None:
        self._hub = hub
        self._strand = strand
        self._seed = seed
        self._attempt = attempt
        self.name = name
        self.is_over = False
        """The call that it was made for has ended."""

    @property
    def thread(self) -> object:
        return self._strand

    @property
    def process(self) -> object:
        return self._strand.client

    def now_ns(self) -> int:
        return self._hub.began_ns + self._hub.world.now_ns

    def sleep_ns(self, duration_ns: int) -> None:
        slack_ns = self._hub.timer_slack_ns
        self._hub.sleep(duration_ns + slack_ns if duration_ns > slack_ns else duration_ns)

    def entropy_seed(self) -> int:
        attempt = f"#{self._attempt}" if self._attempt else ""
        return subseed(self._seed, f"entropy/{self.name}{attempt}")

    def park_forever(self, reason: str) -> None:
        self._hub.sleep_until_woken(reason)

    def interrupt(self) -> None:
        self._hub.wake(self._strand)

    def spawn(self, work: Callable[[], None]) -> None:
        self._strand.client.channel.run(work, self._strand)


CALL_CONTEXT: ContextVar[StrandContext | None] = ContextVar("rsim_call_context", default=None)
"""That of the call which an asyncio task belongs to, where several share a strand."""
