"""ray.util.iter: shards in actors, what is done to their items, and where they come together."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture
def ray(as_ray: Any) -> Iterator[Any]:
    import ray

    ray.init(num_cpus=4)
    yield ray
    ray.shutdown()


def test_the_shards_take_turns(ray: Any) -> None:
    from ray.util import iter as it

    numbers = it.from_items([10, 20, 30, 40, 50], num_shards=2)
    assert numbers.take(4) == [10, 20, 30, 40]
    assert [list(shard) for shard in numbers.shards()] == [[10, 30, 50], [20, 40]]
    assert list(it.from_range(7, 3).batch_across_shards()) == [[0, 2, 4], [1, 3, 5], [6]]
    assert it.from_range(3, repeat=True).take(7) == [0, 1, 0, 2, 0, 1, 0]
    assert list(numbers.select_shards([1]).gather_sync()) == [20, 40]
    with pytest.raises(TypeError, match=r"gather_sync\(\)"):
        iter(numbers)
    with pytest.raises(ValueError, match="from 0 to 1, not"):
        numbers.get_shard(2)


def test_what_is_done_to_items(ray: Any) -> None:
    from ray.util.iter import from_range

    def doubled(items: Any) -> Any:
        yield from (item * 2 for item in items)

    numbers = from_range(6, num_shards=2)
    changed = numbers.for_each(lambda x: x + 1).filter(lambda x: x != 2).batch(2)
    assert list(changed.gather_sync()) == [[1, 3], [4, 5], [6]]
    assert repr(changed) == "ParallelIterator[from_range[6, shards=2].for_each().filter().batch(2)]"
    assert list(changed.flatten().gather_sync()) == [1, 4, 3, 5, 6]
    assert list(numbers.transform(doubled).gather_sync().transform(doubled))[:2] == [0, 12]
    assert sorted(numbers.combine(lambda x: [x, x]).gather_async()) == sorted([*range(6)] * 2)
    shuffled = list(from_range(50, 1).local_shuffle(9, seed=3).gather_sync())
    assert sorted(shuffled) == [*range(50)] != shuffled
    with_tasks = numbers.for_each(lambda x: -x, max_concurrency=2, resources={"num_cpus": 0.1})
    assert sorted(with_tasks.gather_async(batch_ms=1, num_async=2)) == [*range(-5, 1)]


def test_other_shards_and_unions(ray: Any) -> None:
    from ray.util.iter import from_items, from_range

    parts = from_range(10, 2).repartition(3)
    assert parts.num_shards() == 3
    assert sorted(item for shard in parts.shards() for item in shard) == [*range(10)]
    letters = from_items(["a", "b"], 1)
    assert list(letters.union(from_items(["x"], 1)).gather_sync()) == ["a", "x", "b"]
    both = letters.gather_sync().union(from_range(4, 1).gather_sync(), deterministic=True)
    assert list(both) == ["a", 0, "b", 1, 2, 3]
    weighted = (
        from_range(4, 1).gather_sync().union(letters.gather_sync(), round_robin_weights=[2, 1])
    )
    assert Counter(map(str, weighted)) == Counter("0123ab")
    first, second = letters.gather_sync().duplicate(2)
    assert next(first) == next(second) == "a"
    with pytest.raises(TypeError, match="must be a ParallelIterator"):
        letters.union(["c"])


def test_metrics_are_those_of_the_whole(ray: Any) -> None:
    from ray.util.iter import LocalIterator, from_items

    def counted(item: int) -> int:
        LocalIterator.get_metrics().counters["seen"] += 1
        return LocalIterator.get_metrics().counters["seen"]

    one, two = (from_items([1, 2], 1).gather_async().for_each(counted) for _ in range(2))
    assert list(one.union(two)) == [1, 2, 3, 4]
    pairs = list(from_items([1, 2], 2).gather_async().zip_with_source_actor())
    assert {item for _, item in pairs} == {1, 2} and pairs[0][0] != pairs[1][0]


def test_iterators_travel_and_actors_may_be_ones_own(ray: Any) -> None:
    from ray.util.iter import ParallelIteratorWorker, from_actors, from_iterators

    @ray.remote
    class Mine(ParallelIteratorWorker):
        def __init__(self, *items: int) -> None:
            super().__init__(lambda: iter(items), False)

    @ray.remote
    def summed(items: Any) -> int:
        return sum(items)

    mine = from_actors([Mine.remote(1, 2), Mine.remote(3)])
    assert ray.get(summed.remote(mine.gather_sync().for_each(lambda x: x * 10))) == 60
    assert ray.get(summed.remote(mine.get_shard(0, batch_ms=5, num_async=3))) == 3
    assert from_iterators([range(2), [7]], name="named").name == "named"
