"""A session of the local backend: the node that the driver embeds, and what connects it to the
world.

Decides how the parts are put together, and in which order they come and go. Must never leave a
thread, a process or a file behind, however the session ends. Owns the session.
"""

from __future__ import annotations

import atexit
import os
import sys
import weakref
from collections import deque
from pathlib import Path
from time import monotonic_ns
from typing import Any

import msgspec

from rsim.backends.local.channel import DriverChannel
from rsim.backends.local.control import MemoryControlStore
from rsim.backends.local.interrupts import Interrupts
from rsim.backends.local.logs import Output
from rsim.backends.local.patience import Patience
from rsim.backends.local.premises import Premises
from rsim.backends.local.processes import WorkerProcesses
from rsim.backends.local.reactor import Reactor
from rsim.backends.local.segment import (
    available_memory_bytes,
)
from rsim.backends.local.spill import SpillFolder
from rsim.core.choices import FirstChoice
from rsim.core.events import Event, NodeJoined, TimerFired
from rsim.core.global_scheduler import GlobalScheduler
from rsim.core.ids import driver_task_id
from rsim.core.messages import GLOBAL
from rsim.core.node import Node
from rsim.core.records import DRIVER, RESOURCE_UNITS, Demand
from rsim.core.resources import demand_of
from rsim.core.scheduler import NodeConfig
from rsim.exceptions import RsimError
from rsim.runtime import current, refs
from rsim.runtime.client import Client
from rsim.runtime.host import Host
from rsim.runtime.ports import Ports
from rsim.runtime.session import SessionConfig
from rsim.runtime.trace import NullTrace

_NODE = "local"
_PIPELINE_DEPTH = 64
_MEMORY_SHARE = 0.7
"""Of the memory that is available, what tasks may ask for."""

_sessions: weakref.WeakSet[LocalSession] = weakref.WeakSet()


class _Timers:
    """A machine's timers in the reactor."""

    def __init__(self, reactor: Reactor) -> None:
        self.now_ns = monotonic_ns
        self.host: Host
        self._reactor = reactor
        self._handles: dict[int, int] = {}

    def set_timer(self, op: int, at_ns: int) -> None:
        def fire() -> None:
            del self._handles[op]
            self.host.handle(TimerFired(op))

        self._handles[op] = self._reactor.set_timer(at_ns, fire)

    def cancel_timer(self, op: int) -> None:
        handle = self._handles.pop(op, None)
        if handle is not None:
            self._reactor.cancel_timer(handle)


class _Loopback:
    """Messages between the machines of this process; carried when a step is over."""

    def __init__(self, source: str, mail: deque[tuple[str, str, msgspec.Struct]]) -> None:
        self._source = source
        self._mail = mail

    def send(self, node: str, message: msgspec.Struct) -> None:
        self._mail.append((self._source, node, message))

    def send_object(self, node: str, object_id: bytes, data: memoryview) -> None:
        raise AssertionError(f"there is no node {node} to send an object to")


class _Ports(Ports):
    __slots__ = ()

    def warn(self, message: str) -> None:
        print(f"rsim: {message}", file=sys.stderr)


