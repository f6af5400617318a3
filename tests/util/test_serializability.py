"""inspect_serializability: what it returns and what it prints."""

import io
import threading

from rsim.util import inspect_serializability


def test_a_value_that_can_be_pickled():
    out = io.StringIO()
    assert inspect_serializability([1, "two"], print_file=out) == (True, set())
    assert out.getvalue() == "Can list be pickled? Yes.\n"


def test_the_part_at_fault_is_named():
    lock = threading.Lock()

    def capturing():
        return lock

    out = io.StringIO()
    fine, failures = inspect_serializability(capturing, print_file=out)
    (failure,) = failures
    assert not fine
    assert failure.obj is lock
    assert failure.name == "capturing, captured variable lock"
    assert failure.name in out.getvalue()


def test_standard_output_and_a_given_name(capsys):
    fine, _ = inspect_serializability({"key": threading.Lock()}, name="settings")
    assert not fine
    assert "settings['key']" in capsys.readouterr().out
