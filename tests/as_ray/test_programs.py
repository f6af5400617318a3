"""Programs in the style of Ray's documentation print under rsim what they print under Ray.

What Ray 2.60 prints is in the `.out` files; it was recorded without what Ray logs.
"""

from pathlib import Path

import pytest

from tests.as_ray.helpers import run

PROGRAMS = Path(__file__).parent / "programs"


@pytest.mark.parametrize("program", sorted(path.stem for path in PROGRAMS.glob("*.py")))
def test_a_program_prints_what_it_prints_under_ray(
    program: str, backend: str, tmp_path: Path
) -> None:
    path = PROGRAMS / f"{program}.py"
    done = run("-m", "rsim.as_ray", "--backend", backend, str(path), cwd=tmp_path)
    assert done.stdout == path.with_suffix(".out").read_text(), done.stderr
    assert done.returncode == 0