class LocalSession:
    """A running local backend, seen from its driver."""

    address = "local"

    def __init__(self, config: SessionConfig, premises: Premises) -> None:
        self.trace = NullTrace()
        self._pid = os.getpid()
        self._started_ns = monotonic_ns()
        self._mail: deque[tuple[str, str, msgspec.Struct]] = deque()
        self._hosts: dict[str, Host] = {}
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
            return self._node.infeasible()

    def shutdown(self) -> None:
        """End all workers and remove all that the session made; the second time nothing."""
        if os.getpid() != self._pid:
            return
        with self._reactor.lock:
            self._channel.closed = "the session has been shut down"
            self._reactor.parking.close(self._channel.closed)
        self._channel.pump.close()
        atexit.unregister(self.shutdown)
        _sessions.discard(self)
        self._undo.close()

    # -- building ----------------------------------------------------------------------------------

    def _build(self, config: SessionConfig, premises: Premises) -> None:
        undo, segment, warden = premises.undo, premises.segment, premises.warden
        output = Output(config.log_to_driver, Path(config.log_dir) if config.log_dir else None)
        total = _total(config)
        labels = tuple(sorted(config.labels.items()))
        choices = FirstChoice()
        self._node = node = Node(
            _NODE,
            total,
            capacity_bytes=segment.capacity_bytes,
            spill_limit_bytes=config.spill_limit_bytes,
            choices=choices,
            labels=labels,
            config=NodeConfig(
                pipeline_depth=_PIPELINE_DEPTH, prestart_workers=_workers_at_start(total)
            ),
        )
        interrupts = Interrupts()
        patience = Patience(node.quiescent, node.waiting_report)
        reactor = self._reactor = Reactor(self._end_turn, interrupts, patience)
        undo.callback(reactor.close)
        processes = self._processes = WorkerProcesses(reactor, warden, output, reactor.answer)
        undo.callback(processes.close)
        spill = SpillFolder(premises.scratch, self._post)
        undo.callback(spill.close)
        undo.callback(reactor.stop)
        control = MemoryControlStore()
        ports = {
            address: _Ports(
                _Timers(reactor), _Loopback(address, self._mail), processes, segment, spill, control
            )
            for address in (_NODE, GLOBAL)
        }
        host = self._host = self._connect(node, ports[_NODE])
        scheduler = GlobalScheduler(config.policy, choices, control)
        self._connect(scheduler, ports[GLOBAL])
        control.handle = host.handle
        processes.receive = host.receive
        processes.exited = host.worker_gone

        self._channel = DriverChannel(reactor, segment, host.receive, self._end_step, host.values)
        self.client = Client(
            self._channel, DRIVER, driver_task_id(int.from_bytes(os.urandom(7), "big"))
        )
        undo.callback(self._disconnect)
        with reactor.lock:
            host.start()
            self._hosts[GLOBAL].handle(NodeJoined(_NODE, total, labels))
            self._end_turn()
        reactor.start()
        interrupts.install(reactor.parking.interrupt)
        undo.callback(interrupts.restore)
        current.client = self.client
        refs.set_factory(self.client.make_ref)

    def _connect(self, machine: Any, ports: Ports) -> Host:
        host = self._hosts[machine.name] = Host(machine, ports)
        ports.timers.host = host  # type: ignore[attr-defined]
        return host

    def _disconnect(self) -> None:
        self.client.close()
        if current.client is self.client:
            current.client = None
            refs.set_factory(None)

    # -- steps (the lock is held) ------------------------------------------------------------------

    def _end_step(self) -> None:
        """A step is over: carry messages, and send what somebody waits for."""
        while self._mail:
            source, target, message = self._mail.popleft()
            self._hosts[target].receive_message(source, message)
        self._processes.settle()

    def _end_turn(self) -> None:
        """A turn of the loop is over: the same, and send all else."""
        self._end_step()
        self._processes.flush()

    def _post(self, event: Event) -> None:
        self._reactor.post(lambda: self._host.handle(event))

    def _abandon(self) -> None:
        """In a forked child: the session is the parent's."""
        self._channel.closed = (
            "this process was forked from an rsim driver, whose session it cannot use; "
            "start processes by spawn, or call rsim.shutdown() and rsim.init() here"
        )
        self._undo.pop_all()
        self.client.close()
        self._processes.abandon()
        self._reactor.abandon()


def _total(config: SessionConfig) -> Demand:
    cpus = len(os.sched_getaffinity(0)) if config.num_cpus is None else config.num_cpus
    memory_bytes = int(available_memory_bytes() * _MEMORY_SHARE)
    return demand_of(cpus, config.num_gpus, memory_bytes, config.resources)


def _workers_at_start(total: Demand) -> int:
    """A worker per CPU, as long as they are real ones."""
    cpus = -(-dict(total).get("CPU", 0) // RESOURCE_UNITS)
    return min(cpus, len(os.sched_getaffinity(0)))


def _after_fork() -> None:
    for session in list(_sessions):
        session._abandon()


os.register_at_fork(after_in_child=_after_fork)
