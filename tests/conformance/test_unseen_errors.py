"""An error that nobody has asked for is told when its last ref goes; no other is."""

import pytest

import rsim
from tests.conformance import marks

HINT = "RSIM_IGNORE_UNHANDLED_ERRORS"


@rsim.remote
def fail(text):
    raise ValueError(text)


@rsim.remote
def identity(value):
    return value


@rsim.remote
class Failing:
    def fail(self, text):
        raise ValueError(text)

    def ping(self):
        return True


@pytest.fixture
def told(capfd):
    """Awaits a text in what the driver shows; and all that it has shown so far."""
    shown = ""

    def await_text(text):
        def there():
            nonlocal shown
            captured = capfd.readouterr()
            shown += captured.out + captured.err
            return text in shown

        marks.await_that(there, "the report")
        return shown

    return await_text


def settle(told):
    """All that was dropped before has been told when this has."""
    fail.remote("the last one")
    return told("the last one")


def test_a_result_that_is_dropped_before_it_is_there(rt, told):
    fail.remote("a lost cause")
    shown = told("a lost cause")
    assert HINT in shown
    assert "fail" in shown
    assert "raise ValueError(text)" in shown


def test_a_result_that_is_dropped_later(rt, told):
    ref = fail.remote("a lost cause")
    rsim.get(identity.remote(1))
    del ref
    told("a lost cause")


def test_a_call_of_an_actor(rt, told):
    actor = Failing.remote()
    actor.fail.remote("a lost cause")
    told("Failing.fail")
    assert rsim.get(actor.ping.remote())


def test_each_result_of_several(rt, told):
    refs = fail.options(num_returns=2).remote("a lost cause")
    rsim.wait(refs[:1])
    del refs
    assert settle(told).count("raise ValueError(text)") == 2


def test_a_task_of_a_task(rt, told):
    @rsim.remote
    def parent():
        fail.remote("a lost cause")
        return 1

    assert rsim.get(parent.remote()) == 1
    told("a lost cause")


def test_what_somebody_has_asked_for_is_not_told(rt, told):
    refs = [fail.remote(f"known {number}") for number in range(5)]
    with pytest.raises(ValueError, match="known"):
        rsim.get(refs)
    del refs
    ref = fail.remote("known by wait")
    assert rsim.wait([ref])[0] == [ref]
    del ref
    with pytest.raises(ValueError, match="known as an input"):
        rsim.get(identity.remote(fail.remote("known as an input")))
    assert "known" not in settle(told)


def test_what_was_asked_for_in_time_is_not_told_later(rt, told):
    gate = Failing.remote()
    ref = fail.remote(gate.ping.remote())
    with pytest.raises((ValueError, rsim.exceptions.GetTimeoutError)):
        rsim.get(ref, timeout=0)
    del ref
    assert "ValueError: True" not in settle(told)


def test_what_the_system_says_is_not_told(rt, told):
    actor = Failing.remote()
    rsim.kill(actor)
    actor.ping.remote()
    sleeper = identity.options(resources={"unicorn": 1}).remote(1)
    rsim.cancel(sleeper)
    del sleeper
    assert settle(told).count(HINT) == 1


def test_an_error_of_a_generator_is_told_once(rt, told):
    @rsim.remote
    def generate():
        yield 1
        raise ValueError("a lost cause")

    generate.options(num_returns="streaming").remote()
    consumed = generate.options(num_returns="streaming").remote()
    with pytest.raises(ValueError, match="a lost cause"):
        for ref in consumed:
            rsim.get(ref)
    del ref, consumed
    assert settle(told).count("ValueError: a lost cause") <= 1


@pytest.mark.parametrize("name", [HINT, HINT.replace("RSIM", "RAY")])
def test_it_can_be_hidden(rt, told, monkeypatch, name):
    monkeypatch.setenv(name, "1")
    actor = Failing.remote()
    actor.fail.remote("not told")
    rsim.get(actor.ping.remote())
    monkeypatch.delenv(name)
    assert "not told" not in settle(told)
