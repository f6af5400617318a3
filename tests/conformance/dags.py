"""Random programs: graphs of twenty steps, run by tasks and, to compare, by plain Python.

A step takes the values of earlier steps and makes one, a number or an array; what it makes follows
from the graph alone, whatever runs when. The kinds of steps differ in how tasks come by it.
"""

import os
import random
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import rsim
from tests.conformance import marks

CLUSTER = rsim.sim.Cluster(nodes=3, num_cpus=2, jitter_s=1e-3)
FAULTS = rsim.sim.Faults(kill_worker=0.1, kill_node=0.01, max_faults=3)

KINDS = (
    "refs",  # inputs are refs as arguments
    "values",  # the driver gets the inputs first
    "nested",  # refs in a list; the task gets them
    "children",  # the task submits a task for each input
    "grandchildren",  # the same, one deeper
    "promise",  # the task returns the ref of its child
    "pair",  # two returns
    "put",  # the driver puts the value
    "task put",  # the task puts it, and returns the ref
    "wait",  # the driver waits for the inputs
    "task wait",  # the task does
    "array",  # a large value
)
MODULUS = 1_000_003
LENGTH = 20_000
"""Numbers in an array: more than travels inline."""


@dataclass(frozen=True)
class Step:
    """One value to be made from those of earlier steps."""

    kind: str
    inputs: tuple[int, ...]
    seed: int


def random_dag(seed: int, size: int = 20) -> list[Step]:
    """A graph; the same for the same seed."""
    chance = random.Random(seed)
    steps: list[Step] = []
    for number in range(size):
        count = min(number, chance.choice((0, 1, 1, 2, 2, 3)))
        inputs = tuple(chance.sample(range(number), count))
        steps.append(Step(chance.choice(KINDS), inputs, chance.randrange(1000)))
    return steps


# -- what a step computes --------------------------------------------------------------------------


def weigh(value: Any) -> int:
    """A number for any value."""
    return int(value.sum()) % MODULUS if isinstance(value, np.ndarray) else value


def combine(seed: int, values: Sequence[Any]) -> int:
    """The same in whatever order the values come."""
    return (31 * seed + 7 * sum(weigh(value) for value in values)) % MODULUS


def expand(number: int) -> Any:
    """A large value for a number."""
    return np.full(LENGTH, number, dtype=np.int64)


def expected(dag: list[Step]) -> list[int]:
    """The graph by plain Python: the weight of each step's value."""
    values: list[Any] = []
    for step in dag:
        number = combine(step.seed, [values[each] for each in step.inputs])
        values.append(expand(number) if step.kind == "array" else number)
    return [weigh(value) for value in values]


# -- the same by tasks -----------------------------------------------------------------------------


def stumble(mark: Path | None) -> None:
    """Kill this worker, the first time that it comes here."""
    if mark is not None and marks.count(mark.parent, mark.name) == 0:
        marks.leave(mark.parent, mark.name)
        os.kill(os.getpid(), signal.SIGKILL)


remote = rsim.remote(max_retries=-1, cost=0.01)
"""Tasks that survive any number of deaths, and take some virtual time: so they spread."""


@remote
def by_refs(mark, seed, *values):
    stumble(mark)
    return combine(seed, values)


@remote
def weighed(value):
    return weigh(value)


weighed_anywhere = weighed.options(scheduling_strategy="SPREAD")


@remote
def nested(mark, seed, refs):
    values = rsim.get(refs)
    stumble(mark)
    return combine(seed, values)


@remote
def children(mark, seed, refs):
    started = [weighed_anywhere.remote(ref) for ref in refs]
    stumble(mark)
    return combine(seed, rsim.get(started))


@remote
def grandchildren(mark, seed, refs):
    inner = rsim.get(children.remote(None, 0, refs))
    stumble(mark)
    outer = rsim.get([weighed.remote(ref) for ref in refs])
    assert inner == combine(0, outer)
    return combine(seed, outer)


@remote
def promise(mark, seed, refs):
    ref = by_refs.remote(None, seed, *refs)
    stumble(mark)
    return [ref]


@remote
def pair(mark, seed, *values):
    stumble(mark)
    whole = combine(seed, values)
    return whole // 2, whole - whole // 2


@remote
def add(first, second):
    return first + second


@remote
def task_put(mark, seed, *values):
    ref = rsim.put(combine(seed, values))
    stumble(mark)
    return {"ref": ref}


@remote
def task_wait(mark, seed, refs):
    done, rest = [], list(refs)
    while rest:
        ready, rest = rsim.wait(rest)
        done += rsim.get(ready)
        stumble(mark)
    return combine(seed, done)


@remote
def array(mark, seed, *values):
    made = expand(combine(seed, values))
    stumble(mark)
    return made


def submit(step: Step, refs: list[Any], mark: Path | None) -> Any:
    """Start a step; the ref of its value."""
    seed = step.seed
    if step.kind == "refs":
        return by_refs.remote(mark, seed, *refs)
    if step.kind == "values":
        return by_refs.remote(mark, seed, *rsim.get(refs))
    if step.kind == "promise":
        return rsim.get(promise.remote(mark, seed, refs))[0]
    if step.kind == "pair":
        return add.remote(*pair.options(num_returns=2).remote(mark, seed, *refs))
    if step.kind == "put":
        return rsim.put(combine(seed, rsim.get(refs)))
    if step.kind == "task put":
        far = task_put.options(scheduling_strategy="SPREAD")
        return rsim.get(far.remote(mark, seed, *refs))["ref"]
    if step.kind == "wait":
        ready, rest = rsim.wait(refs, num_returns=len(refs)) if refs else ([], [])
        assert (ready, rest) == (refs, [])
        return by_refs.remote(mark, seed, *ready)
    if step.kind == "array":
        return array.options(scheduling_strategy="SPREAD").remote(mark, seed, *refs)
    task = {
        "nested": nested.options(scheduling_strategy="SPREAD"),
        "children": children,
        "grandchildren": grandchildren,
        "task wait": task_wait,
    }[step.kind]
    return task.remote(mark, seed, refs)


def run(dag: list[Step], marks_of: dict[int, Path] | None = None) -> list[int]:
    """The graph by tasks. `marks_of`: steps whose worker dies once, each with its mark."""
    refs: list[Any] = []
    for number, step in enumerate(dag):
        mark = (marks_of or {}).get(number)
        refs.append(submit(step, [refs[each] for each in step.inputs], mark))
    return [weigh(value) for value in rsim.get(refs)]
