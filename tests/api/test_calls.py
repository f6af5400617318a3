"""What get, put, wait and cancel accept."""

import math
from typing import Any

import pytest

import rsim
from rsim.core import events


def test_get_of_one_and_of_a_list(session: rsim.Session) -> None:
    one, two = rsim.put(1), rsim.put("two")
    assert rsim.get(one) == 1
    assert rsim.get([two, one, two], timeout=0) == ["two", 1, "two"]
    assert rsim.get([]) == []


@pytest.mark.parametrize("refs", [3, (1,), None, "ref"])
def test_get_takes_a_ref_or_a_list(session: rsim.Session, refs: Any) -> None:
    with pytest.raises(ValueError, match=f"of type {type(refs).__name__}"):
        rsim.get(refs)


def test_get_checks_the_items(session: rsim.Session) -> None:
    with pytest.raises(TypeError, match=r"get\(\) takes ObjectRefs, but item 1 of the list is 5"):
        rsim.get([rsim.put(1), 5])  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("timeout", "error"),
    [(-1, ValueError), (-(10**400), ValueError), (math.nan, ValueError), ("1", TypeError)],
)
def test_timeout_is_checked(session: rsim.Session, timeout: Any, error: type[Exception]) -> None:
    for call in (lambda: rsim.get([], timeout=timeout), lambda: rsim.wait([], timeout=timeout)):
        with pytest.raises(error, match="timeout must be"):
            call()


def test_flags_are_true_or_false(session: rsim.Session) -> None:
    ref = rsim.put(1)
    for call in (
        lambda: rsim.wait([ref], fetch_local="no"),  # type: ignore[arg-type]
        lambda: rsim.cancel(ref, force="no"),  # type: ignore[arg-type]
        lambda: rsim.cancel(ref, recursive=0),  # type: ignore[arg-type]
    ):
        with pytest.raises(TypeError, match=r"must be True or False, not ('no'|0)"):
            call()


def test_put_refuses_a_ref(session: rsim.Session) -> None:
    ref = rsim.put(1)
    with pytest.raises(TypeError, match="an ObjectRef is a ref already"):
        rsim.put(ref)
    assert rsim.get(rsim.put([ref])) == [ref]


def test_wait_keeps_the_order_and_the_number(session: rsim.Session) -> None:
    refs = [rsim.put(value) for value in range(4)]
    assert rsim.wait(refs) == (refs[:1], refs[1:])
    assert rsim.wait(refs, num_returns=3, timeout=1) == (refs[:3], refs[3:])
    assert rsim.wait([]) == ([], [])


def test_wait_checks_its_arguments(session: rsim.Session) -> None:
    ref = rsim.put(1)
    with pytest.raises(TypeError, match=r"wait\(\) takes a list"):
        rsim.wait(ref)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="item 0 of the list is 1"):
        rsim.wait([1])  # type: ignore[list-item]
    with pytest.raises(ValueError, match=f"{ref.hex()}.* is given twice"):
        rsim.wait([ref, ref])
    for num_returns in (0, -1, 2):
        with pytest.raises(ValueError, match="num_returns must be"):
            rsim.wait([ref], num_returns=num_returns)
    with pytest.raises(TypeError, match="num_returns must be an int"):
        rsim.wait([ref], num_returns=1.0)  # type: ignore[arg-type]


def test_wait_passes_on_what_it_was_asked(session: rsim.Session) -> None:
    ref = rsim.remote(abs).remote(1)
    assert rsim.wait([ref], timeout=2.5, fetch_local=False) == ([], [ref])
    request = session.channel.sent[-1]
    assert isinstance(request, events.WaitRequested)
    assert (request.timeout_ns, request.fetch_local) == (2_500_000_000, False)
    rsim.wait([ref], timeout=math.inf)
    assert session.channel.sent[-1].timeout_ns == -1


def test_cancel(session: rsim.Session) -> None:
    ref = rsim.remote(abs).remote(1)
    rsim.cancel(ref, force=True)
    assert session.channel.sent[-1] == events.CancelRequested(0, ref.binary(), True, True)
    with pytest.raises(TypeError, match=r"cancel\(\) takes an ObjectRef, not 'x'"):
        rsim.cancel("x")  # type: ignore[arg-type]


class Box:
    def __init__(self, content: object) -> None:
        self.content = content


@pytest.mark.usefixtures("fake_backends")
def test_refs_of_an_earlier_session_are_refused() -> None:
    with rsim.init():
        ref = rsim.put(1)
    take = rsim.remote(lambda value=None: value)
    with rsim.init():
        for use in (
            lambda: rsim.get(ref),
            lambda: rsim.get([ref]),
            lambda: rsim.wait([ref]),
            lambda: rsim.cancel(ref),
            lambda: take.remote(ref),
            lambda: take.remote(value=ref),
            lambda: take.remote([ref]),
            lambda: take.remote(value={1: (Box(ref),)}),
            lambda: rsim.put([ref]),
        ):
            with pytest.raises(rsim.exceptions.ForeignRefError, match=f"{ref.hex()}.*earlier"):
                use()
