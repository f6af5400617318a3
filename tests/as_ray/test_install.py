"""`install` and `uninstall`: what they change in a process, and that all of it is undone."""

import os
import sys
from pathlib import Path

import pytest

import rsim
import rsim.as_ray
from rsim.api import options, session
from rsim.api.handles import ActorMethod

CHANGED = (rsim.ActorClass, rsim.ActorHandle, rsim.ObjectRef, rsim.RemoteFunction, ActorMethod)


def _state() -> object:
    return (
        dict(os.environ),
        list(sys.meta_path),
        list(sys.path),
        sorted(name for name in sys.modules if name.split(".")[0] == "ray"),
        [sorted(vars(owner)) for owner in CHANGED],
        sorted(vars(rsim.exceptions.RsimTaskError)),
        options.dialect,
        session.start_by_itself,
    )


@pytest.mark.parametrize("backend", [None, "sim", "local"])
def test_uninstall_leaves_nothing(backend: str | None) -> None:
    before = _state()
    rsim.as_ray.install(backend)
    assert rsim.as_ray.installed()
    import ray.util.queue

    assert ray.remote is rsim.remote
    rsim.as_ray.install("sim")
    assert os.environ["RSIM_ADDRESS"] == "sim"
    rsim.as_ray.uninstall()
    assert not rsim.as_ray.installed()
    rsim.as_ray.uninstall()
    assert _state() == before


def test_a_backend_that_there_is_not() -> None:
    with pytest.raises(ValueError, match="'cloud'"):
        rsim.as_ray.install("cloud")
    assert not rsim.as_ray.installed()


def test_a_real_ray_is_hidden_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "__init__.py").write_text("real = True\n")
    (tmp_path / "ray" / "data.py").write_text("real = True\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("ray", "ray.data"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import ray.data as before

    rsim.as_ray.install()
    import ray

    assert not hasattr(ray, "real") and ray.__version__
    with pytest.raises(NotImplementedError, match=r"ray\.data"):
        ray.data.range(1)
    rsim.as_ray.uninstall()
    import ray.data

    assert ray.data is before and ray.real
    for name in ("ray.data", "ray"):
        monkeypatch.delitem(sys.modules, name)


def test_python_itself_is_found_in_workers_and_in_programs_that_programs_start(
    backend: str, tmp_path: Path
) -> None:
    from tests.as_ray.helpers import run

    program = """
import subprocess, sys
def outside():
    import ray
    return ray.__version__
import ray
ray.init(num_cpus=1)
print(ray.get(ray.remote(outside).remote()))
ray.shutdown()
code = "import ray, ray.exceptions; ray.init(num_cpus=1); print(ray.get(ray.put(ray.__version__)))"
print(subprocess.run([sys.executable, "-c", code], stdout=-1, text=True).stdout.strip())
"""
    done = run("-m", "rsim.as_ray", "--backend", backend, "-", cwd=tmp_path, stdin=program)
    assert done.stdout == "2.60.0\n2.60.0\n", done.stderr


def test_and_in_processes_of_multiprocessing(tmp_path: Path) -> None:
    from tests.as_ray.helpers import run

    (tmp_path / "program.py").write_text("""
import multiprocessing
import ray

def name(number):
    return f"{ray.__name__} {number}"

if __name__ == "__main__":
    ray.init(num_cpus=1)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.map(name, [1, 2]))
""")
    done = run("-m", "rsim.as_ray", "--backend", "local", "program.py", cwd=tmp_path)
    assert done.stdout == "['ray 1', 'ray 2']\n", done.stderr
