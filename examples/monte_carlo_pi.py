"""Estimate pi from random points, in parallel.

    RSIM_ADDRESS=sim python examples/monte_carlo_pi.py

In the simulation even `random` follows the seed: the same seed gives the same estimate, every time
and on every machine. On worker processes each run differs, as it would anywhere.
"""

import math
import random

import rsim

TASKS, POINTS = 8, 20_000


@rsim.remote
def points_in_circle(count: int) -> int:
    return sum(math.hypot(random.random(), random.random()) <= 1 for _ in range(count))


def main() -> float:
    hits = rsim.get([points_in_circle.remote(POINTS) for _ in range(TASKS)])
    return 4 * sum(hits) / (TASKS * POINTS)


if __name__ == "__main__":
    print(f"pi is about {main():.4f}")
