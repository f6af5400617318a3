"""Installs the whole virtualisation and removes it again.

Decides the order. Must never leave anything behind, also when installing fails half-way. Owns the
fact that at most one virtualisation is installed in a process.

Installing searches all imported modules, a matter of milliseconds: install once for a series of
sessions, and let `current` say which context runs, if any.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from rsim.sim.virtual.adopted import AdoptedLoops
from rsim.sim.virtual.aliases import Aliases
from rsim.sim.virtual.asyncio_hooks import RunningLoops, install_asyncio
from rsim.sim.virtual.clock import DEFAULT_EPOCH_NS, install_clock
from rsim.sim.virtual.context import Current, VirtualContext
from rsim.sim.virtual.entropy import install_entropy
from rsim.sim.virtual.environ import Environs, Variables
from rsim.sim.virtual.escapes import install_escapes
from rsim.sim.virtual.host_names import install_host_names
from rsim.sim.virtual.kernel_waits import install_kernel_waits
from rsim.sim.virtual.locks import Locks
from rsim.sim.virtual.numpy_entropy import NumpyEntropy
from rsim.sim.virtual.patching import Patcher
from rsim.sim.virtual.references import install_references
from rsim.sim.virtual.state import ContextStates
from rsim.sim.virtual.thread_locals import ThreadLocals
from rsim.sim.virtual.thread_pools import install_thread_pools
from rsim.sim.virtual.threads import Threads
from rsim.sim.virtual.waits import install_waits

_installed: Virtualisation | None = None


def install(
    current: Current,
    epoch_ns: int = DEFAULT_EPOCH_NS,
    more: Callable[[Patcher], object] | None = None,
) -> Virtualisation:
    """Make time, entropy and asyncio virtual wherever `current()` is not None.

    `epoch_ns` is the wall clock at virtual time 0; `more` replaces what the engine itself has a
    meaning for. RuntimeError if a virtualisation is installed already.
    """
    if _installed is not None:
        raise RuntimeError("a virtualisation is already installed: remove() it first")
    return Virtualisation(current, epoch_ns, more)


class Virtualisation:
    """What `install` installed."""

    def __init__(
        self, current: Current, epoch_ns: int, more: Callable[[Patcher], object] | None
    ) -> None:
        global _installed
        self._patcher = Patcher()
        self._locks = Locks(current)
        self._locals = ThreadLocals(current)
        self._threads = Threads(current, self._locals.bury)
        self._aliases = Aliases(self._patcher)
        self._states = ContextStates()
        self._loops = RunningLoops()
        self._adopted = AdoptedLoops()
        self._running: VirtualContext | None = None
        self._thread = threading.get_ident()
        self._environs = Environs()
        self._numpy: NumpyEntropy | None = None
        _installed = self
        try:
            self._install(current, epoch_ns, more)
        except BaseException:
            self.remove()
            raise

    def _install(
        self, current: Current, epoch_ns: int, more: Callable[[Patcher], object] | None
    ) -> None:
        patcher, states = self._patcher, self._states
        install_escapes(patcher, current)
        install_clock(patcher, current, epoch_ns)
        install_entropy(patcher, current, states, epoch_ns)
        install_waits(patcher, current)
        install_kernel_waits(patcher, current)
        install_host_names(patcher, current)
        self._locks.install(patcher)
        self._threads.install(patcher)
        self._locals.install(patcher)
        install_thread_pools(patcher, current)
        self._environs.install(patcher)
        install_asyncio(patcher, current, states, self._enter_loop)
        self._numpy = NumpyEntropy(patcher, current, states)
        if more is not None:
            more(patcher)
        install_references(patcher)
        self._aliases.install()

    def switch(self, old: VirtualContext | None, new: VirtualContext | None) -> None:
        """To be called at every switch of greenlets, before or after; None is the engine's hub.

        Keeps each context's running asyncio loop and locks apart; costs well below 1 us.
        """
        self._running = new
        self._loops.switch(old, new)
        self._locks.switch(old, new)

    def hand_over(self, context: VirtualContext) -> None:
        """To be called before the first switch to `context`, by what becomes its code: the event
        loop that it runs in, if any, lives in virtual time from now on.

        RuntimeError if that is not a loop of asyncio's own.
        """
        self._locals.hand_over(context)
        loop = self._loops.hand_over(context)
        if loop is not None:
            self._adopted.adopt(loop, context)

    def _enter_loop(self, loop: object) -> None:
        """A real event loop begins to run; also one of a test runner, which runs user code."""
        if self._running is not None and threading.get_ident() == self._thread:
            self._adopted.adopt(loop, self._running)

    def show_environ(self, variables: Variables | None) -> None:
        """Let `os.environ` be that of a simulated process from now on; None: the real one's."""
        self._environs.show(variables)

    def rebind(self, namespace: dict[str, Any]) -> None:
        """Exchange real functions for virtual ones in a dict of globals, as of a fresh function."""
        self._aliases.rebind(namespace)

    def forget(self, context: VirtualContext) -> None:
        """Drop the random streams and the loop of a context that has ended."""
        self._states.forget(context)
        self._loops.forget(context)

    def bury(self, thread: object) -> None:
        """Release the locks of a simulated thread (`VirtualContext.thread`) that is dead."""
        self._locks.bury(thread)
        self._locals.bury(thread)

    def remove(self) -> None:
        """Put everything back as it was. Does nothing the second time."""
        global _installed
        if _installed is not self:
            return
        self._environs.show(None)
        if self._numpy is not None:
            self._numpy.remove()
        self._aliases.remove()
        self._patcher.restore()
        self._adopted.release()
        self._loops.clear()
        self._locals.clear()
        self._states.clear()
        _installed = None
