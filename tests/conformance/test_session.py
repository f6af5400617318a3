"""init, shutdown, and what there is in between."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import rsim

ROOT = Path(__file__).parents[2]

PROGRAM = """
import rsim

@rsim.remote
def square(number):
    return number * number

if __name__ == "__main__":
    print(sum(rsim.get([square.remote(number) for number in range(5)])))
"""


@rsim.remote
def square(number):
    return number * number


def test_a_session_tells_of_itself(init, backend):
    session = init(num_cpus=1)
    assert session.address == backend
    before = session.now()
    assert rsim.get(square.remote(3)) == 9
    assert session.now() >= before >= 0
    assert session.trace is not None


def test_several_runtimes_one_after_another(init):
    for number in range(3):
        assert not rsim.is_initialized()
        init(num_cpus=1)
        assert rsim.is_initialized()
        assert rsim.get(square.remote(number)) == number * number
        rsim.shutdown()


def test_a_session_is_a_context_manager(init):
    with init(num_cpus=1) as session:
        assert session.address
        assert rsim.get(square.remote(2)) == 4
    assert not rsim.is_initialized()
    with pytest.raises(KeyError), init(num_cpus=1):
        raise KeyError
    assert not rsim.is_initialized()


def test_shutdown_may_be_repeated(init):
    rsim.shutdown()
    session = init(num_cpus=1)
    session.shutdown()
    session.shutdown()
    rsim.shutdown()
    assert not rsim.is_initialized()


def test_the_second_init_is_an_error_unless_it_is_to_be_ignored(init):
    first = init(num_cpus=1)
    with pytest.raises(RuntimeError, match="ignore_reinit_error"):
        init(num_cpus=1)
    again = init(num_cpus=1, ignore_reinit_error=True)
    assert again.address == first.address
    assert rsim.get(square.remote(2)) == 4


def test_shutdown_with_work_left(init, tmp_path):
    init(num_cpus=1)

    @rsim.remote
    def endless():
        import time

        time.sleep(10_000)

    refs = [endless.remote() for _ in range(5)]
    rsim.wait(refs, timeout=0.05)
    rsim.shutdown()
    init(num_cpus=1)
    assert rsim.get(square.remote(2)) == 4


@pytest.mark.parametrize("backend", ["sim", "local"])
def test_the_first_use_starts_what_the_environment_names(backend, monkeypatch):
    monkeypatch.setenv("RSIM_ADDRESS", backend)
    ref = square.remote(4)
    assert rsim.is_initialized()
    assert rsim.get(ref) == 16


@pytest.mark.parametrize("first_use", ["put", "remote", "get", "wait"])
def test_each_call_starts_a_runtime(monkeypatch, first_use):
    monkeypatch.setenv("RSIM_ADDRESS", "sim")
    calls = {
        "put": lambda: rsim.put(1),
        "remote": lambda: square.remote(1),
        "get": lambda: rsim.get([]),
        "wait": lambda: rsim.wait([]),
    }
    assert not rsim.is_initialized()
    calls[first_use]()
    assert rsim.is_initialized()


def test_after_shutdown_the_next_use_starts_anew(init, backend, monkeypatch):
    monkeypatch.setenv("RSIM_ADDRESS", backend)
    init(num_cpus=1)
    rsim.shutdown()
    assert rsim.get(square.remote(5)) == 25


def test_an_unknown_address():
    with pytest.raises(ValueError, match="nowhere"):
        rsim.init("nowhere")
    assert not rsim.is_initialized()


def test_an_unknown_argument():
    with pytest.raises(TypeError, match="num_cpu"):
        rsim.init("sim", num_cpu=1)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"num_cpus": -1}, "num_cpus"),
        ({"num_cpus": "two"}, "num_cpus"),
        ({"num_gpus": -1}, "num_gpus"),
        ({"resources": {"CPU": 1}}, "CPU"),
        ({"resources": {"x": -1}}, "x"),
        ({"object_store_memory": -1}, "object_store_memory"),
        ({"object_store_memory": "1G"}, "object_store_memory"),
    ],
)
def test_bad_arguments_are_named(init, options, names):
    with pytest.raises((TypeError, ValueError), match=names):
        init(**options)
    assert not rsim.is_initialized()
    init(num_cpus=1)
    assert rsim.get(square.remote(2)) == 4


def run(*command, env=None):
    return subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=200,
        check=True,
    )


def test_a_script_by_environment(backend, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(PROGRAM)
    done = run(sys.executable, str(script), env={"RSIM_ADDRESS": backend, "PYTHONPATH": str(ROOT)})
    assert done.stdout == "30\n"
    assert done.stderr == ""


def test_a_script_by_command_line(backend, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(PROGRAM)
    rsim_command = str(Path(sys.executable).with_name("rsim"))
    done = run(rsim_command, "run", "--backend", backend, str(script))
    assert "30\n" in done.stdout


def test_importing_rsim_loads_no_backend():
    code = (
        "import rsim, sys; print([m for m in ('simpy', 'greenlet', 'redis') if m in sys.modules])"
    )
    assert run(sys.executable, "-c", code).stdout == "[]\n"
