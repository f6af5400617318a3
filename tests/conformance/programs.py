"""Programs that are run on every backend, and must do the same: what they return and raise.

Each takes a folder for marks, and returns plain data.
"""

import os
import signal
import threading
import time

import numpy as np

import rsim
from rsim.exceptions import RsimTaskError
from tests.conformance import marks


@rsim.remote
def identity(value):
    return value


@rsim.remote
def marked(folder, number):
    """Leaves a mark before each value."""
    for index in range(number):
        marks.leave(folder, "made")
        yield index


@rsim.remote
def divide(a, b):
    return a / b


@rsim.remote
def failing_at(number):
    if number % 3 == 0:
        raise LookupError(f"number {number}")
    return number


@rsim.remote
def locked():
    return threading.Lock()


def attempt(call):
    """What a call returns, or what it raises: type and first line."""
    try:
        return "value", call()
    except Exception as error:
        kinds = [kind.__name__ for kind in type(error).__mro__]
        return "error", kinds, str(error).splitlines()[0], error.args


def monte_carlo(folder):
    """Estimates pi; the points are drawn from seeds."""

    @rsim.remote
    def inside(seed, count=1000):
        chance = np.random.default_rng(seed)
        x, y = chance.random(count), chance.random(count)
        return int(((x * x + y * y) < 1).sum())

    return 4 * sum(rsim.get([inside.remote(seed) for seed in range(8)])) / 8000


def matrix_products(folder):
    """A chain of products by a tree."""

    @rsim.remote
    def product(first, second):
        return first @ second % 1000

    chance = np.random.default_rng(0)
    level = [rsim.put(chance.integers(0, 9, (150, 150))) for _ in range(8)]
    while len(level) > 1:
        level = [product.remote(*pair) for pair in zip(level[::2], level[1::2], strict=True)]
    return rsim.get(level[0]).sum().item()


def word_count(folder):
    """Map, shuffle, reduce, with several returns per mapper."""
    text = "the quick brown fox jumps over the lazy dog and the fox runs on".split()

    @rsim.remote(num_returns=2)
    def count(words):
        halves = {}, {}
        for word in words:
            half = halves[len(word) % 2]
            half[word] = half.get(word, 0) + 1
        return halves

    @rsim.remote
    def merge(*tables):
        merged = {}
        for table in tables:
            for word, number in table.items():
                merged[word] = merged.get(word, 0) + number
        return merged

    columns = zip(*(count.remote(text[start::4]) for start in range(4)), strict=True)
    even, odd = rsim.get([merge.remote(*column) for column in columns])
    return sorted(even.items()), sorted(odd.items())


def quicksort(folder):
    """Tasks that submit tasks, as deep as the data wants."""

    @rsim.remote
    def sort(items):
        if len(items) < 4:
            return sorted(items)
        pivot = items[len(items) // 2]
        low = sort.remote([item for item in items if item < pivot])
        high = sort.remote([item for item in items if item > pivot])
        return rsim.get(low) + [item for item in items if item == pivot] + rsim.get(high)

    return rsim.get(sort.remote([(37 * number) % 101 for number in range(40)]))


def errors_of_all_kinds(folder):
    """What arrives for errors: types, first lines, arguments."""
    return [
        attempt(lambda: rsim.get(divide.remote(1, 0))),
        attempt(lambda: rsim.get(identity.remote(divide.remote(1, 0)))),
        attempt(lambda: rsim.get(divide.remote("a", 1))),
        attempt(lambda: rsim.get([failing_at.remote(number) for number in (1, 2, 3)])),
        attempt(lambda: divide.remote(1)),
        attempt(lambda: divide(1, 2)),
        attempt(lambda: divide.options(num_cpu=1)),
        attempt(lambda: rsim.get("x")),
        attempt(lambda: rsim.wait([rsim.put(1)], num_returns=2)),
        attempt(lambda: identity.remote(threading.Lock())),
        attempt(lambda: rsim.get(locked.remote())),
    ]


def first_error_of_many(folder):
    """Errors are values until somebody gets them."""
    refs = [failing_at.remote(number) for number in range(7)]
    outcomes = []
    while refs:
        (ready,), refs = rsim.wait(refs)
        try:
            outcomes.append(rsim.get(ready))
        except LookupError as error:
            outcomes.append((isinstance(error, RsimTaskError), error.args))
    return sorted(outcomes, key=repr)


def crashes(folder):
    """Workers that die: retried, counted, told."""

    @rsim.remote
    def die(name, times):
        marks.leave(folder, name)
        if marks.count(folder, name) <= times:
            os.kill(os.getpid(), signal.SIGKILL)
        return name

    retried = rsim.get([die.remote("once", 1), die.remote("twice", 2)])
    told = attempt(lambda: rsim.get(die.options(max_retries=1).remote("ever", 99)))
    return retried, told[1:3], [marks.count(folder, name) for name in ("once", "twice", "ever")]


def timeouts(folder):
    """A task that takes longer than anybody waits."""

    @rsim.remote
    def slow():
        time.sleep(10_000)

    ref = slow.remote()
    told = attempt(lambda: rsim.get(ref, timeout=0.01))
    done = identity.remote(1)
    rsim.get(done)
    ready, rest = rsim.wait([done, ref], num_returns=2, timeout=0.5)
    rsim.cancel(ref)
    cancelled = attempt(lambda: rsim.get(ref))
    return told[1], len(ready), rest == [ref], cancelled[1:]


def refs_everywhere(folder):
    """Refs in arguments, results, objects and closures."""
    base = rsim.put({"inner": rsim.put(np.arange(50_000)), "plain": 5})

    @rsim.remote
    def look(table, extra):
        return [int(rsim.get(table["inner"]).sum()), table["plain"], rsim.get(extra[0])["plain"]]

    @rsim.remote
    def hand_out():
        return [rsim.put(number) for number in range(3)], base

    refs, again = rsim.get(hand_out.remote())
    return rsim.get(look.remote(base, [again])), rsim.get(refs), again == base


PROGRAMS = [
    monte_carlo,
    matrix_products,
    word_count,
    quicksort,
    errors_of_all_kinds,
    first_error_of_many,
    crashes,
    timeouts,
    refs_everywhere,
]
