"""A report on why a value cannot be pickled.

Decides how the report reads; the search is the runtime's own, the one behind UnserializableError.
Never changes the value. Owns no state.
"""

from __future__ import annotations

import reprlib
from dataclasses import dataclass
from typing import Any, TextIO

from rsim.runtime.unpicklable import find_unpicklable


@dataclass(frozen=True, eq=False, slots=True)
class Failure:
    """A smallest part that cannot be pickled: itself, its path, and what pickle says about it."""

    obj: Any
    name: str
    error: Exception

    def __repr__(self) -> str:
        return f"Failure(obj={reprlib.repr(self.obj)}, name={self.name!r})"


def inspect_serializability(
    obj: Any, name: str | None = None, depth: int = 3, print_file: TextIO | None = None
) -> tuple[bool, set[Failure]]:
    """Print which parts of `obj` cannot be pickled; return whether it can be, and those parts.

    name: begins the paths in the report (default: the name of the object or of its type).
    depth: for compatibility with Ray only; the search always goes down to the smallest parts.
    print_file: where to print, standard output by default.
    """
    own_name = getattr(obj, "__name__", None)
    name = name or (own_name if isinstance(own_name, str) else type(obj).__name__)
    culprits = find_unpicklable(obj, name)
    lines = [f"Can {name} be pickled? {'No:' if culprits else 'Yes.'}"]
    lines += [f"  - {culprit}" for culprit in culprits]
    if culprits:
        lines.append("Make these parts inside the task, or leave them out by __getstate__.")
    print("\n".join(lines), file=print_file)
    failures = {Failure(culprit.value, culprit.path, culprit.error) for culprit in culprits}
    return not culprits, failures
