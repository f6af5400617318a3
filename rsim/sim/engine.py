"""The event engine: simpy's environment on integer nanoseconds, with ties that the choice tape
breaks.

Decides what happens next: the earliest time first and, of what is due at one time, what the tape
picks. Must never read a real clock, and never order anything by address or hash. Owns virtual time,
the agenda, the ready set, and the number of the trace step that caused what happens now.

What is due at one time forms the *ready set*. Happenings of one lane stay in order, so only the
head of a lane is a candidate; a happening without a key is bookkeeping whose order nobody can see,
and goes first.
"""

from __future__ import annotations

import math
from bisect import insort
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from heapq import heappop, heappush
from operator import attrgetter
from typing import Any, cast, overload

import simpy
from simpy.core import EmptySchedule
from simpy.events import NORMAL, EventPriority

from rsim.sim.tape import Tape

Key = bytes | str
"""Names who a happening is about, the same in every run: a task id, or a path."""


class Lane:
    """A channel whose happenings keep their order."""

    __slots__ = ("due",)

    def __init__(self) -> None:
        self.due: deque[Happening] = deque()


class Happening(simpy.Event):
    """A call that is due at some time."""

    __slots__ = ("action", "args", "cause", "key", "lane", "order")

    _ok = True
    _value = None

    def __init__(
        self,
        world: World,
        lane: Lane | None,
        key: Key | None,
        action: Callable[..., object],
        args: tuple[Any, ...],
    ) -> None:
        # Not simpy's __init__: this is the hottest allocation of a simulation.
        self.env = world
        self.callbacks: Any = _CARRY_OUT
        self.lane = lane
        self.key = key
        self.action = action
        self.args = args
        self.cause = world.cause
        self.order = next(world._eid)


def _carry_out(happening: Any) -> None:
    happening.env.cause = happening.cause
    happening.action(*happening.args)


_CARRY_OUT = (_carry_out,)

_by_order = attrgetter("order")
_key_of = attrgetter("key")


class _Keys(Sequence[Key]):
    """The keys of a list of happenings, made only when somebody looks."""

    __slots__ = ("_happenings",)

    def __init__(self, happenings: list[Happening]) -> None:
        self._happenings = happenings

    def __len__(self) -> int:
        return len(self._happenings)

    def __iter__(self) -> Iterator[Key]:
        return map(_key_of, self._happenings)

    @overload
    def __getitem__(self, index: int) -> Key: ...
    @overload
    def __getitem__(self, index: slice) -> list[Key]: ...
    def __getitem__(self, index: int | slice) -> Key | list[Key]:
        if isinstance(index, slice):
            return list(map(_key_of, self._happenings[index]))
        key: Key = _key_of(self._happenings[index])
        return key


class World(simpy.Environment):
    """Virtual time in nanoseconds, and what is going to happen in it."""

    _now: int
    _queue: list[Any]
    """A heap of (time, priority, order, event)."""

    def __init__(self, tape: Tape, limit_s: float | None = None) -> None:
        super().__init__(0)
        self.tape = tape
        self.limit_ns = math.inf if limit_s is None else limit_s * 1e9
        """Nothing happens later than that."""
        self.cause = 0
        self.steps = 0
        self._unkeyed: list[tuple[int, int, simpy.Event]] = []
        self._heads: list[Happening] = []
        """The candidates, oldest first, so that candidate 0 keeps first in, first out."""
        self._keys = _Keys(self._heads)

    @property
    def now_ns(self) -> int:
        """The current virtual time."""
        return self._now

    @property
    def is_over(self) -> bool:
        """Whether its end is by the limit: there is more that would happen."""
        return bool(self._queue)

    def post(
        self, lane: Lane | None, key: Key | None, action: Callable[..., object], *args: Any
    ) -> Happening:
        """Let `action(*args)` happen now, after what is happening already."""
        happening = Happening(self, lane, key, action, args)
        self._admit(happening, NORMAL, happening.order)
        return happening

    def post_at(
        self,
        at_ns: int,
        lane: Lane | None,
        key: Key | None,
        action: Callable[..., object],
        *args: Any,
    ) -> Happening:
        """Let `action(*args)` happen at `at_ns`, or now if that is past.

        Within a lane the times must not go back.
        """
        happening = Happening(self, lane, key, action, args)
        if at_ns <= self._now:
            self._admit(happening, NORMAL, happening.order)
        else:
            heappush(self._queue, (at_ns, NORMAL, happening.order, happening))
        return happening

    def cancel(self, happening: Happening) -> None:
        """Let a happening that is in no lane not happen; one that has happened is ignored."""
        assert happening.lane is None, "what is in a lane cannot be cancelled"
        happening.callbacks = None
        happening.args = ()
        if happening in self._heads:
            self._heads.remove(happening)

    def schedule(
        self, event: simpy.Event, priority: EventPriority = NORMAL, delay: float = 0
    ) -> None:
        """Schedule an event of simpy's own kinds; it is bookkeeping, as it has no key.

        Raises TypeError unless `delay` is a whole number of nanoseconds.
        """
        if not isinstance(delay, int):
            raise TypeError(f"delay must be an int (nanoseconds), not {delay!r}")
        order = next(self._eid)
        if delay == 0:
            heappush(self._unkeyed, (priority, order, event))
        else:
            heappush(self._queue, (self._now + delay, priority, order, event))

    def peek(self) -> float:
        """The time of the next event, infinity if there is none."""
        return self._now if self._unkeyed or self._heads else super().peek()

    def step(self) -> None:
        """Let the next thing happen. Raises EmptySchedule when nothing is left to happen."""
        event = self._take()
        self.steps += 1
        callbacks, event.callbacks = event.callbacks, None  # type: ignore[assignment]
        for callback in callbacks:
            callback(event)
        if not event._ok and not event.defused:
            raise cast(BaseException, event.value)

    def _take(self) -> simpy.Event:
        heads = self._heads
        while True:
            while self._unkeyed:
                event = heappop(self._unkeyed)[2]
                if event.callbacks is not None:
                    return event
            if heads:
                break
            self._advance()
        happening = heads.pop(self.tape.pick("ready", self._keys) if len(heads) > 1 else 0)
        if happening.lane is not None:
            due = happening.lane.due
            due.popleft()
            if due:
                insort(heads, due[0], key=_by_order)
        return happening

    def _advance(self) -> None:
        """Go to the next time at which something is due, and make all of that ready."""
        queue = self._queue
        while queue and queue[0][3].callbacks is None:  # cancelled: must not move time
            heappop(queue)
        if not queue or queue[0][0] > self.limit_ns:
            raise EmptySchedule
        self._now = now = queue[0][0]
        while queue and queue[0][0] == now:
            _, priority, order, event = heappop(queue)
            if event.callbacks is not None:
                self._admit(event, priority, order)

    def _admit(self, event: simpy.Event, priority: int, order: int) -> None:
        """Put what is due now into the ready set; called in the order of `order`."""
        if not isinstance(event, Happening) or event.key is None:
            heappush(self._unkeyed, (priority, order, event))
            return
        if event.lane is not None:
            event.lane.due.append(event)
            if len(event.lane.due) > 1:
                return
        self._heads.append(event)
