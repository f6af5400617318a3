"""The layers of ARCHITECTURE: import-linter's contracts hold, and each of them bites."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = ("simpy", "greenlet", "redis", "numpy")
LAYERS = (
    "testing",
    "cli",
    "lab",
    "as_ray",
    "api",
    "sim",
    "backends",
    "backends.local",
    "backends.cluster",
    "runtime",
    "core",
    "exceptions",
)


def _run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _lint_imports(cwd: Path) -> subprocess.CompletedProcess[str]:
    program = "import sys; from importlinter.cli import lint_imports as lint; sys.exit(lint({}))"
    arguments = f"config_filename={str(ROOT / 'pyproject.toml')!r}, no_cache=True, no_logo=True"
    return _run("-c", program.format(arguments), cwd=cwd)


def test_repository_keeps_the_layers() -> None:
    result = _lint_imports(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


def _skeleton(root: Path, importer: str, imported: str) -> None:
    """An rsim of empty packages, in which one module imports another."""
    for package in ("", *LAYERS):
        folder = root / "rsim" / package.replace(".", "/")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "__init__.py").touch()
    (root / "rsim" / importer.replace(".", "/") / "module.py").write_text(f"import {imported}\n")


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("core", "rsim.runtime"),
        ("exceptions", "rsim.core"),
        ("runtime", "rsim.api"),
        ("api", "rsim.backends.local"),
        ("api", "rsim.sim"),
        ("sim", "rsim.backends"),
        ("backends.local", "rsim.sim"),
        ("backends.local", "rsim.backends.cluster"),
        ("backends.local", "greenlet"),
        ("runtime", "simpy"),
        ("sim", "redis"),
    ],
)
def test_contracts_forbid(tmp_path: Path, importer: str, imported: str) -> None:
    _skeleton(tmp_path, importer, imported)
    result = _lint_imports(tmp_path)
    assert result.returncode == 1, result.stdout + result.stderr
    assert f"rsim.{importer}.module -> {imported}" in result.stdout


@pytest.mark.parametrize(
    ("importer", "imported"),
    [("core", "rsim.exceptions"), ("lab", "rsim.api"), ("backends.cluster", "rsim.backends.local")],
)
def test_contracts_allow(tmp_path: Path, importer: str, imported: str) -> None:
    _skeleton(tmp_path, importer, imported)
    result = _lint_imports(tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr


def test_import_loads_nothing_heavy(tmp_path: Path) -> None:
    program = f"import sys, rsim; print([name for name in {HEAVY} if name in sys.modules])"
    result = _run("-c", program, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "[]"
