# user program: what sleeps here sleeps in virtual time
"""Locks between simulated tasks: they exclude, in virtual time, and never hang the process."""

import fcntl
import multiprocessing
import os
import queue
import threading
import time
from contextlib import suppress

import pytest

import rsim
from rsim.exceptions import DeadlockError, SimulationEscapeError, WorkerCrashedError
from rsim.sim.virtual import locks
from tests.sim.virtual_hub import Context, Parker, simulate

pytestmark = pytest.mark.timeout(60)

LOCK, RLOCK = threading.Lock(), threading.RLock()  # made before any simulation
CONDITION, SEMAPHORE, VALUES = threading.Condition(), threading.Semaphore(), queue.Queue(1)

MAKERS = {
    "Lock": threading.Lock,
    "RLock": threading.RLock,
    "Condition": threading.Condition,
    "Semaphore": threading.Semaphore,
    "old Lock": lambda: LOCK,
    "old RLock": lambda: RLOCK,
    "old Condition": lambda: CONDITION,
    "old Semaphore": lambda: SEMAPHORE,
}


@pytest.fixture(params=MAKERS)
def make(request):
    return MAKERS[request.param]


@pytest.mark.parametrize("kind", [Parker])
def test_who_comes_second_waits(make, kind):
    lock = make()

    def hold():
        with lock:
            begun = time.monotonic()
            time.sleep(5)
            return begun, time.monotonic()

    assert simulate(a=hold, b=hold, c=hold, kind=kind) == {"a": (0, 5), "b": (5, 10), "c": (10, 15)}


@pytest.mark.parametrize("kind", [Context, Parker])
def test_a_timeout_takes_virtual_time(make, kind):
    lock = make()

    def hold():
        with lock:
            time.sleep(50)

    def fail():
        return lock.acquire(timeout=2), time.monotonic(), lock.acquire(False)

    assert simulate(a=hold, b=fail, kind=kind)["b"] == (False, 2, False)


def test_without_a_way_to_park_it_is_an_escape():
    lock = threading.Lock()
    with pytest.raises(SimulationEscapeError, match=f"Lock.acquire .*{__file__}") as caught:
        simulate(lambda: lock.acquire() and lock.acquire())
    assert caught.value.call == "threading.Lock.acquire"


@pytest.mark.parametrize("lock", [threading.Lock(), LOCK], ids=["new", "old"])
def test_a_lock_is_not_reentrant(lock):
    def twice():
        with lock, lock:
            pass

    with pytest.raises(DeadlockError, match=f"Lock.acquire at {__file__}"):
        simulate(twice, kind=Parker)
    assert not lock.locked()


@pytest.mark.parametrize("lock", [threading.RLock(), RLOCK], ids=["new", "old"])
def test_an_rlock_is_reentrant_for_its_holder_only(lock):
    def outer():
        with lock:
            time.sleep(1)
            with lock:
                time.sleep(1)
            time.sleep(1)
            return time.monotonic()

    def other():
        time.sleep(0.5)
        with pytest.raises(RuntimeError, match="un-acquired"):
            lock.release()
        assert not lock._is_owned()
        with lock:
            return time.monotonic()

    assert simulate(a=outer, b=other, kind=Parker) == {"a": 3, "b": 3}


@pytest.mark.parametrize("condition", [threading.Condition(), CONDITION], ids=["new", "old"])
def test_a_condition_gives_its_lock_back_while_it_waits(condition):
    def waiting():
        with condition, condition:
            condition.wait()
            return time.monotonic()

    def notifying():
        time.sleep(1)
        with condition:
            condition.notify()
            time.sleep(4)

    assert simulate(a=waiting, b=notifying, kind=Parker)["a"] == 5


@pytest.mark.parametrize("values", [queue.Queue(1), VALUES], ids=["new", "old"])
def test_a_full_queue_waits_for_who_takes(values):
    def putting():
        for number in range(3):
            values.put(number)
        return time.monotonic()

    def taking():
        taken = []
        for _ in range(3):
            time.sleep(1)
            taken.append(values.get())
        return taken

    assert simulate(a=putting, b=taking, kind=Parker) == {"a": 2, "b": [0, 1, 2]}


def test_bad_arguments_are_what_they_are():
    def bad():
        lock = threading.Lock()
        for arguments in ((False, 1), (True, -2)):
            with pytest.raises(ValueError, match="timeout"):
                lock.acquire(*arguments)
        with pytest.raises(RuntimeError, match="unlocked"):
            lock.release()
        with pytest.raises(RuntimeError, match="un-acquired"):
            threading.RLock().release()
        return lock.locked()

    assert simulate(bad) is False


# -- in a simulated cluster ------------------------------------------------------------------------


def hold(seconds):
    with LOCK:
        time.sleep(seconds)
        return time.monotonic()


def hold_both(first, second):
    with RLOCK if first else LOCK:
        time.sleep(1)
        with RLOCK if second else LOCK:
            return True


def take_all():
    LOCK.acquire()
    RLOCK.acquire()
    RLOCK.acquire()
    CONDITION.acquire()


