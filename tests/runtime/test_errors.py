"""User exceptions: there and back, as instances of both types, with their tracebacks."""

import copy
import copyreg
import pickle
import subprocess
import sys
import threading
import traceback
from dataclasses import dataclass
from typing import Any

import pytest

from rsim import exceptions
from rsim.exceptions import (
    DeadlockError,
    GetTimeoutError,
    ObjectLostError,
    OwnerDiedError,
    RsimError,
    RsimTaskError,
    SimulationEscapeError,
    UnserializableCauseError,
    UnserializableError,
)
from rsim.runtime import errors
from rsim.runtime.errors import deserialize_error, format_remote_traceback, serialize_error


class CodedError(ValueError):
    """Its __init__ takes something else than its args."""

    def __init__(self, code: int, *, hint: str) -> None:
        super().__init__(f"code {code}")
        self.code = code
        self.hint = hint

    def __str__(self) -> str:
        return f"<{self.code}: {self.hint}>"


class SlottedError(Exception):
    __slots__ = ("limit", "unset")

    def __init__(self, limit: int) -> None:
        self.limit = limit


@dataclass(frozen=True)
class FrozenError(Exception):
    size: int
    name: str


class ReducedError(Exception):
    def __init__(self, left: int, right: int) -> None:
        self.both = left, right

    def __reduce__(self) -> Any:
        return ReducedError, self.both


class CauseError(Exception):
    """Has a data descriptor and attributes called like RsimTaskError's."""

    function_name = "mine"

    @property
    def cause(self) -> str:
        return "mine"


class FinalError(Exception):
    def __init_subclass__(cls) -> None:
        raise TypeError("no subclasses")


class KeyedDiskError(KeyError, OSError):
    pass


class Unloadable(Exception):
    def __reduce__(self) -> Any:
        return int, ("not a number",)


