"""A pool of actors that share out calls.

Decides which actor makes the next call: the one that has been idle longest. Must never give an
actor a second call before the result of its first was taken or given up. Owns the calls that wait
for an actor.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import rsim
from rsim.exceptions import ActorDiedError

Refs = tuple["rsim.ObjectRef[Any]", ...]
Call = Callable[[Any, Any], "rsim.ObjectRef[Any] | list[rsim.ObjectRef[Any]]"]


class ActorPool:
    """Shares out calls among actors, one at a time each.

    Results are taken in the order of submission (`get_next`, `map`) or as they are there
    (`get_next_unordered`, `map_unordered`). When a call raises, so does taking its result, and its
    actor goes on, unless it is dead.
    """

    def __init__(self, actors: Iterable[Any]) -> None:
        self._idle: deque[Any] = deque(actors)
        self._busy: dict[Refs, tuple[int, Any, bool]] = {}
        """The calls under way: their number, the actor, and whether they return a list of refs."""
        self._by_number: dict[int, Refs] = {}
        self._pending_submits: deque[tuple[int, Call, Any]] = deque()
        """The calls that wait for an actor."""
        self._submissions = 0
        self._next = 0
        """The number of the call whose result `get_next` is to return."""
        self._unordered = False
        """The results since the pool was last empty are taken in any order."""

    def map(self, fn: Call, values: Iterable[Any]) -> Iterator[Any]:
        """Yield the results of `fn(actor, value)`, which returns a ref, or a list of refs if the
        method has several results, in the order of the values.

        All are submitted at once; results submitted before are dropped. TypeError as `submit`.
        """
        self._restart(fn, values)
        return self._results(self.get_next)

    def map_unordered(self, fn: Call, values: Iterable[Any]) -> Iterator[Any]:
        """Like `map`, in the order in which the results are there."""
        self._restart(fn, values)
        return self._results(self.get_next_unordered)

    def submit(self, fn: Call, value: Any) -> None:
        """Call `fn(actor, value)`, which returns a ref or a list of refs, as soon as an actor is
        idle.

        TypeError when it returns something else.
        """
        if not self.has_next():
            self._unordered = False
        self._pending_submits.append((self._submissions, fn, value))
        self._submissions += 1
        self._hand_out()

    def has_next(self) -> bool:
        """Whether there are results to be taken."""
        return bool(self._busy or self._pending_submits)

    def get_next(self, timeout: float | None = None, ignore_if_timedout: bool = False) -> Any:
        """The result of the earliest submission whose result was not taken yet.

        timeout: seconds to wait; None: for ever. ignore_if_timedout: give up a result that is late.
        Raises what the call raised, StopIteration when there are no results, TimeoutError when it
        is late, ValueError after `get_next_unordered`, until all results have been taken, or when
        the pool has no actors.
        """
        self._check_next()
        if self._unordered:
            raise ValueError("get_next() cannot be called after get_next_unordered()")
        return self._take(self._by_number[self._next], timeout, ignore_if_timedout)

    def get_next_unordered(
        self, timeout: float | None = None, ignore_if_timedout: bool = False
    ) -> Any:
        """The next result that is there; arguments and errors as those of `get_next`."""
        self._check_next()
        self._unordered = True
        ready, _ = rsim.wait([refs[0] for refs in self._busy], timeout=timeout)
        first = next((refs for refs in self._busy if refs[0] in ready), next(iter(self._busy)))
        return self._take(first, None if ready else 0, ignore_if_timedout)

    def has_free(self) -> bool:
        """Whether an actor is idle and nothing waits for one."""
        return bool(self._idle) and not self._pending_submits

    def pop_idle(self) -> Any:
        """Remove an idle actor from the pool and return it; None when all are busy."""
        return self._idle.popleft() if self.has_free() else None

    def push(self, actor: Any) -> None:
        """Add an actor. Raises ValueError when it is in the pool already."""
        if actor in self._idle or any(actor == busy for _, busy, _ in self._busy.values()):
            raise ValueError(f"{actor!r} is in the pool already")
        self._idle.append(actor)
        self._hand_out()

    def _restart(self, fn: Call, values: Iterable[Any]) -> None:
        self._pending_submits.clear()
        for _, actor, _ in self._busy.values():
            self._idle.append(actor)
        self._busy.clear()
        self._by_number.clear()
        for value in values:
            self.submit(fn, value)

    def _results(self, take: Callable[[], Any]) -> Iterator[Any]:
        while self.has_next():
            yield take()

    def _check_next(self) -> None:
        if not self.has_next():
            raise StopIteration("there are no results to get")
        if not self._busy:
            raise ValueError("the pool has no actors left to make the calls that wait for one")

    def _hand_out(self) -> None:
        while self._idle and self._pending_submits:
            number, fn, value = self._pending_submits.popleft()
            actor = self._idle.popleft()
            try:
                given = fn(actor, value)
                refs = tuple(given) if isinstance(given, list) else (given,)
                if not refs or not all(isinstance(ref, rsim.ObjectRef) for ref in refs):
                    raise TypeError(
                        f"fn must return a ref, or a list of refs, such as actor.f.remote(), not "
                        f"{given!r}"
                    )
            except BaseException:
                self._idle.appendleft(actor)
                raise
            if not self._busy:
                self._next = number
            self._busy[refs] = number, actor, isinstance(given, list)
            self._by_number[number] = refs

    def _take(self, refs: Refs, timeout: float | None, give_up: bool) -> Any:
        late = bool(rsim.wait(list(refs), num_returns=len(refs), timeout=timeout)[1])
        if late and not give_up:
            raise TimeoutError(f"the next result is not there after {timeout} s")
        number, actor, in_list = self._busy.pop(refs)
        del self._by_number[number]
        self._next = number + 1
        alive = True
        try:
            if late:
                raise TimeoutError(f"the next result was given up after {timeout} s")
            return rsim.get(list(refs)) if in_list else rsim.get(refs[0])
        except ActorDiedError:
            alive = False
            raise
        finally:
            if alive:
                self._idle.append(actor)
            self._hand_out()