def die():
    take_all()
    time.sleep(1)
    os._exit(1)


def hold_all():
    with LOCK, RLOCK, CONDITION:
        return time.monotonic()


CLUSTER = rsim.sim.Cluster(1, num_cpus=4, latency_s=0, worker_start_s=0)


def test_tasks_exclude_each_other():
    task = rsim.remote(hold)
    with rsim.init("sim", cluster=CLUSTER):
        assert sorted(rsim.get([task.remote(1) for _ in range(3)])) == [1, 2, 3]
        ref = task.remote(1)
        time.sleep(0.5)
        assert not LOCK.acquire(timeout=0.2)
        assert LOCK.acquire()
        assert rsim.get(ref) == time.monotonic() == 4
        LOCK.release()


def test_a_worker_that_dies_releases_its_locks():
    doomed = rsim.remote(max_retries=0)(die)
    with rsim.init("sim", cluster=CLUSTER) as session:
        refs = [doomed.remote(), rsim.remote(hold_all).remote()]
        assert rsim.get(refs[1]) == 1
        with pytest.raises(WorkerCrashedError):
            rsim.get(refs[0])
        lasting = rsim.remote(hold).remote(1000)
        time.sleep(1)
        assert LOCK.locked()
        for index in (1, 2, 3):
            with suppress(ValueError):
                session.kill_worker("n0", index)
        assert not LOCK.locked()
        assert 1000 < rsim.get(lasting) < 2000


def test_the_end_of_a_session_releases_all_locks():
    with rsim.init("sim"):
        rsim.get(rsim.remote(take_all).remote())
        assert LOCK.locked() and not LOCK.acquire(timeout=1) and not RLOCK.acquire(timeout=1)
    assert not LOCK.locked() and not RLOCK._is_owned()


class Keeper:
    def take(self):
        return RLOCK.acquire()

    def give(self):
        RLOCK.release()


def test_what_one_method_of_an_actor_takes_another_can_release():
    with rsim.init("sim", num_cpus=2):
        keeper = rsim.remote(Keeper).remote()
        assert rsim.get(keeper.take.remote())
        assert not RLOCK.acquire(timeout=3)
        rsim.get(keeper.give.remote())
        assert RLOCK.acquire(timeout=3)
        RLOCK.release()


def test_two_tasks_that_wait_for_each_other_are_a_deadlock():
    task = rsim.remote(hold_both)
    with rsim.init("sim", num_cpus=2):
        refs = [task.remote(True, False), task.remote(False, True)]
        with pytest.raises(DeadlockError, match=r"asleep: threading\.R?Lock\.acquire at"):
            rsim.get(refs)


# -- locks that nobody simulated holds -------------------------------------------------------------


def test_a_lock_that_a_real_thread_holds_is_waited_for_in_real_time():
    lock, begun, go = threading.Lock(), threading.Event(), threading.Event()

    def thread():
        with lock:
            begun.set()
            go.wait()

    real = threading.Thread(target=thread)
    real.start()
    begun.wait()
    timer = threading.Timer(0.05, go.set)
    timer.start()
    assert simulate(lambda: (lock.acquire(), time.monotonic()), kind=Parker) == (True, 0)
    real.join()
    timer.join()


def test_a_lock_taken_before_the_simulation_is_not_waited_for_in_vain(monkeypatch):
    monkeypatch.setattr(locks, "REAL_PATIENCE_S", 0.1)  # a time limit of the test is a thread
    lock = threading.Lock()
    lock.acquire()
    with pytest.raises((DeadlockError, SimulationEscapeError), match=r"Lock\.acquire"):
        simulate(lambda: lock.acquire(), kind=Parker)  # noqa: PLW0108 - looked up when called
    lock.release()


# -- waits in the kernel ---------------------------------------------------------------------------


def test_a_lock_between_processes(tmp_path):
    lock = multiprocessing.get_context("fork").Lock()

    def hold():
        with lock:
            time.sleep(50)

    def fail():
        return lock.acquire(timeout=2), time.monotonic(), lock.acquire(False)

    assert simulate(a=hold, b=fail)["b"] == (False, 2, False)
    with pytest.raises(SimulationEscapeError, match=r"acquire leaves"):
        simulate(lambda: lock.acquire() and lock.acquire())
    lock.release()


def test_a_lock_on_a_file(tmp_path):
    with (tmp_path / "file").open("w") as one, (tmp_path / "file").open("w") as other:

        def lock_both():
            fcntl.flock(one, fcntl.LOCK_EX)
            with pytest.raises(BlockingIOError):
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.flock(other, fcntl.LOCK_EX)

        with pytest.raises(SimulationEscapeError, match=r"fcntl\.flock"):
            simulate(lock_both)


def test_an_empty_pipe():
    reading, writing = os.pipe()

    def read_twice():
        os.write(writing, b"x")
        assert os.read(reading, 9) == b"x"
        os.read(reading, 9)

    with pytest.raises(SimulationEscapeError, match=r"os\.read"):
        simulate(read_twice)
    os.close(reading)
    os.close(writing)
