"""Pickles of real functions that somebody kept from before the simulation began.

Decides that they are pickled by their names, so that whoever loads them gets what the names mean
now. Must never change how anything else is pickled. Owns no state.

`functools.partial(time.sleep, 1)`, made before, or a function in a list: no alias of these is found
in any module. Pickling would refuse them, as `time.sleep` is another function meanwhile.
"""

from __future__ import annotations

import copyreg
from types import BuiltinFunctionType, MethodType
from typing import Any

import cloudpickle

from rsim.sim.virtual.patching import BoundStandIn, Function, Patcher, key_of, named


def install_references(patcher: Patcher) -> None:
    """Let every pickler reduce what `patcher` has replaced to its name."""

    def reducer(before: Function | None) -> Function:
        def reduce(function: Any) -> Any:
            stand_in = patcher.stand_ins.get(key_of(function))
            if isinstance(stand_in, BoundStandIn):
                return named, (stand_in.__module__, stand_in.__qualname__)  # type: ignore[attr-defined]
            return function.__reduce__() if before is None else before(function)

        return reduce

    plain, cloud = copyreg.dispatch_table, cloudpickle.Pickler.dispatch_table
    for table, kind in ((plain, BuiltinFunctionType), (plain, MethodType), (cloud, MethodType)):
        patcher.set_item(table, kind, reducer(table.get(kind)))
