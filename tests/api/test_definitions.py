"""The export of functions: once per client, ids by content, groups that refer to each other."""

import gc
import threading
import weakref
from typing import Any

import pytest

import rsim
from rsim.api import definitions
from rsim.runtime import current
from rsim.runtime.serialization import deserialize_function


def _exports(session: rsim.Session) -> dict[bytes, bytes]:
    exports: dict[bytes, bytes] = session.channel.exports
    return exports


def _load(session: rsim.Session, index: int = -1) -> Any:
    """The function of a submitted task."""
    return deserialize_function(_exports(session)[session.specs[index].function_id])


def _multiplier(factor: int) -> Any:
    @rsim.remote
    def multiply(value: int) -> int:
        return value * factor

    return multiply


def test_same_content_same_id(session: rsim.Session) -> None:
    for factor in (2, 3, 2):
        _multiplier(factor).remote(1)
    two, three, again = (spec.function_id for spec in session.specs)
    assert two == again
    assert two != three


def test_exported_anew_in_each_session(fake_backends: None) -> None:
    double = _multiplier(2)
    ids = []
    for _ in range(2):
        with rsim.init() as session:
            double.remote(1)
            double.remote(2)
            assert session.channel.times_exported == 1
            ids += _exports(session)
    assert ids[0] == ids[1]


def test_each_client_exports_once(session: rsim.Session, monkeypatch: pytest.MonkeyPatch) -> None:
    double = _multiplier(2)
    channel = type(session.channel)()
    other = type(session.client)(channel, 1, b"")
    for client in (session.client, other, session.client, other):
        monkeypatch.setattr(current, "client", client)
        double.remote(1)
    monkeypatch.undo()
    assert channel.exports == _exports(session)
    assert channel.times_exported == session.channel.times_exported == 1


def test_function_does_not_keep_its_session_alive(fake_backends: None) -> None:
    double = _multiplier(2)
    with rsim.init() as session:
        double.remote(1)
        client = weakref.ref(session.client)
    del session
    gc.collect()
    assert client() is None


def test_recursive_function(session: rsim.Session) -> None:
    @rsim.remote
    def countdown(n: int) -> Any:
        return countdown.remote(n - 1) if n else None

    countdown.remote(2)
    assert len(_exports(session)) == 1
    _load(session)(1)
    first, second = session.specs
    assert first.function_id == second.function_id
    assert len(_exports(session)) == 1


def test_mutually_recursive_functions(session: rsim.Session) -> None:
    def pair(step: int) -> Any:
        @rsim.remote
        def even(n: int) -> Any:
            return odd.remote(n - step)

        @rsim.remote
        def odd(n: int) -> Any:
            return even.remote(n - step)

        return even, odd

    even, odd = pair(1)
    even.remote(2)
    _load(session)(2)
    _load(session)(1)
    odd.remote(1)
    ids = [spec.function_id for spec in session.specs]
    assert ids == [ids[0], ids[1]] * 2
    assert set(_exports(session)) == set(ids)
    # the functions differ, though each pickles alike but for the other
    for function in pair(2):
        function.remote(1)
    assert len(_exports(session)) == 4


def test_captured_function_is_exported_with_its_user(session: rsim.Session) -> None:
    double = _multiplier(2)

    @rsim.remote
    def twice(value: int) -> Any:
        return double.options(name="inner").remote(value)

    twice.remote(1)
    assert len(_exports(session)) == 2
    _load(session)(5)
    assert session.specs[-1].name == "inner"
    assert _load(session)(21) == 42
    double.remote(1)
    assert len(_exports(session)) == session.channel.times_exported == 2


def test_function_as_argument_is_exported(session: rsim.Session) -> None:
    ref = rsim.put([_multiplier(3)])
    (triple,) = rsim.get(ref)
    triple.remote(1)
    assert _load(session)(2) == 6


def test_unpicklable_capture_is_named_and_nothing_exported(session: rsim.Session) -> None:
    lock = threading.Lock()

    @rsim.remote
    def inner() -> object:
        return lock

    @rsim.remote
    def outer() -> object:
        return inner.remote()

    for function in (inner, outer):
        with pytest.raises(rsim.exceptions.UnserializableError, match="variable lock is a"):
            function.remote()
    assert _exports(session) == {}


def test_threads_do_not_see_each_others_groups(
    session: rsim.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, go_on = threading.Event(), threading.Event()

    class Slow:
        def __reduce__(self) -> Any:
            inside.set()
            assert go_on.wait(60)
            return str, ("slow",)

    class Lock:
        """Lets the first thread go on when the second comes to wait for it."""

        def __init__(self, lock: Any) -> None:
            self._lock = lock

        def __enter__(self) -> None:
            if threading.current_thread() is second:
                go_on.set()
            self._lock.acquire()

        def __exit__(self, *_: object) -> None:
            self._lock.release()

    monkeypatch.setattr(definitions, "_lock", Lock(definitions._lock))
    slow, double = Slow(), _multiplier(2)
    function = rsim.remote(lambda: (double, slow))
    refs: list[rsim.ObjectRef[Any]] = []
    first = threading.Thread(target=function.remote)
    second = threading.Thread(target=lambda: refs.append(rsim.put([double])))
    first.start()
    assert inside.wait(60)
    second.start()
    first.join()
    second.join()
    for loaded in (_load(session)()[0], rsim.get(refs[0])[0]):
        loaded.remote(1)
        assert _load(session)(4) == 8
