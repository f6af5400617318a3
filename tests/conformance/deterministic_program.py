"""A program that prints the digest of its simulated run: seed as its argument."""
# user program

import random
import sys
import time

import rsim

CLUSTER = rsim.sim.Cluster(nodes=3, num_cpus=2, jitter_s=1e-3)
FAULTS = rsim.sim.Faults(kill_worker=0.1, kill_node=0.02, max_faults=3)


@rsim.remote(max_retries=-1)
def leaf(name):
    time.sleep(random.random())
    return {name, "leaf", "shared"}


@rsim.remote(max_retries=-1)
def branch(names):
    refs = [leaf.remote(name) for name in names]
    ready, rest = rsim.wait(refs, num_returns=2)
    return set().union(*rsim.get(ready + rest)), rsim.put([refs[0]])


def program():
    """Nested tasks, chance, sets of strings and whatever else could tell two runs apart."""
    refs = [branch.remote({f"{number}{letter}" for letter in "abc"}) for number in range(4)]
    found = set()
    for names, inner in rsim.get(refs):
        found |= names | rsim.get(rsim.get(inner)[0])
    return sorted(found)


def run(seed):
    """The result and the digest."""
    with rsim.init("sim", cluster=CLUSTER, faults=FAULTS, seed=seed) as session:
        return program(), session.digest()


if __name__ == "__main__":
    result, digest = run(int(sys.argv[1]))
    print(len(result), digest)
