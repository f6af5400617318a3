"""Parallel iterators, `ray.util.iter`: items in shards, each in an actor, and what is done to them.

Decides which shard an item is in, and what its worker is asked for. Must never fetch an item that
was not asked for, but for the next one of each shard. Owns the workers of the iterators that it
makes. What one does with the items where they are used is in `local_iterators`.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import rsim
from rsim.as_ray.local_iterators import NOT_READY, LocalIterator, SharedMetrics, metrics_now

Transform = Callable[[LocalIterator], LocalIterator]


class ParallelIteratorWorker:
    """The actor that has a shard; also the base of classes for `from_actors`.

    item_generator: an iterable, or a function that returns one. repeat: begin again at its end.
    """

    def __init__(self, item_generator: Any, repeat: bool) -> None:
        self._made = item_generator
        self._repeats = repeat
        self._items: Iterator[Any] = iter(())
        self._slices: list[deque[Any]] = []

    def _each(self) -> Iterator[Any]:
        while True:
            yield from self._made() if callable(self._made) else self._made
            if not self._repeats:
                return

    def par_iter_init(self, transforms: Sequence[Transform]) -> None:
        """Begin, with the items transformed."""
        local = LocalIterator(lambda _timeout: self._each(), SharedMetrics())
        for transform in transforms:
            local = transform(local)
        self._items = iter(local)
        self._slices = []

    def par_iter_next(self) -> Any:
        """The next item, in a list that is empty at the end."""
        return list(itertools.islice(self._items, 1))

    def par_iter_next_batch(self, batch_ms: int) -> list[Any]:
        """As many items as there are in that time, but one at least; none at the end."""
        return self._batch(self._items, batch_ms)

    def par_iter_slice(self, step: int, start: int) -> list[Any]:
        """The next of every `step` items, beginning with that at `start`; none at the end."""
        return list(itertools.islice(self._slice(step, start), 1))

    def par_iter_slice_batch(self, step: int, start: int, batch_ms: int) -> list[Any]:
        """As many of them as there are in that time, but one at least; none at the end."""
        return self._batch(self._slice(step, start), batch_ms)

    def _slice(self, step: int, start: int) -> Iterator[Any]:
        if len(self._slices) != step:
            self._slices = [deque() for _ in range(step)]
            self._turns = itertools.cycle(self._slices)
        mine = self._slices[start]
        while True:
            if mine:
                yield mine.popleft()
                continue
            for item in itertools.islice(self._items, 1):
                next(self._turns).append(item)
                break
            else:
                return

    @staticmethod
    def _batch(items: Iterator[Any], batch_ms: int) -> list[Any]:
        deadline = time.monotonic() + batch_ms / 1000
        found: list[Any] = []
        for item in items:
            found.append(item)
            if time.monotonic() >= deadline:
                break
        return found


class _Shard:
    """What a worker is asked for, in order."""

    def __init__(self, actor: Any, ask: Callable[[Any], Any], ahead: int) -> None:
        self.actor = actor
        self._ask = ask
        self.pending: deque[Any] = deque(ask(actor) for _ in range(ahead))

    def take(self) -> list[Any]:
        """The next items; none at the end."""
        items: list[Any] = rsim.get(self.pending.popleft())
        if items:
            self.pending.append(self._ask(self.actor))
            metrics_now().current_actor = self.actor
        return items


class ParallelIterator:
    """Items in shards. Made by the functions `from_...`; nothing is done before it is gathered."""

    def __init__(self, actor_sets: list[_Set], name: str) -> None:
        self._sets = actor_sets
        self.name = name

    def __iter__(self) -> Iterator[Any]:
        raise TypeError(
            "a ParallelIterator is not iterated over by itself: call its gather_sync() or "
            "gather_async() first"
        )

    def __repr__(self) -> str:
        return f"ParallelIterator[{self.name}]"

    __str__ = __repr__

    # -- what is done to the items, in the shards --------------------------------------------------

    def _with(self, name: str, transform: Transform) -> ParallelIterator:
        changed = [(actors, (*transforms, transform)) for actors, transforms in self._sets]
        return ParallelIterator(changed, f"{self.name}{name}")

    def transform(self, fn: Callable[[Iterable[Any]], Iterable[Any]]) -> ParallelIterator:
        """What `fn`, a generator function, makes of each shard."""
        return self._with(".transform()", lambda local: local.transform(fn))

    def for_each(
        self, fn: Callable[[Any], Any], max_concurrency: int = 1, resources: Any = None
    ) -> ParallelIterator:
        """`fn(item)` of each item; with a `max_concurrency` other than 1 in so many tasks at a
        time per shard (0: as many as there are items), which have the options `resources`.
        """
        return self._with(
            ".for_each()", lambda local: local.for_each(fn, max_concurrency, resources)
        )

    def filter(self, fn: Callable[[Any], bool]) -> ParallelIterator:
        """The items for which `fn(item)` is true."""
        return self._with(".filter()", lambda local: local.filter(fn))

    def batch(self, n: int) -> ParallelIterator:
        """Lists of `n` items."""
        return self._with(f".batch({n})", lambda local: local.batch(n))

    def flatten(self) -> ParallelIterator:
        """The items of the items."""
        return self._with(".flatten()", lambda local: local.flatten())

    def combine(self, fn: Callable[[Any], Iterable[Any]]) -> ParallelIterator:
        """The items of `fn(item)` of each item."""
        return self._with(".combine()", lambda local: local.combine(fn))

    def local_shuffle(self, shuffle_buffer_size: int, seed: int | None = None) -> ParallelIterator:
        """The items in random order, so many of them at a time."""
        name = f".local_shuffle(shuffle_buffer_size={shuffle_buffer_size}, seed={seed})"
        return self._with(name, lambda local: local.shuffle(shuffle_buffer_size, seed))

    # -- other shards ------------------------------------------------------------------------------

    def repartition(self, num_partitions: int, batch_ms: int = 0) -> ParallelIterator:
        """The same items in so many shards, each with a part of every one that was."""
        old = self._sets

        def part(start: int) -> Callable[[], Iterator[Any]]:
            def ask(actor: Any) -> Any:
                return actor.par_iter_slice_batch.remote(num_partitions, start, batch_ms)

            return lambda: _unordered([_Shard(actor, ask, 1) for actor in _actors(old)], None)

        _begin(old)
        parts = [part(start) for start in range(num_partitions)]
        name = f"{self.name}.repartition[num_partitions={num_partitions}]"
        return from_iterators(parts, name=name)

    def union(self, other: ParallelIterator) -> ParallelIterator:
        """The shards of both."""
        if not isinstance(other, ParallelIterator):
            raise TypeError(f"other must be a ParallelIterator, not {other!r}")
        return ParallelIterator([*self._sets, *other._sets], f"ParallelUnion[{self}, {other}]")

    def select_shards(self, shards_to_keep: list[int]) -> ParallelIterator:
        """Some of the shards. Raises ValueError for one that there is not."""
        wanted = sorted(set(shards_to_keep))
        if not wanted or wanted[0] < 0 or wanted[-1] >= self.num_shards():
            raise ValueError(
                f"shards_to_keep must be from 0 to {self.num_shards() - 1}, not {shards_to_keep!r}"
            )
        each = [([actor], made) for actors, made in self._sets for actor in actors]
        name = f"{self.name}.select_shards({len(wanted)} total)"
        return ParallelIterator([each[index] for index in wanted], name)

    def num_shards(self) -> int:
        """How many shards there are."""
        return len(_actors(self._sets))

    def shards(self) -> list[LocalIterator]:
        """The items of each shard."""
        return [self.get_shard(index) for index in range(self.num_shards())]

    def get_shard(self, shard_index: int, batch_ms: int = 0, num_async: int = 1) -> LocalIterator:
        """The items of one shard, in order. ValueError when there is no such shard."""
        _check(batch_ms, num_async)
        one = self.select_shards([shard_index])._sets

        def base(_timeout: float | None) -> Iterator[Any]:
            _begin(one)
            (actor,) = _actors(one)
            shard = _Shard(actor, _asking(batch_ms), num_async)
            while items := shard.take():
                yield from items

        return LocalIterator(base, SharedMetrics(), name=f"{self}.shard[{shard_index}]")

    # -- together again ----------------------------------------------------------------------------

    def gather_sync(self) -> LocalIterator:
        """The items of all shards in turn."""
        return LocalIterator(self._rounds, SharedMetrics(), name=f"{self}.gather_sync()").flatten(
            named=False
        )

    def batch_across_shards(self) -> LocalIterator:
        """Lists of an item of each shard."""
        return LocalIterator(self._rounds, SharedMetrics(), name=f"{self}.batch_across_shards()")

    def _rounds(self, _timeout: float | None) -> Iterator[Any]:
        _begin(self._sets)
        ask = _asking(0)
        shards = [_Shard(actor, ask, 1) for actor in _actors(self._sets)]
        while shards:
            taken = [(shard, shard.take()) for shard in shards]
            shards = [shard for shard, items in taken if items]
            if shards:
                yield [item for _, items in taken for item in items]

    def gather_async(self, batch_ms: int = 0, num_async: int = 1) -> LocalIterator:
        """The items of all shards, in the order in which they are there."""
        _check(batch_ms, num_async)

        def base(timeout: float | None) -> Iterator[Any]:
            _begin(self._sets)
            ask = _asking(batch_ms)
            shards = [_Shard(actor, ask, num_async) for actor in _actors(self._sets)]
            return _unordered(shards, timeout)

        return LocalIterator(base, SharedMetrics(), name=f"{self}.gather_async()")

    def take(self, n: int) -> list[Any]:
        """The first `n` items, gathered in turn."""
        return self.gather_sync().take(n)

    def show(self, n: int = 20) -> None:
        """Print the first `n` items."""
        self.gather_sync().show(n)


_Set = tuple[Sequence[Any], tuple[Transform, ...]]


def _actors(sets: list[_Set]) -> list[Any]:
    return [actor for actors, _ in sets for actor in actors]


def _begin(sets: list[_Set]) -> None:
    rsim.get(
        [actor.par_iter_init.remote(transforms) for actors, transforms in sets for actor in actors]
    )


def _asking(batch_ms: int) -> Callable[[Any], Any]:
    return lambda actor: actor.par_iter_next_batch.remote(batch_ms)


def _unordered(shards: list[_Shard], timeout: float | None) -> Iterator[Any]:
    """The items of the shards as they come; NOT_READY when none comes in time."""
    while shards:
        first = {shard.pending[0]: shard for shard in shards}
        ready, _ = rsim.wait(list(first), timeout=timeout)
        if not ready:
            yield NOT_READY
            continue
        shard = first[ready[0]]
        items = shard.take()
        if not items:
            shards.remove(shard)
        yield from items


def _check(batch_ms: int, num_async: int) -> None:
    if batch_ms < 0:
        raise ValueError(f"batch_ms must be 0 or more, not {batch_ms!r}")
    if num_async < 1:
        raise ValueError(f"num_async must be 1 or more, not {num_async!r}")


def from_items(items: list[Any], num_shards: int = 2, repeat: bool = False) -> ParallelIterator:
    """Items, dealt out to the shards one by one."""
    shards = [items[start::num_shards] for start in range(num_shards)]
    kind = type(items[0]).__name__ if items else "None"
    again = ", repeat=True" if repeat else ""
    name = f"from_items[{kind}, {len(items)}, shards={num_shards}{again}]"
    return from_iterators(shards, repeat=repeat, name=name)


def from_range(n: int, num_shards: int = 2, repeat: bool = False) -> ParallelIterator:
    """The numbers from 0 to `n` - 1, each shard with those that follow each other."""
    size = n // num_shards
    ends = [*(size * index for index in range(num_shards)), n]
    again = ", repeat=True" if repeat else ""
    name = f"from_range[{n}, shards={num_shards}{again}]"
    return from_iterators(list(map(range, ends, ends[1:])), repeat=repeat, name=name)


def from_iterators(
    generators: Sequence[Any], repeat: bool = False, name: str | None = None
) -> ParallelIterator:
    """A shard of each iterable, or function that returns one."""
    worker = rsim.remote(ParallelIteratorWorker)
    again = ", repeat=True" if repeat else ""
    return from_actors(
        [worker.remote(each, repeat) for each in generators],
        name or f"from_iterators[shards={len(generators)}{again}]",
    )


def from_actors(actors: list[Any], name: str | None = None) -> ParallelIterator:
    """The shards of actors whose classes are made of ParallelIteratorWorker."""
    return ParallelIterator([(actors, ())], name or f"from_actors[shards={len(actors)}]")
