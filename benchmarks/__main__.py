"""The command line of the benchmarks: runs them, prints the table, writes it as JSON.

The exit status is 1 if a peer could not be run, whatever the bars say: figures belong to a machine.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from io import TextIOWrapper
from pathlib import Path

import click

from benchmarks import machine
from benchmarks.measure import Plan
from benchmarks.rounds import RAY_PYTHON, Peer, Results, ray_python, run_rounds
from benchmarks.table import ROWS, Row, render

_ALONE = "million"
"""A case that has a process for itself: it measures all memory that its process ever had."""


@click.command()
@click.option("--quick", is_flag=True, help="Two short rounds: to see that all of it works.")
@click.option("--rounds", type=click.IntRange(min=1), help="How many rounds; 5, or 2 if quick.")
@click.option(
    "--only",
    multiple=True,
    metavar="NAME",
    type=click.Choice([row.figure for row in ROWS]),
    help="Only this benchmark; may be given several times: "
    + ", ".join(row.figure for row in ROWS),
)
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write all figures.")
@click.option(
    "--no-ray", is_flag=True, help=f"Without Ray (an interpreter with it: ${RAY_PYTHON})."
)
def main(
    quick: bool, rounds: int | None, only: tuple[str, ...], json_path: Path | None, no_ray: bool
) -> None:
    """Measure rsim beside multiprocessing.Pool and Ray, in turns; print medians and bars."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without ✓ still gets the figures
    rows = [row for row in ROWS if not only or row.figure in only]
    rounds = rounds or (2 if quick else 5)
    results = Results()
    facts = machine.describe()
    for name, value in facts.items():
        print(f"{name:10} {value}")
    python = None if no_ray else ray_python()
    if not python:
        print(f"{'ray':10} not measured: {'--no-ray' if no_ray else 'not installed'}")
    _measure(results, rows, rounds, quick, python)
    for peer, version in results.versions.items():
        print(f"{peer:10} {version}")
    kind = "one value" if rounds == 1 else f"medians of {rounds} rounds"
    print(f"\n{kind}, peers in turns\n")
    print(render(results, rows, quick=quick, colour=sys.stdout.isatty()))
    for peer, reason in results.failures.items():
        print(f"\n{peer} could not be run: {reason}", file=sys.stderr)
    if json_path:
        json_path.write_text(json.dumps({"machine": facts, **asdict(results)}, indent=2) + "\n")
    sys.exit(1 if results.failures else 0)


def _measure(
    results: Results, rows: list[Row], rounds: int, quick: bool, python: str | None
) -> None:
    at_least_s, queued = (0.2, 50_000) if quick else (1.0, 1_000_000)

    def plan(cases: list[str]) -> Plan:
        return {"cases": cases, "at_least_s": at_least_s, "queued": queued}

    cases: dict[str, list[str]] = {}
    for row in rows:
        known = cases.setdefault(_ALONE if row.case == _ALONE else row.peer, [])
        if row.case not in known:
            known.append(row.case)
    runs = []
    if "local" in cases:
        peers = [Peer("local"), Peer("pool"), *([Peer("ray", python)] if python else [])]
        runs += [(peer, plan(cases["local"])) for peer in peers]
    if "sim" in cases:
        runs.append((Peer("sim"), plan(cases["sim"])))
    run_rounds(runs, rounds, results, _report)
    if _ALONE in cases:
        run_rounds([(Peer("local"), plan([_ALONE]))], 1, results, _report)
    if sys.stderr.isatty():
        print("\x1b[2K", end="\r", file=sys.stderr, flush=True)


def _report(line: str) -> None:
    """Say what is being measured, on one line that is written over."""
    if sys.stderr.isatty():
        width = os.get_terminal_size(sys.stderr.fileno()).columns
        print(f"\x1b[2K{line[: width - 1]}", end="\r", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
