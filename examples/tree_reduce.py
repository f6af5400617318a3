"""Add numbers two by two, in parallel: log2(n) steps deep instead of n.

RSIM_ADDRESS=sim python examples/tree_reduce.py
"""

import time

import rsim


@rsim.remote
def add(left: int, right: int) -> int:
    time.sleep(0.1)  # stands for work
    return left + right


def reduce_in_a_chain(refs: list[rsim.ObjectRef[int]]) -> rsim.ObjectRef[int]:
    """Each addition needs the one before it."""
    total = refs[0]
    for ref in refs[1:]:
        total = add.remote(total, ref)
    return total


def reduce_as_a_tree(refs: list[rsim.ObjectRef[int]]) -> rsim.ObjectRef[int]:
    """Take two from the front, put their sum at the back, until one is left."""
    while len(refs) > 1:
        refs = [*refs[2:], add.remote(refs[0], refs[1])]
    return refs[0]


def main() -> dict[str, tuple[int, float]]:
    """Return, for each way, the sum of 1..16 and the seconds that it took."""
    refs = [rsim.put(number) for number in range(1, 17)]
    results = {}
    for reduce in (reduce_in_a_chain, reduce_as_a_tree):
        begin = time.perf_counter()
        total = rsim.get(reduce(refs))
        results[reduce.__name__] = (total, time.perf_counter() - begin)
    return results


if __name__ == "__main__":
    with rsim.init(num_cpus=8):
        for name, (total, seconds) in main().items():
            print(f"{name:18} {total}  in {seconds:.1f} s")
