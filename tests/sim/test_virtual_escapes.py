# user program: what sleeps here sleeps in virtual time
"""Escapes are loud, name the user's line, and exist only inside a context."""

# ruff: noqa: PLW0108 - names are to be looked up when the lambda runs

import _socket
import _thread
import io
import logging
import os
import pdb
import posix
import queue
import re
import select
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from importlib import import_module
from multiprocessing import Process
from multiprocessing.pool import ThreadPool
from subprocess import run as alias_of_run

import pytest

import rsim
from rsim.exceptions import SimulationEscapeError, WorkerCrashedError
from rsim.sim.virtual import ESCAPES, install
from tests.sim.virtual_hub import Context, Hub, Parker, simulate


def resolve(escape):
    found = import_module(escape.module)
    for part in escape.name.split("."):
        found = getattr(found, part, None)
    return found


@pytest.mark.parametrize("escape", ESCAPES, ids=lambda escape: f"{escape.module}.{escape.name}")
def test_every_entry_of_the_table_is_guarded(escape):
    if resolve(escape) is None:
        pytest.skip("this platform lacks it")
    with pytest.raises(SimulationEscapeError, match=re.escape(escape.why)) as caught:
        simulate(lambda: resolve(escape)())
    assert caught.value.call == f"{escape.module}.{escape.name}"


def test_the_table_is_well_formed():
    assert len({(escape.module, escape.name) for escape in ESCAPES}) == len(ESCAPES)
    missing = [escape for escape in ESCAPES if resolve(escape) is None]
    assert len(missing) < 5, missing
    assert all(escape.why and not escape.why.endswith(".") for escape in ESCAPES)


def connect():
    with socket.create_connection(("localhost", 1)):
        pass


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: threading.Thread(target=print).start(), "threading.Thread.start"),
        (lambda: threading.Timer(1, print).start(), "threading.Thread.start"),
        (lambda: ThreadPool(1), "threading.Thread.start"),
        (lambda: socket.socket(), "socket.socket.__init__"),
        (lambda: socket.socketpair(), "socket.socketpair"),
        (connect, "socket.create_connection"),
        (lambda: subprocess.check_output(["true"]), "subprocess.Popen.__init__"),
        (lambda: alias_of_run(["true"], check=True), "subprocess.Popen.__init__"),
        (lambda: os.popen("true"), "os.popen"),
        (lambda: os.execlp("true", "true"), "os.execv"),
        (lambda: Process(target=print).start(), "multiprocessing.process.BaseProcess.start"),
        (lambda: ThreadPoolExecutor(1).submit(print), "threading.Thread.start"),
        (lambda: selectors.DefaultSelector().select(0), "select."),
        (lambda: select.select([], [], [], 0), "select.select"),
        (lambda: os.killpg(os.getpgrp(), 0), "os.killpg"),
        (lambda: signal.pthread_kill(threading.get_ident(), 0), "signal.pthread_kill"),
    ],
)
def test_what_user_code_writes(call, named):
    line = call.__code__.co_firstlineno
    with pytest.raises(SimulationEscapeError) as caught:
        simulate(call)
    text = str(caught.value)
    assert text.startswith(named)
    assert f"called by d at {__file__}:" in text
    assert abs(int(text.rpartition(":")[2].rstrip(")")) - line) <= 1


def test_the_names_of_this_machine_need_no_network():
    own = simulate(lambda: socket.gethostbyname(socket.gethostname()))
    assert own == simulate(lambda: socket.gethostbyname("localhost")) == "127.0.0.1"
    with pytest.raises(SimulationEscapeError, match="gethostbyname leaves the simulation"):
        simulate(lambda: socket.gethostbyname("example.org"))


def test_the_error_names_the_users_own_line_not_a_librarys():
    def helper():
        return subprocess.run(["true"], check=True)  # the line to be named

    with pytest.raises(SimulationEscapeError) as caught:
        simulate(lambda: helper())
    assert f"{__file__}:{helper.__code__.co_firstlineno + 1})" in str(caught.value)


# -- what was kept from before the simulation, and comes with a pickle -----------------------------

CLOCKS = {"read": time.monotonic, "list": [time.monotonic]}
SLEEPERS = [time.sleep]
PAIR = (time.sleep, 3)
NAP = partial(time.sleep, 3)


def nap_in_every_way():
    before = CLOCKS["read"]()
    SLEEPERS[0](3)
    PAIR[0](3)
    NAP()
    return CLOCKS["read"]() - before


