"""How much of the machine's memory is in use, and whether the system has killed for want of it.

Decides when memory counts as short: when more than a share of what the machine or, if that is less,
the container may use is in use. Must never kill. Owns the time of the next look, and the number of
kills seen.

The environment may set RSIM_MEMORY_USAGE_THRESHOLD, the share (0.95), and
RSIM_MEMORY_MONITOR_REFRESH_MS, the time between two looks (250; 0: never look).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_THRESHOLD: Final = "RSIM_MEMORY_USAGE_THRESHOLD"
_REFRESH: Final = "RSIM_MEMORY_MONITOR_REFRESH_MS"


@dataclass(frozen=True)
class Usage:
    """Memory in use, and how much may be."""

    used_bytes: int
    limit_bytes: int


def settings(environ: Mapping[str, str]) -> tuple[float, int]:
    """The share, and the milliseconds between looks. ValueError, naming the variable."""
    share = _number(environ, _THRESHOLD, 0.95)
    if not 0 < share <= 1:
        raise ValueError(f"{_THRESHOLD} must be more than 0 and at most 1, not {share}")
    refresh_ms = _number(environ, _REFRESH, 250)
    if refresh_ms < 0:
        raise ValueError(f"{_REFRESH} must be 0 or more, not {refresh_ms}")
    return share, int(refresh_ms)


def _number(environ: Mapping[str, str], name: str, default: float) -> float:
    text = environ.get(name)
    try:
        return float(text) if text else default
    except ValueError:
        raise ValueError(f"{name} must be a number, not {text!r}") from None


class MemoryMonitor:
    """Looks now and then. ``root``: where `proc` and `sys` are."""

    def __init__(self, environ: Mapping[str, str], root: Path = Path("/")) -> None:
        self._share, self._refresh_ms = settings(environ)
        self._proc = root / "proc"
        self._groups = _groups(root)
        self._due_ms = 0
        self._kills = self._count_kills()

    def wait_ms(self) -> int | None:
        """How long until it is time to look; None: never."""
        return max(0, self._due_ms - _now_ms()) if self._refresh_ms else None

    def look(self) -> Usage | None:
        """How much is in use, if that is too much and it is time to look."""
        if not self._refresh_ms or _now_ms() < self._due_ms:
            return None
        self._due_ms = _now_ms() + self._refresh_ms
        for usage in (self._of_container(), self._of_machine()):
            if usage is not None and usage.used_bytes > self._share * usage.limit_bytes:
                return Usage(usage.used_bytes, int(self._share * usage.limit_bytes))
        return None

    def killed(self) -> bool:
        """Whether the system has killed for want of memory since this was asked last."""
        before, self._kills = self._kills, self._count_kills()
        return self._kills > before

    def _of_machine(self) -> Usage | None:
        found = _table(self._proc / "meminfo")
        if "MemAvailable:" not in found:
            return None
        total_bytes = 1024 * found["MemTotal:"]
        return Usage(total_bytes - 1024 * found["MemAvailable:"], total_bytes)

    def _of_container(self) -> Usage | None:
        """As its control group counts; files that are only cached can make room any time."""
        for folder, limit_name, used_name in self._groups:
            limit_bytes, used_bytes = _value(folder / limit_name), _value(folder / used_name)
            if limit_bytes is not None and used_bytes is not None:
                counts = _table(folder / "memory.stat")
                kinds = ("active_file", "inactive_file")
                cached_bytes = sum(
                    counts.get(f"total_{kind}", counts.get(kind, 0)) for kind in kinds
                )
                return Usage(max(0, used_bytes - cached_bytes), limit_bytes)
        return None

    def _count_kills(self) -> int:
        for folder, _, _ in self._groups:
            for name in ("memory.events", "memory.oom_control"):
                counts = _table(folder / name)
                if "oom_kill" in counts:
                    return counts["oom_kill"]
        return _table(self._proc / "vmstat").get("oom_kill", 0)


def _groups(root: Path) -> list[tuple[Path, str, str]]:
    """Where this process's control group may say what it uses: folder, limit, usage."""
    found = []
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            top, names = root / "sys/fs/cgroup", ("memory.max", "memory.current")
        elif "memory" in controllers.split(","):
            top = root / "sys/fs/cgroup/memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes")
        else:
            continue
        found += [(top / path.lstrip("/"), *names), (top, *names)]  # a container sees the latter
    return found


def _value(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # no such file, or "max"
        return None


def _table(path: Path) -> dict[str, int]:
    """The lines of a file that say a name and a number."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return {}
    words = [line.split() for line in lines]
    return {each[0]: int(each[1]) for each in words if len(each) > 1 and each[1].isdigit()}


def _now_ms() -> int:
    return time.monotonic_ns() // 1_000_000
