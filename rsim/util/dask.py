"""Dask graphs as tasks, without Dask.

Decides which keys become tasks. Must never run a task of the graph itself. Owns no state.

A graph maps keys to computations: a task `(callable, argument, ...)`, a key, a list of
computations, or any other value, which stands for itself. Arguments are computations, too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterator, Mapping
from graphlib import TopologicalSorter
from typing import Any

import rsim

Graph = Mapping[Hashable, Any]


def get(
    dsk: Graph,
    keys: Any,
    *,
    rsim_remote_args: Mapping[str, Any] | None = None,
    **kwargs: Any,
) -> Any:
    """The values of `keys`, a key or nested lists of them; a list becomes a tuple, as in Dask.

    Each key that is needed becomes one task. rsim_remote_args: options of `rsim.remote` for them.
    Other keyword arguments are ignored, as Dask hands every scheduler those of all. To be used as
    `scheduler=` of Dask's `compute`, as long as its graphs are made of tuples. Raises KeyError for
    a key that is not in the graph, ValueError for a cycle, NotImplementedError for Dask's own
    task objects, and what the tasks raise.
    """
    graph = dict(dsk)
    run = rsim.remote(**rsim_remote_args)(_run) if rsim_remote_args else rsim.remote(_run)
    wanted = list(_flat(keys))
    refs: dict[Hashable, rsim.ObjectRef[Any]] = {}
    for key in _in_order(graph, wanted):
        refs[key] = _submitted(graph[key], refs, run)
    values = dict(zip(wanted, rsim.get([refs[key] for key in wanted]), strict=True))
    return _shaped(keys, values)


def _flat(keys: Any) -> Iterator[Hashable]:
    if isinstance(keys, list):
        for each in keys:
            yield from _flat(each)
    else:
        yield keys


def _shaped(keys: Any, values: dict[Hashable, Any]) -> Any:
    if isinstance(keys, list):
        return tuple(_shaped(each, values) for each in keys)
    return values[keys]


def _in_order(graph: Graph, wanted: list[Hashable]) -> Iterator[Hashable]:
    """The keys needed for those wanted, each after all that it depends on."""
    needs: dict[Hashable, list[Hashable]] = {}
    stack = wanted[::-1]
    while stack:
        key = stack.pop()
        if key in needs:
            continue
        if key not in graph:
            raise KeyError(f"{key!r} is not a key of the graph")
        if type(graph[key]).__module__.partition(".")[0] == "dask":
            raise NotImplementedError(
                f"the value of {key!r} is a {type(graph[key]).__name__}: only graphs of tuples, "
                "as Dask made them before version 2024.12, can be run"
            )
        needs[key] = _keys_in(graph[key], graph)
        stack += reversed(needs[key])
    return iter(TopologicalSorter(needs).static_order())


def _is_task(computation: Any) -> bool:
    return type(computation) is tuple and bool(computation) and callable(computation[0])


def _is_key(computation: Any, keys: Collection[Hashable]) -> bool:
    try:
        return computation in keys
    except TypeError:  # not hashable
        return False


def _keys_in(computation: Any, graph: Graph) -> list[Hashable]:
    """The keys that a computation depends on, each once, in its order."""
    if _is_task(computation):
        parts = computation[1:]
    elif isinstance(computation, list):
        parts = computation
    else:
        return [computation] if _is_key(computation, graph.keys()) else []
    return list(dict.fromkeys(key for part in parts for key in _keys_in(part, graph)))


def _has_task(computation: Any) -> bool:
    if isinstance(computation, list):
        return any(map(_has_task, computation))
    return _is_task(computation)


def _submitted(
    computation: Any,
    refs: dict[Hashable, rsim.ObjectRef[Any]],
    run: rsim.RemoteFunction[rsim.ObjectRef[Any]],
) -> rsim.ObjectRef[Any]:
    if _is_key(computation, refs.keys()):
        return refs[computation]
    if isinstance(computation, rsim.ObjectRef):
        return computation
    needed = _keys_in(computation, refs)
    if not needed and not _has_task(computation):
        return rsim.put(computation)
    return run.remote(computation, needed, *(refs[key] for key in needed))


def _run(computation: Any, keys: list[Hashable], *values: Any) -> Any:
    """The body of a task: compute, given the values of the keys."""
    return _computed(computation, dict(zip(keys, values, strict=True)))


def _computed(computation: Any, known: dict[Hashable, Any]) -> Any:
    if isinstance(computation, list):
        return [_computed(part, known) for part in computation]
    if _is_task(computation):
        function: Callable[..., Any] = computation[0]
        return function(*(_computed(part, known) for part in computation[1:]))
    return known[computation] if _is_key(computation, known.keys()) else computation
