"""A small machine-learning pipeline: the same program on a laptop and on a simulated cluster.

    python examples/pipeline.py                     # on this machine
    RSIM_ADDRESS=sim python examples/pipeline.py    # in a simulated cluster

1. Load the shards of a data set in parallel, and describe each of them (a map).
2. Merge the descriptions two by two, in parallel as well (a tree-reduce).
3. Try several learning rates at once. Each experiment is a task that launches tasks of its own, one
   per shard and round, and aggregates what they return.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import rsim

SHARDS, FEATURES = 12, 8
RATES = (0.05, 0.2, 0.6, 1.2)
ROUNDS = 4


def rows_of(shard: int) -> int:
    """Shards are not of equal size; they seldom are."""
    return 14_000 + 2_000 * (shard * 5 % 7)


# `cost` says how many seconds the work would take on the real cluster. Only the simulation reads
# it: it lets that much virtual time pass. Elsewhere a task takes as long as it takes.
@rsim.remote(cost=lambda shard: rows_of(shard) * 80e-6)
def load(shard: int) -> np.ndarray:
    """Stand in for reading a file: rows of features, and a last column that depends on them."""
    random = np.random.default_rng(shard)
    features = random.normal(loc=3.0, scale=2.0, size=(rows_of(shard), FEATURES))
    target = features.sum(axis=1) + random.normal(size=rows_of(shard))
    return np.column_stack([features, target])


@rsim.remote(cost=lambda table: len(table) * 30e-6)
def describe(table: np.ndarray) -> np.ndarray:
    """Count, sum and sum of squares of each column: descriptions of two tables can be added."""
    count = np.full(table.shape[1], len(table))
    return np.stack([count, table.sum(axis=0), (table**2).sum(axis=0)])


@rsim.remote(cost=0.4)
def merge(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Add two descriptions."""
    return left + right


@rsim.remote(cost=lambda table, summary, weights: len(table) * 40e-6)
def gradient(
    table: np.ndarray, summary: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, float]:
    """The gradient of the squared error on one shard, and the error."""
    mean, deviation = moments(summary)
    scaled = (table - mean) / deviation
    features, target = scaled[:, :-1], scaled[:, -1]
    residual = np.einsum("ij,j->i", features, weights) - target
    return np.einsum("ij,i->j", features, residual) / len(table), float((residual**2).mean())


@rsim.remote(cost=0.5)
def experiment(rate: float, tables: list[rsim.ObjectRef[np.ndarray]], summary: np.ndarray) -> float:
    """Descend with one learning rate; return the error that is left.

    While it waits in `get`, an experiment gives its CPU to the tasks that it waits for.
    """
    weights = np.zeros(FEATURES)
    for _ in range(ROUNDS):
        parts = rsim.get([gradient.remote(table, summary, weights) for table in tables])
        weights = weights - rate * np.mean([slope for slope, _ in parts], axis=0)
    return float(np.mean([error for _, error in parts]))


def moments(summary: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each column."""
    count, total, squares = summary
    return total / count, np.sqrt(squares / count - (total / count) ** 2)


def tree_reduce(parts: list[rsim.ObjectRef[np.ndarray]]) -> rsim.ObjectRef[np.ndarray]:
    """Merge all parts. Nothing waits here: each merge starts as soon as its two inputs exist."""
    while len(parts) > 1:
        parts = [*parts[2:], merge.remote(parts[0], parts[1])]
    return parts[0]


def main() -> dict[str, Any]:
    """Run the pipeline and return what it found, as plain values."""
    tables = [load.remote(shard) for shard in range(SHARDS)]
    summary = tree_reduce([describe.remote(table) for table in tables])
    # A ref that is an argument arrives as its value; refs in a list arrive as refs.
    errors = rsim.get([experiment.remote(rate, tables, summary) for rate in RATES])
    mean, deviation = moments(rsim.get(summary))
    return {
        "rows": int(rsim.get(summary)[0, 0]),
        "mean": mean.tolist(),
        "deviation": deviation.tolist(),
        "errors": dict(zip(RATES, errors, strict=True)),
        "best rate": min(zip(errors, RATES, strict=True))[1],
    }


if __name__ == "__main__":
    found = main()
    print(f"{found['rows']:,} rows, the mean of the first column is {found['mean'][0]:.3f}")
    for rate, error in found["errors"].items():
        best = "  <- best" if rate == found["best rate"] else ""
        print(f"learning rate {rate:4}: error {error:.4f} after {ROUNDS} rounds{best}")
