"""Remote functions: what can be made remote, and what a call submits."""

import copy
import inspect
import pickle
import sys
from typing import Any

import pytest

import rsim
from rsim.core.records import STREAMING, TaskSpec
from rsim.runtime import current
from rsim.runtime.serialization import deserialize_call, deserialize_function


def add(a: int, b: int = 1, *, c: int = 0) -> int:
    """Add up."""
    return a + b + c


def _last(session: rsim.Session) -> TaskSpec:
    spec: TaskSpec = session.specs[-1]
    return spec


def test_a_call_submits_a_task(session: rsim.Session) -> None:
    ref = rsim.remote(add).remote(1, c=2)
    spec = _last(session)
    assert isinstance(ref, rsim.ObjectRef)
    assert ref.task_id() == spec.task_id.hex()
    assert (spec.name, spec.num_returns) == ("add", 1)
    assert deserialize_call(spec.payload) == ((1,), {"c": 2})
    function = deserialize_function(session.channel.exports[spec.function_id])
    assert function(1, c=2) == 4


def test_refs_become_dependencies(session: rsim.Session) -> None:
    one = rsim.put(1)
    rsim.remote(add).remote(one, [one])
    spec = _last(session)
    assert (spec.deps, spec.borrows) == ((one.binary(),), (one.binary(),))


@pytest.mark.parametrize("option", ["num_returns", "num_return_vals"])
def test_number_of_refs(session: rsim.Session, option: str) -> None:
    assert rsim.remote(**{option: 0})(add).remote(1) is None
    assert len(session.specs) == 1
    three = rsim.remote(add).options(**{option: 3}).remote(1)
    assert len({ref.hex() for ref in three}) == 3
    assert isinstance(rsim.remote(**{option: 1})(add).remote(1), rsim.ObjectRef)


def test_options_leave_the_function_as_it_was(session: rsim.Session) -> None:
    function = rsim.remote(num_cpus=2)(add)
    changed = function.options(name="other", num_cpus=0.5).options(max_retries=0)
    changed.remote(1)
    spec = _last(session)
    assert (spec.name, spec.options.max_retries) == ("other", 0)
    assert spec.options.demand == (("CPU", 5_000),)
    function.remote(1)
    spec = _last(session)
    assert (spec.name, spec.options.max_retries) == ("add", 3)
    assert spec.options.demand == (("CPU", 20_000),)
    assert len(session.channel.exports) == 1


def test_it_looks_like_its_function() -> None:
    function = rsim.remote(add)
    assert function.__name__ == "add"
    assert function.__doc__ == "Add up."
    assert function.__module__ == __name__
    assert function._function is add
    assert inspect.signature(function) == inspect.signature(add)
    assert repr(function) == "<rsim remote function add>"
    assert copy.deepcopy(function) is function


def test_it_cannot_be_called_directly() -> None:
    with pytest.raises(TypeError, match=r"instead of add\(\), use add\.remote\(\)"):
        rsim.remote(add)(1)


