# user program: what sleeps here sleeps in virtual time
"""Virtual randomness: private to each context, derived from its seed, gone after removal."""

# ruff: noqa: PLW0108 - names are to be looked up when the lambda runs

import os
import random
import secrets
import subprocess
import sys
import tempfile
import time
import uuid
from random import randint as alias_of_randint

import numpy as np
import pytest
from numpy.random import rand as alias_of_rand

from rsim.sim.virtual import DEFAULT_EPOCH_NS, install
from tests.sim.virtual_hub import Hub, simulate

SOURCES = {
    "random": lambda: random.random(),
    "randint": lambda: alias_of_randint(0, 10**9),
    "shuffle": lambda: random.sample(range(100), 20),
    "getstate": lambda: random.getstate()[1][:3],
    "Random": lambda: random.Random().random(),
    "Random.seed": lambda: (generator := random.Random(3), generator.seed(), generator.random())[2],
    "SystemRandom": lambda: random.SystemRandom().getrandbits(64),
    "urandom": lambda: os.urandom(16),
    "token_hex": lambda: secrets.token_hex(),
    "choice": lambda: secrets.choice(range(10**9)),
    "uuid4": lambda: uuid.uuid4(),
    "uuid1": lambda: uuid.uuid1(),
    "getnode": lambda: uuid.getnode(),
    "np.rand": lambda: np.random.rand(3).tolist(),
    "np.alias": lambda: alias_of_rand(),
    "np.normal": lambda: [np.random.normal(), np.random.standard_normal()],
    "np.ranf": lambda: np.random.ranf(2).tolist(),
    "np._rand": lambda: np.random.mtrand._rand.randint(10**9),
    "np.default_rng": lambda: np.random.default_rng().random(),
    "np.RandomState": lambda: np.random.RandomState().rand(),
    "tempfile": lambda: next(tempfile._get_candidate_names()),
}


@pytest.mark.parametrize("name", SOURCES)
def test_a_draw_depends_on_seed_and_name_only(name):
    def run(seed, before=0):
        def task():
            return str(SOURCES[name]())

        return simulate(seed=seed, **{f"other{i}": task for i in range(before)}, a=task, b=task)

    first = run(seed=1)
    assert first["a"] != first["b"]
    assert run(seed=1, before=2)["a"] == first["a"]
    assert run(seed=2)["a"] != first["a"]


def test_interleaved_contexts_draw_what_they_draw_alone():
    def task():
        drawn = []
        for _ in range(4):
            drawn += [random.gauss(0, 1), float(np.random.normal()), os.urandom(4), uuid.uuid1()]
            time.sleep(1)
        return drawn

    together = simulate(a=task, b=task, c=task)
    assert together["a"] == simulate(a=task)["a"]
    assert together["b"] == simulate(b=task)["b"]
    assert together["a"] != together["b"]


def test_streams_do_not_shift_each_other():
    def plain():
        return random.random()

    def after_others():
        os.urandom(100)
        np.random.default_rng()
        np.random.rand(10)
        uuid.uuid1()
        next(tempfile._get_candidate_names())
        return random.random()

    assert simulate(plain) == simulate(after_others)
    after_numpy = simulate(lambda: (np.random.rand(), os.urandom(4))[1])
    assert after_numpy == simulate(lambda: os.urandom(4))


def test_seed_is_private_to_the_task():
    def seeded():
        random.seed(7)
        np.random.seed(7)
        time.sleep(1)
        return random.random(), np.random.rand()

    def unseeded():
        time.sleep(0.5)
        return random.random(), np.random.rand()

    both = simulate(a=seeded, b=unseeded)
    assert both["a"] == (random.Random(7).random(), np.random.RandomState(7).rand())
    assert both["b"] == simulate(b=unseeded)["b"]


def test_state_can_be_saved_and_restored_inside():
    def task():
        state, np_state = random.getstate(), np.random.get_state()
        first = random.random(), np.random.rand()
        random.setstate(state)
        np.random.set_state(np_state)
        return first, (random.random(), np.random.rand())

    first, again = simulate(task)
    assert first == again


def test_the_process_keeps_its_own_state():
    random.seed(5)
    np.random.seed(5)
    expected = random.Random(5).random(), np.random.RandomState(5).rand()
    simulate(lambda: (random.seed(1), np.random.seed(1), random.random(), np.random.rand()))
    assert (random.random(), np.random.rand()) == expected


def test_outside_a_context_the_process_draws_from_its_own_state():
    virtual = install(Hub().current)
    try:
        random.seed(5)
        np.random.seed(5)
        assert random.random() == random.Random(5).random()
        assert np.random.rand() == np.random.RandomState(5).rand()
        assert np.random.mtrand._rand.rand() != np.random.RandomState(5).rand()
        assert isinstance(np.random.mtrand._rand, np.random.RandomState)
        assert os.urandom(16) != os.urandom(16)
        assert random.Random().random() != random.Random().random()
    finally:
        virtual.remove()
    assert type(np.random.mtrand._rand) is np.random.RandomState


def test_unseeded_generators_of_one_context_differ():
    drawn = simulate(lambda: [random.Random().random() for _ in range(20)])
    assert len(set(drawn)) == 20
    assert len(set(simulate(lambda: [uuid.uuid1() for _ in range(20)]))) == 20


def test_uuids_are_valid():
    def task():
        time.sleep(10)
        return uuid.uuid4(), uuid.uuid1(), uuid.uuid1(node=5, clock_seq=9)

    four, one, given = simulate(task)
    assert (four.version, four.variant) == (4, uuid.RFC_4122)
    assert (one.version, one.variant) == (1, uuid.RFC_4122)
    assert (given.node, given.clock_seq) == (5, 9)
    unix_s = (one.time - 0x01B21DD213814000) / 1e7
    assert unix_s == pytest.approx(DEFAULT_EPOCH_NS // 10**9 + 10)


def test_temporary_files_work():
    def task():
        with tempfile.TemporaryDirectory() as folder:
            with open(os.path.join(folder, "x"), "w") as file:
                file.write("text")
            assert os.listdir(folder) == ["x"]
            return os.path.basename(folder)

    assert simulate(task) == simulate(task)


@pytest.mark.parametrize("size", [0, 1, 1000])
def test_urandom_sizes(size):
    assert len(simulate(lambda: os.urandom(size))) == size
    with pytest.raises(ValueError, match="negative"):
        simulate(lambda: os.urandom(-1))


NUMPY_LATER = """
import os, sys
from tests.sim.virtual_hub import simulate
assert "numpy" not in sys.modules
hooks = list(sys.meta_path)

def task():
    import numpy.random
    return os.urandom(4).hex(), numpy.random.rand(), numpy.random.default_rng().random()

print(repr(simulate(task)))
assert sys.meta_path == hooks
import numpy
assert type(numpy.random.mtrand._rand) is numpy.random.RandomState
"""


def test_numpy_imported_meanwhile():
    def task():
        return os.urandom(4).hex(), np.random.rand(), np.random.default_rng().random()

    done = subprocess.run(
        [sys.executable, "-c", NUMPY_LATER], check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == repr(simulate(task))  # numpy's own seeding drew nothing


def test_a_forgotten_context_starts_again():
    hub = Hub()
    virtual = install(hub.current)
    try:
        hub.run(virtual, a=lambda: None)
        drawn = []

        def task():
            drawn.append(random.random())
            virtual.forget(hub.current())
            drawn.append(random.random())

        hub.run(virtual, a=task)
        assert drawn[0] == drawn[1]
    finally:
        virtual.remove()
