"""What `make demo` shows: one program, unchanged, in a simulated cluster and on this machine.

The program is examples/pipeline.py. It runs twice in the simulation under one seed, to compare the
digests of the two runs, and once on worker processes, to compare the results.
"""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from io import TextIOWrapper
from time import perf_counter
from typing import Any

import pipeline

import rsim
from rsim.runtime.gantt import render_gantt
from rsim.runtime.trace import Trace
from rsim.sim import Cluster

SEED = 7
NODES, CPUS_PER_NODE = 3, 4
WIDTH = max(60, min(100, shutil.get_terminal_size((100, 24)).columns))
COLOURED = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
BOLD, GREEN, RED, GREY = "1", "32", "31", "38;5;245"


@dataclass
class Run:
    """What one run of the pipeline left behind."""

    result: dict[str, Any]
    program_s: float
    """How long the program took by its own clock, virtual in the simulation."""
    real_s: float
    """How long we waited for all of it, start and end of the runtime included."""
    trace: Trace
    digest: str = ""


def run_simulated() -> Run:
    """Run the pipeline in a simulated cluster."""
    begin = perf_counter()
    cluster = Cluster(nodes=NODES, num_cpus=CPUS_PER_NODE, bandwidth_bytes_per_s=12.5e6)
    with rsim.init("sim", cluster=cluster, seed=SEED) as session:
        result = pipeline.main()
        run = Run(result, session.now(), 0.0, session.trace, session.digest())
    run.real_s = perf_counter() - begin
    return run


def run_locally() -> Run:
    """Run the pipeline on worker processes of this machine."""
    begin = perf_counter()
    with rsim.init("local") as session:
        run = Run(pipeline.main(), session.now(), 0.0, session.trace)
    run.real_s = perf_counter() - begin
    return run


def paint(text: str, style: str) -> str:
    return f"\x1b[{style}m{text}\x1b[0m" if COLOURED else text


def verdict(holds: bool, yes: str, no: str) -> str:
    return f"  {paint('✓', GREEN)} {yes}" if holds else f"  {paint('✗', RED)} {no}"


def seconds(value: float) -> str:
    return f"{value:.2f} s"


def row(name: str, where: str, run: Run, *, clock: str) -> str:
    best = run.result["best rate"]
    outcome = f"rate {best}, error {run.result['errors'][best]:.4f}"
    took = f"{seconds(run.program_s)} {clock:7}"
    return f"  {name:7}{where:19}{outcome:24}{took:>17}{seconds(run.real_s):>10}"


def main() -> int:
    """Print the comparison; return 1 if the runs differ in what must be equal."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without ✓ still gets the rest
    first, second = run_simulated(), run_simulated()
    local = run_locally()
    agree = first.result == second.result == local.result
    repeats = first.digest == second.digest

    tasks = sum(span.kind == "task" for span in first.trace.spans)
    print(paint("One program, two backends", BOLD) + ": examples/pipeline.py, unchanged")
    print(
        f"  {pipeline.SHARDS} shards, {first.result['rows']:,} rows: map and tree-reduce, then "
        f"{len(pipeline.RATES)} experiments that launch tasks; {tasks} tasks\n"
    )
    heading = f"{'':7}{'on':19}{'best result':24}{'program took':>17}{'real time':>10}"
    print("  " + paint(heading, GREY))
    print(row("sim", f"{NODES} nodes x {CPUS_PER_NODE} CPUs", first, clock="virtual"))
    print(row("local", f"{len(os.sched_getaffinity(0))} CPUs, processes", local, clock="real"))
    print()
    print(verdict(agree, "the results are equal, bit for bit", "the results DIFFER"))
    print(verdict(repeats, f"same seed, same digest: {first.digest}", "the digests DIFFER"))
    print(f"\n{paint('The simulated run', BOLD)}, nodes x virtual time\n")
    print(render_gantt(first.trace.spans, instants=first.trace.instants, width=WIDTH), end="")
    return 0 if agree and repeats else 1


if __name__ == "__main__":
    sys.exit(main())
