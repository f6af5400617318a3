"""Generators of tasks that are declared with the number of their results."""

import threading

import pytest

import rsim
from tests.conformance import marks

LARGE = 300_000


@rsim.remote(num_returns=3)
def declared(count, size=1, error=None, mark=None):
    for number in range(count):
        yield bytes([number]) * size
    if mark is not None:
        marks.leave(*mark)
    if error is not None:
        raise error


@pytest.mark.parametrize("size", [1, LARGE])
def test_what_a_generator_has_made_before_it_raises_is_kept(rt, size):
    first, second, third = declared.remote(2, size, KeyError("late"))
    assert rsim.get([first, second]) == [b"\0" * size, b"\1" * size]
    with pytest.raises(KeyError, match="late"):
        rsim.get(third)
    with pytest.raises(KeyError, match="late"):
        rsim.get([first, second, third])


def test_what_a_generator_has_made_is_kept_if_it_makes_too_few(rt):
    first, second, third = declared.remote(2)
    assert rsim.get([first, second]) == [b"\0", b"\1"]
    with pytest.raises(ValueError, match=r"num_returns=3.*2 value"):
        rsim.get(third)


def test_what_a_generator_makes_beyond_its_number_is_dropped(rt):
    assert rsim.get(declared.remote(4)) == [b"\0", b"\1", b"\2"]


def test_a_generator_runs_on_after_its_last_result(rt, tmp_path):
    refs = declared.remote(3, mark=(tmp_path, "end"))
    assert rsim.get(refs) == [b"\0", b"\1", b"\2"]
    assert marks.count(tmp_path, "end") == 1


def test_what_it_raises_after_its_last_result_is_not_an_error(rt):
    assert rsim.get(declared.remote(3, 1, KeyError("late"))) == [b"\0", b"\1", b"\2"]


def test_what_a_generator_cannot_pickle_is_the_error(rt):
    @rsim.remote(num_returns=2)
    def half():
        yield b"x" * LARGE
        yield threading.Lock()

    first, second = half.remote()
    assert rsim.get(first) == b"x" * LARGE
    with pytest.raises(TypeError, match="lock"):
        rsim.get(second)


@pytest.mark.parametrize("size", [1, LARGE])
def test_a_broken_generator_is_retried_from_the_start(rt, tmp_path, size):
    @rsim.remote(num_returns=2, max_retries=1, retry_exceptions=True)
    def flaky():
        attempt = marks.count(tmp_path, "attempt")
        marks.leave(tmp_path, "attempt")
        yield bytes([attempt]) * size
        if not attempt:
            raise KeyError
        yield b"end"

    assert rsim.get(flaky.remote()) == [b"\1" * size, b"end"]


def test_a_large_result_beside_one_that_cannot_be_pickled_leaves_nothing(init, tmp_path):
    init(num_cpus=1, object_store_memory=4 * LARGE, spill_limit_bytes=0)

    @rsim.remote(num_returns=2)
    def half():
        return b"x" * LARGE, threading.Lock()

    for _ in range(6):
        with pytest.raises(TypeError, match="lock"):
            rsim.get(half.remote())
    assert rsim.get(rsim.put(b"y" * 3 * LARGE)) == b"y" * 3 * LARGE


def test_methods_keep_what_they_have_made_before_they_raise(rt):
    class Maker:
        def make(self):
            yield 1
            raise KeyError("late")

        async def make_later(self):
            yield 1
            raise KeyError("late")

    class Plain:
        make = Maker.make

    for method in (
        rsim.remote(Plain).remote().make,
        rsim.remote(Plain).options(max_concurrency=2).remote().make,
        rsim.remote(Maker).remote().make,
        rsim.remote(Maker).remote().make_later,
    ):
        first, second = method.options(num_returns=2).remote()
        assert rsim.get(first) == 1
        with pytest.raises(KeyError, match="late"):
            rsim.get(second)
