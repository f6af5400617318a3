"""Results in the order in which they are there.

Decides how many refs each wait takes at once. Must never submit more than the user's limit. Owns no
state.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import rsim
from rsim.api.handles import ActorMethod


def as_completed(
    refs: Sequence[rsim.ObjectRef[Any]], *, chunk_size: int = 10, yield_obj_refs: bool = False
) -> Iterator[Any]:
    """Yield the values of the refs as they get ready, those of each chunk in the order given.

    chunk_size: how many refs are waited for at a time; 1 yields each value as soon as it is there.
    yield_obj_refs: yield the refs themselves. A value that is an error is raised when its turn
    comes, and ends the iteration. Raises ValueError when a ref is given twice or for a chunk_size
    below 1, TypeError for a single ref.
    """
    _at_least_one("chunk_size", chunk_size)
    if not hasattr(refs, "__iter__"):
        raise TypeError(f"refs must be a list of ObjectRefs, not {refs!r}")
    return _completed(list(refs), iter(()), None, chunk_size, yield_obj_refs)


def map_unordered(
    fn: rsim.RemoteFunction[Any] | ActorMethod,
    items: Iterable[Any],
    *,
    backpressure_size: int | None = None,
    chunk_size: int = 10,
    yield_obj_refs: bool = False,
) -> Iterator[Any]:
    """Call `fn.remote` on each item and yield the results as they get ready. fn: a remote function,
    or a method of an actor's handle.

    backpressure_size: how many tasks may be unfinished at once (None: all of them); items are
    taken only as far. The other arguments are those of `as_completed`. Tasks are submitted from the
    first `next()` on. Raises TypeError when fn is neither, ValueError for sizes below 1.
    """
    if not isinstance(fn, rsim.RemoteFunction | ActorMethod):
        raise TypeError(
            "fn must be a remote function, made by rsim.remote, or a method of an actor's handle, "
            f"not {fn!r}"
        )
    _at_least_one("chunk_size", chunk_size)
    if backpressure_size is not None:
        _at_least_one("backpressure_size", backpressure_size)
    submitted = (fn.remote(item) for item in items)
    return _completed([], submitted, backpressure_size, chunk_size, yield_obj_refs)


def _completed(
    unfinished: list[rsim.ObjectRef[Any]],
    coming: Iterator[rsim.ObjectRef[Any]],
    most: int | None,
    chunk_size: int,
    yield_obj_refs: bool,
) -> Iterator[Any]:
    while True:
        unfinished += coming if most is None else islice(coming, most - len(unfinished))
        if not unfinished:
            return
        count = min(chunk_size, len(unfinished))
        ready, unfinished = rsim.wait(unfinished, num_returns=count, fetch_local=not yield_obj_refs)
        for ref in ready:
            yield ref if yield_obj_refs else rsim.get(ref)


def _at_least_one(name: str, value: int) -> None:
    if value < 1:
        raise ValueError(f"{name} must be 1 or more, not {value!r}")
