"""The sim backend: a session is one simulated cluster in this process.

Decides how the parts are put together and taken apart again. Must never leave anything behind in
the process: not a patch, not a greenlet, not a setting of the garbage collector. Owns all of it
while the session lasts.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any, TextIO

from rsim.core import events, ids
from rsim.core.records import DRIVER, RESOURCE_UNITS
from rsim.runtime import current, refs
from rsim.runtime.client import Client
from rsim.runtime.session import NodeOptions, SessionConfig
from rsim.runtime.trace import Trace
from rsim.runtime.wire import SessionFacts
from rsim.sim import places, real_process
from rsim.sim.cluster import Node, cluster_of, joining
from rsim.sim.context import CALL_CONTEXT, StrandContext
from rsim.sim.deadlock import Watch, deadlock, waiting_report
from rsim.sim.engine import World
from rsim.sim.faults import Faults, Injector
from rsim.sim.greenlets import Hub, Strand
from rsim.sim.machines import Machines
from rsim.sim.network import NS_PER_S
from rsim.sim.output import outputs_of
from rsim.sim.process import DRIVER_PID, Processes
from rsim.sim.sources import Replay, Source
from rsim.sim.tape import Tape, source_of
from rsim.sim.tracing import DRIVER_NAME, Names
from rsim.sim.virtual import Patcher, VirtualContext, Virtualisation, standing
from rsim.sim.virtual import install as install_virtualisation
from rsim.sim.virtual.clock import DEFAULT_EPOCH_NS
from rsim.sim.worker import Surroundings

_JOB = 1
"""Of every simulated session, so that the same program makes the same ids each time."""


def start(config: SessionConfig, source: Source | None = None) -> SimSession:
    """Start a simulated cluster. `source` decides the free choices; without it the seed does.

    Raises TypeError or ValueError if `cluster`, `faults` or `seed` is not what it should be.
    """
    return SimSession(config, source)


class SimSession:
    """A running simulated cluster, seen from its driver.

    `trace` and `tape` grow as it runs; `sites` are its machines by name, the global scheduler among
    them.
    """

    address = "sim"

    def __init__(self, config: SessionConfig, source: Source | None = None) -> None:
        cluster, faults = cluster_of(config), _faults_of(config)
        if source is None:
            source = source_of(config.seed, config.tape)
        seed = source.seed if isinstance(source, Replay) else config.seed or 0
        driver_task = ids.driver_task_id(_JOB)
        self._names = names = Names(driver_task)
        self.trace = Trace()
        self.tape = tape = Tape(source, namer=names, seed=seed)
        self._world = world = World(tape, config.time_limit_s)
        self._watch = Watch(world, self._waiting_report)
        self._cluster = cluster
        self._closed = False
        self._infeasible: list[str] = []
        self._thread = threading.get_ident()
        streams: tuple[TextIO, TextIO] = (sys.stdout, sys.stderr)
        self._collector = real_process.Collector()
        driver = Strand(DRIVER_NAME, driver_task, streams)
        self._hub = hub = Hub(world, driver, self._switched, self._stuck, self._tidy, self._bury)
        hub.began_ns = standing.elapsed_ns()
        hub.timer_slack_ns = round(cluster.timer_slack_s * NS_PER_S)
        self._places = places.Places(config, self._running_worker)
        self._outputs = outputs_of(config)
        self._processes = Processes(self._running_worker)
        shared = Surroundings(
            hub=hub,
            trace=self.trace,
            names=names,
            processes=self._processes,
            outputs=self._outputs,
            injector=Injector(faults, tape),
            seed=seed,
            environ=places.environ(config),
            worker_start_ns=round(cluster.worker_start_s * NS_PER_S),
            kill_node=self.kill_node,
            forget=self._forget,
        )
        facts = SessionFacts(
            self.address,
            "session_sim",
            driver_task,
            config.namespace,
            cluster.members[0].name,
            DRIVER_PID,
            DEFAULT_EPOCH_NS + hub.began_ns,
            env_vars=config.env_vars,
        )
        self._machines = machines = Machines(config, cluster, world, tape, shared, facts)
        self.sites = machines.sites
        driver.client = self.client = Client(machines.channel, DRIVER, driver_task)
        driver.virtual = StrandContext(hub, driver, DRIVER_NAME, seed)
        driver.pausing = self._release
        self._virtualisation: Virtualisation | None = None
        self._context: VirtualContext | None = None
        self._undo: list[Callable[[], object]] = []
        try:
            self._enter()
        except BaseException:
            self.shutdown()
            raise

    # -- what a session is asked ---------------------------------------------------------------

    def now(self) -> float:
        """Virtual seconds since the session began."""
        return self._world.now_ns / NS_PER_S

    def digest(self) -> str:
        """Digest of the trace so far, in hex: equal for equal runs, on every machine."""
        return self.trace.digest()

    def infeasible(self) -> list[str]:
        """Tasks that no node can ever run, in words."""
        return self._infeasible if self._closed else self._find_infeasible()

    def _find_infeasible(self) -> list[str]:
        return [line for site in self._machines.nodes() for line in site.host.machine.infeasible()]

    # -- what a test does to it ----------------------------------------------------------------

    def kill_node(self, name: str) -> None:
        """Let a node die now; the others learn it after the cluster's `detection_s`.

        Raises ValueError if there is no such living node, or the driver runs on it.
        """
        self._machines.kill(name, self._cluster.detection_s)

    def node_names(self) -> list[str]:
        """The living nodes in the order in which they joined, the driver's first."""
        return [site.name for site in self._machines.nodes()]

    def add_node(self, options: NodeOptions) -> str:
        """Let a node join, which takes the cluster's `latency_s`; its name.

        Raises ValueError if that is, or was, another node's, RuntimeError in a task.
        """
        self._must_be_driver("add a node")
        number = len(self._machines.workers)
        while (name := options.name or f"n{number}") in self.sites:
            if options.name:
                raise ValueError(f"name: {name!r} is taken; names of nodes are used only once")
            number += 1
        node = joining(name, options, self._cluster.members[0])
        at_ns = self._world.now_ns + round(self._cluster.latency_s * NS_PER_S)
        self._world.post_at(at_ns, None, f"{name}.membership", self._join, node)
        self._hub.sleep_until_woken(f"node {name} joins")
        return name

    def remove_node(self, name: str, graceful: bool) -> None:
        """Let a node die, and time pass until the others know: the cluster's `detection_s`, or its
        `latency_s` if the node is `graceful` and says so itself.

        Raises ValueError if there is no such living node, or the driver runs on it, RuntimeError in
        a task.
        """
        self._must_be_driver("remove a node")
        detection_s = self._cluster.latency_s if graceful else self._cluster.detection_s
        self._machines.kill(name, detection_s)
        # One nanosecond later all that is due then has happened.
        self._hub.sleep(round(detection_s * NS_PER_S) + 1)

    def kill_worker(self, name: str, index: int) -> None:
        """Let a worker of a node die now, as by kill -9. Workers count from 1.

        Raises ValueError if there is no such living worker.
        """
        self._machines.living(name)
        worker = self._machines.workers[name].by_client.get(index)
        if worker is None or not worker.strand.alive:
            raise ValueError(f"node {name!r} has no living worker {index}")
        worker.kill("killed by signal 9 (SIGKILL)")

    def exhaust_memory(self, name: str) -> None:
        """Let a node run out of memory now: it kills the worker of the task that began last, those
        that may be retried first.

        Raises ValueError if there is no such living node.
        """
        site = self._machines.living(name)
        limit_bytes = dict(site.host.machine.scheduler.pool.total).get("memory", 0)
        limit_bytes //= RESOURCE_UNITS
        site.handle(events.MemoryRanShort(limit_bytes, limit_bytes))

    def shutdown(self) -> None:
        """End everything; the second time nothing. Raises RuntimeError in a task."""
        if self._closed:
            return
        self._must_be_driver("shut the simulation down")
        self._infeasible = self._find_infeasible()
        self._closed = True
        for site in self.sites.values():
            site.alive = False
        try:
            self._hub.close()
        finally:
            for undo in reversed(self._undo):
                undo()
            self._undo.clear()
            standing.stop_at(self._hub.began_ns + self._world.now_ns)
        for output in self._outputs:
            output.attach(None)
        self._machines.close()

    # -- entering ------------------------------------------------------------------------------

    def _enter(self) -> None:
        """Make this process the simulated driver's."""
        self._virtualisation = install_virtualisation(self._virtual_context, more=self._install)
        self._undo.append(self._virtualisation.remove)
        self._places.enter()
        self._undo.append(self._places.leave)
        for output in self._outputs:
            output.attach(self._hub)
        self._undo.append(real_process.pause_collector())
        self._undo.append(real_process.catch_interrupts(self._hub))
        self._virtualisation.hand_over(self._hub.driver.virtual)
        self._undo.append(lambda: self._switched(None))
        self._switched(self._hub.driver)

    # -- called back ---------------------------------------------------------------------------

    def _install(self, patcher: Patcher) -> None:
        self._processes.install(patcher)
        self._places.install(patcher)

    def _switched(self, strand: Strand | None) -> None:
        """Make the state of the process that of the strand which runs now."""
        client = None if strand is None else strand.client
        context = None if strand is None else strand.virtual
        current.client = client
        refs.set_factory(None if client is None else client.make_ref)
        virtualisation = self._virtualisation
        if virtualisation is None:
            return
        process = None if strand is None else strand.process
        virtualisation.show_environ(None if process is None else process.environ)
        self._places.show(process)
        if context is not self._context:
            virtualisation.switch(self._context, context)
            self._context = context

    def _virtual_context(self) -> VirtualContext | None:
        context = self._context
        if context is None or threading.get_ident() != self._thread:
            return None
        if self._hub.running is self._hub.driver and real_process.is_test_runner(sys._getframe(2)):
            return None
        call = CALL_CONTEXT.get()
        return context if call is None or call.is_over else call

    def _release(self) -> None:
        """Let the node know what a driver that sleeps has dropped: an actor, perhaps."""
        if self.client.has_dropped:
            self.client.flush()

    def _forget(self, context: StrandContext) -> None:
        if self._virtualisation is not None:
            self._virtualisation.forget(context)

    def _bury(self, strand: Strand) -> None:
        if self._virtualisation is not None:
            self._virtualisation.bury(strand)

    def _running_worker(self) -> Any:
        running = self._hub.running
        if running is None or running is self._hub.driver:
            return None
        if threading.get_ident() != self._thread:
            return None
        return running.process

    def _tidy(self) -> None:
        """Collect garbage; workers at rest tell of theirs."""
        self._watch.look(self._machines.channel.wait_of(self._hub.driver))
        self._collector.collect()
        for workers in self._machines.workers.values():
            for worker in workers.by_client.values():
                worker.tidy()

    def _stuck(self) -> BaseException | None:
        """The driver's error, unless garbage held what something waits for."""
        if real_process.give_up_garbage(strand for strand, _ in self._machines.clients()):
            return None
        return deadlock(self._world, self._waiting_report())

    def _waiting_report(self) -> str:
        return waiting_report(self._machines.clients(), self.sites.values(), self._names)

    def _join(self, node: Node) -> None:
        self._machines.join(node)
        self._hub.wake(self._hub.driver)

    def _must_be_driver(self, deed: str) -> None:
        if self._hub.running is not self._hub.driver:
            raise RuntimeError(f"a task cannot {deed}: only the driver can")


def _faults_of(config: SessionConfig) -> Faults:
    if config.faults is None:
        return Faults()
    if not isinstance(config.faults, Faults):
        raise TypeError(f"faults must be an rsim.sim.Faults, not {config.faults!r}")
    return config.faults
