"""The programs in README and guides run as they stand."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

CALL_TESTS = """
for name, value in list(globals().items()):
    if name.startswith("test_"):
        value()
"""


def programs() -> list[tuple[str, str]]:
    """(place, code) of every block that is a whole program."""
    found = []
    for page in PAGES:
        blocks = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
        for number, code in enumerate(blocks):
            if "import rsim" in code:
                found.append((f"{page.name}-{number}", code))
    return found


def run(code: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    script = tmp_path / "program.py"
    script.write_text(code)
    return subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        timeout=200,
        cwd=ROOT,
        check=False,
    )


@pytest.mark.parametrize(("place", "code"), programs(), ids=[place for place, _ in programs()])
def test_a_program_from_the_docs(place: str, code: str, tmp_path: Path) -> None:
    done = run(code + CALL_TESTS, tmp_path)
    assert done.returncode == 0, f"{place}: {done.stderr}"


def test_the_readme_says_what_its_program_prints(tmp_path: Path) -> None:
    (code,) = (code for place, code in programs() if place == "README.md-0")
    out = run(code, tmp_path).stdout.splitlines()
    assert out[0] == "285 1.0001" and out[2] == "285"
    assert re.fullmatch(r"[0-9a-f]{32}", out[1])
