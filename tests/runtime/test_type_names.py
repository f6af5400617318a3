"""Aliases, NewTypes and type parameters: by name if they can be imported, else by value."""

import sys
import typing

import pytest

from rsim.exceptions import UnserializableError
from rsim.runtime.serialization import deserialize, pack, serialize
from tests.runtime import type_names_of_a_module as importable

since_312 = pytest.mark.skipif(sys.version_info < (3, 12), reason="its syntax is Python 3.12's")


def copy_of(value):
    return deserialize(pack(serialize(value)))


def script(source):
    """What a script defines, whose module nobody else can import."""
    names = vars(typing) | {"__name__": "__main__"}
    exec(source, names)
    return names


@pytest.mark.parametrize("name", importable.ALL)
def test_by_name(name):
    value = getattr(importable, name)
    assert copy_of(value) is value


def test_a_new_type():
    user = script("User = NewType('User', int)")["User"]
    copy = copy_of(user)
    assert copy is not user and copy(3) == 3
    facts = copy.__module__, copy.__name__, copy.__qualname__, copy.__supertype__
    assert facts == ("__main__", "User", "User", int)


def test_parameters():
    names = script("P = ParamSpec('P', covariant=True)\nTs = TypeVarTuple('Ts')")
    copy = copy_of(names["P"])
    assert (copy.__name__, copy.__covariant__, copy.__contravariant__) == ("P", True, False)
    assert isinstance(copy_of(names["Ts"]), typing.TypeVarTuple)


def test_each_is_one_object_within_a_value():
    names = script(
        "P = ParamSpec('P')\n"
        "def f(g: Callable[P, int], *args: P.args, **kwargs: P.kwargs) -> Callable[P, str]: ..."
    )
    copy, parameter = copy_of((names["f"], names["P"]))
    annotations = copy.__annotations__
    assert annotations["args"] == parameter.args and annotations["kwargs"] == parameter.kwargs
    assert annotations["g"] == typing.Callable[parameter, int]
    assert annotations["return"] == typing.Callable[parameter, str]


def test_none_is_blamed_for_what_it_is_beside():
    parameter = script("P = ParamSpec('P')")["P"]
    with pytest.raises(UnserializableError, match=r"value\[1\] is a generator") as caught:
        serialize([parameter, (each for each in ())])
    assert "ParamSpec" not in str(caught.value)


@since_312
def test_an_alias():
    copy = copy_of(script("type Row = dict[str, int]")["Row"])
    assert (copy.__name__, copy.__module__) == ("Row", "__main__")
    assert copy.__value__ == dict[str, int]


@since_312
def test_an_alias_that_is_part_of_itself():
    copy = copy_of(script("type Json = str | list[Json]")["Json"])
    assert typing.get_args(copy.__value__)[1].__args__ == (copy,)


@since_312
def test_an_alias_of_what_only_type_checkers_import():
    copy = copy_of(script("type Table = pandas.DataFrame")["Table"])
    with pytest.raises(NameError):
        copy.__value__  # noqa: B018


@since_312
def test_an_alias_with_parameters():
    copy = copy_of(script("type Pair[T] = tuple[T, T]")["Pair"])
    (parameter,) = copy.__type_params__
    assert copy.__value__ == tuple[parameter, parameter]
    assert copy[int].__args__ == (int,)


@since_312
def test_one_that_is_part_of_itself_is_refused():
    with pytest.raises(UnserializableError):
        serialize(script("type Tree[T] = T | list[Tree[T]]")["Tree"])


@since_312
def test_generic_code():
    names = script("def f[T: str, *Ts, **P](g: Callable[P, T], *args: *Ts) -> T: ...")
    annotations = copy_of(names["f"]).__annotations__
    parameter = annotations["return"]
    assert (parameter.__name__, parameter.__bound__) == ("T", str)
    assert annotations["g"].__args__[1] is parameter


@pytest.mark.skipif(sys.version_info < (3, 13), reason="there are defaults since Python 3.13")
def test_defaults():
    names = script("type Call[*Ts = *tuple[int, str], **P = [int]] = tuple[*Ts] | Callable[P, int]")
    one, other = copy_of(names["Call"]).__type_params__
    assert one.__default__ == next(iter(tuple[int, str]))
    assert other.__default__ == [int]
