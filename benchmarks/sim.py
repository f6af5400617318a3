"""The peer rsim under its sim backend. Not compared with anybody: there is no real work in it.

The clock is read outside of the sessions only: inside, time is virtual.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from time import perf_counter

import rsim
from benchmarks.measure import Plan, answer, run
from rsim.sim import Cluster

SLEEPERS, TINY = 1_000, 5_000
CLUSTER = Cluster(nodes=3, num_cpus=4)


@rsim.remote
def sleep_an_hour() -> None:
    """Wait for a virtual hour."""
    time.sleep(3600)


@rsim.remote
def nothing() -> bytes:
    """The same task as the others have."""
    return b"ok"


def sleepers(_: Plan) -> Mapping[str, float]:
    """Real seconds for a thousand tasks that each sleep an hour, start and end included."""
    begin = perf_counter()
    with rsim.init("sim", cluster=CLUSTER, seed=1) as session:
        rsim.get([sleep_an_hour.remote() for _ in range(SLEEPERS)])
        hours = session.now() / 3600
    elapsed_s = perf_counter() - begin
    assert hours >= SLEEPERS / 12
    return {"sleepers": elapsed_s}


def steps(_: Plan) -> Mapping[str, float]:
    """Steps of the machines, and tasks, per real second."""
    begin = perf_counter()
    with rsim.init("sim", cluster=CLUSTER, seed=1) as session:
        rsim.get([nothing.remote() for _ in range(TINY)])
        count = len(session.trace.records)
    elapsed_s = perf_counter() - begin
    return {"steps": count / elapsed_s, "sim_tasks": TINY / elapsed_s}


if __name__ == "__main__":
    with rsim.init("sim"):  # import the backend
        rsim.get(nothing.remote())
    answer(f"rsim {rsim.__version__}", run({"sleepers": sleepers, "steps": steps}))
