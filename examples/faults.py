"""Workers die, the results are still right.

    python examples/faults.py

Under a seed, the simulation kills workers in the middle of tasks. A task whose worker died runs
again, as it would after a real crash, so the program below never notices. To see the same deaths
again, use the same seed.
"""

import rsim
from rsim.sim import Cluster, Faults

TEXT = "the quick brown fox jumps over the lazy dog and the dog sleeps on".split()


@rsim.remote(cost=0.5)
def count_words(words: list[str]) -> dict[str, int]:
    return {word: words.count(word) for word in words}


@rsim.remote(cost=0.1)
def merge(left: dict[str, int], right: dict[str, int]) -> dict[str, int]:
    return {word: left.get(word, 0) + right.get(word, 0) for word in {**left, **right}}


def word_count() -> dict[str, int]:
    """Count the words of the text four at a time, then merge the counts."""
    parts = [count_words.remote(TEXT[start : start + 4]) for start in range(0, len(TEXT), 4)]
    while len(parts) > 1:
        parts = [*parts[2:], merge.remote(parts[0], parts[1])]
    return rsim.get(parts[0])


def main(seed: int = 3) -> tuple[dict[str, int], int]:
    """Return the counts, and how many workers died on the way."""
    # A task is tried again three times (its option max_retries), so three deaths are no harm.
    faults = Faults(kill_worker=0.3, max_faults=3)
    cluster = Cluster(nodes=2, num_cpus=2)
    with rsim.init("sim", cluster=cluster, seed=seed, faults=faults) as session:
        counts = word_count()
        deaths = sum(span.outcome == "died" for span in session.trace.spans)
    return counts, deaths


if __name__ == "__main__":
    counts, deaths = main()
    right = counts == {word: TEXT.count(word) for word in TEXT}
    print(f"{deaths} workers died; the counts are {'right' if right else 'WRONG'}: {counts}")
