"""Finds the backend for an address.

Decides which name of the entry-point group `rsim.backends` an address stands for. Must never import
a backend before it is wanted. Owns no state.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rsim.runtime.session import BackendSession, SessionConfig

GROUP = "rsim.backends"

# Found here even where rsim runs from a checkout and is not installed, and without the 20 ms that
# it takes to look through the metadata of all that is installed.
_BUILT_IN = {"local": "rsim.backends.local.backend:start", "sim": "rsim.sim.backend:start"}

_CLUSTER = "cluster"
_EXTRAS = {"simpy": "sim", "greenlet": "sim", "redis": "cluster"}

Start = Callable[["SessionConfig"], "BackendSession"]


def find(address: str, named: str = "address") -> Start:
    """What starts the backend for an address. `named`: where it was given, for the error.

    Raises ValueError for an unknown address, ImportError when an optional dependency is missing,
    NotImplementedError for a cluster where there is no backend for it.
    """
    name = _backend_of(address)
    try:
        if name in _BUILT_IN:
            module, _, attribute = _BUILT_IN[name].partition(":")
            start: Start = getattr(import_module(module), attribute)
            return start
        return _installed(name, address, named)
    except ImportError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _EXTRAS:
            raise
        raise ImportError(
            f"address={address!r} needs {missing}, which is not installed: "
            f"pip install rsim[{_EXTRAS[missing]}]",
            name=error.name,
        ) from error


def _backend_of(address: str) -> str:
    is_cluster = address == "auto" or address.startswith(("redis://", "rediss://"))
    return _CLUSTER if is_cluster else address


def _installed(name: str, address: str, named: str) -> Start:
    from importlib.metadata import entry_points

    found: dict[str, Any] = {point.name: point for point in entry_points(group=GROUP)}
    if name in found:
        start: Start = found[name].load()
        return start
    if name == _CLUSTER:
        raise NotImplementedError(
            f"address={address!r} needs the cluster backend, which is not there yet; "
            "there are 'local' and 'sim'"
        )
    known = ", ".join(repr(each) for each in sorted({*_BUILT_IN, *found}))
    raise ValueError(f"{named} must be one of {known}, not {address!r}")
