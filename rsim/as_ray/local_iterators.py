"""What one does with the items of a parallel iterator where they are used: `LocalIterator`.

Decides in which order items of several iterators are taken. Must never wait for one iterator while
another of a union has an item. Owns the metrics of each iterator.
"""

from __future__ import annotations

import random
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from itertools import islice
from typing import Any

import rsim

NOT_READY = object()
"""In the place of an item that is not there yet; seen by nobody but iterators."""

_PAUSE_S = 0.001
"""Between looks at iterators none of which has an item."""


class MetricsContext:
    """What the functions of an iterator count."""

    def __init__(self) -> None:
        self.counters: dict[str, int] = defaultdict(int)
        self.info: dict[str, Any] = {}
        self.current_actor: Any = None
        """Whose item it is."""


class SharedMetrics:
    """The metrics of an iterator, or of the union that it has become a part of."""

    def __init__(self) -> None:
        self._own = MetricsContext()
        self.union: SharedMetrics | None = None

    def get(self) -> MetricsContext:
        """The metrics."""
        return self._own if self.union is None else self.union.get()


_METRICS: ContextVar[MetricsContext | None] = ContextVar("metrics", default=None)
"""Of the iterator that runs now."""


def metrics_now() -> MetricsContext:
    """The metrics of the iterator that runs now. RuntimeError when none does."""
    found = _METRICS.get()
    if found is None:
        raise RuntimeError("no iterator of ray.util.iter runs, whose metrics these would be")
    return found


Step = Callable[[Iterator[Any]], Iterator[Any]]


