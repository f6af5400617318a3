"""The event engine: time, ties, lanes."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import simpy
from hypothesis import given
from hypothesis import strategies as st
from simpy.core import EmptySchedule

from rsim.sim.engine import Lane, World
from rsim.sim.sources import Replay, Seeded
from rsim.sim.tape import Tape


class Last:
    """Always the last candidate."""

    def choose(self, label: str, n: int, candidates: Sequence[object], rate: float) -> int:
        return n - 1


def run(world: World) -> None:
    while True:
        try:
            world.step()
        except EmptySchedule:
            return


def test_what_is_due_earlier_happens_earlier_and_sets_the_time() -> None:
    world = World(Tape())
    seen: list[tuple[str, int]] = []
    for at_ns in (30, 10, 20):
        world.post_at(
            at_ns, None, f"t{at_ns}", lambda name: seen.append((name, world.now_ns)), at_ns
        )
    run(world)
    assert seen == [(10, 10), (20, 20), (30, 30)]


def test_the_canonical_choice_among_ties_is_first_in_first_out() -> None:
    world = World(Tape())
    lanes = [Lane(), Lane()]
    seen: list[int] = []
    for number in range(20):
        lane = lanes[number % 2] if number % 3 else None
        world.post_at(5, lane, f"k{number}", seen.append, number)
    run(world)
    assert seen == list(range(20))


def test_only_heads_of_lanes_are_candidates() -> None:
    world = World(tape := Tape(Last()))
    left, right = Lane(), Lane()
    seen: list[str] = []
    for name in ("a1", "a2"):
        world.post(left, name, seen.append, name)
    for name in ("b1", "b2"):
        world.post(right, name, seen.append, name)
    run(world)
    assert seen == ["b1", "b2", "a1", "a2"]
    assert [draw.candidates for draw in tape.draws] == [("a1", "b1"), ("a1", "b2")]
    assert {draw.label for draw in tape.draws} == {"ready"}


def test_what_is_alone_or_without_a_key_is_no_decision() -> None:
    world = World(tape := Tape(Last()))
    seen: list[str] = []
    world.post(None, "contested", seen.append, "contested")
    world.post(None, None, seen.append, "first")
    world.post(None, None, seen.append, "second")
    run(world)
    assert seen == ["first", "second", "contested"]
    assert not tape.draws


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=30),
    st.integers(0, 1000),
)
def test_every_seed_keeps_lanes_and_times_in_order(posts: list[tuple[int, int]], seed: int) -> None:
    world = World(Tape(Seeded(seed)))
    lanes = [Lane() for _ in range(4)]
    seen: list[tuple[int, int, int]] = []
    for number, (at_ns, lane) in enumerate(sorted(posts, key=lambda post: post[0])):
        world.post_at(at_ns, lanes[lane], f"{number}", seen.append, (at_ns, lane, number))
    run(world)
    assert [at_ns for at_ns, _, _ in seen] == sorted(at_ns for at_ns, _ in posts)
    for index in range(4):
        mine = [number for _, lane, number in seen if lane == index]
        assert mine == sorted(mine)


def test_a_recorded_run_replays() -> None:
    def play(tape: Tape) -> list[int]:
        world = World(tape)
        seen: list[int] = []

        def act(number: int) -> None:
            seen.append(number)
            if number < 40:
                world.post(None, f"{number}", act, number + 10)

        for number in range(10):
            world.post(None, f"s{number}", act, number)
        run(world)
        return seen

    first = play(tape := Tape(Seeded(7)))
    assert first != sorted(first)
    assert play(Tape(Replay(tape.draws, strict=True))) == first


def test_what_is_cancelled_moves_no_time_and_is_no_candidate() -> None:
    world = World(tape := Tape())
    seen: list[str] = []
    world.cancel(world.post_at(1_000, None, "late", seen.append, "late"))
    now = world.post(None, "now", seen.append, "now")
    world.post(None, "kept", seen.append, "kept")
    world.cancel(now)
    run(world)
    assert (seen, world.now_ns, len(tape.draws)) == (["kept"], 0, 0)


def test_the_cause_is_that_of_whoever_posted() -> None:
    world = World(Tape())
    seen: list[int] = []
    world.cause = 7
    world.post_at(10, None, "a", lambda: seen.append(world.cause))
    world.cause = 9
    world.post_at(20, None, "b", lambda: seen.append(world.cause))
    run(world)
    assert seen == [7, 9]


def test_simpys_own_events_and_processes_work() -> None:
    world = World(Tape())
    seen: list[tuple[str, float]] = []

    def process() -> simpy.events.ProcessGenerator:
        yield world.timeout(5)
        seen.append(("first", world.now))
        yield world.timeout(7)
        seen.append(("second", world.now))

    world.process(process())
    world.run()
    assert seen == [("first", 5), ("second", 12)]


def test_a_failed_simpy_event_that_nobody_handles_is_raised() -> None:
    world = World(Tape())
    world.event().fail(ValueError("boom"))
    with pytest.raises(ValueError, match="boom"):
        world.step()


def test_time_is_whole_nanoseconds() -> None:
    with pytest.raises(TypeError, match=r"delay must be an int.*0\.5"):
        World(Tape()).timeout(0.5)
