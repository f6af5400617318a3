"""Runs of whole programs played again from their tapes."""

import random

import pytest

import rsim
from rsim.exceptions import NondeterminismError
from rsim.sim import Cluster, Faults, Tape

FAULTS = Faults(kill_worker=0.2, max_faults=4)


@rsim.remote
def dice(_number):
    return random.random()


def run(count=12, **options):
    """What the program drew, the digest of its run, and its tape."""
    cluster = Cluster(nodes=2, num_cpus=2, jitter_s=0.01)
    with rsim.init("sim", cluster=cluster, faults=FAULTS, **options) as session:
        drawn = rsim.get([dice.remote(number) for number in range(count)])
        return drawn, session.digest(), session.tape


def test_a_tape_plays_its_run_again(tmp_path):
    path = tmp_path / "run.tape"
    drawn, digest, tape = run(seed=7)
    assert any(draw.label == "fault.kill_worker" and draw.choice for draw in tape.draws)
    tape.save(path)
    for recording in (tape, path, str(path), Tape.load(path), tape.replay()):
        again, digest_again, tape_again = run(tape=recording)
        assert (again, digest_again) == (drawn, digest)
        assert tape_again.digest() == tape.digest() and tape_again.seed == 7
        tape_again.check_complete()


def test_a_run_without_a_seed_has_a_tape_too(tmp_path):
    drawn, digest, tape = run()
    tape.save(tmp_path / "run.tape")
    assert run(tape=tmp_path / "run.tape")[:2] == (drawn, digest)


def test_one_choice_of_a_run_can_be_changed():
    drawn, _, tape = run(seed=7)
    index = next(i for i, draw in enumerate(tape.draws) if draw.label == "ready")
    other = (tape.draws[index].choice + 1) % tape.draws[index].n
    again, _, edited = run(tape=tape.edited(index, other))
    assert len(again) == len(drawn)
    assert edited.draws[index].choice == other
    assert edited.choices()[:index] == tape.choices()[:index]


def test_a_replay_can_be_played_more_than_once():
    drawn, digest, tape = run(seed=7)
    for replay in (tape.replay(), tape.edited(0, tape.draws[0].choice)):
        assert run(tape=replay)[:2] == run(tape=replay)[:2] == (drawn, digest)


def test_another_program_is_told_from_the_recorded_one(tmp_path):
    _, _, tape = run(seed=7)
    with pytest.raises(NondeterminismError, match="differs from its recording at draw"):
        run(tape=tape, count=9)


def test_a_tape_has_a_seed_of_its_own(monkeypatch):
    drawn, digest, tape = run(seed=7)
    with pytest.raises(ValueError, match="seed cannot be given together with tape"):
        run(seed=8, tape=tape)
    monkeypatch.setenv("RSIM_SEED", "8")
    assert run(tape=tape)[:2] == (drawn, digest)


@pytest.mark.parametrize("tape", [3, [0, 1], b"run.tape"])
def test_a_tape_is_a_tape(tape):
    with pytest.raises(TypeError, match=r"tape must be a path, an rsim\.sim\.Tape or a Replay"):
        rsim.init("sim", tape=tape)
    assert not rsim.is_initialized()


def test_a_tape_is_for_a_simulation():
    with pytest.raises(ValueError, match="tape is an argument for address='sim' only"):
        rsim.init("local", tape=Tape())
