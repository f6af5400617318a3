"""One machine of the simulated cluster: a host with the ports that connect it to the simulated
world.

Decides how long disks and the control store take, and that nothing reaches a machine that is dead.
Must never touch a real disk, network or clock. Owns a machine's memory, its spilled objects and its
timers.
"""

from __future__ import annotations

import mmap
import sys
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from rsim.core import events
from rsim.core.records import ActorName, Demand, NamedActor, TaskSpec
from rsim.runtime.name_table import NameTable
from rsim.runtime.ports import Ports
from rsim.runtime.trace import Trace
from rsim.sim.engine import Happening, Lane, World
from rsim.sim.network import NS_PER_S, Network
from rsim.sim.tracing import MessageKeys, Names


class Site:
    """A machine: a node, or the global scheduler. `host` is set when its ports are there."""

    def __init__(
        self,
        name: str,
        world: World,
        *,
        total: Demand = (),
        labels: tuple[tuple[str, str], ...] = (),
        speed: float = 1.0,
    ) -> None:
        self.name = name
        self.world = world
        self.total = total
        """Its resources; the global scheduler has none."""
        self.labels = labels
        self.speed = speed
        self.alive = True
        self.is_drivers = False
        """Whether the driver runs here: then no injected fault may strike it."""
        self.host: Any = None

    def handle(self, event: events.Event) -> None:
        """Hand an event to the machine, unless it is dead."""
        if self.alive:
            self.host.handle(event)

    def receive(self, event: events.Event) -> None:
        """Hand a client's event to the machine, unless it is dead."""
        if self.alive:
            self.host.receive(event)

    def worker_gone(self, client: int, reason: str) -> None:
        """Tell the machine that a worker has ended, unless the machine is dead itself."""
        if self.alive:
            self.host.worker_gone(client, reason)

    def receive_message(self, source: str, message: msgspec.Struct) -> None:
        """Hand another machine's message to this one."""
        if self.alive:
            self.host.receive_message(source, message)


class SimTimers:
    """Virtual time as one machine sees it."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._world = site.world
        self._key = f"{site.name}.timer"
        self._pending: dict[int, Happening] = {}

    def now_ns(self) -> int:
        return self._world.now_ns

    def set_timer(self, op: int, at_ns: int) -> None:
        self._pending[op] = self._world.post_at(at_ns, None, self._key, self._fire, op)

    def cancel_timer(self, op: int) -> None:
        timer = self._pending.pop(op, None)
        if timer is not None:
            self._world.cancel(timer)

    def cancel_all(self) -> None:
        """The machine is dead: its timers must not move time any more."""
        for timer in self._pending.values():
            self._world.cancel(timer)
        self._pending.clear()

    def _fire(self, op: int) -> None:
        del self._pending[op]
        self._site.handle(events.TimerFired(op))


class SimTransport:
    """A machine's way into the network."""

    def __init__(
        self,
        site: Site,
        network: Network,
        sites: dict[str, Site],
        keys: MessageKeys,
        trace: Trace,
        names: Names,
    ) -> None:
        self._site = site
        self._network = network
        self._sites = sites
        self._key_of = keys
        self._trace = trace
        self._names = names

    def send(self, node: str, message: msgspec.Struct) -> None:
        self._network.send(self._site.name, node, self._key_of(message), message)

    def send_object(self, node: str, object_id: bytes, data: memoryview) -> None:
        source = self._site.name
        world, trace = self._site.world, self._trace
        copy = bytes(data)
        path = self._names(object_id)
        slot = f"from {source}"
        span = trace.span_started(
            node, slot, path, world.now_ns, "transfer", path, {"bytes": len(copy)}
        )

        def arrived() -> None:
            trace.span_ended(span, world.now_ns)
            target = self._sites[node]
            if target.alive:
                target.host.receive_object(source, object_id, copy)

        self._network.send_object(source, node, object_id, len(copy), arrived)


class SimMemory:
    """A node's object store: anonymous memory, so that only what is used is really there."""

    def __init__(self, capacity_bytes: int) -> None:
        self._capacity_bytes = capacity_bytes
        self._view: memoryview | None = None

    def reserve(self, end: int) -> None:
        if end > self._capacity_bytes:
            raise MemoryError(f"{end} bytes are asked for of {self._capacity_bytes}")

    def view(self, offset: int, size_bytes: int) -> memoryview:
        if self._view is None:
            flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
            self._view = memoryview(mmap.mmap(-1, self._capacity_bytes, flags=flags))
        return self._view[offset : offset + size_bytes]

    def close(self) -> None:
        """Let go of the memory; it lasts as long as the values in it that somebody still holds."""
        self._view = None


