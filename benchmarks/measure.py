"""What the peers measure with, and how they answer.

Decides how long a measurement lasts. Must never import rsim or what is not in the standard library:
Ray may live in another interpreter. Owns no state.
"""

from __future__ import annotations

import json
import platform
import statistics
import sys
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any, TypedDict

GIB = 1 << 30
BATCH = 10_000
"""How many tasks the case `batch` submits."""


class Plan(TypedDict):
    """What a peer is to do."""

    cases: list[str]
    at_least_s: float
    """How long each case is measured."""
    queued: int
    """How many tasks the case `million` queues."""


Case = Callable[[Plan], Mapping[str, float]]
"""Measures; returns its figures by name."""


def seconds(work: Callable[[], object]) -> float:
    """How long `work` takes."""
    begin = perf_counter()
    work()
    return perf_counter() - begin


def median_s(work: Callable[[], object], repeats: int) -> float:
    """The median time of `work`."""
    return statistics.median(seconds(work) for _ in range(repeats))


def rate(work: Callable[[], object], count: int, plan: Plan) -> float:
    """How many per second `work` gets done, when each call does `count`, in a long run.

    It is not measured for the first half of the time: page faults, cold caches, workers to start.
    """
    work()
    _repeat(work, plan["at_least_s"] / 2)
    runs, elapsed_s = _repeat(work, plan["at_least_s"])
    return runs * count / elapsed_s


def _repeat(work: Callable[[], object], at_least_s: float) -> tuple[int, float]:
    runs, begin = 0, perf_counter()
    while True:
        work()
        runs += 1
        elapsed_s = perf_counter() - begin
        if elapsed_s >= at_least_s:
            return runs, elapsed_s


def peak_rss_gib() -> float:
    """The most memory that this process ever had. Not ru_maxrss: exec inherits it."""
    with open("/proc/self/status") as lines:
        high_water = next(line for line in lines if line.startswith("VmHWM:"))
    return int(high_water.split()[1]) * 1024 / GIB


def answer(version: str, figures: Mapping[str, float]) -> None:
    """Print what a peer found, as the last line of its output."""
    reply = {"version": f"{version} on Python {platform.python_version()}", "figures": figures}
    print("\n" + json.dumps(reply), flush=True)


def run(cases: Mapping[str, Case]) -> dict[str, float]:
    """Run those of the cases that the plan names."""
    plan = the_plan()
    figures: dict[str, float] = {}
    for name in plan["cases"]:
        if name in cases:
            figures.update(cases[name](plan))
    return figures


def the_plan() -> Plan:
    """The argument of a peer: `python -m benchmarks.<peer> PLAN`."""
    plan: Any = json.loads(sys.argv[1])
    return plan  # type: ignore[no-any-return]