class BrokenStr(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def raised(exception: BaseException) -> BaseException:
    try:
        raise exception
    except BaseException as error:
        return error


def through(exception: BaseException, function_name: str = "f") -> Any:
    return deserialize_error(serialize_error(raised(exception), function_name))


# The hierarchy

ENDINGS = ("Error", "Exception", "Exceeded", "Exit", "Removed")


def test_the_tree_in_the_docstring_is_the_hierarchy() -> None:
    assert exceptions.__doc__
    stack: list[str] = []
    for line in exceptions.__doc__.splitlines():
        words = line.strip(" │├└─").split()
        if not words or not words[0].isidentifier() or not words[0].endswith(ENDINGS):
            continue
        depth = line.index(words[0]) // 4 - 1
        stack[depth:] = [words[0]]
        if depth:
            kind, base = (vars(exceptions).get(name, Exception) for name in (words[0], stack[-2]))
            assert base in kind.__bases__, words[0]
            extra = [b.__name__ for b in kind.__bases__ if b is not base]
            assert extra == [w[1:-1] for w in words[1:2] if w[0] == "(" and w != "(sim)"]


def test_every_error_can_be_made_from_a_message_and_pickled() -> None:
    for kind in vars(exceptions).values():
        if isinstance(kind, type) and issubclass(kind, RsimError) and kind is not RsimTaskError:
            error = pickle.loads(pickle.dumps(kind("what happened")))
            assert type(error) is kind and str(error) == "what happened"


@pytest.mark.parametrize(
    "error",
    [
        ObjectLostError("m", object_id="ab"),
        OwnerDiedError("m", object_id="ab"),
        UnserializableError("m", part="value.lock"),
        UnserializableCauseError("m", part="p", type_name="t", text="x", remote_traceback="r"),
        DeadlockError("m", report="a waits for b"),
        SimulationEscapeError("m", call="socket.socket()"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_fields_survive_pickling(error: RsimError) -> None:
    loaded = pickle.loads(pickle.dumps(error))
    assert vars(loaded) == vars(error) and vars(error)
    assert loaded.args == error.args


def test_a_deadlock_shows_its_report() -> None:
    assert str(DeadlockError("stuck", report="a waits for b")) == "stuck\na waits for b"


# Both types at once


@pytest.mark.parametrize(
    "exception",
    [
        Exception("plain"),
        KeyError("k"),
        CodedError(7, hint="h"),
        SlottedError(3),
        FrozenError(1, "n"),
        FrozenError(size=1, name="n"),
        ReducedError(1, 2),
        CauseError("c"),
        FileNotFoundError(2, "No such file", "a.txt"),
        OSError(18, "Not the same disk", "a.txt", None, "b.txt"),
        PermissionError(13, "Not allowed"),
        TimeoutError("late"),
        ConnectionError(),
        KeyedDiskError(1),
        UnicodeDecodeError("utf8", b"\xff", 0, 1, "why"),
        StopIteration(4),
        SyntaxError("bad", ("f.py", 1, 2, "text", 1, 3)),
        AttributeError("no", name="n", obj=threading.Lock()),
        ImportError("no", name="n", path="p"),
        GetTimeoutError("late"),
    ],
    ids=lambda exception: type(exception).__name__,
)
def test_an_error_is_of_both_types_and_has_the_users_attributes(exception: Exception) -> None:
    error = through(exception)
    kind = type(exception)
    assert isinstance(error, RsimTaskError) and isinstance(error, kind)
    assert type(error).__name__ == f"RsimTaskError({kind.__name__})"
    for instance in (error, RsimTaskError.cause.__get__(error)):
        assert instance.args == exception.args
    assert str(error.cause) == str(exception)
    for instance in (error, error.cause):
        for name, value in vars(exception).items():
            assert getattr(instance, name) == value
        for name in ("errno", "filename", "value", "limit", "name", "reason", "lineno", "msg"):
            assert getattr(instance, name, None) == getattr(exception, name, None)
    assert type(error.cause) is kind
    with pytest.raises(kind):
        raise error


def test_our_own_fields_win_over_the_users() -> None:
    error = through(CauseError("c"), "f")
    assert isinstance(error.cause, CauseError) and error.function_name == "f"
    assert error.cause.cause == "mine"


def test_groups_are_groups_and_can_be_split() -> None:
    group = ExceptionGroup("both", [CodedError(1, hint="a"), ExceptionGroup("in", [KeyError(2)])])
    error = through(group)
    assert isinstance(error, ExceptionGroup) and error.message == "both"
    with pytest.raises(ExceptionGroup) as caught:
        try:
            raise error
        except* KeyError as matched:
            assert [type(e) for e in matched.exceptions] == [ExceptionGroup]
    assert [e.code for e in caught.value.exceptions] == [1]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "exception",
    [
        KeyboardInterrupt(),
        SystemExit(3),
        BaseExceptionGroup("g", [KeyboardInterrupt()]),
        FinalError("f"),
    ],
    ids=lambda exception: type(exception).__name__,
)
def test_where_the_types_cannot_be_combined_the_cause_tells(exception: BaseException) -> None:
    error = through(exception)
    assert type(error) is RsimTaskError
    assert type(error.cause) is type(exception) and repr(error.cause) == repr(exception)
    assert type(exception).__name__ in str(error)


def test_each_load_gives_a_fresh_error_of_the_same_type() -> None:
    blob = serialize_error(raised(ValueError("boom")), "f")
    first, second = deserialize_error(blob), deserialize_error(blob)
    assert first is not second and type(first) is type(second)
    raised(first)
    assert second.__traceback__ is None


def test_chain_and_notes_travel() -> None:
    error = ValueError("outer")
    error.add_note("a note")
    error.__cause__ = CodedError(1, hint="root")
    error.__context__ = KeyError("context")
    loaded = through(error)
    for instance in (loaded, loaded.cause):
        assert instance.__notes__ == ["a note"]
        assert isinstance(instance.__cause__, CodedError) and instance.__cause__.hint == "root"
        assert isinstance(instance.__context__, KeyError) and instance.__suppress_context__
    loaded.add_note("mine")
    assert loaded.cause.__notes__ == ["a note"]


def test_a_chain_that_cannot_be_pickled_is_left_to_the_traceback() -> None:
    error = ValueError("outer")
    error.__cause__ = KeyError("root", threading.Lock())
    loaded = through(error)
    assert isinstance(loaded, ValueError) and loaded.__cause__ is None
    assert "KeyError: ('root'" in str(loaded)


def test_a_chain_may_lead_back_to_its_beginning() -> None:
    first, second = ValueError("first"), KeyError("second")
    first.__context__, second.__context__ = second, first
    loaded = deserialize_error(serialize_error(first, "f"))
    context = loaded.cause.__context__
    assert isinstance(context, KeyError) and context.__context__ is loaded.cause


# Tracebacks


def _user_function() -> None:
    raise CodedError(7, hint="h")


def test_the_traceback_shows_where_the_task_failed() -> None:
    try:
        _user_function()
    except CodedError as error:
        loaded = deserialize_error(serialize_error(error, "work"))
    assert loaded.function_name == "work"
    assert str(loaded).startswith(f"work() raised {__name__}.CodedError: <7: h>\n  Traceback (most")
    assert "in _user_function\n" in str(loaded) and "raise CodedError(7" in loaded.remote_traceback
    shown = "".join(traceback.format_exception(raised(loaded)))
    assert "rsim.exceptions.RsimTaskError(CodedError): work() raised" in shown
    assert "in _user_function\n" in shown


def test_frames_of_rsim_are_left_out_of_the_traceback() -> None:
    unpicklable = threading.Lock()
    from rsim.runtime.serialization import serialize

    try:
        serialize(unpicklable)
    except UnserializableError as error:
        text = format_remote_traceback(error)
    assert "serialization.py" not in text and __name__.rpartition(".")[2] in text
    assert "TypeError: cannot pickle '_thread.lock' object" in text  # the chain is kept


def test_where_rsim_raises_is_told_of_what_may_be_a_bug_of_it() -> None:
    from rsim.runtime import checks
    from rsim.runtime.serialization import serialize

    def text_of(call: Any, *arguments: Any) -> str:
        try:
            call(*arguments)
        except (UnserializableError, ValueError) as error:
            assert error.__traceback__ is not None
            return format_remote_traceback(error.with_traceback(error.__traceback__.tb_next))
        raise AssertionError("it raises")

    meant = text_of(serialize, threading.Lock())
    assert meant.count("Traceback") == 1  # that of the cause
    assert "checks.py" in text_of(checks.name, "name", "")


def test_an_error_through_two_tasks_keeps_the_type_and_both_tracebacks() -> None:
    inner_blob = serialize_error(raised(CodedError(7, hint="h")), "inner")

    def outer() -> None:
        raise deserialize_error(inner_blob)

    try:
        outer()
    except RsimTaskError as error:
        loaded: Any = deserialize_error(serialize_error(error, "outer"))
    assert isinstance(loaded, CodedError) and type(loaded.cause) is CodedError
    assert loaded.code == 7 and loaded.function_name == "outer"
    text = str(loaded)
    assert text.startswith("outer() raised")
    assert text.index("in outer") < text.index("inner() raised") < text.index("in raised")


def test_errors_in_a_chain_or_group_may_be_task_errors() -> None:
    inner = through(CodedError(7, hint="h"), "inner")
    error = through(ExceptionGroup("g", [inner]))
    assert isinstance(error.exceptions[0], CodedError)
    assert error.exceptions[0].function_name == "inner"
    failed = ValueError("outer")
    failed.__cause__ = inner
    cause = through(failed).__cause__
    assert isinstance(cause, RsimTaskError) and isinstance(cause, CodedError)


@pytest.mark.parametrize(
    "clone", [copy.copy, copy.deepcopy, lambda e: pickle.loads(pickle.dumps(e))]
)
@pytest.mark.parametrize(
    "exception", [CodedError(7, hint="h"), ReducedError(1, 2), FinalError("f"), ValueError("v")]
)
def test_a_task_error_is_a_value_too(clone: Any, exception: Exception) -> None:
    error = through(exception)
    cloned = clone(error)
    assert type(cloned) is type(error) and type(cloned.cause) is type(exception)
    assert str(cloned) == str(error) and cloned.args == error.args
    assert vars(cloned.cause) == vars(exception)


# What does not travel


class Holder(Exception):
    def __init__(self, lock: Any) -> None:
        super().__init__("held")
        self.state = {"lock": lock}


def test_an_exception_travels_as_its_registered_reducer_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(copyreg.dispatch_table, Holder, lambda held: (Holder, ("a lock",)))
    holder = Holder(threading.Lock())
    holder.__cause__ = KeyError("why")
    error = through(holder)
    assert isinstance(error, RsimTaskError) and isinstance(error, Holder)
    assert error.state == {"lock": "a lock"}
    assert repr(error.cause.__cause__) == "KeyError('why')"
    assert pickle.loads(pickle.dumps(error)).state == {"lock": "a lock"}


def test_an_exception_that_cannot_be_pickled_has_a_stand_in() -> None:
    error = through(Holder(threading.Lock()))
    cause = error.cause
    assert isinstance(error, UnserializableError) and isinstance(cause, UnserializableCauseError)
    assert cause.type_name == f"{__name__}.Holder" and cause.text == "held"
    assert cause.part == "exception.state['lock']"
    assert "in raised\n" in cause.remote_traceback
    assert str(error).startswith(
        f"f() raised {__name__}.Holder: held (this exception cannot be pickled: "
        "exception.state['lock'] is a _thread.lock, which cannot be pickled)"
    )


def test_an_exception_that_cannot_be_loaded_again_has_a_stand_in() -> None:
    error = through(Unloadable("u"))
    assert isinstance(error.cause, UnserializableCauseError)
    assert "Unloadable: u (this exception cannot be pickled: it cannot be loaded" in str(error)


def test_an_exception_with_a_broken_str_travels() -> None:
    assert isinstance(through(BrokenStr("b")), BrokenStr)


class Secretive(Exception):
    """Nothing can be asked of it."""

    def __getattribute__(self, name: str) -> object:
        raise RuntimeError(f"no {name}")


def test_an_exception_of_which_nothing_can_be_read_has_a_stand_in() -> None:
    for error in (through(Secretive("s")), through(errors.legible(Secretive("s")))):
        assert isinstance(error.cause, UnserializableCauseError)
        assert "Secretive:  (this exception cannot be pickled: nothing can be read" in str(error)
    plain = ValueError("plain")
    assert errors.legible(plain) is plain


def test_a_chain_of_any_length_travels_as_text() -> None:
    chain: ValueError | None = None
    for number in range(3000):
        link = ValueError(number)
        link.__cause__, chain = chain, link
    assert chain is not None
    error = through(chain)
    assert isinstance(error, ValueError) and error.args == (2999,)
    assert "ValueError: 0\n" in error.remote_traceback


def test_text_that_has_no_encoding_is_escaped() -> None:
    assert str(through(ValueError("\ud800"))).startswith("f() raised ValueError: \\ud800\n")


def test_a_reader_without_the_exceptions_module_gets_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    blob = serialize_error(raised(CodedError(7, hint="h")), "f")
    monkeypatch.delattr(f"{__name__}.CodedError")
    error = deserialize_error(blob)
    assert isinstance(error.cause, UnserializableCauseError)
    assert error.cause.type_name.endswith("CodedError") and error.cause.text == "<7: h>"
    assert "cannot be loaded here" in str(error) and "in raised" in str(error)


WORKER = """
import sys
from rsim.runtime.errors import serialize_error
from rsim.runtime.serialization import deserialize_function
try:
    deserialize_function(sys.stdin.buffer.read())()
except Exception as error:
    sys.stdout.buffer.write(serialize_error(error, "task"))
"""

DRIVER = """
import subprocess, sys
from rsim.runtime.errors import deserialize_error
from rsim.runtime.serialization import serialize_function

class ScriptError(Exception):
    pass

def task():
    raise ScriptError("of the script")

worker = subprocess.run(
    [sys.executable, "-c", sys.argv[1]],
    input=serialize_function(task),
    capture_output=True,
    check=True,
)
error = deserialize_error(worker.stdout)
assert isinstance(error, ScriptError), type(error).__mro__
assert type(error.cause) is ScriptError
"""


def test_a_class_of_the_script_is_the_same_class_after_the_round_trip() -> None:
    environment = {"PYTHONPATH": ":".join(filter(None, sys.path))}
    result = subprocess.run(
        [sys.executable, "-c", DRIVER, WORKER],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
