"""The choice tape: what is drawn, recorded, replayed, edited, saved."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsim.core.choices import Choices, FirstChoice
from rsim.exceptions import NondeterminismError
from rsim.sim.sources import Draw, Fifo, Replay, Seeded, subseed
from rsim.sim.tape import MAX_NAMED_CANDIDATES, Tape, hex_name

PICKS = [2, 1, 2, 0, 0, 0, 1, 1, 1, 2, 0, 1]
DELAYS = [729, 759, 437, 372]
FAULTS = "....x...x..."
DIGEST = "a81f3d8dc718bd1cf998f4963d2a9550"

KEYS = [b"\x00", b"\x01", b"\x02"]

# A program of the run's free choices: ("pick", label, n), ("draw", label, n), ("chance", label, r).
questions = st.lists(
    st.one_of(
        st.tuples(st.just("pick"), st.sampled_from(["ready", "place"]), st.integers(0, 40)),
        st.tuples(st.just("draw"), st.sampled_from(["delay", "ready"]), st.integers(0, 9)),
        st.tuples(st.just("chance"), st.just("fault"), st.sampled_from([0.0, 0.3, 1.0])),
    ),
    max_size=30,
)


def play(tape: Tape, program: Sequence[tuple[str, str, float]]) -> list[int]:
    answers = []
    for kind, label, size in program:
        if kind == "pick":
            answers.append(tape.pick(label, [f"driver/{i}" for i in range(int(size))]))
        elif kind == "draw":
            answers.append(tape.draw(label, int(size), "driver/0"))
        else:
            answers.append(int(tape.chance(label, "node/1", size)))
    return answers


def test_tape_and_first_choice_are_what_the_core_draws_from() -> None:
    for choices in (Tape(), FirstChoice()):
        accepted: Choices = choices
        assert accepted.pick("ready", KEYS) == 0
        assert accepted.chance("fault.kill_worker", b"w", 1.0) is False


def test_a_pick_records_who_was_there_and_who_was_taken() -> None:
    tape = Tape(Replay([2]))
    assert tape.pick("ready", KEYS) == 2
    assert tape.draws == [Draw("ready", 3, 2, b"\x02", (b"\x00", b"\x01", b"\x02"))]
    assert (tape.choices(), tape.deviations) == ((2,), 1)


def test_the_record_does_not_follow_a_list_that_changes_later() -> None:
    ready = list(KEYS)
    tape = Tape()
    tape.pick("ready", ready)
    ready.clear()
    assert tape.draws[0].candidates == tuple(KEYS)


def test_only_contested_decisions_are_drawn() -> None:
    tape = Tape(Replay([5, 5, 5, 5]))
    assert tape.pick("ready", []) == 0
    assert tape.pick("ready", [b"a"]) == 0
    assert tape.draw("delay", 1) == 0
    assert tape.chance("fault.kill_node", "n1", 0.0) is False
    assert tape.draws == []


@pytest.mark.parametrize("rate", [-0.1, 1.5, float("nan")])
def test_a_rate_out_of_range_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match=r"rate of 'fault.kill_node' must be from 0 to 1"):
        Tape().chance("fault.kill_node", "n1", rate)


def test_a_large_queue_costs_a_draw_of_bounded_size() -> None:
    tape = Tape(Replay([900]))
    tape.pick("ready", list(range(1000)))
    assert tape.draws[0].n == 1000
    assert tape.draws[0].entity == 900
    assert tape.draws[0].candidates == tuple(range(MAX_NAMED_CANDIDATES))


def test_a_source_that_answers_out_of_range_is_named() -> None:
    class Broken(Fifo):
        def choose(self, label: str, n: int, candidates: Sequence[object], rate: float) -> int:
            return n

    with pytest.raises(ValueError, match="Broken chose 3 for 'ready'; it must be from 0 to 2"):
        Tape(Broken()).pick("ready", KEYS)


@given(questions)
def test_fifo_takes_the_first_and_strikes_nobody(program: list[tuple[str, str, float]]) -> None:
    tape = Tape(Fifo())
    assert set(play(tape, program)) <= {0}
    assert tape.deviations == 0


@given(questions, st.integers(), st.data())
def test_any_edit_of_a_recording_can_be_played(
    program: list[tuple[str, str, float]], seed: int, data: st.DataObject
) -> None:
    tape = Tape(Seeded(seed))
    play(tape, program)
    edits = data.draw(st.lists(st.integers(0, 99), max_size=len(tape.draws)))
    edited = Tape(Replay(edits))
    play(edited, program)
    wanted = [*edits, *[0] * len(tape.draws)]
    expected = [min(choice, d.n - 1) for choice, d in zip(wanted, tape.draws, strict=False)]
    assert list(edited.choices()) == expected


@given(questions, st.one_of(st.integers(), st.text()))
def test_a_replay_is_the_run(program: list[tuple[str, str, float]], seed: int | str) -> None:
    tape = Tape(Seeded(seed))
    answers = play(tape, program)
    for source in (Seeded(seed), Replay(tape.choices()), Replay(tape.draws, strict=True)):
        again = Tape(source)
        assert play(again, program) == answers
        assert again.draws == tape.draws
        assert again.digest() == tape.digest()
        again.check_complete()


def test_past_the_end_every_choice_is_the_given_one() -> None:
    tape = Tape(Replay([1], past_end=9))
    assert [tape.draw("delay", 3) for _ in range(3)] == [1, 2, 2]


@pytest.mark.parametrize(
    ("recording", "past_end", "where"),
    [([0, -1], 0, r"recording\[1\] is -1"), ([], -2, "past_end")],
)
def test_a_negative_choice_is_refused(recording: list[int], past_end: int, where: str) -> None:
    with pytest.raises(ValueError, match=where):
        Replay(recording, past_end=past_end)


def test_one_more_draw_of_a_kind_does_not_shift_the_others() -> None:
    plain, disturbed = Tape(Seeded(7)), Tape(Seeded(7))
    for _ in range(50):
        plain.draw("ready", 10)
        disturbed.draw("ready", 10)
        disturbed.draw("delay", 10)
        disturbed.chance("fault.kill_node", "n1", 0.5)
    ready = tuple(d.choice for d in disturbed.draws if d.label == "ready")
    assert ready == plain.choices()


def test_seeded_choices_are_fixed_for_ever() -> None:
    """If this fails, every seed in every issue tracker means another run: do not adjust it."""
    tape = Tape(Seeded(42))
    picks = [tape.pick("ready", KEYS) for _ in range(12)]
    delays = [tape.draw("delay", 1000) for _ in range(4)]
    faults = [tape.chance("fault.kill_worker", "w", 0.25) for _ in range(12)]
    assert picks == PICKS
    assert delays == DELAYS
    assert "".join("x" if fault else "." for fault in faults) == FAULTS
    assert subseed(42, "ready") != subseed("42", "ready")


def test_seeded_choices_are_uniform_and_faults_come_at_their_rate() -> None:
    tape = Tape(Seeded(1))
    counts = [0] * 5
    for _ in range(5000):
        counts[tape.draw("ready", 5)] += 1
    assert all(900 < count < 1100 for count in counts)  # 3.5 standard deviations
    struck = sum(tape.chance("fault.kill_node", "n1", 0.1) for _ in range(5000))
    assert 425 < struck < 575


@pytest.mark.parametrize(
    ("live", "why", "expected", "got"),
    [
        (("place", ["a", "b"]), "another kind", "ready, 2 of [a, b]", "place, 2 of [a, b]"),
        (("ready", ["a", "b", "c"]), "another number", "2 of [a, b]", "3 of [a, b, c]"),
        (("ready", ["a", "c"]), "candidate 1 differs", "2 of [a, b]", "2 of [a, c]"),
    ],
)
def test_strict_replay_shows_the_first_difference(
    live: tuple[str, list[str]], why: str, expected: str, got: str
) -> None:
    first = Tape()
    first.pick("ready", ["x", "y"])
    first.pick("ready", ["a", "b"])
    again = Tape(Replay(first.draws, strict=True))
    again.pick("ready", ["x", "y"])
    with pytest.raises(NondeterminismError) as caught:
        again.pick(*live)
    message, expected_line, got_line = str(caught.value).splitlines()
    assert "at draw 1: " + why in message
    assert expected in expected_line
    assert got in got_line


def test_strict_replay_notices_another_entity_and_too_many_or_few_draws() -> None:
    first = Tape()
    first.chance("fault.kill_node", "n1", 0.5)
    with pytest.raises(NondeterminismError, match="about another entity"):
        Tape(Replay(first.draws, strict=True)).chance("fault.kill_node", "n2", 0.5)
    more = Tape(Replay(first.draws, strict=True))
    more.chance("fault.kill_node", "n1", 0.5)
    with pytest.raises(NondeterminismError, match="the recording is over"):
        more.draw("delay", 2)
    fewer = Tape(Replay(first.draws, strict=True))
    with pytest.raises(NondeterminismError, match="the run ended early"):
        fewer.check_complete()


def test_strict_replay_needs_draws() -> None:
    with pytest.raises(ValueError, match="strict=True needs recorded draws"):
        Replay([0, 1], strict=True)


def test_strict_replay_of_a_saved_tape_compares_names(tmp_path: Path) -> None:
    def namer(key: object) -> str:
        assert isinstance(key, bytes)
        return f"driver/{key[0]}"

    first = Tape(Seeded(3), namer=namer)
    first.pick("ready", KEYS)
    first.save(tmp_path / "run.tape")
    saved = Tape.load(tmp_path / "run.tape")
    assert saved.draws[0].candidates == ("driver/0", "driver/1", "driver/2")
    assert saved.digest() == first.digest()
    again = Tape(Replay(saved.draws, strict=True), namer=namer)
    again.pick("ready", KEYS)
    assert again.choices() == first.choices()
    wrong = Tape(Replay(saved.draws, strict=True), namer=namer)
    with pytest.raises(NondeterminismError, match="candidate 2 differs"):
        wrong.pick("ready", [b"\x00", b"\x01", b"\x09"])


def test_an_edit_changes_one_choice_and_not_the_tape() -> None:
    tape = Tape(Replay([1, 2, 1]))
    for n in (2, 3, 4):
        tape.draw("ready", n)
    assert tape.edited(1, 0).choices == (1, 0, 1)
    assert tape.choices() == (1, 2, 1)
    with pytest.raises(ValueError, match="index must be from 0 to 2, not 3"):
        tape.edited(3, 0)
    with pytest.raises(ValueError, match="choice of draw 1 must be from 0 to 2, not 3"):
        tape.edited(1, 3)


def test_the_namer_is_not_called_before_it_is_needed() -> None:
    def namer(key: object) -> str:
        raise AssertionError("named too early")

    tape = Tape(Seeded(1), namer=namer)
    tape.pick("ready", KEYS)
    tape.chance("fault.kill_worker", b"w", 0.5)
    with pytest.raises(AssertionError, match="named too early"):
        tape.digest()


def test_keys_without_a_stable_name_are_refused() -> None:
    assert [hex_name(key) for key in ("driver/0", b"\xab", 7)] == ["driver/0", "ab", "7"]
    tape = Tape()
    tape.pick("ready", [object(), object()])
    with pytest.raises(TypeError, match="an entity key must be bytes, str or int, not object"):
        tape.digest()


@given(questions, st.integers(0, 9))
def test_saving_loses_nothing(
    tmp_path_factory: pytest.TempPathFactory, program: list[tuple[str, str, float]], seed: int
) -> None:
    path = tmp_path_factory.mktemp("tapes") / "run.tape"
    tape = Tape(Seeded(seed))
    play(tape, program)
    tape.save(path)
    loaded = Tape.load(path)
    assert loaded.draws == tape.draws
    assert loaded.digest() == tape.digest()


def test_any_name_survives_saving(tmp_path: Path) -> None:
    names = ["tab\tnew\nline", "ünï", "\udc80", '"\\']
    tape = Tape()
    tape.pick("ready", names)
    tape.save(tmp_path / "run.tape")
    assert Tape.load(tmp_path / "run.tape").draws[0].candidates == tuple(names)


HEADER = json.dumps({"format": "rsim-tape", "version": 2, "seed": 7, "draws": 1})
DRAW = '{"label":"ready","n":2,"choice":1}'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: not a choice tape"),
        ("hello\n", "line 1: not a choice tape"),
        ('{"format": "other"}\n', "line 1: not a choice tape"),
        (HEADER.replace("2,", "9,"), "line 1: tape format version 9, but .* version 2 only"),
        (HEADER.replace("7", '"seven"'), "line 1: the seed is 'seven', not a number"),
        (f"{HEADER}\nnonsense\n", "line 2: not a draw"),
        (f'{HEADER}\n{{"label":"x"}}\n', "line 2: not a draw: .*`n`"),
        (f"{HEADER}\n{DRAW.replace('1}', '2}')}\n", "line 2: not a draw: choice 2 of 2"),
        (f'{HEADER}\n{DRAW[:-1]},"extra":1}}\n', "line 2: not a draw: .*`extra`"),
        (f"{HEADER}\n{DRAW}\n{DRAW[:20]}", "line 3: not a draw"),
        (HEADER + "\n", "line 1: the file ends after 0 draws, but its header promises 1"),
    ],
)
def test_a_broken_file_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "run.tape"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=rf"run\.tape, {message}"):
        Tape.load(path)


PROGRAM = """
from rsim.sim.sources import Seeded
from rsim.sim.tape import Tape
tape = Tape(Seeded("abc"))
for i in range(2, 60):
    tape.pick("ready", [f"driver/{j}" for j in range(i)])
    tape.chance("fault.kill_worker", f"worker/{i}", 0.1)
print(tape.digest())
"""


def test_the_digest_does_not_depend_on_the_hash_seed() -> None:
    digests = [
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert digests[0] == digests[1]
    assert digests[0].strip() == DIGEST
