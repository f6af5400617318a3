"""Annotated code of a script, which no worker can import, in today's syntax."""

import sys

import pytest

import rsim

COMMON = """
from typing import NewType, ParamSpec
P = ParamSpec("P")
User = NewType("User", int)

@rsim.remote
def f(user: User, more: P.args = None) -> User:
    return User(user)

@rsim.remote
class A:
    def m(self, user: User) -> User:
        return user
"""

SINCE_312 = """
type Rows[T] = list[T]
type Json = dict[str, Json] | str

def passed_on[**P, R](g: Callable[P, R]) -> Callable[P, R]:
    def inner(*args: P.args, **kwargs: P.kwargs) -> R:
        return g(*args, **kwargs)
    return inner

@rsim.remote
@passed_on
def f(rows: Rows[int]) -> Json:
    return rows

@rsim.remote
class A[*Ts]:
    def m(self, *args: *Ts) -> tuple[*Ts]:
        return args[0]
"""


@pytest.mark.parametrize("source", [COMMON, SINCE_312])
def test_of_a_script(rt, source):
    if source is SINCE_312 and sys.version_info < (3, 12):
        pytest.skip("its syntax is Python 3.12's")
    names = {"__name__": "__main__", "rsim": rsim}
    exec(f"from typing import Callable\n{source}", names)
    assert rsim.get([names["f"].remote(1), names["A"].remote().m.remote(2)]) == [1, 2]