class LocalIterator:
    """Items, one by one, and what is done to them. It can be handed to tasks before it is used.

    base_iterator: gets how many seconds to wait for an item, or None, and yields NOT_READY instead.
    """

    def __init__(
        self,
        base_iterator: Callable[[float | None], Iterator[Any]],
        shared_metrics: SharedMetrics,
        local_transforms: tuple[Step, ...] = (),
        timeout: float | None = None,
        name: str = "unknown",
    ) -> None:
        self._base = base_iterator
        self.shared_metrics = shared_metrics
        self._steps = local_transforms
        self.timeout = timeout
        self.name = name
        self._running: Iterator[Any] | None = None

    @staticmethod
    def get_metrics() -> MetricsContext:
        """The metrics of the iterator one of whose functions runs now."""
        return metrics_now()

    def __repr__(self) -> str:
        return f"LocalIterator[{self.name}]"

    __str__ = __repr__

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        while (item := self._next()) is NOT_READY:
            time.sleep(_PAUSE_S)
        return item

    def _next(self) -> Any:
        """The next item, or NOT_READY."""
        _METRICS.set(self.shared_metrics.get())
        if self._running is None:
            self._running = self._base(self.timeout)
            for step in self._steps:
                self._running = step(self._running)
        return next(self._running)

    def _with(self, name: str, step: Step) -> LocalIterator:
        steps = (*self._steps, step)
        return LocalIterator(
            self._base, self.shared_metrics, steps, self.timeout, f"{self.name}{name}"
        )

    # -- what is done to the items -----------------------------------------------------------------

    def transform(self, fn: Callable[[Iterable[Any]], Iterable[Any]]) -> LocalIterator:
        """What `fn`, a generator function, makes of them."""

        def step(items: Iterator[Any]) -> Iterator[Any]:
            return iter(fn(item for item in items if item is not NOT_READY))

        return self._with(".transform()", step)

    def for_each(
        self, fn: Callable[[Any], Any], max_concurrency: int = 1, resources: Any = None
    ) -> LocalIterator:
        """`fn(item)` of each; with a `max_concurrency` other than 1 in so many tasks at a time (0:
        as many as there are items), which have the options `resources`.
        """
        if max_concurrency < 0:
            raise ValueError(f"max_concurrency must be 0 or more, not {max_concurrency!r}")

        def step(items: Iterator[Any]) -> Iterator[Any]:
            for item in items:
                yield item if item is NOT_READY else fn(item)

        def tasks(items: Iterator[Any]) -> Iterator[Any]:
            task: Any = rsim.remote(**resources)(fn) if resources else rsim.remote(fn)
            running: list[Any] = []
            for item in items:
                if item is NOT_READY:
                    yield item
                    continue
                running.append(task.remote(item))
                if max_concurrency and len(running) == max_concurrency:
                    yield _first(running)
            while running:
                yield _first(running)

        return self._with(".for_each()", step if max_concurrency == 1 else tasks)

    def filter(self, fn: Callable[[Any], bool]) -> LocalIterator:
        """Those for which `fn(item)` is true."""

        def step(items: Iterator[Any]) -> Iterator[Any]:
            return (item for item in items if item is NOT_READY or fn(item))

        return self._with(".filter()", step)

    def batch(self, n: int) -> LocalIterator:
        """Lists of `n` of them; the last one may have fewer."""

        def step(items: Iterator[Any]) -> Iterator[Any]:
            batch: list[Any] = []
            for item in items:
                if item is NOT_READY:
                    yield item
                    continue
                batch.append(item)
                if len(batch) >= n:
                    yield batch
                    batch = []
            if batch:
                yield batch

        return self._with(f".batch({n})", step)

    def flatten(self, named: bool = True) -> LocalIterator:
        """The items of the items."""

        def step(items: Iterator[Any]) -> Iterator[Any]:
            for item in items:
                if item is NOT_READY:
                    yield item
                else:
                    yield from item

        return self._with(".flatten()" if named else "", step)

    def combine(self, fn: Callable[[Any], Iterable[Any]]) -> LocalIterator:
        """The items of `fn(item)` of each."""
        combined = self.for_each(fn).flatten(named=False)
        combined.name = f"{self.name}.combine()"
        return combined

    def shuffle(self, shuffle_buffer_size: int, seed: int | None = None) -> LocalIterator:
        """In random order, so many of them at a time."""

        def step(items: Iterator[Any]) -> Iterator[Any]:
            chance = random.Random(seed)
            held: list[Any] = []
            for item in items:
                if item is NOT_READY:
                    yield item
                    continue
                held.append(item)
                if len(held) >= shuffle_buffer_size:
                    yield held.pop(chance.randrange(len(held)))
            chance.shuffle(held)
            yield from held

        return self._with(f".shuffle(shuffle_buffer_size={shuffle_buffer_size}, seed={seed})", step)

    def zip_with_source_actor(self) -> LocalIterator:
        """(actor, item): whose it is."""

        def step(items: Iterator[Any]) -> Iterator[Any]:
            for item in items:
                yield item if item is NOT_READY else (metrics_now().current_actor, item)

        return self._with(".zip_with_source_actor()", step)

    def take(self, n: int) -> list[Any]:
        """The next `n` of them."""
        return list(islice(self, n))

    def show(self, n: int = 20) -> None:
        """Print the next `n` of them."""
        for item in self.take(n):
            print(item)

    # -- several iterators -------------------------------------------------------------------------

    def duplicate(self, n: int) -> list[LocalIterator]:
        """So many iterators, each over all the items. One that is ahead waits for the others."""
        if n < 2:
            raise ValueError(f"n must be 2 or more, not {n!r}")
        queues: list[deque[Any]] = [deque() for _ in range(n)]

        def base(queue: deque[Any]) -> Callable[[float | None], Iterator[Any]]:
            def items(_timeout: float | None) -> Iterator[Any]:
                while True:
                    if not queue and any(queues):
                        yield NOT_READY
                        continue
                    if not queue:
                        try:
                            item = self._next()
                        except StopIteration:
                            return
                        if item is NOT_READY:
                            yield item
                            continue
                        for each in queues:
                            each.append(item)
                    yield queue.popleft()

            return items

        return [
            LocalIterator(base(queue), self.shared_metrics, name=f"{self.name}.duplicate[{index}]")
            for index, queue in enumerate(queues)
        ]

    def union(
        self,
        *others: LocalIterator,
        deterministic: bool = False,
        round_robin_weights: list[float | str] | None = None,
    ) -> LocalIterator:
        """The items of all, of each one in turn, or as many as its weight says ("*": all that are
        there). One that has none at the moment is passed over, unless `deterministic`.
        """
        parts = (self, *others)
        weights = round_robin_weights or [1] * len(parts)
        if len(weights) != len(parts):
            raise ValueError(f"round_robin_weights must have {len(parts)} weights, not {weights!r}")
        metrics = SharedMetrics()
        timeout = None if deterministic else 0
        copies = []
        for part in parts:
            part.shared_metrics.union = metrics
            copy = LocalIterator(part._base, part.shared_metrics, part._steps, timeout, part.name)
            copies.append(copy)

        def base(_timeout: float | None) -> Iterator[Any]:
            active = list(zip(copies, weights, strict=True))
            while active:
                found = False
                for each in list(active):
                    part, weight = each
                    left = float("inf") if weight == "*" else float(weight)
                    while left > 0:
                        try:
                            item = part._next()
                        except StopIteration:
                            active.remove(each)
                            break
                        if item is NOT_READY:
                            break
                        found = True
                        left -= 1
                        yield item
                if active and not found:
                    yield NOT_READY

        name = f"LocalUnion[{', '.join(map(str, parts))}]"
        return LocalIterator(base, metrics, name=name)


def _first(running: list[Any]) -> Any:
    """The result of the first task that is done; it is removed."""
    (ref,), _ = rsim.wait(running)
    running.remove(ref)
    return rsim.get(ref)
