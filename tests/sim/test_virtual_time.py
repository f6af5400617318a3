# user program: what sleeps here sleeps in virtual time
"""Virtual clocks: what `time` and `datetime` tell inside a context, outside it, and afterwards."""

# ruff: noqa: PLW0108 - names are to be looked up when the lambda runs

import asyncio
import copy
import datetime as datetime_module
import pickle
import queue
import random
import sched
import sys
import threading
import time
import timeit
import types
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, timezone
from time import monotonic as alias_of_monotonic
from time import sleep as alias_of_sleep

import cloudpickle
import pytest

import rsim
from rsim.sim.virtual import DEFAULT_EPOCH_NS, install
from rsim.sim.virtual.clock import BUSY_READINGS
from tests.sim.virtual_hub import Context, Hub, simulate

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
CLOCKS = "time monotonic perf_counter process_time thread_time".split()


def waited(seconds: float, clock=time.monotonic) -> float:
    before = clock()
    alias_of_sleep(seconds)
    return clock() - before


@dataclass
class Stamped:
    made: datetime = field(default_factory=datetime.now)
    ticks: float = field(default_factory=time.perf_counter)


class HoldsClock:
    clock = time.monotonic


def closing_over(function):
    def closure():
        return function()

    return closure


closure = closing_over(time.time)


def test_every_clock_tells_virtual_time():
    def task():
        time.sleep(1.5)
        return {name: getattr(time, name)() for name in CLOCKS} | {
            name + "_ns": getattr(time, name + "_ns")() for name in CLOCKS
        }

    told = simulate(task)
    for name in CLOCKS:
        offset_ns = DEFAULT_EPOCH_NS if name == "time" else 0
        assert told[name + "_ns"] == offset_ns + 1_500_000_000
        assert told[name] == (offset_ns + 1_500_000_000) / 1e9


def test_posix_clocks():
    told = simulate(
        lambda: (time.clock_gettime(time.CLOCK_REALTIME), time.clock_gettime_ns(1), time.sleep(0))
    )
    assert told == (DEFAULT_EPOCH_NS / 1e9, 0, None)


def test_calendar_functions_without_argument():
    def task():
        time.sleep(3600)
        return time.gmtime(), time.localtime(), time.ctime(), time.asctime(), time.strftime("%s")

    utc, local, ctime, asctime, seconds = simulate(task)
    epoch_s = DEFAULT_EPOCH_NS // 10**9 + 3600
    assert utc == time.gmtime(epoch_s)
    assert local == time.localtime(epoch_s)
    assert ctime == asctime == time.ctime(epoch_s)
    assert int(seconds) == epoch_s


def test_calendar_functions_with_argument_are_the_real_ones():
    assert simulate(lambda: (time.gmtime(5), time.strftime("%Y", time.gmtime(0)))) == (
        time.gmtime(5),
        "1970",
    )


def test_datetime_now_utcnow_today():
    def task():
        time.sleep(86_400.000_001)
        plus2 = timezone(timedelta(hours=2))
        return datetime.now(UTC), datetime.now(tz=plus2), datetime.utcnow(), datetime.now()

    aware, plus2, naive, local = simulate(task)
    assert aware == plus2 == EPOCH + timedelta(days=1, microseconds=1)
    assert plus2.utcoffset() == timedelta(hours=2)
    assert naive == aware.replace(tzinfo=None)
    assert local.astimezone(UTC) == aware


def test_today_of_date_and_datetime():
    today, now, now_too = simulate(lambda: (date.today(), datetime.today(), datetime.now()))
    assert type(today) is date
    assert today == now.date()
    assert now == now_too


def test_datetime_types_are_the_real_ones_and_pickle_anywhere():
    class Special(datetime):
        pass

    def task():
        now = datetime.now(UTC)
        assert type(now) is datetime and isinstance(now, datetime_module.datetime)
        assert isinstance(now, date) and not isinstance(date.today(), datetime)
        assert type(Special.now()) is Special
        assert copy.deepcopy(now) == now
        return pickle.dumps((now, date.today(), datetime)), now

    data, now = simulate(task)
    loaded, today, kind = pickle.loads(data)
    assert loaded == now == EPOCH and type(loaded) is datetime
    assert today == date(2026, 1, 1) or today == date(2025, 12, 31)
    assert kind is datetime
    assert simulate(lambda: pickle.loads(pickle.dumps(now))) == now


def test_aliases_in_user_modules_are_covered():
    assert simulate(lambda: waited(1000)) == 1000
    assert simulate(lambda: alias_of_monotonic()) == 0


def test_aliases_in_defaults_class_attributes_and_closures_are_covered():
    def task():
        time.sleep(2)
        return Stamped(), HoldsClock.clock(), HoldsClock().clock(), closure()

    stamped, of_class, of_instance, of_closure = simulate(task)
    assert stamped.made.astimezone(UTC) == EPOCH + timedelta(seconds=2)
    assert stamped.ticks == of_class == of_instance == 2
    assert of_closure == DEFAULT_EPOCH_NS / 1e9 + 2


def test_class_attribute_made_inside_does_not_bind():
    def task():
        class Local:
            clock = time.monotonic

        return Local().clock()

    assert simulate(task) == 0


def test_aliases_of_datetime_methods_outside_and_after():
    assert waited.__defaults__[0] is time.monotonic
    assert HoldsClock.clock is time.monotonic
    assert abs(Stamped().made - datetime.now()) < timedelta(hours=1)
    assert closure() > DEFAULT_EPOCH_NS / 1e9 + 86_400 * 30


def test_standard_library_aliases_are_covered():
    def task():
        scheduler = sched.scheduler()
        log = []
        scheduler.enter(10, 1, lambda: log.append(time.monotonic()))
        scheduler.run()
        return log, timeit.default_timer()

    assert simulate(task) == ([10], 10)


