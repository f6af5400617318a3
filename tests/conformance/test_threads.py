"""Threads that a program starts: in its driver, in tasks and in actors, on every backend alike."""

from __future__ import annotations

import asyncio
import queue
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from multiprocessing.pool import ThreadPool

import pytest

import rsim


@rsim.remote
def double(x):
    return 2 * x


def ask(x):
    return rsim.get(double.remote(x))


def test_threads_of_the_driver_get_what_they_submit(rt):
    found = {}

    def work(x):
        found[x] = ask(x), threading.current_thread().name

    threads = [threading.Thread(target=work, args=(x,), name=f"t{x}") for x in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {x: (2 * x, f"t{x}") for x in range(4)}
    assert not any(thread.is_alive() for thread in threads)
    assert threading.current_thread() is threading.main_thread()


def test_a_pool_of_threads(rt):
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(ask, range(8))) == [2 * x for x in range(8)]
        futures = [pool.submit(ask, x) for x in range(3)]
        assert sorted(future.result() for future in as_completed(futures)) == [0, 2, 4]


def test_threads_hand_over_by_queues_and_events(rt):
    todo: queue.Queue[int | None] = queue.Queue(maxsize=1)
    done: queue.SimpleQueue[int] = queue.SimpleQueue()
    finished = threading.Event()

    def consume():
        while (item := todo.get()) is not None:
            done.put(ask(item))
        finished.set()

    thread = threading.Thread(target=consume)
    thread.start()
    for item in (*range(5), None):
        todo.put(item)
    assert [done.get() for _ in range(5)] == [0, 2, 4, 6, 8]
    finished.wait()
    thread.join()


def test_a_coroutine_awaits_a_thread(rt):
    async def main():
        loop = asyncio.get_running_loop()
        both = await asyncio.gather(*(asyncio.to_thread(ask, x) for x in range(2)))
        return [*both, await loop.run_in_executor(None, ask, 2)]

    assert asyncio.run(main()) == [0, 2, 4]


def test_threads_within_a_task(rt):
    @rsim.remote
    def task():
        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(ask, range(3)))

    assert rsim.get(task.remote()) == [0, 2, 4]


@rsim.remote
class Server:
    """Does its work in a thread of its own."""

    def __init__(self):
        self.todo = queue.Queue()
        self.done = {}
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while (job := self.todo.get()) is not None:
            self.done[job] = ask(job)

    def add(self, job):
        self.todo.put(job)

    def end(self):
        self.todo.put(None)
        self.thread.join()
        return self.done, self.thread.is_alive()


def test_an_actor_with_a_thread(rt):
    server = Server.remote()
    for job in range(3):
        server.add.remote(job)
    assert rsim.get(server.end.remote()) == ({0: 0, 1: 2, 2: 4}, False)


def test_what_a_thread_raises_is_told_and_ends_it_alone(rt, monkeypatch):
    told = []
    monkeypatch.setattr(threading, "excepthook", lambda args: told.append(args.exc_value))

    def fail():
        raise LookupError(ask(21))

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    (error,) = told
    assert isinstance(error, LookupError) and error.args == (42,)


def test_a_pool_of_threads_of_multiprocessing(rt):
    with ThreadPool(3) as pool:
        assert pool.map(ask, range(5)) == [0, 2, 4, 6, 8]
        assert sorted(pool.imap_unordered(ask, range(3))) == [0, 2, 4]
        assert pool.apply_async(ask, (3,)).get(timeout=60) == 6
        with pytest.raises(ZeroDivisionError):
            pool.map(lambda x: 1 // x, [1, 0])
    pool.join()
    with pytest.raises(ValueError, match="Pool not running"):
        pool.map(ask, [1])


@rsim.remote
class Pooled:
    def run(self, count):
        pool = ThreadPool(2, initializer=int)
        found = pool.starmap(pow, [(2, x) for x in range(count)])
        pool.close()
        pool.join()
        return found


def test_an_actor_with_a_pool_of_threads_of_multiprocessing(rt):
    assert rsim.get(Pooled.remote().run.remote(4)) == [1, 2, 4, 8]


LOCAL = threading.local()


class Named(threading.local):
    shared = "all"

    def __init__(self, name, *, made=None):
        self.name = name
        self.made = made

    @property
    def loud(self):
        return self.name.upper()


NAMED = Named("n", made="m")


def count_up():
    LOCAL.count = getattr(LOCAL, "count", 0) + 1
    return LOCAL.count


def test_each_thread_has_attributes_of_its_own(rt):
    LOCAL.count = 10
    NAMED.name = "changed"

    def work():
        counts = [count_up(), count_up()]
        before = NAMED.name, NAMED.made, NAMED.loud, NAMED.shared
        NAMED.name = "mine"
        counts.append(ask(1))
        del LOCAL.count
        return counts, before, NAMED.loud, hasattr(LOCAL, "count"), vars(NAMED)

    with ThreadPoolExecutor(2) as pool:
        found = [future.result() for future in [pool.submit(work) for _ in range(2)]]
    expected = [1, 2, 2], ("n", "m", "N", "all"), "MINE", False, {"name": "mine", "made": "m"}
    assert found[0] == expected
    assert (count_up(), NAMED.loud) == (11, "CHANGED")
    del LOCAL.count


@rsim.remote
class Local:
    def count(self):
        return count_up()


def test_an_actor_keeps_what_its_thread_has(rt):
    LOCAL.count = 10
    actors = [Local.remote() for _ in range(2)]
    assert rsim.get([actor.count.remote() for actor in actors for _ in range(3)]) == [1, 2, 3] * 2
    assert count_up() == 11
    del LOCAL.count


def test_mistakes_with_threads(rt):
    thread = threading.Thread(target=int)
    with pytest.raises(RuntimeError, match="before it is started"):
        thread.join()
    thread.start()
    thread.join()
    with pytest.raises(RuntimeError, match="only be started once"):
        thread.start()

    class Uninitialised(threading.Thread):
        def __init__(self):
            """Forgets its base."""

    with pytest.raises(RuntimeError, match="not called"):
        Uninitialised().start()
