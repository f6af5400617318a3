"""The command line."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import rsim
from rsim.cli.main import main


def _invoke(*arguments: str, **environment: str | None) -> Result:
    clean: dict[str, str | None] = {"RSIM_ADDRESS": None, "RSIM_SEED": None}
    return CliRunner().invoke(main, arguments, env=clean | environment)


@pytest.fixture
def script(tmp_path: Path) -> str:
    path = tmp_path / "script.py"
    path.write_text(
        "import sys, time, rsim\n"
        "start = time.time()\n"
        "length = rsim.remote(len)\n"
        "total = sum(rsim.get([length.remote(word) for word in sys.argv[1:]]))\n"
        "session = rsim.init(ignore_reinit_error=True)\n"
        "print(__name__, session.address, session['seed'], sys.argv[1:], total)\n"
        "rsim.get(rsim.remote(lambda: time.sleep(5)).remote())\n"
        "rsim.shutdown()\n"
        "print(time.time() - start, sys.path.count(''), sys.path[0] in __file__)\n"
        "sys.exit(3)\n"
    )
    return str(path)


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    seen: dict[str, Any] = {}

    def execve(path: str, argv: list[str], environment: dict[str, str]) -> None:
        seen.update(argv=argv, address=environment.get("RSIM_ADDRESS"))
        seen["seed"] = environment.get("RSIM_SEED")

    monkeypatch.setattr(os, "execve", execve)
    return seen


def test_version() -> None:
    assert _invoke("--version").output == f"rsim {rsim.__version__}\n"


def test_run_sets_the_environment(script: str, executed: dict[str, Any]) -> None:
    assert _invoke("run", "--backend", "sim", "--seed", "3", script, "a", "--seed").exit_code == 0
    command = [sys.executable, "-m", "rsim.sim", script, "a", "--seed"]
    assert executed == {"argv": command, "address": "sim", "seed": "3"}
    _invoke("run", script)
    assert executed == {"argv": [sys.executable, script], "address": None, "seed": None}
    _invoke("run", "--seed", "4", script, RSIM_ADDRESS="sim")
    assert (executed["address"], executed["seed"]) == ("sim", "4")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--backend", "cloud"], "'cloud' is not one of"),
        (["--backend", "local", "--seed", "1"], "add --backend sim"),
        (["--seed", "1"], "add --backend sim"),
        (["missing.py"], "'missing.py' does not exist"),
    ],
)
def test_bad_usage(
    script: str, executed: dict[str, Any], arguments: list[str], message: str
) -> None:
    result = _invoke("run", *arguments, script)
    assert result.exit_code == 2
    assert message in result.output
    assert executed == {}


def test_run_runs_the_script_as_python_does(script: str) -> None:
    command = [sys.executable, "-m", "rsim", "run", "--backend", "sim", "--seed", "9"]
    environment = os.environ | {"PYTHONPATH": str(Path(rsim.__file__).parents[1])}
    result = subprocess.run(
        [*command, script, "one", "--two"],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert result.stdout == "__main__ sim 9 ['one', '--two'] 8\n5.0 0 True\n", result.stderr
    assert result.returncode == 3
