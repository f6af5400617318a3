"""Errors of user code: what arrives at get, and how it flows on."""

import pickle

import pytest

import rsim
from rsim.exceptions import RsimError, RsimTaskError
from tests.conformance import marks


class Refused(Exception):
    """An exception whose constructor takes other arguments than it passes on: no plain pickle."""

    def __init__(self, code, *, reason):
        super().__init__(f"{reason} ({code})")
        self.code = code
        self.reason = reason


@rsim.remote
def fail(error):
    raise error


@rsim.remote
def refuse():
    raise Refused(7, reason="closed")


@rsim.remote
def identity(value):
    return value


def error_of(ref):
    with pytest.raises(RsimTaskError) as caught:
        rsim.get(ref)
    return caught.value


def test_an_error_is_a_task_error_and_of_the_users_type(rt):
    error = error_of(fail.remote(ZeroDivisionError("by hand")))
    assert isinstance(error, RsimError)
    assert isinstance(error, ZeroDivisionError)
    assert error.args == ("by hand",)


def test_the_cause_is_the_users_own_exception(rt):
    cause = error_of(fail.remote(LookupError(1, 2))).cause
    assert type(cause) is LookupError
    assert cause.args == (1, 2)


def test_the_message_shows_where_it_happened(rt):
    @rsim.remote
    def outer():
        def inner():
            raise ValueError("deep down")

        inner()

    error = error_of(outer.remote())
    assert "deep down" in str(error)
    assert "outer" in error.function_name
    for line in ("in outer", "in inner", 'raise ValueError("deep down")', __file__):
        assert line in error.remote_traceback
        assert line in str(error)


def test_a_type_with_its_own_constructor(rt):
    error = error_of(refuse.remote())
    assert isinstance(error, Refused)
    assert (error.code, error.reason) == (7, "closed")
    assert "closed (7)" in str(error)


def test_a_type_defined_in_the_test(rt):
    class Local(Exception):
        pass

    with pytest.raises(Local):
        rsim.get(fail.remote(Local(1)))


def test_the_chain_of_causes_is_kept(rt):
    @rsim.remote
    def chained():
        try:
            {}["missing"]
        except KeyError as error:
            raise RuntimeError("translated") from error

    error = error_of(chained.remote())
    assert isinstance(error.cause.__cause__, KeyError)
    assert "KeyError: 'missing'" in error.remote_traceback


def test_an_exception_group(rt):
    @rsim.remote
    def group():
        raise ExceptionGroup("two", [ValueError(1), TypeError(2)])

    with pytest.raises(ExceptionGroup) as caught:
        rsim.get(group.remote())
    assert [type(each) for each in caught.value.exceptions] == [ValueError, TypeError]


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_what_ends_a_program_ends_only_the_task(rt, kind):
    @rsim.remote
    def stop():
        raise kind

    error = error_of(stop.remote())
    assert not isinstance(error, kind)
    assert isinstance(error.cause, kind)
    assert rsim.get(identity.remote(1)) == 1


def test_errors_flow_through_dependants(rt):
    ref = identity.remote(identity.remote(fail.remote(KeyError("source"))))
    error = error_of(ref)
    assert isinstance(error, KeyError)
    assert "fail" in str(error)


def test_a_dependant_of_an_error_does_not_run(rt, tmp_path):
    @rsim.remote
    def leave_mark(folder, _value):
        marks.leave(folder, "ran")

    with pytest.raises(ValueError):
        rsim.get(leave_mark.remote(tmp_path, fail.remote(ValueError())))
    assert rsim.get(identity.remote(1)) == 1
    assert marks.count(tmp_path, "ran") == 0


def test_errors_pass_through_get_in_tasks(rt):
    @rsim.remote
    def ask(number):
        return rsim.get(
            fail.remote(IndexError("bottom")) if number == 0 else ask.remote(number - 1)
        )

    error = error_of(ask.remote(3))
    assert isinstance(error, IndexError)
    assert type(error.cause) is IndexError
    assert error.remote_traceback.count("in ask") >= 4
    assert "in fail" in error.remote_traceback


def test_a_task_may_handle_an_error(rt):
    @rsim.remote
    def handle(refs):
        try:
            rsim.get(refs)
        except KeyError as error:
            return isinstance(error, RsimTaskError), error.args

    assert rsim.get(handle.remote([fail.remote(KeyError("k"))])) == (True, ("k",))


def test_a_nested_ref_to_an_error_is_no_error(rt):
    @rsim.remote
    def hold(refs):
        return len(refs)

    assert rsim.get(hold.remote([fail.remote(ValueError())])) == 1


def test_each_get_raises_anew(rt):
    ref = fail.remote(ValueError("again"))
    first, second = error_of(ref), error_of(ref)
    assert first is not second
    assert first.args == second.args == ("again",)


def test_an_error_may_be_a_value(rt):
    with pytest.raises(ValueError):
        rsim.get(fail.remote(ValueError()))
    assert isinstance(rsim.get(rsim.put(ValueError("kept"))), ValueError)


def test_an_error_survives_pickle(rt):
    error = error_of(refuse.remote())
    back = pickle.loads(pickle.dumps(error))
    assert isinstance(back, Refused)
    assert isinstance(back, RsimTaskError)
    assert (back.code, str(back)) == (7, str(error))


def test_a_large_error(rt):
    error = error_of(fail.remote(ValueError("x" * 500_000)))
    assert len(error.args[0]) == 500_000


def test_the_next_task_finds_nothing_of_an_error(rt):
    refs = [fail.remote(ValueError(number)) for number in range(10)]
    assert [error_of(ref).args for ref in refs] == [(number,) for number in range(10)]
    assert rsim.get([identity.remote(number) for number in range(10)]) == list(range(10))
