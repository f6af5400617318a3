"""What a call returns: one ref, a list of them, none, or a generator of refs.

Decides how many results a call has, by its `num_returns` and by whether it calls a generator. Must
never look at the function itself. Owns no state.
"""

from __future__ import annotations

import warnings
from typing import Any

from rsim.api.options import GENERATING
from rsim.runtime.refs import ObjectRef


def number_of(name: str, given: int | str | None, backpressure: bool, generates: bool) -> int:
    """How many results a call has, as the core counts them. `given`: the option num_returns;
    `backpressure`: whether there is a limit to the items that wait; `generates`: whether the
    function has a 'yield'. A function without may return a generator: what it returns is only known
    when it runs, if num_returns says so. Raises ValueError when they do not go together.
    """
    from rsim.core.records import STREAMING

    if backpressure and not generates and given not in GENERATING:
        raise ValueError(
            "_generator_backpressure_num_objects is for generator functions, and "
            f"{name} has no 'yield'; if it returns a generator, add num_returns='streaming'"
        )
    if given == "dynamic":
        warnings.warn(
            "num_returns='dynamic' is deprecated: use 'streaming'", DeprecationWarning, stacklevel=4
        )
        return 1
    if given == "streaming" or (given is None and generates):
        return STREAMING
    if given is None:
        return 1
    return int(given)


def returned(refs: list[ObjectRef[Any]], num_returns: int, extras: bytes) -> Any:
    """What a call returns that is not just one ref. `extras`: among the options of its task."""
    if num_returns >= 0:
        return refs or None
    from rsim.runtime.generators import ObjectRefGenerator
    from rsim.runtime.streaming import option

    return ObjectRefGenerator(refs[0], bool(option(extras, "backpressure")))
