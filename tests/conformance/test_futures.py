"""Refs as futures: awaited, for threads, and with callbacks."""

import asyncio
import concurrent.futures
import contextlib
import gc
import weakref
from queue import SimpleQueue
from typing import Any

import numpy as np
import pytest

import rsim
from tests.conformance import inspecting, marks

LARGE = 1_000_000


@rsim.remote
def double(value: Any) -> Any:
    return value * 2


@rsim.remote
def fail(error: Exception) -> None:
    raise error


@rsim.remote
def array(size_bytes: int) -> Any:
    return np.ones(size_bytes, np.uint8)


def test_a_ref_can_be_awaited(rt: Any) -> None:
    async def main() -> list[int]:
        first = await double.remote(1)
        return [first, *await asyncio.gather(*(double.remote(i) for i in range(50)))]

    assert asyncio.run(main()) == [2, *range(0, 100, 2)]


def test_a_large_value_is_awaited_and_freed(rt: Any) -> None:
    async def main() -> int:
        return int((await array.remote(LARGE)).sum())

    assert asyncio.run(main()) == LARGE
    gc.collect()
    inspecting.await_used_bytes(rt)


def test_an_awaited_error_is_raised(rt: Any) -> None:
    async def main() -> None:
        await fail.remote(KeyError("lost"))

    with pytest.raises(KeyError, match="lost") as caught:
        asyncio.run(main())
    assert isinstance(caught.value, rsim.exceptions.RsimTaskError)


def test_asyncio_waits_for_refs(rt: Any) -> None:
    async def main() -> tuple[set[int], int]:
        refs = [double.remote(i) for i in range(5)]
        done, pending = await asyncio.wait(refs)
        return {await ref for ref in done}, len(pending)

    assert asyncio.run(main()) == ({0, 2, 4, 6, 8}, 0)


def test_asyncio_waits_for_the_first_ref(init: Any) -> None:
    init(num_cpus=1)

    async def main() -> list[bool]:
        first = rsim.put(1)
        never = double.options(resources={"none": 1}).remote(1)
        done, pending = await asyncio.wait([first, never], return_when=asyncio.FIRST_COMPLETED)
        return [done == {first}, pending == {never}]

    assert asyncio.run(main()) == [True, True]


def test_who_stops_awaiting_leaves_others_alone(rt: Any) -> None:
    async def main() -> Any:
        ref = double.options(resources={"none": 1}).remote(1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ref, 0.01)
        rsim.cancel(ref)
        with pytest.raises(rsim.exceptions.TaskCancelledError):
            await ref

    asyncio.run(main())


def test_a_task_awaits(init: Any) -> None:
    init(num_cpus=1)

    @rsim.remote
    def parent() -> list[int]:
        async def main() -> list[int]:
            return await asyncio.gather(*(double.remote(i) for i in range(3)))

        return asyncio.run(main())

    assert rsim.get(parent.remote()) == [0, 2, 4]


def test_what_a_task_does_not_await_blocks_no_other(init: Any) -> None:
    init(num_cpus=1)

    @rsim.remote
    def careless(nested: list[Any]) -> None:
        nested[0].future()

    @rsim.remote
    def parent() -> int:
        return rsim.get(double.remote(2))

    never = double.options(resources={"none": 1}).remote(1)
    rsim.get([careless.remote([never]) for _ in range(3)])
    assert rsim.get([parent.remote() for _ in range(3)]) == [4, 4, 4]
    inspecting.check(rt_of())


def rt_of() -> Any:
    return rsim.init(ignore_reinit_error=True)


def test_a_future_has_the_value(rt: Any) -> None:
    future = double.remote(21).future()
    assert isinstance(future, concurrent.futures.Future)
    assert future.result() == 42
    assert future.done()
    assert future.exception() is None
    assert double.remote(4).future().result(timeout=60) == 8


def test_a_future_has_the_error(rt: Any) -> None:
    future = fail.remote(ValueError("no")).future()
    assert isinstance(future.exception(), ValueError)
    with pytest.raises(ValueError, match="no"):
        future.result()


def test_a_futures_time_limit(rt: Any) -> None:
    future = double.options(resources={"none": 1}).remote(1).future()
    with pytest.raises(TimeoutError):
        future.result(timeout=0.01)
    assert not future.cancel()


def test_a_callback_may_wait(rt: Any) -> None:
    called: SimpleQueue[Any] = SimpleQueue()
    ref = double.remote(1)
    ref.future().add_done_callback(lambda done: called.put(rsim.get(double.remote(done.result()))))
    ref._on_completed(called.put)
    rsim.get(ref)

    def both() -> bool:
        rsim.wait([double.remote(0)])
        return called.qsize() == 2

    inspecting.marks.await_that(both, "both callbacks")
    assert {called.get(), called.get()} == {2, 4}


def test_a_callback_gets_the_error(rt: Any) -> None:
    called: SimpleQueue[Any] = SimpleQueue()
    fail.remote(ValueError("no"))._on_completed(called.put)

    def one() -> bool:
        rsim.wait([double.remote(0)])
        return called.qsize() == 1

    inspecting.marks.await_that(one, "the callback")
    assert isinstance(called.get(), ValueError)


def test_a_future_in_a_task(rt: Any) -> None:
    @rsim.remote
    def parent() -> int:
        return sum(each.future().result() for each in [double.remote(i) for i in range(4)])

    assert rsim.get(parent.remote()) == 12


def test_a_session_ends_with_open_futures(rt: Any) -> None:
    future = double.options(resources={"none": 1}).remote(1).future()
    rsim.shutdown()
    with pytest.raises(rsim.exceptions.RsimError):
        future.result()


@pytest.mark.parametrize("ask", ["result", "exception"])
def test_an_error_does_not_keep_its_future_and_ref(rt, ask):
    gc.disable()  # it must not take a collection to let them go
    try:
        future = fail.remote(KeyError("no such thing")).future()
        gone = weakref.ref(future)
        with contextlib.suppress(KeyError):
            getattr(future, ask)()
        del future
        marks.await_that(lambda: gone() is None)
    finally:
        gc.enable()


def test_a_ref_that_goes_with_its_callback_in_an_idle_worker(rt, tmp_path):
    @rsim.remote
    def gated(folder):
        marks.await_marks(folder, "gate")

    @rsim.remote
    def ask(refs):
        refs.pop().future()

    ref = gated.remote(tmp_path)
    rsim.get(ask.remote([ref]))
    del ref
    marks.leave(tmp_path, "gate")
    inspecting.await_nothing_left(rt)