@pytest.mark.parametrize("arguments", [(), (1,), (add, 2), ("name",)])
def test_remote_takes_a_function_or_options(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(TypeError, match="remote must be applied either to a function"):
        rsim.remote(*arguments)


def test_what_cannot_be_made_remote() -> None:
    async def later() -> None:
        pass

    with pytest.raises(ValueError, match="later is an 'async def' function"):
        rsim.remote(later)
    with pytest.raises(TypeError, match="is remote already"):
        rsim.remote(rsim.remote(add))
    with pytest.raises(TypeError, match="only a function or a class can be made remote, not 3"):
        rsim.remote(num_cpus=1)(3)  # type: ignore[arg-type]


def test_what_calls_of_generators_return(session: rsim.Session) -> None:
    def count() -> Any:
        yield 1

    generator = rsim.remote(count)
    stream = generator.remote()
    assert type(stream) is rsim.ObjectRefGenerator
    assert stream.completed().task_id() == stream.task_id()
    assert len(generator.options(num_returns=2).remote()) == 2
    assert generator.options(num_returns=0).remote() is None
    with pytest.warns(DeprecationWarning, match="use 'streaming'"):
        dynamic = generator.options(num_returns="dynamic")
    assert type(dynamic.remote()) is rsim.ObjectRef
    limited = generator.options(_generator_backpressure_num_objects=3)
    assert type(limited.remote()) is rsim.ObjectRefGenerator
    told = [(spec.num_returns, bool(spec.options.extras)) for spec in session.specs]
    assert told == [(STREAMING, False), (2, False), (0, False), (1, True), (STREAMING, True)]


def test_options_of_generators_only() -> None:
    limit = {"_generator_backpressure_num_objects": 1}
    message = "_generator_backpressure_num_objects is for .* add has no 'yield'"
    with pytest.raises(ValueError, match=message):
        rsim.remote(**limit)(add)
    with pytest.raises(ValueError, match=message):
        rsim.remote(add).options(**limit)


def test_a_function_without_yield_may_be_declared_to_return_a_generator(
    session: rsim.Session,
) -> None:
    assert type(rsim.remote(num_returns="streaming")(add).remote(1, 2)) is rsim.ObjectRefGenerator
    with pytest.warns(DeprecationWarning, match="use 'streaming'"):
        dynamic = rsim.remote(num_returns="dynamic")(add)
    assert type(dynamic.remote(1, 2)) is rsim.ObjectRef
    assert [spec.num_returns for spec in session.specs] == [STREAMING, 1]


@pytest.mark.parametrize(
    ("args", "kwargs"), [((), {}), ((1, 2, 3), {}), ((1,), {"a": 1}), ((1,), {"x": 1})]
)
def test_wrong_arguments_show_the_signature(
    session: rsim.Session, args: tuple[int, ...], kwargs: dict[str, int]
) -> None:
    with pytest.raises(TypeError, match=r"^add\(a, b=\.\.\., \*, c=\.\.\.\): "):
        rsim.remote(add).remote(*args, **kwargs)
    assert session.specs == []


@pytest.mark.parametrize(
    ("function", "args", "kwargs", "fits"),
    [
        (lambda: 0, (1,), {}, False),
        (lambda *rest: 0, (1, 2, 3), {}, True),
        (lambda a, *rest: 0, (), {}, False),
        (lambda a, /: 0, (), {"a": 1}, False),
        (lambda *, key: 0, (), {}, False),
        (lambda *, key: 0, (), {"key": 1}, True),
        (lambda **rest: 0, (), {"any": 1}, True),
        (abs, (1,), {}, True),
        (min, (1, 2, 3), {}, True),  # has no signature
    ],
)
def test_arguments_fit_or_not(
    session: rsim.Session, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], fits: bool
) -> None:
    if fits:
        rsim.remote(function).remote(*args, **kwargs)
        return
    with pytest.raises(TypeError):
        rsim.remote(function).remote(*args, **kwargs)


def test_plain_calls_are_not_bound(session: rsim.Session, monkeypatch: pytest.MonkeyPatch) -> None:
    function = rsim.remote(add)
    monkeypatch.setattr(inspect.Signature, "bind", lambda *_: pytest.fail("bound"))
    function.remote(1)
    function.remote(1, 2)


def test_unpicklable_argument_is_named(session: rsim.Session) -> None:
    with pytest.raises(rsim.exceptions.UnserializableError, match="argument 'b' of add"):
        rsim.remote(add).remote(1, sys.stdout)


def test_pickled_it_is_still_callable(session: rsim.Session) -> None:
    function = rsim.remote(num_cpus=2)(add).options(name="sum")
    loaded = pickle.loads(pickle.dumps(function))
    exports = dict(session.channel.exports)
    loaded.remote(1, b=2)
    loaded.options(num_cpus=3).remote(1)
    first, second = session.specs
    assert session.channel.exports == exports
    assert (first.name, first.options.demand) == ("sum", (("CPU", 20_000),))
    assert (second.name, second.options.demand) == ("sum", (("CPU", 30_000),))
    assert {first.function_id, second.function_id} == set(exports)
    with pytest.raises(TypeError, match=r"add\(a, b=\.\.\., \*, c=\.\.\.\)"):
        loaded.remote()
    with pytest.raises(AttributeError, match="defined in another process"):
        _ = loaded._function


@pytest.mark.usefixtures("fake_backends")
def test_pickles_are_of_one_session() -> None:
    with rsim.init():
        pickled = pickle.dumps(rsim.remote(add))
        loaded = pickle.loads(pickled)
    with pytest.raises(RuntimeError, match="no runtime is running"):
        pickle.loads(pickled)
    with pytest.raises(RuntimeError, match="no runtime is running"):
        pickle.dumps(loaded)
    with rsim.init(), pytest.raises(ValueError, match="remote function add cannot be used here"):
        loaded.remote(1)
    assert current.client is None
