"""The memory monitor: what it reads, and what becomes of tasks when memory is short."""

import os
import re
import signal
from pathlib import Path

import psutil
import pytest

import rsim
from rsim.backends.local.memory_monitor import MemoryMonitor, Usage, settings
from rsim.exceptions import ActorDiedError, OutOfMemoryError, WorkerCrashedError
from tests.conformance import marks

MEMINFO = "MemTotal: 1000 kB\nMemFree: 1 kB\nMemAvailable: {} kB\n"
ALWAYS_SHORT = "0.000001"


def write(root: Path, **files: str) -> None:
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def monitor(root: Path, **environ: str) -> MemoryMonitor:
    return MemoryMonitor(environ, root)


# -- what it reads ---------------------------------------------------------------------------------


def test_a_machine_with_room(tmp_path: Path) -> None:
    write(tmp_path, proc__meminfo=MEMINFO.format(100))
    assert monitor(tmp_path).look() is None


def test_a_full_machine(tmp_path: Path) -> None:
    write(tmp_path, proc__meminfo=MEMINFO.format(20))
    assert monitor(tmp_path).look() == Usage(980 * 1024, 950 * 1024)
    assert monitor(tmp_path, RSIM_MEMORY_USAGE_THRESHOLD="0.99").look() is None


def test_it_looks_once_in_a_while(tmp_path: Path) -> None:
    write(tmp_path, proc__meminfo=MEMINFO.format(0))
    often = monitor(tmp_path, RSIM_MEMORY_MONITOR_REFRESH_MS="3600000")
    assert often.wait_ms() == 0
    assert often.look() is not None
    assert often.look() is None
    assert 3_000_000 < (often.wait_ms() or 0) <= 3_600_000
    never = monitor(tmp_path, RSIM_MEMORY_MONITOR_REFRESH_MS="0")
    assert never.look() is None
    assert never.wait_ms() is None


@pytest.mark.parametrize("folder", ["sys/fs/cgroup/app/", "sys/fs/cgroup/"])
def test_a_full_container(tmp_path: Path, folder: str) -> None:
    write(
        tmp_path,
        **{
            "proc/meminfo": MEMINFO.format(900),
            "proc/self/cgroup": "0::/app\n",
            folder + "memory.max": "5000\n",
            folder + "memory.current": "4990\n",
            folder + "memory.stat": "anon 4900\nactive_file 5\ninactive_file 10\n",
        },
    )
    assert monitor(tmp_path).look() == Usage(4975, 4750)


def test_files_in_memory_do_not_count(tmp_path: Path) -> None:
    write(
        tmp_path,
        **{
            "proc/self/cgroup": "4:cpu,memory:/app\n",
            "sys/fs/cgroup/memory/app/memory.limit_in_bytes": "5000\n",
            "sys/fs/cgroup/memory/app/memory.usage_in_bytes": "5000\n",
            "sys/fs/cgroup/memory/app/memory.stat": "total_inactive_file 1000\n",
        },
    )
    assert monitor(tmp_path).look() is None


def test_a_container_without_a_limit(tmp_path: Path) -> None:
    write(
        tmp_path,
        **{
            "proc/meminfo": MEMINFO.format(900),
            "proc/self/cgroup": "0::/\n",
            "sys/fs/cgroup/memory.max": "max\n",
            "sys/fs/cgroup/memory.current": "4990\n",
        },
    )
    assert monitor(tmp_path).look() is None


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("sys/fs/cgroup/memory.events", "low 0\noom 7\noom_kill {}\n"),
        ("sys/fs/cgroup/memory.oom_control", "under_oom 0\noom_kill {}\n"),
        ("proc/vmstat", "nr_free_pages 5\noom_kill {}\n"),
    ],
)
def test_kills_of_the_system_are_counted(tmp_path: Path, path: str, text: str) -> None:
    write(tmp_path, **{"proc/self/cgroup": "0::/\n", path: text.format(3)})
    watching = monitor(tmp_path)
    assert not watching.killed()
    write(tmp_path, **{path: text.format(4)})
    assert watching.killed()
    assert not watching.killed()


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("RSIM_MEMORY_USAGE_THRESHOLD", "much"),
        ("RSIM_MEMORY_USAGE_THRESHOLD", "1.5"),
        ("RSIM_MEMORY_USAGE_THRESHOLD", "0"),
        ("RSIM_MEMORY_MONITOR_REFRESH_MS", "-1"),
    ],
)
def test_bad_settings_are_told_by_init(
    monkeypatch: pytest.MonkeyPatch, variable: str, text: str
) -> None:
    with pytest.raises(ValueError, match=f"{variable} must be"):
        settings({variable: text})
    monkeypatch.setenv(variable, text)
    with pytest.raises(ValueError, match=variable):
        rsim.init("local", num_cpus=1)


# -- what comes of it ------------------------------------------------------------------------------


def test_a_task_is_killed_and_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RSIM_MEMORY_USAGE_THRESHOLD", ALWAYS_SHORT)
    rsim.init("local", num_cpus=1)

    @rsim.remote(max_retries=0)
    def hungry(folder: Path) -> None:
        marks.leave(folder, f"pid {os.getpid()}")
        signal.pause()

    with pytest.raises(OutOfMemoryError, match=r"hungry.* ran out of memory.* bytes") as caught:
        rsim.get(hungry.remote(tmp_path))
    pid = int(re.findall(r"pid (\d+)", str(caught.value))[0])
    assert pid not in (0, os.getpid()) and not psutil.pid_exists(pid)
    assert {path.name for path in tmp_path.iterdir()} <= {f"pid {pid}"}  # it may not have begun


def test_an_actor_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RSIM_MEMORY_USAGE_THRESHOLD", ALWAYS_SHORT)
    rsim.init("local", num_cpus=1)

    @rsim.remote
    class Hungry:
        def eat(self) -> None:
            signal.pause()

    with pytest.raises(ActorDiedError, match="ran out of memory"):
        rsim.get(Hungry.remote().eat.remote())


def test_another_kill_is_not_taken_for_it() -> None:
    rsim.init("local", num_cpus=1)

    @rsim.remote(max_retries=0)
    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(WorkerCrashedError, match=r"SIGKILL\)$"):
        rsim.get(die.remote())
