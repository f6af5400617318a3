"""Virtual time: what `time` and `datetime` tell simulated user code.

Decides how virtual nanoseconds become the values of each clock. Must never read a real clock
inside a context, nor advance time other than by `sleep_ns`. Owns the counter that recognises a
busy wait.

All clocks tell the same virtual time, the wall clock from `epoch_ns` on; CPU clocks too, as user
code takes no virtual CPU time. The local time zone stays that of the process.
"""

from __future__ import annotations

import datetime as datetime_module
import time as time_module
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

from rsim.sim.virtual.context import TimedContext
from rsim.sim.virtual.patching import Function, Patcher

Timed = Callable[[], TimedContext | None]
"""The context of the running code; None where the real clocks are meant."""

SECOND_NS = 1_000_000_000
DEFAULT_EPOCH_NS = 1_767_225_600 * SECOND_NS  # 2026-01-01T00:00:00Z

# Code that polls a clock without sleeping would hang, as nothing else moves virtual time: this
# many readings at one instant cost 1 us each.
BUSY_READINGS = 10_000
BUSY_NS = 10_000_000


def to_ns(seconds: float) -> int:
    """Seconds to the nearest nanosecond; ValueError if negative or not a number."""
    if seconds < 0:
        raise ValueError(f"sleep length must be non-negative, got {seconds!r}")
    return round(float(seconds) * SECOND_NS)


def install_clock(patcher: Patcher, current: Timed, epoch_ns: int) -> None:
    """Replace the clocks of `time` and `datetime` and `time.sleep`."""
    read = _counting_reader()
    _replace_clocks(patcher, current, epoch_ns, read)
    _replace_calendar(patcher, current, epoch_ns, read)
    _replace_datetime(patcher, current, epoch_ns, read)


def _counting_reader() -> Callable[[TimedContext], int]:
    """A reader of `now_ns` that lets time pass for a context that does nothing but read."""
    reader: TimedContext | None = None
    instant = readings = 0

    def read(context: TimedContext) -> int:
        nonlocal reader, instant, readings
        now = context.now_ns()
        if now != instant or context is not reader:
            reader, instant, readings = context, now, 0
            return now
        readings += 1
        if readings < BUSY_READINGS:
            return now
        reader, readings = None, 0
        context.sleep_ns(BUSY_NS)
        return context.now_ns()

    return read


def _replace_clocks(
    patcher: Patcher, current: Timed, epoch_ns: int, read: Callable[[TimedContext], int]
) -> None:
    def clock(offset_ns: int, in_seconds: bool) -> Callable[[Any], Function]:
        def make(real: Any) -> Function:
            def seconds() -> float:
                context = current()
                if context is None:
                    return real()  # type: ignore[no-any-return]
                return (offset_ns + read(context)) / SECOND_NS

            def nanoseconds() -> int:
                context = current()
                return real() if context is None else offset_ns + read(context)

            return seconds if in_seconds else nanoseconds

        return make

    for name in ("time", "monotonic", "perf_counter", "process_time", "thread_time"):
        offset_ns = epoch_ns if name == "time" else 0
        patcher.replace(time_module, name, clock(offset_ns, in_seconds=True))
        patcher.replace(time_module, f"{name}_ns", clock(offset_ns, in_seconds=False))

    def posix_clock(in_seconds: bool) -> Callable[[Any], Function]:
        def make(real: Any) -> Function:
            def gettime(clock_id: int, /) -> float:
                context = current()
                if context is None:
                    return real(clock_id)  # type: ignore[no-any-return]
                offset_ns = epoch_ns if clock_id == time_module.CLOCK_REALTIME else 0
                now_ns = offset_ns + read(context)
                return now_ns / SECOND_NS if in_seconds else now_ns

            return gettime

        return make

    patcher.replace(time_module, "clock_gettime", posix_clock(in_seconds=True))
    patcher.replace(time_module, "clock_gettime_ns", posix_clock(in_seconds=False))

    def make_sleep(real: Any) -> Function:
        def sleep(seconds: float, /) -> None:
            context = current()
            if context is None:
                real(seconds)
            else:
                context.sleep_ns(to_ns(seconds))

        return sleep

    patcher.replace(time_module, "sleep", make_sleep)


def _replace_calendar(
    patcher: Patcher, current: Timed, epoch_ns: int, read: Callable[[TimedContext], int]
) -> None:
    def of_seconds(real: Any) -> Function:
        def broken_down(seconds: float | None = None, /) -> Any:
            context = current() if seconds is None else None
            return real(seconds if context is None else (epoch_ns + read(context)) / SECOND_NS)

        return broken_down

    for name in ("gmtime", "localtime", "ctime"):
        patcher.replace(time_module, name, of_seconds)

    def of_fields(arguments_before: int) -> Callable[[Any], Function]:
        def make(real: Any) -> Function:
            def formatted(*args: Any) -> str:
                # Looked up late: `localtime` is the replacement, virtual in a context.
                if len(args) == arguments_before and current() is not None:
                    args = (*args, time_module.localtime())
                return real(*args)  # type: ignore[no-any-return]

            return formatted

        return make

    patcher.replace(time_module, "asctime", of_fields(0))
    patcher.replace(time_module, "strftime", of_fields(1))


def _replace_datetime(
    patcher: Patcher, current: Timed, epoch_ns: int, read: Callable[[TimedContext], int]
) -> None:
    def virtual_now(context: TimedContext, cls: Any, tz: Any) -> Any:
        seconds, rest_ns = divmod(epoch_ns + read(context), SECOND_NS)
        return cls.fromtimestamp(seconds, tz).replace(microsecond=rest_ns // 1000)

    def make_now(real: Any) -> Function:
        def now(cls: Any, tz: Any = None) -> Any:
            context = current()
            if context is None:
                return real.__get__(None, cls)(tz)
            return virtual_now(context, cls, tz)

        return now

    def make_utcnow(real: Any) -> Function:
        def utcnow(cls: Any) -> Any:
            context = current()
            if context is None:
                return real.__get__(None, cls)()
            return virtual_now(context, cls, UTC).replace(tzinfo=None)

        return utcnow

    def make_today(real: Any) -> Function:
        def today(cls: Any) -> Any:
            context = current()
            if context is None:
                return real.__get__(None, cls)()
            if issubclass(cls, datetime):
                return virtual_now(context, cls, None)
            return cls.fromtimestamp((epoch_ns + read(context)) // SECOND_NS)

        return today

    patcher.replace_classmethod(datetime, "now", make_now)
    patcher.replace_classmethod(datetime, "utcnow", make_utcnow)
    bound_today = datetime_module.datetime.today  # inherited, but an alias of its own
    patcher.replace_classmethod(date, "today", make_today)
    patcher.register(bound_today, datetime_module.datetime.today)
