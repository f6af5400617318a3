"""The machines of a simulated cluster: its nodes, and the one with the global scheduler.

Decides how a machine is put together, and what the others are told, and when, of one that joins or
dies. Must never wait. Owns the machines, dead ones until the session ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rsim.core import events
from rsim.core.global_scheduler import GlobalScheduler
from rsim.core.messages import GLOBAL
from rsim.core.node import Node as NodeMachine
from rsim.core.records import DRIVER, Demand
from rsim.core.resources import demand_of, node_resources
from rsim.runtime.host import Host
from rsim.runtime.session import SessionConfig
from rsim.runtime.wire import SessionFacts
from rsim.sim.channel import SimChannel
from rsim.sim.cluster import Cluster, Node
from rsim.sim.engine import World
from rsim.sim.greenlets import Strand
from rsim.sim.network import NS_PER_S, Network
from rsim.sim.site import (
    ControlTables,
    SimControlStore,
    SimDisk,
    SimMemory,
    SimPorts,
    SimTimers,
    SimTransport,
    Site,
)
from rsim.sim.tape import Tape
from rsim.sim.tracing import MessageKeys, StepTracer
from rsim.sim.worker import SimWorkers, Surroundings


class Machines:
    """Makes the machines of `cluster`; the driver is on the first node.

    `sites` are all machines by name, the global scheduler among them; `workers` those of each node;
    `channel` is the driver's. `shared`: what all workers share.
    """

    def __init__(
        self,
        config: SessionConfig,
        cluster: Cluster,
        world: World,
        tape: Tape,
        shared: Surroundings,
        facts: SessionFacts,
    ) -> None:
        self.sites: dict[str, Site] = {}
        self.workers: dict[str, SimWorkers] = {}
        self.channel: SimChannel
        self._cluster = cluster
        self._world = world
        self._tape = tape
        self._shared = shared
        self._facts = facts
        self._spill_limit_bytes = config.spill_limit_bytes
        self._network = Network(
            world,
            tape,
            latency_s=cluster.latency_s,
            jitter_s=cluster.jitter_s,
            bandwidth_bytes_per_s=cluster.bandwidth_bytes_per_s,
        )
        self._tables = ControlTables(config.namespace)
        self._keys = MessageKeys()
        self._tracer = StepTracer(shared.trace, world, shared.names)
        self._memories: list[SimMemory] = []
        self._deaths: dict[str, int] = {}
        """When the others hear, or heard, of a node's."""
        self._build(config.policy)

    # -- building ------------------------------------------------------------------------------

    def _build(self, policy: object) -> None:
        first = self._cluster.members[0].name
        scheduler = Site(GLOBAL, self._world)
        machine = GlobalScheduler(policy, self._tape, self._tables)
        # It has neither clients nor objects: these stay unused.
        no_memory = SimMemory(0)
        no_workers = SimWorkers(scheduler, no_memory, self._shared, None)
        self._connect(scheduler, machine, no_workers, no_memory, home=first)
        for node in self._cluster.members:
            self._open(node, is_drivers=node.name == first)
        for name in self.workers:
            self.sites[name].host.start()
        for site in self.sites.values():
            for name in self.workers:
                other = self.sites[name]
                site.handle(events.NodeJoined(name, other.total, other.labels))

    def _open(self, node: Node, *, is_drivers: bool = False) -> Site:
        """Build a node, which no other knows yet."""
        site = Site(
            node.name,
            self._world,
            total=_total(node, is_drivers),
            labels=_labels(node),
            speed=node.speed,
        )
        memory = SimMemory(node.object_store_memory)
        self._memories.append(memory)
        driver = None
        if is_drivers:
            site.is_drivers = True
            shared = self._shared
            hub = shared.hub
            driver = self.channel = SimChannel(
                site, hub, hub.driver, DRIVER, memory, shared.seed, shared.forget
            )
        workers = self.workers[node.name] = SimWorkers(site, memory, self._shared, driver)
        machine = NodeMachine(
            node.name,
            site.total,
            capacity_bytes=node.object_store_memory,
            spill_limit_bytes=self._spill_limit_bytes,
            choices=self._tape,
            labels=site.labels,
        )
        self._connect(site, machine, workers, memory)
        return site

    def _connect(
        self, site: Site, machine: Any, workers: SimWorkers, memory: SimMemory, *, home: str = ""
    ) -> None:
        """Give a machine its host and its place in the network."""
        self.sites[site.name] = site
        round_trip_ns = 2 * round(self._cluster.latency_s * NS_PER_S)
        shared = self._shared
        ports = SimPorts(
            timers=SimTimers(site),
            transport=SimTransport(
                site, self._network, self.sites, self._keys, shared.trace, shared.names
            ),
            workers=workers,
            memory=memory,
            spill=SimDisk(site, self._cluster.disk_bytes_per_s),
            control=SimControlStore(site, self._tables, round_trip_ns),
            tracer=self._tracer,
            session=self._facts,
        )
        site.host = Host(machine, ports)
        self._network.attach(site.name, site.receive_message, home=home)

    # -- joining and dying ---------------------------------------------------------------------

    def join(self, node: Node) -> None:
        """A node is there, and it and all others know of each other from now on."""
        others = [site for site in self.sites.values() if site.alive]
        site = self._open(node)
        self._shared.trace.instant(node.name, None, "node joined", self._world.now_ns, "join")
        site.host.start()
        for other in others:
            if other.name != GLOBAL:
                site.handle(events.NodeJoined(other.name, other.total, other.labels))
        for other in (*others, site):
            other.handle(events.NodeJoined(site.name, site.total, site.labels))
        for dead, at_ns in self._deaths.items():
            if at_ns >= self._world.now_ns:
                self._announce_death(dead, at_ns, site)

    def kill(self, name: str, detection_s: float) -> None:
        """Let a node die now; the others learn it after `detection_s`.

        Raises ValueError if there is no such living node, or the driver runs on it.
        """
        site = self.living(name)
        if site.is_drivers:
            raise ValueError(f"the node {name!r} cannot be killed: the driver runs on it")
        site.alive = False
        self._network.detach(name)
        site.host.ports.timers.cancel_all()
        self.workers[name].die()
        now_ns = self._world.now_ns
        self._shared.trace.instant(name, None, "node died", now_ns, "death")
        at_ns = self._deaths[name] = now_ns + round(detection_s * NS_PER_S)
        for other in self.sites.values():
            if other.alive:
                self._announce_death(name, at_ns, other)

    def _announce_death(self, name: str, at_ns: int, to: Site) -> None:
        key = f"{to.name}.membership"
        self._world.post_at(at_ns, None, key, to.handle, events.NodeDied(name))

    def close(self) -> None:
        """Give back the memory of all nodes."""
        for memory in self._memories:
            memory.close()

    # -- what there is -------------------------------------------------------------------------

    def nodes(self) -> list[Site]:
        """The living nodes in the order in which they joined, the driver's first."""
        return [site for site in self.sites.values() if site.alive and site.name != GLOBAL]

    def living(self, name: str) -> Site:
        """The living node of that name. Raises ValueError if there is none."""
        site = self.sites.get(name)
        if site is None or name == GLOBAL:
            known = ", ".join(repr(known) for known in self.sites if known != GLOBAL)
            raise ValueError(f"there is no node {name!r}; the nodes are {known}")
        if not site.alive:
            raise ValueError(f"the node {name!r} is dead already")
        return site

    def clients(self) -> Iterator[tuple[Strand, SimChannel]]:
        """The driver and all workers."""
        yield self._shared.hub.driver, self.channel
        for workers in self.workers.values():
            for worker in workers.by_client.values():
                yield worker.strand, worker.channel


def _total(node: Node, head: bool) -> Demand:
    own = demand_of(node.num_cpus, node.num_gpus, node.memory, node.resources)
    return node_resources(node.name, own, head)


def _labels(node: Node) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((node.labels or {}).items()))
