"""What a module that can be imported gives names to."""

from typing import NewType, ParamSpec, TypeVarTuple

P = ParamSpec("P")
Ts = TypeVarTuple("Ts")
User = NewType("User", int)

ALL = ["P", "Ts", "User"]
