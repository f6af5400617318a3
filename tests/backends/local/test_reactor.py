"""The driver's event loop, and the threads that run it."""

import os
import threading
from collections.abc import Iterator
from time import monotonic_ns

import pytest

from rsim.backends.local.interrupts import Interrupts
from rsim.backends.local.patience import Patience
from rsim.backends.local.reactor import MESSAGES, OUTPUT, Reactor
from rsim.exceptions import DeadlockError, RsimError
from rsim.runtime.wire import WaitReply
from tests.polling import DEADLINE_S, holds_in_time

MS = 1_000_000


class Rig:
    """A reactor whose node is always busy."""

    def __init__(self) -> None:
        self.settled = 0
        patience = Patience(lambda: False, lambda: False, lambda: [])
        self.reactor = Reactor(self.settle, Interrupts(), patience)

    def settle(self) -> None:
        self.settled += 1

    def answer(self, op: int) -> None:
        self.reactor.answer(WaitReply(op, ()))

    def answer_later(self, op: int, delay_ms: int) -> None:
        with self.reactor.lock:
            self.reactor.set_timer(monotonic_ns() + delay_ms * MS, lambda: self.answer(op))


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    yield made
    made.reactor.close()


def test_timers_fire_in_order_of_time(rig: Rig) -> None:
    fired: list[str] = []
    now_ns = monotonic_ns()
    with rig.reactor.lock:
        rig.reactor.set_timer(now_ns + 2 * MS, lambda: fired.append("later"))
        rig.reactor.set_timer(now_ns + MS, lambda: fired.append("sooner"))
        cancelled = rig.reactor.set_timer(now_ns, lambda: fired.append("never"))
        rig.reactor.cancel_timer(cancelled)
        rig.reactor.cancel_timer(cancelled)
    while len(fired) < 2:
        rig.reactor.turn(None)
    assert fired == ["sooner", "later"]


def test_many_cancelled_timers_do_not_pile_up(rig: Rig) -> None:
    with rig.reactor.lock:
        for _ in range(1000):
            rig.reactor.cancel_timer(rig.reactor.set_timer(monotonic_ns() + 10**12, lambda: None))
    assert len(rig.reactor._timers) < 100


def test_output_is_handled_before_messages(rig: Rig) -> None:
    order: list[str] = []
    pipes = [os.pipe(), os.pipe()]

    def handler(name: str, fd: int) -> None:
        rig.reactor.add(
            fd, lambda _: order.append(name) or os.read(fd, 9), MESSAGES if name == "m" else OUTPUT
        )

    handler("m", pipes[0][0])
    handler("o", pipes[1][0])
    for _, write in pipes:
        os.write(write, b"x")
    assert rig.reactor.turn(1)
    assert order == ["o", "m"]
    for pipe in pipes:
        rig.reactor.remove(pipe[0])
        for fd in pipe:
            os.close(fd)


def test_a_turn_without_events_is_false_and_does_not_settle(rig: Rig) -> None:
    assert not rig.reactor.turn(0)
    assert rig.settled == 0


def test_a_parked_thread_runs_the_loop_itself(rig: Rig) -> None:
    rig.answer_later(7, 1)
    assert rig.reactor.parking.wait(7) == WaitReply(7, ())
    assert not rig.reactor.parking.led


def test_an_answer_that_is_there_already_is_not_waited_for(rig: Rig) -> None:
    with rig.reactor.lock:
        rig.answer(3)
    assert rig.reactor.parking.wait(3) == WaitReply(3, ())


def test_every_thread_gets_its_own_answer(rig: Rig) -> None:
    got: dict[int, object] = {}

    def wait(op: int) -> None:
        got[op] = rig.reactor.parking.wait(op)

    threads = [threading.Thread(target=wait, args=(op,)) for op in range(8)]
    for thread in threads:
        thread.start()
    for op in (5, 0, 7, 1, 6, 2, 4, 3):
        rig.answer_later(op, 1 + op % 3)
    for thread in threads:
        thread.join(DEADLINE_S)
    assert got == {op: WaitReply(op, ()) for op in range(8)}
    assert not rig.reactor.parking.led


def test_an_answer_from_another_thread_wakes_the_sleeper(rig: Rig) -> None:
    got: list[object] = []
    thread = threading.Thread(target=lambda: got.append(rig.reactor.parking.wait(1)))
    thread.start()
    with rig.reactor.lock:
        rig.answer(1)
    thread.join(DEADLINE_S)
    assert got == [WaitReply(1, ())]


