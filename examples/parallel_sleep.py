"""Ten tasks that sleep for a second each, on ten CPUs: one second, not ten.

python examples/parallel_sleep.py                     # one real second
RSIM_ADDRESS=sim python examples/parallel_sleep.py    # one virtual second, in no time
"""

import time

import rsim


@rsim.remote
def sleep_one_second(index: int) -> int:
    time.sleep(1)
    return index


def main() -> float:
    """Return how many seconds passed, by the clock that the program sees."""
    begin = time.perf_counter()
    refs = [sleep_one_second.remote(index) for index in range(10)]
    assert rsim.get(refs) == list(range(10))
    return time.perf_counter() - begin


if __name__ == "__main__":
    with rsim.init(num_cpus=10):  # sleeping needs no real CPU, so we may promise ten
        rsim.get([sleep_one_second.remote(index) for index in range(10)])  # start the workers
        print(f"ten one-second sleeps took {main():.2f} s")