class SimDisk:
    """A node's disk: one transfer at a time, at so many bytes per second."""

    def __init__(self, site: Site, bytes_per_s: float) -> None:
        self._site = site
        self._bytes_per_ns = bytes_per_s / NS_PER_S
        self._lane = Lane()
        self._free_at_ns = 0
        self._files: dict[bytes, bytes] = {}

    def write(self, object_id: bytes, data: memoryview) -> None:
        self._files[object_id] = bytes(data)
        self._after(len(data), events.SpillFinished(object_id, True))

    def read(self, object_id: bytes, data: memoryview) -> None:
        stored = self._files.get(object_id)
        if stored is not None:
            data[:] = stored
        self._after(len(data), events.RestoreFinished(object_id, stored is not None))

    def drop(self, object_id: bytes) -> None:
        self._files.pop(object_id, None)

    def _after(
        self, size_bytes: int, answer: events.SpillFinished | events.RestoreFinished
    ) -> None:
        world = self._site.world
        start_ns = max(world.now_ns, self._free_at_ns)
        self._free_at_ns = start_ns + round(size_bytes / self._bytes_per_ns)
        at_ns, key = self._free_at_ns, answer.object_id
        world.post_at(at_ns, self._lane, key, self._site.handle, answer)


class ControlTables:
    """What the whole cluster knows: functions, lineage and the names of actors."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.names = NameTable()
        self.functions: dict[bytes, bytes] = {}
        self._specs: dict[bytes, TaskSpec] = {}

    def record(self, spec: TaskSpec) -> None:
        self._specs[spec.task_id] = spec

    def forget(self, task_id: bytes) -> None:
        self._specs.pop(task_id, None)

    def spec(self, task_id: bytes) -> TaskSpec | None:
        """The spec of a task, or None when it is not on record."""
        return self._specs.get(task_id)


class SimControlStore:
    """The control store as one machine sees it: it never fails, and answers after a round trip."""

    def __init__(self, site: Site, tables: ControlTables, round_trip_ns: int) -> None:
        self._site = site
        self._tables = tables
        self._round_trip_ns = round_trip_ns
        self._lane = Lane()
        self._key = f"{site.name}.control"
        self.namespace = tables.namespace
        self.release_name = tables.names.release
        self.release_names = tables.names.release_all
        self.list_names = tables.names.names

    def put_function(self, function_id: bytes, blob: bytes) -> None:
        self._tables.functions[function_id] = blob

    def get_function(self, function_id: bytes) -> bytes:
        return self._tables.functions[function_id]

    def record_lineage(self, op: int, specs: Sequence[TaskSpec], owner: str) -> None:
        for spec in specs:
            self._tables.record(spec)
        self._post(self._site.handle, events.LineageRecorded(op))

    def forget_lineage(self, task_ids: Sequence[bytes]) -> None:
        for task_id in task_ids:
            self._tables.forget(task_id)

    def claim_name(self, named: NamedActor, answer: Callable[[NamedActor | None], None]) -> None:
        self._answer(answer, self._tables.names.claim(named))

    def find_name(self, name: ActorName, answer: Callable[[NamedActor | None], None]) -> None:
        self._answer(answer, self._tables.names.find(name))

    def _answer(
        self, answer: Callable[[NamedActor | None], None], named: NamedActor | None
    ) -> None:
        def arrived(named: NamedActor | None) -> None:
            if self._site.alive:
                answer(named)

        self._post(arrived, named)

    def _post(self, deliver: Callable[[Any], None], what: object) -> None:
        """What the control store says comes after a round trip, in order."""
        world = self._site.world
        at_ns = world.now_ns + self._round_trip_ns
        world.post_at(at_ns, self._lane, self._key, deliver, what)


class SimPorts(Ports):
    """The ports of a simulated machine."""

    __slots__ = ()

    def warn(self, message: str) -> None:
        # Machines never run on a task's behalf, so this is the driver's stream.
        print(f"rsim: {message}", file=sys.stderr)