@pytest.mark.parametrize(
    ("function", "named"),
    [
        (os.fork, "os.fork"),
        (partial(os.fork), "os.fork"),
        (posix.fork, "os.fork"),
        (partial(os.system, "true"), "os.system"),
        (partial(os.execv, "/bin/true", ["true"]), "os.execv"),
        (partial(_thread.start_new_thread, print, ()), "_thread.start_new_thread"),
        (partial(subprocess.Popen, ["true"]), "subprocess.Popen.__init__"),
        (partial(subprocess.run, ["true"]), "subprocess.Popen.__init__"),
        (partial(_socket.getaddrinfo, "localhost", 1), "_socket.getaddrinfo"),
        (socket.socketpair, "_socket.socketpair"),
        (partial(select.select, [], [], [], 0), "select.select"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_function_from_before_is_forbidden_all_the_same(function, named):
    task = rsim.remote(max_retries=0)(function)
    with rsim.init("sim"), pytest.raises(SimulationEscapeError) as caught:
        rsim.get(task.remote())
    assert caught.value.call == named


def test_the_socket_of_c_is_forbidden_too():
    def connect():
        real = _socket.socket()
        try:
            real.connect(("localhost", 1))
        finally:
            real.close()

    with pytest.raises(SimulationEscapeError, match=r"_socket\.socket\.connect"):
        simulate(connect)


def test_a_function_from_before_among_arguments_is_virtual():
    begun, real_pid, sleep = time.monotonic(), os.getpid(), time.sleep
    table = {"sleep": sleep, "now": [time.monotonic], "pid": os.getpid, "nap": NAP}

    @rsim.remote
    def nap(table):
        table["sleep"](1000)
        table["nap"]()
        return table["now"][0](), table["pid"]()

    with rsim.init("sim", cluster=rsim.sim.Cluster(1, latency_s=0, worker_start_s=0)):
        now, pid = rsim.get(nap.remote(table))
        assert now == 1003.0 and pid != real_pid
        assert rsim.get(rsim.remote(nap_in_every_way).remote()) == 9.0
        assert rsim.get(rsim.remote(sleep).remote(1)) is None
    assert CLOCKS["read"] is time.monotonic and SLEEPERS == [time.sleep] == [PAIR[0]]
    assert NAP.func is time.sleep
    assert time.monotonic() - begun < 1000


@pytest.mark.parametrize("function", [os._exit, posix._exit], ids=["os", "posix"])
def test_an_exit_from_before_ends_the_simulated_worker(function):
    task = rsim.remote(max_retries=0)(function)
    with rsim.init("sim"), pytest.raises(WorkerCrashedError, match="exit code 3"):
        rsim.get(task.remote(3))


def test_outside_a_context_nothing_is_forbidden():
    virtual = install(Hub().current)
    try:
        done = threading.Event()
        thread = threading.Thread(target=done.set)
        thread.start()
        assert done.wait(60)
        thread.join()
        assert subprocess.call([sys.executable, "-c", "exit(3)"]) == 3
        left, right = socket.socketpair()
        left.sendall(b"x")
        assert right.recv(1) == b"x"
        left.close()
        right.close()
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(lambda: 5).result() == 5
        assert select.select([], [], [], 0) == ([], [], [])
    finally:
        virtual.remove()


def test_files_print_and_logging_are_allowed(tmp_path, capsys):
    def task():
        (tmp_path / "file").write_text("text")
        print("printed")
        logging.getLogger("test").error("logged")
        return (tmp_path / "file").read_text()

    assert simulate(task) == "text"
    assert "printed" in capsys.readouterr().out


def test_the_debugger_works():
    output = io.StringIO()

    def task():
        local = 41
        pdb.Pdb(stdin=io.StringIO("p local + 1\nc\n"), stdout=output, nosigint=True).set_trace()
        return local

    assert simulate(task) == 41
    assert "42" in output.getvalue()


def test_input_is_allowed(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("typed\n"))
    assert simulate(lambda: input()) == "typed"


WAITS = {
    "threading.Event.wait": lambda timeout: threading.Event().wait(timeout),
    "threading.Semaphore.acquire": lambda timeout: threading.Semaphore(0).acquire(timeout=timeout),
    "queue.Queue.get": lambda timeout: queue.Queue().get(timeout=timeout),
    "queue.SimpleQueue.get": lambda timeout: queue.SimpleQueue().get(timeout=timeout),
    "concurrent.futures._base.Future.result": lambda timeout: Future().result(timeout),
    "threading.Condition.wait": lambda timeout: wait_on_condition(timeout),
}


def wait_on_condition(timeout):
    condition = threading.Condition()
    with condition:
        return condition.wait(timeout)


@pytest.mark.parametrize("kind", [Context, Parker])
@pytest.mark.parametrize("name", WAITS)
def test_a_wait_with_timeout_takes_virtual_time(name, kind):
    def task():
        try:
            result = WAITS[name](100)
        except (queue.Empty, TimeoutError):
            result = False
        return result, time.monotonic()

    assert simulate(task, kind=kind) == (False, 100)


@pytest.mark.parametrize("name", WAITS)
def test_a_wait_without_timeout_is_an_escape(name):
    with pytest.raises(SimulationEscapeError) as caught:
        simulate(lambda: WAITS[name](None))
    assert caught.value.call == name
    assert __file__ in str(caught.value)


def test_without_blocking_nothing_is_forbidden():
    def task():
        event, values, simple = threading.Event(), queue.Queue(1), queue.SimpleQueue()
        event.set()
        values.put(1)
        simple.put(2)
        with pytest.raises(queue.Full):
            values.put(3, block=False)
        with pytest.raises(queue.Empty):
            queue.SimpleQueue().get(block=False)
        return event.wait(), values.get(), simple.get(), threading.Event().wait(0), time.monotonic()

    assert simulate(task) == (True, 1, 2, False, 0)


@pytest.mark.parametrize(("kind", "latest"), [(Parker, 5), (Context, 5.7)])
def test_another_context_ends_a_wait(kind, latest):
    event, values = threading.Event(), queue.Queue()

    def waiting():
        assert event.wait(100)
        first = time.monotonic()
        return first, values.get(timeout=100)

    def ending():
        time.sleep(5)
        event.set()
        time.sleep(5)
        values.put("value")

    told = simulate(a=waiting, b=ending, kind=kind)["a"]
    assert 5 <= told[0] <= latest
    assert told[1] == "value"


def test_a_context_that_can_park_waits_without_timeout():
    event = threading.Event()

    def ending():
        time.sleep(5)
        event.set()

    told = simulate(a=lambda: (event.wait(), time.monotonic()), b=ending, kind=Parker)
    assert told["a"] == (True, 5)


def test_waiting_needs_the_lock_as_ever():
    with pytest.raises(RuntimeError, match="un-acquired"):
        simulate(lambda: threading.Condition().wait(1))