def test_a_thread_that_only_looks_does_not_take_the_wake_up_of_one_that_sleeps(rig: Rig) -> None:
    reactor, parking = rig.reactor, rig.reactor.parking
    reactor.patience_s = lambda rounds: None  # type: ignore[assignment, return-value]
    got: list[object] = []
    thread = threading.Thread(target=lambda: got.append(parking.wait(1)), daemon=True)
    thread.start()
    assert holds_in_time(lambda: parking.sleeps_elsewhere)
    with reactor.lock:
        rig.answer(1)
        reactor.turn(0)
    thread.join(DEADLINE_S)
    assert got == [WaitReply(1, ())]


def test_who_has_an_answer_is_not_impatient(rig: Rig) -> None:
    reactor = rig.reactor

    def answered(timeout_s: float | None) -> bool:
        if timeout_s != 0:
            rig.answer(1)
        return False

    reactor.turn = answered  # type: ignore[method-assign]
    reactor.impatient = lambda *_: pytest.fail("nothing is waited for")  # type: ignore[assignment]
    assert reactor.parking.wait(1) == WaitReply(1, ())


def test_posted_callbacks_run_when_nobody_waits(rig: Rig) -> None:
    rig.reactor.start()
    done = threading.Event()
    rig.reactor.post(done.set)
    assert done.wait(DEADLINE_S)


def test_timers_fire_when_nobody_waits(rig: Rig) -> None:
    rig.reactor.start()
    done = threading.Event()
    with rig.reactor.lock:
        rig.reactor.set_timer(monotonic_ns() + MS, done.set)
    assert done.wait(DEADLINE_S)
    again = threading.Event()
    with rig.reactor.lock:
        rig.reactor.set_timer(monotonic_ns() + MS, again.set)
    assert again.wait(DEADLINE_S)


def test_a_thread_that_parks_takes_over_from_the_background(rig: Rig) -> None:
    rig.reactor.start()
    done = threading.Event()
    rig.reactor.post(done.set)
    assert done.wait(DEADLINE_S)
    rig.answer_later(1, 1)
    assert rig.reactor.parking.wait(1) == WaitReply(1, ())
    assert not rig.reactor.parking.background_leads


def test_closing_frees_the_threads_that_wait(rig: Rig) -> None:
    errors: list[str] = []

    def wait(op: int) -> None:
        try:
            rig.reactor.parking.wait(op)
        except RsimError as error:
            errors.append(str(error))

    threads = [threading.Thread(target=wait, args=(op,)) for op in range(3)]
    for thread in threads:
        thread.start()
    with rig.reactor.lock:
        rig.reactor.parking.close("shut down")
    for thread in threads:
        thread.join(DEADLINE_S)
    assert errors == ["shut down"] * 3


def test_a_late_answer_is_discarded(rig: Rig) -> None:
    late: list[object] = []
    rig.reactor.parking.discard = late.append
    with rig.reactor.lock:
        rig.reactor.parking.close("gave up")
    with pytest.raises(RsimError):
        rig.reactor.parking.wait(9)
    with rig.reactor.lock:
        rig.answer(9)
    assert late == [WaitReply(9, ())]
    assert not rig.reactor.parking.replies


def test_a_node_that_nobody_can_move_is_a_deadlock() -> None:
    everyone = [thread.ident or 0 for thread in threading.enumerate()]
    with pytest.raises(DeadlockError, match="the driver waits for x"):
        Patience(lambda: True, lambda: True, lambda: ["the driver waits for x"]).impatient(
            1, everyone
        )


def test_no_deadlock_is_called_while_another_thread_may_act() -> None:
    release = threading.Event()
    other = threading.Thread(target=release.wait)
    other.start()
    patience = Patience(lambda: True, lambda: True, lambda: ["x"])
    patience.impatient(1, [threading.get_ident()])
    release.set()
    other.join()


def test_a_node_that_is_busy_is_no_deadlock() -> None:
    Patience(lambda: False, lambda: False, lambda: []).impatient(
        1, [thread.ident or 0 for thread in threading.enumerate()]
    )


def test_what_looks_like_a_deadlock_is_reported_once(capsys: pytest.CaptureFixture[str]) -> None:
    patience = Patience(lambda: False, lambda: True, lambda: ["the driver waits for x"])
    for rounds in range(1, 5):
        patience.impatient(rounds, [])
    assert capsys.readouterr().err.count("the driver waits for x") == 1
