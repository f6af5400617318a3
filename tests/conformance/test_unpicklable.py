"""What cannot be pickled: where it is noticed, and that the part is named."""

import threading

import pytest

import rsim
from rsim.exceptions import RsimTaskError, UnserializableCauseError, UnserializableError


@rsim.remote
def identity(value):
    return value


def test_an_argument_raises_at_the_call(rt):
    with pytest.raises(UnserializableError, match=r"value\['table'\]\[1\]") as caught:
        identity.remote({"table": [1, threading.Lock()]})
    assert isinstance(caught.value, TypeError)
    assert "identity" in str(caught.value)
    assert rsim.get(identity.remote(1)) == 1


def test_a_keyword_argument_is_named(rt):
    @rsim.remote
    def take(first, *, guard):
        pass

    with pytest.raises(UnserializableError, match="guard"):
        take.remote(1, guard=threading.Lock())


def test_what_a_function_captured_is_named(rt):
    lock = threading.Lock()

    @rsim.remote
    def use():
        return lock

    with pytest.raises(UnserializableError, match="lock"):
        use.remote()


def test_put_raises_at_once(rt):
    with pytest.raises(UnserializableError, match=r"\[2\]"):
        rsim.put([1, 2, threading.Lock()])


def test_a_result_raises_at_get(rt):
    @rsim.remote
    def give():
        return {"lock": threading.Lock()}

    ref = give.remote()
    with pytest.raises(UnserializableError, match=r"give.*\['lock'\]") as caught:
        rsim.get(ref)
    assert isinstance(caught.value, TypeError)
    assert rsim.get(identity.remote(1)) == 1


def test_one_of_several_results(rt):
    @rsim.remote(num_returns=2)
    def give():
        return 1, threading.Lock()

    with pytest.raises(UnserializableError, match="give"):
        rsim.get(give.remote()[1])


def test_an_exception_has_a_stand_in_that_names_the_part(rt):
    class Locked(Exception):
        def __init__(self, message):
            super().__init__(message)
            self.guard = threading.Lock()

    @rsim.remote
    def fail():
        raise Locked("no entry")

    with pytest.raises(RsimTaskError, match="no entry") as caught:
        rsim.get(fail.remote())
    cause = caught.value.cause
    assert isinstance(cause, UnserializableCauseError)
    assert "Locked" in cause.type_name
    assert "guard" in cause.part
    assert "in fail" in caught.value.remote_traceback


def test_a_result_that_cannot_be_loaded_again(rt):
    class Unloadable:
        def __reduce__(self):
            return int, ("no number",)

    @rsim.remote
    def give():
        return Unloadable()

    with pytest.raises(Exception, match="no number"):
        rsim.get(give.remote())
    assert rsim.get(identity.remote(1)) == 1


def test_an_argument_that_cannot_be_loaded_is_the_tasks_error(rt):
    class Unloadable:
        def __reduce__(self):
            return int, ("no number",)

    with pytest.raises(RsimTaskError, match="no number"):
        rsim.get(identity.remote(Unloadable()))
    assert rsim.get(identity.remote(1)) == 1


class Unloadable:
    def __reduce__(self):
        return int, ("no number",)


def test_a_function_that_cannot_be_loaded_says_so_each_time(rt):
    captured = Unloadable()

    @rsim.remote
    def use():
        return captured

    for _ in range(2):
        with pytest.raises(rsim.exceptions.RsimTaskError, match="invalid literal for int"):
            rsim.get(use.remote())
