"""Whole programs in surroundings that are out of the ordinary."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import rsim

ROOT = Path(__file__).parents[3]


def test_a_store_that_no_address_space_can_hold_is_told_with_what_to_do() -> None:
    with pytest.raises(OSError, match=r"1(,\d+)+ bytes cannot be mapped.*object_store_memory"):
        rsim.init("local", object_store_memory=1 << 60)
    assert not rsim.is_initialized()


PROGRAM = """
import sys
import rsim

def one():
    return 1

@rsim.remote
def wanted():
    return one()

rsim.init("local", num_cpus=1)
try:
    sys.exit(rsim.get(wanted.remote()) - 1)
finally:
    rsim.shutdown()
"""


def run(*command: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=60, cwd=ROOT, **options
    )


def test_a_daemon_has_closed_its_standard_streams() -> None:
    shell = f"exec {sys.executable} -c '{PROGRAM}' <&- >&- 2>&-"
    assert run("sh", "-c", shell).returncode == 0


def test_pythons_development_mode_finds_nothing_to_complain_of() -> None:
    result = run(sys.executable, "-X", "dev", "-W", "error", "-c", PROGRAM)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.parametrize("begin", ["rsim.init", ""])
def test_a_module_that_calls_itself_when_a_worker_imports_it_says_so(
    tmp_path: Path, begin: str
) -> None:
    text = PROGRAM if begin else PROGRAM.replace('rsim.init("local", num_cpus=1)', "")
    (tmp_path / "careless.py").write_text(text)
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    result = run(sys.executable, "-c", "import careless", env=environment)
    assert "if __name__ == '__main__':" in result.stderr
    assert 'careless.py", line 1' in result.stderr


def test_processes_are_called_after_what_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    @rsim.remote
    class Counter:
        def pid(self) -> int:
            return os.getpid()

    for prefix in ("rsim", "ray"):
        if prefix == "ray":
            monkeypatch.setenv("RSIM_PROCESS_PREFIX", prefix)
        with rsim.init("local", num_cpus=1):
            counter = Counter.options(num_cpus=0).remote()
            pids = rsim.get([counter.pid.remote(), rsim.remote(os.getpid).remote()])
            names = [Path(f"/proc/{pid}/comm").read_text().strip() for pid in pids]
        assert names == [f"{prefix}::Counter", f"{prefix}::worker"]
