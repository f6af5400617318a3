"""One node of a session, and all that belongs to it: memory, workers, disk, machine.

Decides how a node is put together and taken apart. Must never hand anything to a machine that is
dead. Owns the node's segment, its spill folder and its workers.
"""

from __future__ import annotations

import os
import socket
import sys
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from threading import Event as Signal
from typing import Any

from rsim.backends.local.control import MemoryControlStore
from rsim.backends.local.foreman import Foreman
from rsim.backends.local.logs import Output
from rsim.backends.local.mail import Letterbox, PostOffice
from rsim.backends.local.premises import Premises
from rsim.backends.local.processes import WorkerProcesses
from rsim.backends.local.reactor import Reactor
from rsim.backends.local.segment import Segment
from rsim.backends.local.spill import SpillFolder
from rsim.backends.local.timers import Timers
from rsim.core.choices import Choices
from rsim.core.config import NodeConfig
from rsim.core.events import Event, MemoryRanShort
from rsim.core.node import Node
from rsim.core.records import RESOURCE_UNITS, Demand
from rsim.core.resources import node_resources
from rsim.runtime.host import Host
from rsim.runtime.ports import Ports
from rsim.runtime.wire import SessionFacts

_PIPELINE_DEPTH = 64


@dataclass(slots=True)
class Surroundings:
    """What the nodes of a session share."""

    premises: Premises
    reactor: Reactor
    foreman: Foreman
    post_office: PostOffice
    control: MemoryControlStore
    output: Output
    choices: Choices
    spill_limit_bytes: int | None
    facts: SessionFacts


class LocalPorts(Ports):
    """The ports of a machine in the driver's process."""

    __slots__ = ()

    def warn(self, message: str) -> None:
        """Tell the user, if there is still somewhere to write: this may run in any thread."""
        with suppress(OSError, ValueError):
            print(f"rsim: {message}", file=sys.stderr)


class Site:
    """A node. ``number``: of the nodes that the session ever had."""

    def __init__(
        self,
        name: str,
        number: int,
        total: Demand,
        labels: dict[str, str],
        capacity_bytes: int,
        shared: Surroundings,
    ) -> None:
        self.name = name
        self.total = total = node_resources(name, total, head=number == 1)
        self.labels = tuple(sorted(labels.items()))
        self._number = number
        self._shared = shared
        self.node = Node(
            name,
            total,
            capacity_bytes=capacity_bytes,
            spill_limit_bytes=shared.spill_limit_bytes,
            choices=shared.choices,
            labels=self.labels,
            config=NodeConfig(
                pipeline_depth=_PIPELINE_DEPTH,
                prestart_workers=_workers_at_start(total),
                hostname=socket.gethostname(),
            ),
        )
        premises, reactor = shared.premises, shared.reactor
        self.segment = Segment.create(premises.segment_name(number), capacity_bytes)
        self.spill = SpillFolder(premises.spill_folder(number), self._from_disk)
        self.workers = WorkerProcesses(
            number, self.segment, reactor, shared.foreman, shared.output, reactor.answer
        )
        self._timers = Timers(reactor)
        ports = LocalPorts(
            self._timers,
            Letterbox(name, shared.post_office),
            self.workers,
            self.segment,
            self.spill,
            shared.control,
            session=shared.facts,
        )
        self.host = host = Host(self.node, ports)
        self._timers.handle = host.handle
        self.workers.receive = host.receive_all
        self.workers.exited = host.worker_gone
        self.workers.memory_short = lambda used, limit: host.handle(MemoryRanShort(used, limit))

    def die(self) -> Signal:
        """The node is gone, with all that it had. Set when its processes are gone, too."""
        gone = self._shared.foreman.dismiss(self._number)
        self._timers.cancel_all()
        with ExitStack() as undo:
            undo.callback(self.close)
            undo.callback(self.spill.close)
        return gone

    def close(self) -> None:
        """Forget the workers, which are gone or soon will be, and remove the segment."""
        with ExitStack() as undo:
            undo.callback(self.segment.unmap)  # not when this is collected, which takes a while
            undo.callback(self.segment.close)
            undo.callback(self.workers.close)

    def _from_disk(self, answer: Event) -> None:
        shared = self._shared
        shared.reactor.post(lambda: shared.post_office.handle(self.name, answer))


def connect_machine(machine: Any, shared: Surroundings, home: Site) -> Host:
    """A host for a machine that has neither clients nor objects: it never uses its home's."""
    timers = Timers(shared.reactor)
    ports = LocalPorts(
        timers,
        Letterbox(machine.name, shared.post_office),
        home.workers,
        home.segment,
        home.spill,
        shared.control,
    )
    host = Host(machine, ports)
    timers.handle = host.handle
    return host


def _workers_at_start(total: Demand) -> int:
    """A worker per CPU, as long as they are real ones."""
    cpus = -(-dict(total).get("CPU", 0) // RESOURCE_UNITS)
    return min(cpus, len(os.sched_getaffinity(0)))
