"""The peer multiprocessing.Pool, with two processes. It has no objects and no dependent tasks."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

from benchmarks.measure import BATCH, answer, rate, run

if TYPE_CHECKING:
    from multiprocessing.pool import Pool


def nothing() -> bytes:
    """The same task as the others have."""
    return b"ok"


def batch(pool: Pool) -> None:
    """Submit all, then get all."""
    results = [pool.apply_async(nothing) for _ in range(BATCH)]
    for result in results:
        result.get()


def main() -> None:
    """Be a peer: import, start and get a first result (a case as well), then run the others."""
    begin = perf_counter()
    import multiprocessing

    with multiprocessing.Pool(2) as pool:
        pool.apply(nothing)
        start_s = perf_counter() - begin
        figures = run(
            {
                "start": lambda _: {"start": start_s},
                "single": lambda plan: {"single": rate(lambda: pool.apply(nothing), 1, plan)},
                "batch": lambda plan: {"batch": rate(lambda: batch(pool), BATCH, plan)},
            }
        )
    answer("multiprocessing", figures)


if __name__ == "__main__":
    main()
