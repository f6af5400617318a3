"""`python -m rsim.as_ray`: a program runs as Python runs it."""

from pathlib import Path

import pytest

from tests.as_ray.helpers import run

PROGRAM = """
import os, sys
import ray
import beside
def here():
    return __name__
if __name__ == "__main__":
    ray.init(num_cpus=1)
    print(ray.get(ray.remote(here).remote()), os.path.basename(__file__), sys.argv[1:])
    print(beside.VALUE, os.environ["RSIM_ADDRESS"])
    sys.exit(5)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "beside.py").write_text("VALUE = 7\n")
    (tmp_path / "fails.py").write_text("import ray\ndef f():\n    raise KeyError(3)\nf()\n")
    return tmp_path


@pytest.mark.parametrize("place", ["before", "after", "after, in one"])
def test_a_script(folder: Path, backend: str, place: str) -> None:
    option = [f"--backend={backend}"] if "one" in place else ["--backend", backend]
    before, after = (option, []) if place == "before" else ([], option)
    done = run("-m", "rsim.as_ray", *before, "program.py", "a", "--b", *after, cwd=folder)
    expected = f"__main__ program.py ['a', '--b']\n7 {backend}\n"
    assert (done.stdout, done.returncode) == (expected, 5), done.stderr


def test_a_module(folder: Path) -> None:
    done = run("-m", "rsim.as_ray", "--backend", "sim", "-m", "program", "--x", cwd=folder)
    expected = "__main__ program.py ['--x']\n7 sim\n"
    assert (done.stdout, done.returncode) == (expected, 5), done.stderr


def test_its_own_option_comes_first(folder: Path) -> None:
    arguments = ("--backend", "sim", "program.py", "--backend", "local")
    done = run("-m", "rsim.as_ray", *arguments, cwd=folder)
    assert done.stdout == "__main__ program.py ['--backend', 'local']\n7 sim\n", done.stderr


def test_the_seed_of_a_simulation(folder: Path) -> None:
    (folder / "draw.py").write_text(
        "import random, ray\nprint(ray.get(ray.remote(lambda: random.random()).remote()))\n"
    )
    first, again, other = (
        run("-m", "rsim.as_ray", "--backend", "sim", "--seed", seed, "draw.py", cwd=folder).stdout
        for seed in "112"
    )
    assert first == again != other
    done = run("-m", "rsim.as_ray", "--backend", "local", "--seed", "1", "draw.py", cwd=folder)
    assert done.returncode == 2 and "--backend sim" in done.stderr


def test_what_a_script_measures_of_a_simulation_is_virtual(folder: Path) -> None:
    (folder / "measure.py").write_text(
        "import time, ray\n"
        "from timeit import default_timer\n"
        "begin, started = time.time(), default_timer()\n"
        "ray.get([ray.remote(lambda: time.sleep(60)).remote() for _ in range(2)])\n"
        "ray.shutdown()\n"
        "print(round(time.time() - begin), round(default_timer() - started))\n"
    )
    done = run("-m", "rsim.as_ray", "--backend", "sim", "measure.py", cwd=folder)
    assert done.stdout == "60 60\n", done.stderr


def test_a_traceback_shows_the_program_only(folder: Path) -> None:
    done = run("-m", "rsim.as_ray", "fails.py", cwd=folder)
    assert done.returncode == 1
    assert "KeyError: 3" in done.stderr and "as_ray" not in done.stderr


def test_a_program_that_is_not_there(folder: Path) -> None:
    done = run("-m", "rsim.as_ray", "nowhere.py", cwd=folder)
    assert done.returncode == 2 and "nowhere.py" in done.stderr