def test_everything_is_the_same_after_removal_even_after_an_error():
    def picture():
        modules = (time, random, threading, queue, sched, datetime_module, sys.modules[__name__])
        taken = {m.__name__: dict(vars(m)) for m in modules}
        for cls in (datetime, date, threading.Condition, random.Random, queue.SimpleQueue):
            taken[cls.__qualname__] = dict(vars(cls))
        for name in ("socket", "subprocess", "os", "uuid", "tempfile", "asyncio", "select"):
            taken[name] = dict(vars(sys.modules[name]))
        return taken

    simulate(lambda: None)  # imports what it needs
    before = picture()
    with pytest.raises(ZeroDivisionError):
        simulate(lambda: 1 / 0)
    after = picture()
    assert after == before
    assert all(after[m][name] is before[m][name] for m in before for name in before[m])


def test_install_twice_is_refused_and_remove_is_idempotent():
    hub = Hub()
    first = install(hub.current)
    try:
        with pytest.raises(RuntimeError, match="already installed"):
            install(hub.current)
    finally:
        first.remove()
    sleep = time.sleep
    second = install(hub.current)
    first.remove()
    assert time.sleep is not sleep
    second.remove()
    second.remove()
    assert time.sleep is sleep


def test_outside_a_context_the_functions_are_the_real_ones():
    hub = Hub()
    virtual = install(hub.current)
    try:
        assert time.time() * 1e9 > DEFAULT_EPOCH_NS + 86_400 * 30 * 10**9
        assert datetime.now(UTC) - EPOCH > timedelta(days=30)
        with pytest.raises(ValueError, match="non-negative"):
            time.sleep(-1)
        told = []
        go = threading.Lock()
        go.acquire()
        thread = threading.Thread(target=lambda: (go.acquire(), told.append(time.monotonic_ns())))
        thread.start()
        hub.running = Context(hub, "d", int)  # another thread is outside, whatever runs here
        go.release()
        thread.join()
        hub.running = None
        assert told[0] > 0
    finally:
        virtual.remove()


def test_module_imported_meanwhile_gets_the_virtual_and_loses_it():
    hub = Hub()
    virtual = install(hub.current)
    module = types.ModuleType("made_during_simulation")
    sys.modules[module.__name__] = module
    try:
        exec("from time import sleep\nfrom random import choice", vars(module))
        assert module.sleep is time.sleep
        virtual.remove()
        assert module.sleep is time.sleep is alias_of_sleep
        assert module.choice is random.choice
    finally:
        virtual.remove()
        del sys.modules[module.__name__]


def test_rebind_covers_a_namespace_not_in_any_module():
    namespace = {"sleep": time.sleep, "draw": random.random, "other": len}
    real = dict(namespace)
    virtual = install(Hub().current)
    try:
        virtual.rebind(namespace)
        assert namespace == {"sleep": time.sleep, "draw": random.random, "other": len}
        assert namespace["sleep"] is not real["sleep"]
    finally:
        virtual.remove()


def test_virtual_functions_pickle_by_name():
    def task():
        functions = (time.sleep, random.randint, datetime.now, time.time)
        assert pickle.loads(pickle.dumps(functions)) == functions
        by_value = cloudpickle.loads(cloudpickle.dumps(lambda: alias_of_sleep(7)))
        by_value()
        return pickle.dumps(functions[:2]), time.monotonic()

    data, now = simulate(task)
    assert pickle.loads(data) == (time.sleep, random.randint)
    assert now == 7


@pytest.mark.parametrize(
    ("duration", "error"), [(-1, ValueError), (float("nan"), ValueError), ("1", TypeError)]
)
def test_sleep_rejects_what_the_real_one_rejects(duration, error):
    with pytest.raises(error):
        simulate(lambda: time.sleep(duration))


def test_contexts_interleave_in_virtual_time():
    log = []

    def task(name, step):
        for _ in range(3):
            time.sleep(step)
            log.append((name, time.monotonic()))

    simulate(a=lambda: task("a", 2), b=lambda: task("b", 3))
    assert log == [("a", 2), ("b", 3), ("a", 4), ("b", 6), ("a", 6), ("b", 9)]


def test_a_busy_wait_ends():
    def task():
        end = time.monotonic() + 0.02
        readings = 0
        while time.monotonic() < end:
            readings += 1
        return readings, time.monotonic()

    readings, now = simulate(task)
    assert now == 0.02
    assert readings == pytest.approx(2 * BUSY_READINGS, abs=10)


# -- timers that take too long, as real ones do ---------------------------------------------------


def test_by_itself_a_sleep_is_exact_to_the_nanosecond():
    with rsim.init("sim") as session:
        time.sleep(1)
        assert session.now() == 1


def test_a_cluster_may_have_slack():
    with rsim.init("sim", cluster=rsim.sim.Cluster(1, timer_slack_s=0.25)) as session:
        time.sleep(1)
        asyncio.run(asyncio.sleep(1))
        time.sleep(0)
        assert session.now() == 2.5
        assert rsim.get(rsim.remote(waited).remote(1)) == 1.25


def test_without_a_cluster_the_environment_tells_the_slack(monkeypatch):
    monkeypatch.setenv("RSIM_TIMER_SLACK_S", "0.5")
    with rsim.init("sim", num_cpus=1) as session:
        time.sleep(1)
        assert session.now() == 1.5
    monkeypatch.setenv("RSIM_TIMER_SLACK_S", "much")
    with pytest.raises(ValueError, match="RSIM_TIMER_SLACK_S must be a number of seconds"):
        rsim.init("sim")
