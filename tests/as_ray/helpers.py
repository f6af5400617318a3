"""How the tests run programs and suites as a user would: in a Python of its own."""

import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

ROOT = Path(__file__).parents[2]
BACKENDS = ("sim", "local")

PLUGIN = "rsim.as_ray.pytest_plugin"


def run(*arguments: str, cwd: Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Python with these arguments, without what the environment says of rsim."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("RSIM_", "RAY_"))
    }
    environment["PYTHONPATH"] = str(ROOT)
    return subprocess.run(
        [sys.executable, *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment,
        timeout=200,
        check=False,
    )


def pytest_in(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """pytest, with the plugin, also where rsim is not installed."""
    installed = any(point.value == PLUGIN for point in entry_points(group="pytest11"))
    plugin = [] if installed else ["-p", PLUGIN]
    return run("-m", "pytest", "-q", "-p", "no:cacheprovider", *plugin, *arguments, cwd=folder)
