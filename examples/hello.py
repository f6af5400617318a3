"""The smallest program: one remote function, called three times.

python examples/hello.py                     # worker processes on this machine
RSIM_ADDRESS=sim python examples/hello.py    # simulated, in this process
"""

import rsim


@rsim.remote
def greet(name: str) -> str:
    """Runs in a worker."""
    return f"hello, {name}"


def main() -> list[str]:
    # remote() returns at once with a ref, a promise of the result; get() waits for the value.
    refs = [greet.remote(name) for name in ("driver", "worker", "world")]
    return rsim.get(refs)


if __name__ == "__main__":
    print("\n".join(main()))
