"""What the figures were measured on. Decides nothing; owns no state."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

LIBRARIES = ("rsim", "msgspec", "cloudpickle", "greenlet", "simpy", "numpy")


def describe() -> dict[str, str]:
    """CPU, memory, system, Python and the versions of what the figures depend on."""
    return {
        "cpu": f"{_cpu_model()}, {len(os.sched_getaffinity(0))} cores",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "load": _load(),
        "libraries": ", ".join(f"{name} {version(name)}" for name in LIBRARIES),
    }


def _load() -> str:
    """The load before the benchmarks, which need all cores for themselves."""
    before, cores = os.getloadavg()[0], len(os.sched_getaffinity(0))
    busy = f": others are busy, expect worse figures than on {cores} free cores"
    return f"{before:.1f}{busy if before > cores / 2 else ''}"


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()
