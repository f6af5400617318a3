"""Data that is worked on while it is still being read: a generator and a pool of actors.

    python examples/streaming_pipeline.py                     # on this machine
    RSIM_ADDRESS=sim python examples/streaming_pipeline.py    # in a simulated cluster

Each batch goes to an idle actor as soon as it is there, as a ref: the numbers never pass through
the driver. The reader waits when it is four batches ahead, so memory stays small.
"""

import time
from collections.abc import Iterator

import numpy as np

import rsim
from rsim.util import ActorPool

BATCHES, ROWS = 24, 20_000


@rsim.remote(_generator_backpressure_num_objects=4)
def read(seed: int) -> Iterator[np.ndarray]:
    random = np.random.default_rng(seed)
    for _ in range(BATCHES):
        time.sleep(0.01)  # a file or a socket
        yield random.normal(loc=5.0, scale=2.0, size=ROWS)


@rsim.remote
class Filter:
    def __init__(self, limit: float) -> None:
        time.sleep(0.1)  # loads a model, say: that is why it is an actor
        self.limit = limit

    def keep(self, batch: np.ndarray) -> tuple[int, float]:
        time.sleep(0.03)
        kept = batch[np.abs(batch - 5.0) < self.limit]
        return len(kept), float(kept.sum())


def parts(pool: ActorPool, batches: rsim.ObjectRefGenerator) -> Iterator[tuple[int, float]]:
    """What the actors return, as they do; a batch is asked for when an actor is idle."""
    for batch in batches:
        if not pool.has_free():
            yield pool.get_next_unordered()
        pool.submit(lambda actor, batch: actor.keep.remote(batch), batch)
    while pool.has_next():
        yield pool.get_next_unordered()


def main() -> tuple[int, float]:
    pool = ActorPool([Filter.remote(3.0) for _ in range(3)])
    counts, totals = zip(*parts(pool, read.remote(seed=1)), strict=True)
    return sum(counts), sum(totals) / sum(counts)


if __name__ == "__main__":
    kept, mean = main()
    print(f"kept {kept:,} of {BATCHES * ROWS:,} rows; their mean is {mean:.3f}")
