"""A session of the local backend: the nodes that the driver embeds, and what connects them to the
world.

Decides how the parts are put together, and in which order they come and go. Must never leave a
thread, a process or a file behind, however the session ends. Owns the session and its nodes.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys
import time
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from time import monotonic_ns

from rsim.backends.local.channel import DriverChannel
from rsim.backends.local.control import MemoryControlStore
from rsim.backends.local.foreman import Foreman
from rsim.backends.local.interrupts import Interrupts
from rsim.backends.local.logs import Output
from rsim.backends.local.mail import PostOffice
from rsim.backends.local.patience import Patience
from rsim.backends.local.premises import Premises
from rsim.backends.local.processes import WorkerProcesses
from rsim.backends.local.reactor import Reactor
from rsim.backends.local.segment import available_memory_bytes, default_capacity_bytes
from rsim.backends.local.site import Site, Surroundings, connect_machine
from rsim.core.choices import FirstChoice
from rsim.core.events import NodeDied, NodeJoined
from rsim.core.global_scheduler import GlobalScheduler
from rsim.core.ids import driver_task_id
from rsim.core.messages import GLOBAL
from rsim.core.records import DRIVER, Demand
from rsim.core.resources import demand_of
from rsim.exceptions import RsimError
from rsim.runtime import current, refs
from rsim.runtime.client import Client
from rsim.runtime.session import NodeOptions, SessionConfig
from rsim.runtime.trace import NullTrace
from rsim.runtime.wire import SessionFacts

_FIRST_NODE = "local"
_MEMORY_SHARE = 0.7
"""Of the memory that is available, what tasks may ask for."""
_DEATH_S = 5.0
"""How long the workers of a removed node are waited for."""

_sessions: weakref.WeakSet[LocalSession] = weakref.WeakSet()


class LocalSession:
    """A running local backend, seen from its driver. `sites` are its living nodes by name."""

    address = "local"

    def __init__(self, config: SessionConfig, premises: Premises) -> None:
        self.trace = NullTrace()
        self.sites: dict[str, Site] = {}
        self._pid = os.getpid()
        self._started_ns = monotonic_ns()
        self._removed: dict[str, None] = {}
        self._workers: list[WorkerProcesses] = []
        self._build(config, premises)
        self._undo = premises.undo.pop_all()
        _sessions.add(self)
        atexit.register(self.shutdown)

    # -- what a session is asked -------------------------------------------------------------------

    def now(self) -> float:
        """Seconds since the session began."""
        return (monotonic_ns() - self._started_ns) / 1e9

    def digest(self) -> str:
        """RsimError: a real run has no trace that could be compared."""
        raise RsimError("only a simulated session has a digest: init('sim')")

    def infeasible(self) -> list[str]:
        """Tasks that no node can ever run, in words."""
        with self._reactor.lock:
            return [line for site in self.sites.values() for line in site.node.infeasible()]

    def node_names(self) -> list[str]:
        """The living nodes in the order in which they joined, the driver's first."""
        with self._reactor.lock:
            return list(self.sites)

    def shutdown(self) -> None:
        """End all workers and remove all that the session made; the second time nothing."""
        if os.getpid() != self._pid:
            return
        with self._reactor.lock:
            self._channel.close("the session has been shut down")
            self._reactor.parking.close(self._channel.closed)
        self._channel.pump.close()
        atexit.unregister(self.shutdown)
        _sessions.discard(self)
        self._undo.close()

    # -- nodes that come and go --------------------------------------------------------------------

    def add_node(self, options: NodeOptions) -> str:
        """Let a node join; its name. ValueError when that is, or was, another node's. OSError when
        there is no shared memory for it.
        """
        with self._step():
            name = options.name or self._free_name()
            if name in self.sites or name in self._removed or name == GLOBAL:
                raise ValueError(f"name: {name!r} is taken; names of nodes are used only once")
            total = _total(options.num_cpus, options.num_gpus, options.memory, options.resources)
            capacity_bytes = options.object_store_memory or self._home.segment.capacity_bytes
            self._introduce(self._open(name, total, options.labels, capacity_bytes))
        return name

    def remove_node(self, name: str, graceful: bool) -> None:
        """Let a node die, with its processes and objects; the others learn it at once, whether it
        is ``graceful`` or not. ValueError when there is no such living node, or it is the driver's.
        """
        with self._step():
            site = self._removable(name)
            del self.sites[name]
            self._removed[name] = None
            self._workers.remove(site.workers)
            self._shared.post_office.disconnect(name)
            gone = site.die()
            self._shared.post_office.announce(NodeDied(name))
        gone.wait(_DEATH_S)

    def _free_name(self) -> str:
        number = len(self.sites) + len(self._removed) + 1
        while (name := f"node-{number}") in self.sites or name in self._removed:
            number += 1
        return name

    def _removable(self, name: str) -> Site:
        site = self.sites.get(name)
        if site is self._home:
            raise ValueError(f"the node {name!r} cannot be removed: the driver runs on it")
        if site is not None:
            return site
        if name in self._removed:
            raise ValueError(f"the node {name!r} has been removed already")
        known = ", ".join(map(repr, self.sites))
        raise ValueError(f"there is no node {name!r}; the nodes are {known}")

    def _open(self, name: str, total: Demand, labels: dict[str, str], capacity_bytes: int) -> Site:
        """Build a node, which nobody knows yet."""
        number = len(self.sites) + len(self._removed) + 1
        site = Site(name, number, total, labels, capacity_bytes, self._shared)
        self.sites[name] = site
        self._workers.append(site.workers)
        return site

    def _introduce(self, site: Site) -> None:
        """Start a node, and let it and the others know of each other."""
        post_office = self._shared.post_office
        post_office.connect(site.host)
        site.host.start()
        for other in self.sites.values():
            if other is not site:
                site.host.handle(NodeJoined(other.name, other.total, other.labels))
        post_office.announce(NodeJoined(site.name, site.total, site.labels))

    # -- building ----------------------------------------------------------------------------------

    def _build(self, config: SessionConfig, premises: Premises) -> None:
        undo = premises.undo
        interrupts = Interrupts()
        patience = Patience(self._idle, self._seems_idle, self._waiting_report, self._tidy)
        reactor = self._reactor = Reactor(self._end_turn, interrupts, patience)
        undo.callback(reactor.close)
        choices = FirstChoice()
        post_office = PostOffice()
        control = MemoryControlStore(config.namespace, post_office.handle)
        scheduler = GlobalScheduler(config.policy, choices, control)
        driver_task = driver_task_id(int.from_bytes(os.urandom(7), "big"))
        self._shared = shared = Surroundings(
            premises=premises,
            reactor=reactor,
            foreman=Foreman(reactor, premises.warden),
            post_office=post_office,
            control=control,
            output=Output(config.log_to_driver, Path(config.log_dir) if config.log_dir else None),
            choices=choices,
            spill_limit_bytes=config.spill_limit_bytes,
            facts=_facts(config, driver_task, self._started_ns),
        )
        self._mail = post_office.mail
        undo.callback(self._close_sites)
        undo.callback(reactor.stop)
        cpus = len(os.sched_getaffinity(0)) if config.num_cpus is None else config.num_cpus
        total = _total(cpus, config.num_gpus or 0, config.memory, config.resources)
        capacity_bytes = config.object_store_memory or default_capacity_bytes()
        self._home = home = self._open(_FIRST_NODE, total, config.labels, capacity_bytes)
        post_office.connect(connect_machine(scheduler, shared, home))
        host = home.host
        self._channel = DriverChannel(
            reactor,
            home.segment,
            host,
            self._end_step,
        )
        reactor.begin = self._channel.take_in
        self.client = Client(self._channel, DRIVER, driver_task)
        undo.callback(self._disconnect)
        with reactor.lock:
            self._introduce(home)
            self._end_turn()
        reactor.idle = self._release
        reactor.start()
        interrupts.install(reactor.parking.interrupt)
        undo.callback(interrupts.restore)
        current.client = self.client
        refs.set_factory(self.client.make_ref)

    def _release(self) -> None:
        """Let the node know what an idle driver has dropped: an actor, perhaps."""
        if self.client.has_dropped:
            with suppress(RsimError):  # the session ends
                self.client.flush()

    def _disconnect(self) -> None:
        self.client.close()
        if current.client is self.client:
            current.client = None
            refs.set_factory(None)

    def _close_sites(self) -> None:
        with ExitStack() as undo:
            for site in self.sites.values():
                undo.callback(site.close)
            undo.callback(self._shared.foreman.close)
            for site in self.sites.values():
                undo.callback(site.spill.close)

    # -- steps (the lock is held) ------------------------------------------------------------------

    @contextmanager
    def _step(self) -> Iterator[None]:
        """A step that is not a client's; RsimError when the session has ended."""
        parking = self._reactor.parking
        with self._reactor.lock:
            if self._channel.closed:
                raise RsimError(self._channel.closed)
            self._channel.take_in()
            yield
            self._end_turn()
        if parking.interrupted:
            parking.see_to_interrupt()

    def _end_step(self) -> None:
        """A step is over: carry messages, and send what somebody waits for."""
        if self._mail:
            self._shared.post_office.carry()
        for workers in self._workers:
            workers.settle()

    def _end_turn(self) -> None:
        """A turn of the loop is over: the same, and send all else."""
        self._end_step()
        for workers in self._workers:
            workers.flush()

    def _idle(self) -> bool:
        """Whether nothing will ever happen without an event from outside. Between steps no message
        is under way, so no node waits for another that is not busy itself.
        """
        return not any(site.node.busy for site in self.sites.values())

    def _seems_idle(self) -> bool:
        """The same, if no event loop of an actor waits for something else than its node."""
        return not any(site.node.seems_busy for site in self.sites.values())

    def _waiting_report(self) -> list[str]:
        return [line for site in self.sites.values() for line in site.node.waiting_report()]

    def _tidy(self) -> bool:
        """Collect garbage; whether it held refs, which the node is told of."""
        gc.collect()
        held_any = self.client.has_dropped
        if held_any:
            self.client.flush()
        return held_any

    def _abandon(self) -> None:
        """In a forked child: the session is the parent's."""
        self._channel.close(
            "this process was forked from an rsim driver, whose session it cannot use; "
            "start processes by spawn, or call rsim.shutdown() and rsim.init() here"
        )
        self._undo.pop_all()
        self.client.close()
        for workers in self._workers:
            workers.abandon()
        self._shared.foreman.abandon()
        self._reactor.abandon()


def _total(
    num_cpus: float, num_gpus: float, memory: int | None, resources: dict[str, float]
) -> Demand:
    if memory is None:
        memory = int(available_memory_bytes() * _MEMORY_SHARE)
    return demand_of(num_cpus, num_gpus, memory, resources)


def _facts(config: SessionConfig, driver_task: bytes, started_ns: int) -> SessionFacts:
    epoch_ns = time.time_ns() - monotonic_ns()
    began = time.strftime("%Y-%m-%d_%H-%M-%S", time.localtime((epoch_ns + started_ns) / 1e9))
    return SessionFacts(
        "local",
        f"session_{began}_{os.getpid()}",
        driver_task,
        config.namespace,
        _FIRST_NODE,
        os.getpid(),
        epoch_ns,
        started_ns,
        " ".join(sys.orig_argv),
        config.env_vars,
    )


def _after_fork() -> None:
    for session in list(_sessions):
        session._abandon()


os.register_at_fork(after_in_child=_after_fork)
