"""Virtual randomness: every source of entropy, each context with streams of its own.

Decides which functions draw and from which stream. Must never touch the state of the process's
own generators (`random._inst`, `numpy.random.mtrand._rand`): the functions are dispatched instead,
so a switch of greenlets costs nothing and there is nothing to restore. Owns no state.

`secrets`, `uuid.uuid4`, `random.SystemRandom` and unseeded numpy generators take their bytes from
`os.urandom` or `random._urandom`, and so from the context's stream. Not so while a module is being
imported: then they are real.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from types import FrameType, ModuleType
from typing import Any

from rsim.sim.virtual.context import Current
from rsim.sim.virtual.patching import Function, Patcher
from rsim.sim.virtual.state import ContextStates


def install_entropy(
    patcher: Patcher, current: Current, states: ContextStates, epoch_ns: int
) -> None:
    """Replace the sources of entropy of the standard library."""

    def pick() -> random.Random | None:
        context = current()
        return None if context is None else states.of(context).random

    replace_bound_functions(patcher, random, random._inst, pick)
    _replace_urandom(patcher, current, states)
    _replace_seeding(patcher, current, states)
    _replace_uuid1(patcher, current, states, epoch_ns)
    _replace_tempfile(patcher, current, states)


def replace_bound_functions(
    patcher: Patcher, module: ModuleType, instance: Any, pick: Callable[[], Any]
) -> None:
    """Make the module's functions bound to `instance` use `pick()` instead, unless that is None."""

    def dispatch(name: str) -> Callable[[Any], Function]:
        def make(real: Any) -> Function:
            def dispatched(*args: Any, **kwargs: Any) -> Any:
                picked = pick()
                call = real if picked is None else getattr(picked, name)
                return call(*args, **kwargs)

            return dispatched

        return make

    for name, value in list(vars(module).items()):
        if getattr(value, "__self__", None) is instance:
            patcher.replace(module, name, dispatch(value.__name__))


def _importing() -> bool:
    """Whether a module is being imported: what that draws, it draws once per process.

    From a context's stream, it would shift the draws of the first run but not of later ones.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


def _replace_urandom(patcher: Patcher, current: Current, states: ContextStates) -> None:
    def make(real: Any) -> Function:
        def urandom(size: int, /, *flags: int) -> bytes:
            context = None if _importing() else current()
            if context is None:
                return real(size, *flags)  # type: ignore[no-any-return]
            if size < 0:
                raise ValueError(f"negative argument not allowed, got {size}")
            return states.of(context).urandom.randbytes(size)

        return urandom

    patcher.replace(os, "urandom", make)
    patcher.replace(os, "getrandom", make)
    patcher.set(random, "_urandom", os.urandom)


def _replace_seeding(patcher: Patcher, current: Current, states: ContextStates) -> None:
    """`random.Random()` without a seed; its C base class reads entropy by itself."""

    def make(real: Any) -> Function:
        def seed(self: random.Random, a: Any = None, version: int = 2) -> None:
            context = current() if a is None and not _importing() else None
            if context is not None:
                a = states.of(context).urandom.getrandbits(256)
            real(self, a, version)

        return seed

    patcher.replace(random, "Random.seed", make)


def _replace_uuid1(
    patcher: Patcher, current: Current, states: ContextStates, epoch_ns: int
) -> None:
    def make_uuid1(real: Any) -> Function:
        def uuid1(node: int | None = None, clock_seq: int | None = None) -> uuid.UUID:
            context = current()
            if context is None:
                return real(node, clock_seq)  # type: ignore[no-any-return]
            return states.of(context).uuid1.draw(epoch_ns + context.now_ns(), node, clock_seq)

        return uuid1

    def make_getnode(real: Any) -> Function:
        def getnode() -> int:
            context = current()
            return real() if context is None else states.of(context).uuid1.node

        return getnode

    patcher.replace(uuid, "uuid1", make_uuid1)
    patcher.replace(uuid, "getnode", make_getnode)


def _replace_tempfile(patcher: Patcher, current: Current, states: ContextStates) -> None:
    # Found now, with real names: the search draws names, once per process.
    tempfile.gettempdir()

    def make(real: Any) -> Function:
        def candidate_names() -> Iterator[str]:
            context = current()
            if context is None:
                return real()  # type: ignore[no-any-return]
            return states.of(context).tempfile_names

        return candidate_names

    patcher.replace(tempfile, "_get_candidate_names", make)
