"""Any callable as a task, for pools that are handed plain functions.

Decides how a callable is wrapped to be made remote, and how items are put into chunks. Must never
reuse what it made of a callable whose state may have changed. Owns the functions it made remote.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from types import FunctionType
from typing import Any

import rsim


class Callables:
    """Makes callables remote with the same options; a plain function once only.

    Raises TypeError or ValueError for bad options, `num_returns` among them.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        if "num_returns" in options:
            raise ValueError("num_returns cannot be an option here: each call has one result")
        self._remote: Callable[[Any], Any] = rsim.remote(**options) if options else rsim.remote
        self._made: dict[FunctionType, rsim.RemoteFunction[Any]] = {}

    def __call__(self, function: Callable[..., Any]) -> rsim.RemoteFunction[Any]:
        """The callable as a remote function."""
        if not isinstance(function, FunctionType):
            # partial: a class is called as any function is, and not taken for an actor
            wrapped = partial(function) if isinstance(function, type) else function
            made: rsim.RemoteFunction[Any] = self._remote(wrapped)
            return made
        if function not in self._made:
            self._made[function] = self._remote(function)
        return self._made[function]


def chunks_of(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """The items in lists of `size`, the last one shorter. Raises ValueError for a size below 1."""
    if size < 1:
        raise ValueError(f"chunksize must be 1 or more, not {size!r}")
    iterator = iter(items)
    return iter(lambda: list(islice(iterator, size)), [])


def over_chunk(function: Callable[..., Any]) -> Callable[[list[Any]], list[Any]]:
    """A function from a list of argument tuples to the list of results."""

    def run_chunk(chunk: list[Any]) -> list[Any]:
        return [function(*arguments) for arguments in chunk]

    return run_chunk
