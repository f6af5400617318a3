"""A pool of actors that share out calls.

Decides which actor makes the next call: the one that has been idle longest. Must never give an
actor a second call before the result of its first was taken or given up. Owns the calls that wait
for an actor. Its fields are called as those of Ray's pool, of which libraries derive pools.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import rsim
from rsim.exceptions import ActorDiedError

Call = Callable[[Any, Any], "rsim.ObjectRef[Any] | list[rsim.ObjectRef[Any]]"]


class ActorPool:
    """Shares out calls among actors, one at a time each.

    Results are taken in the order of submission (`get_next`, `map`) or as they are there
    (`get_next_unordered`, `map_unordered`). When a call raises, so does taking its result, and its
    actor goes on, unless it is dead.
    """

    def __init__(self, actors: Iterable[Any]) -> None:
        self._idle_actors = list(actors)
        self._future_to_actor: dict[Any, tuple[int, Any]] = {}
        """The calls under way: their number and actor, by their ref, or the tuple of their refs."""
        self._index_to_future: dict[int, Any] = {}
        self._pending_submits: list[tuple[Call, Any]] = []
        """The calls that wait for an actor."""
        self._next_task_index = 0
        self._next_return_index = 0
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
        self._pending_submits.append((fn, value))
        self._hand_out()

    def has_next(self) -> bool:
        """Whether there are results to be taken."""
        return bool(self._future_to_actor or self._pending_submits)

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
        future = self._index_to_future[self._next_return_index]
        return self._take(future, timeout, ignore_if_timedout)

    def get_next_unordered(
        self, timeout: float | None = None, ignore_if_timedout: bool = False
    ) -> Any:
        """The next result that is there; arguments and errors as those of `get_next`."""
        self._check_next()
        self._unordered = True
        firsts = {_refs_of(future)[0]: future for future in self._future_to_actor}
        ready, _ = rsim.wait(list(firsts), timeout=timeout)
        future = firsts[ready[0]] if ready else next(iter(self._future_to_actor))
        return self._take(future, None if ready else 0, ignore_if_timedout)

    def has_free(self) -> bool:
        """Whether an actor is idle and nothing waits for one."""
        return bool(self._idle_actors) and not self._pending_submits

    def pop_idle(self) -> Any:
        """Remove an idle actor from the pool and return it; None when all are busy."""
        return self._idle_actors.pop(0) if self.has_free() else None

    def push(self, actor: Any) -> None:
        """Add an actor. Raises ValueError when it is in the pool already."""
        busy = (other for _, other in self._future_to_actor.values())
        if actor in self._idle_actors or actor in busy:
            raise ValueError(f"{actor!r} is in the pool already")
        self._return_actor(actor)

    def _return_actor(self, actor: Any) -> None:
        self._idle_actors.append(actor)
        self._hand_out()

    def _restart(self, fn: Call, values: Iterable[Any]) -> None:
        self._pending_submits.clear()
        self._idle_actors += [actor for _, actor in self._future_to_actor.values()]
        self._future_to_actor.clear()
        self._index_to_future.clear()
        for value in values:
            self.submit(fn, value)

    def _results(self, take: Callable[[], Any]) -> Iterator[Any]:
        while self.has_next():
            yield take()

    def _check_next(self) -> None:
        if not self.has_next():
            raise StopIteration("there are no results to get")
        if not self._future_to_actor:
            raise ValueError("the pool has no actors left to make the calls that wait for one")

    def _hand_out(self) -> None:
        while self._idle_actors and self._pending_submits:
            fn, value = self._pending_submits.pop(0)
            actor = self._idle_actors.pop(0)
            try:
                given = fn(actor, value)
                future = tuple(given) if isinstance(given, list) else given
                refs = _refs_of(future)
                if not refs or not all(isinstance(ref, rsim.ObjectRef) for ref in refs):
                    raise TypeError(
                        f"fn must return a ref, or a list of refs, such as actor.f.remote(), not "
                        f"{given!r}"
                    )
            except BaseException:
                self._idle_actors.insert(0, actor)
                raise
            index = self._next_task_index
            self._next_task_index += 1
            if not self._future_to_actor:
                self._next_return_index = index
            self._future_to_actor[future] = index, actor
            self._index_to_future[index] = future

    def _take(self, future: Any, timeout: float | None, give_up: bool) -> Any:
        refs = _refs_of(future)
        late = bool(rsim.wait(refs, num_returns=len(refs), timeout=timeout)[1])
        if late and not give_up:
            raise TimeoutError(f"the next result is not there after {timeout} s")
        index, actor = self._future_to_actor.pop(future)
        del self._index_to_future[index]
        self._next_return_index = index + 1
        alive = True
        try:
            if late:
                raise TimeoutError(f"the next result was given up after {timeout} s")
            return rsim.get(refs if isinstance(future, tuple) else future)
        except ActorDiedError:
            alive = False
            raise
        finally:
            if alive:
                self._return_actor(actor)
            else:
                self._hand_out()


def _refs_of(future: Any) -> list[Any]:
    return list(future) if isinstance(future, tuple) else [future]
