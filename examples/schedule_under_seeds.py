"""Find a bug that depends on timing: run the program under many seeds.

    python examples/schedule_under_seeds.py

Each seed is another order of events that a real cluster might show: which of two equal tasks runs
first, which message arrives first. `in_order_of_completion` has a race: its result depends on who
finishes first. It may pass a thousand times on your machine; here it shows at once, and the seed
that shows it shows it every time.
"""

from collections import Counter
from collections.abc import Callable

import rsim


@rsim.remote(cost=1.0)
def deposit() -> tuple[float, float]:
    return (1.0, 50.0)  # times 1, plus 50


@rsim.remote(cost=1.0)
def interest() -> tuple[float, float]:
    return (1.1, 0.0)  # times 1.1, plus 0


def in_order_of_submission() -> float:
    """Right: deposit first, whoever finishes first."""
    balance = 100.0
    for factor, amount in rsim.get([deposit.remote(), interest.remote()]):
        balance = balance * factor + amount
    return round(balance, 2)


def in_order_of_completion() -> float:
    """Wrong: as the results come in."""
    balance = 100.0
    pending = [deposit.remote(), interest.remote()]
    while pending:
        (ready,), pending = rsim.wait(pending)
        factor, amount = rsim.get(ready)
        balance = balance * factor + amount
    return round(balance, 2)


def outcomes(program: Callable[[], float], seeds: range) -> Counter[float]:
    """How often each result came up."""
    found: Counter[float] = Counter()
    for seed in seeds:
        with rsim.init("sim", num_cpus=2, seed=seed):
            found[program()] += 1
    return found


def main() -> dict[str, Counter[float]]:
    programs = (in_order_of_submission, in_order_of_completion)
    return {program.__name__: outcomes(program, range(40)) for program in programs}


if __name__ == "__main__":
    for name, found in main().items():
        results = ", ".join(f"{result} ({times} times)" for result, times in sorted(found.items()))
        print(f"{name:24} {results}")
