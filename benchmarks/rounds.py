"""Runs the peers in turns, each time in a new process, so that none disturbs another.

Decides the order of the runs and how a peer is ended. Must never leave a process of a peer behind.
Owns the figures of all rounds.
"""

from __future__ import annotations

import importlib.util
import json
import os
import secrets
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.measure import Plan

ROOT = Path(__file__).parents[1]
RAY_PYTHON = "RSIM_BENCH_RAY_PYTHON"
_MARK = "RSIM_BENCH_MARK"
"""In the environment of a peer and of all that it starts."""

_TIMEOUT_S = 600
_GRACE_S = 5.0


@dataclass(frozen=True)
class Peer:
    """Somebody to measure."""

    name: str
    """Of its module as well."""
    python: str = sys.executable


@dataclass
class Results:
    """The figures of all rounds."""

    values: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    """By peer and by figure; a value a round."""
    versions: dict[str, str] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    """Peers that could not be run, and why."""

    def median(self, peer: str, figure: str) -> float | None:
        """None if that peer has no such figure."""
        values = self.values.get(peer, {}).get(figure)
        return statistics.median(values) if values else None

    def add(self, peer: str, figures: dict[str, float]) -> None:
        """Add the figures of one run."""
        for figure, value in figures.items():
            self.values.setdefault(peer, {}).setdefault(figure, []).append(value)


def ray_python() -> str | None:
    """The interpreter that has Ray, if any."""
    given = os.environ.get(RAY_PYTHON)
    if given:
        return given
    return sys.executable if importlib.util.find_spec("ray") else None


def run_rounds(
    runs: Sequence[tuple[Peer, Plan]], rounds: int, results: Results, report: Callable[[str], None]
) -> None:
    """Run each peer once a round."""
    for number in range(1, rounds + 1):
        for peer, plan in runs:
            if peer.name in results.failures:
                continue
            report(f"round {number} of {rounds}: {peer.name}: {', '.join(plan['cases'])}")
            try:
                version, figures = _run(peer, plan)
            except (RuntimeError, OSError, subprocess.TimeoutExpired) as error:
                results.failures[peer.name] = str(error)
                continue
            results.versions[peer.name] = version
            results.add(peer.name, figures)


def _run(peer: Peer, plan: Plan) -> tuple[str, dict[str, float]]:
    mark = secrets.token_hex(16)
    process = subprocess.Popen(
        [peer.python, "-m", f"benchmarks.{peer.name}", json.dumps(plan)],
        cwd=ROOT,
        env={**os.environ, _MARK: mark},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        output, errors = process.communicate(timeout=_TIMEOUT_S)
    finally:
        _end_all(mark)
        process.wait()
    if process.returncode:
        raise RuntimeError(f"exit status {process.returncode}\n{errors.strip()[-2000:]}")
    reply = json.loads(output.splitlines()[-1])
    return reply["version"], reply["figures"]


def _end_all(mark: str) -> None:
    """Let what a peer started come to its end; kill what does not."""
    deadline = time.monotonic() + _GRACE_S
    while (left := _marked(mark)) and time.monotonic() < deadline:
        time.sleep(0.05)
    for pid in left:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def _marked(mark: str) -> list[int]:
    entry = f"{_MARK}={mark}".encode()
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        try:
            if entry in environment.read_bytes():
                found.append(int(environment.parent.name))
        except OSError:  # it has ended, or is somebody else's
            pass
    return found
