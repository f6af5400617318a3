"""Virtual randomness of numpy's global generator, `numpy.random.rand` and its like.

Decides that `numpy.random.mtrand._rand`, which scientific libraries also use directly, stands for
the running context's own generator. Must never import numpy: it waits until somebody else does.
Owns the import hook that waits. Generators without a seed are covered by `random._urandom`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

from rsim.sim.virtual.context import Current
from rsim.sim.virtual.entropy import replace_bound_functions
from rsim.sim.virtual.patching import Patcher
from rsim.sim.virtual.state import ContextStates

_MODULE = "numpy.random"


class NumpyEntropy:
    """The replacement of numpy's global generator, now or when numpy is imported."""

    def __init__(self, patcher: Patcher, current: Current, states: ContextStates) -> None:
        self._patcher = patcher
        self._current = current
        self._states = states
        if _MODULE in sys.modules:
            self._replace(sys.modules[_MODULE])
        else:
            sys.meta_path.insert(0, self)

    def remove(self) -> None:
        """Stop waiting. Does nothing the second time."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find numpy.random as usual, and replace its generator once it is loaded."""
        if name != _MODULE:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module
            setattr(spec.loader, "exec_module", lambda module: self._load(load, module))  # noqa: B010
        return spec

    def _load(self, load: Callable[[ModuleType], None], module: ModuleType) -> None:
        load(module)
        self.remove()
        self._replace(module)

    def _replace(self, numpy_random: Any) -> None:
        mtrand, random_state = numpy_random.mtrand, numpy_random.RandomState
        real = mtrand._rand

        def make(seed: bytes) -> Any:
            # A bit generator with a seed: RandomState(seed) would first draw one it throws away.
            return random_state(numpy_random.MT19937(int.from_bytes(seed, "little")))

        def pick() -> Any:
            context = self._current()
            return None if context is None else self._states.of(context).stream("numpy", make)

        class Dispatching(random_state):  # type: ignore[misc, valid-type]
            """Stands for the generator of whoever uses it."""

            def __getattribute__(self, name: str) -> Any:
                return getattr(pick() or real, name)

        replace_bound_functions(self._patcher, numpy_random, real, pick)
        replace_bound_functions(self._patcher, mtrand, real, pick)
        self._patcher.set(mtrand, "_rand", Dispatching(numpy_random.MT19937(0)))
