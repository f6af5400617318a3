"""The cases of a library with Ray's interface: the same lines measure rsim and Ray.

Decides how each case is written. Must never know which library it is given. Owns no state.
"""

from __future__ import annotations

import importlib
import statistics
from collections.abc import Mapping
from time import perf_counter
from typing import Any

from benchmarks.actors import actor_cases
from benchmarks.measure import (
    BATCH,
    GIB,
    Case,
    Plan,
    answer,
    median_s,
    peak_rss_gib,
    rate,
    run,
    seconds,
)

CHAIN, SMALL = 1_000, 1_000
ARRAY_BYTES = 100 << 20


def main(library: str, **options: Any) -> None:
    """Be a peer: import, init and get a first result (a case as well), then run the others."""
    begin = perf_counter()
    api = importlib.import_module(library)
    api.init(**options)
    cases = _task_cases(api)
    start_s = perf_counter() - begin
    cases["start"] = lambda _: {"start": start_s}
    try:
        figures = run({**cases, **_object_cases(api), **actor_cases(api)})
    finally:
        api.shutdown()
    answer(f"{library} {api.__version__}", figures)


def _task_cases(api: Any) -> dict[str, Case]:
    @api.remote  # type: ignore[untyped-decorator]
    def nothing() -> bytes:
        return b"ok"

    @api.remote  # type: ignore[untyped-decorator]
    def follow(link: int) -> int:
        return link + 1

    def single() -> None:
        api.get(nothing.remote())

    def batch() -> None:
        api.get([nothing.remote() for _ in range(BATCH)])

    def chain() -> None:
        link = follow.remote(0)
        for _ in range(CHAIN - 1):
            link = follow.remote(link)
        assert api.get(link) == CHAIN

    def million(plan: Plan) -> Mapping[str, float]:
        count = plan["queued"]
        begin = perf_counter()
        results = api.get([nothing.remote() for _ in range(count)])
        elapsed_s = perf_counter() - begin
        assert len(results) == count
        return {"million": peak_rss_gib(), "million_rate": count / elapsed_s}

    single()  # the first result
    return {
        "single": lambda plan: {"single": rate(single, 1, plan)},
        "batch": lambda plan: {"batch": rate(batch, BATCH, plan)},
        "chain": lambda plan: {"chain": rate(chain, CHAIN, plan)},
        "million": million,
    }


def _object_cases(api: Any) -> dict[str, Case]:
    def put_small(plan: Plan) -> Mapping[str, float]:
        def work() -> None:
            for _ in range(SMALL):
                api.put(0)

        return {"put_small": rate(work, SMALL, plan)}

    def get_small(plan: Plan) -> Mapping[str, float]:
        ref = api.put(0)

        def work() -> None:
            for _ in range(SMALL):
                api.get(ref)

        return {"get_small": rate(work, SMALL, plan)}

    return {"put_small": put_small, "get_small": get_small, "arrays": lambda _: _arrays(api)}


def _arrays(api: Any) -> Mapping[str, float]:
    """Put and get an array, beside copies of the same array into warm memory."""
    import numpy as np

    array = np.arange(ARRAY_BYTES // 8, dtype=np.int64)
    warm = np.zeros_like(array)
    for _ in range(3):  # the first puts reserve memory
        api.put(array)
    copies_s, puts_s = [], []
    for _ in range(9):
        copies_s.append(seconds(lambda: np.copyto(warm, array)))
        puts_s.append(seconds(lambda: api.put(array)))
    put_s = statistics.median(puts_s)
    ref = api.put(array)
    first, second = api.get(ref), api.get(ref)
    assert np.array_equal(first, array)
    return {
        "put_array": statistics.median(copies_s) / put_s,
        "put_array_gib": ARRAY_BYTES / GIB / put_s,
        "get_array": median_s(lambda: api.get(ref), 50) * 1e6,
        "get_array_copies": float(not np.shares_memory(first, second)),
    }
