"""The driver's side of a node's worker processes: starting and ending them, and talking to them.

Decides when bytes are sent: at the end of a step to a worker that may be waiting for them, later
and together to one that has enough to do. Must never block. Owns the sockets and output pipes of
the workers.
"""

from __future__ import annotations

import errno
import os
import select
import socket
from collections.abc import Callable, Sequence
from itertools import groupby
from time import monotonic_ns
from typing import Any, Final

from rsim.backends.local.foreman import Foreman
from rsim.backends.local.link import READ_BYTES, Inlet, Outlet
from rsim.backends.local.logs import Output, OutputPipe
from rsim.backends.local.reactor import MESSAGES, OUTPUT, Reactor
from rsim.backends.local.segment import Segment
from rsim.core.events import TaskDone, TaskFinished, TasksReturned, WorkerStarted
from rsim.core.records import DRIVER
from rsim.runtime.wire import (
    ClientEvent,
    Delivery,
    Interrupt,
    Recall,
    RunTask,
    RunTasks,
    Stop,
    decode_client_events,
)

_FAILURE_NS: Final = 50_000_000
"""A start that fails at once is reported so much later, as the next one would fail too."""
_LAZY_BYTES: Final = 1 << 14
_LAZY_TASKS: Final = 2
"""A worker with more tasks than this (if it runs one at a time) may be sent further ones at the
next turn, up to so many bytes.
"""
_SEND: Final = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL
_ENDS: Final = {TaskDone, TaskFinished}


class _Worker:
    """A worker as the driver sees it."""

    __slots__ = (
        "control",
        "enough",
        "gone",
        "inlet",
        "outlet",
        "outputs",
        "pending",
        "recall_again",
        "socks",
        "stuck",
        "tasks",
        "unsent_bytes",
    )

    def __init__(
        self,
        data: socket.socket,
        control: socket.socket,
        inlet: Inlet[ClientEvent],
        outputs: tuple[OutputPipe, OutputPipe],
    ) -> None:
        self.socks = data, control
        self.outlet = Outlet(lambda out: data.send(out, _SEND))
        self.control = Outlet(lambda out: control.send(out, _SEND))
        self.inlet = inlet
        self.outputs = outputs
        self.tasks = 0
        """Tasks sent that have neither finished nor come back."""
        self.enough = _LAZY_TASKS
        """With more of them it is not waiting for another."""
        self.unsent_bytes = 0
        """The payloads of those that are not sent yet."""
        self.pending = False
        """It is on the list of those that have something to be sent."""
        self.stuck = False
        """Its socket is full."""
        self.recall_again = False
        """A recall has overtaken tasks, which must be recalled too."""
        self.gone = False
        """The other end is closed."""

    def close(self) -> None:
        """Close what it is heard by, and what it hears."""
        for sock in self.socks:
            sock.close()
        os.close(self.inlet.fd)

    def know(self, pid: int) -> None:
        """It has a process."""
        for pipe in self.outputs:
            pipe.pid = pid


class WorkerProcesses:
    """All workers of one node; ``Workers`` of the ports.

    ``to_driver`` takes what is for client 0, ``receive`` what workers say, ``exited`` why they
    ended (True: for want of memory; pid), ``memory_short`` how much memory is used and may be.
    """

    def __init__(
        self,
        node: int,
        segment: Segment,
        reactor: Reactor,
        foreman: Foreman,
        output: Output,
        to_driver: Callable[[Any], None],
    ) -> None:
        self.receive: Callable[[Sequence[ClientEvent]], None]
        self.exited: Callable[[int, str, bool, int], None]
        self.memory_short: Callable[[int, int], None]
        self._node = node
        self._segment = segment
        self._reactor = reactor
        self._foreman = foreman
        self._output = output
        self._to_driver = to_driver
        self._workers: dict[int, _Worker] = {}
        self._pending: list[_Worker] = []
        self._urgent = False
        self._scratch = memoryview(bytearray(READ_BYTES))
        self._closed = False
        foreman.engage(node, self)

    # -- Workers (see runtime.ports) ---------------------------------------------------------------

    def start(self, client: int) -> None:
        """Begin to start a worker."""
        try:
            ours, theirs = _connections()
        except OSError as error:
            self._not_started(client, error)
            return
        try:
            self._foreman.start(self._node, client, (self._segment.fd, *theirs))
        except OSError as error:
            for fd in ours:
                os.close(fd)
            self._not_started(client, error)
            return
        finally:
            for fd in theirs:
                os.close(fd)
        data, control = (socket.socket(fileno=fd) for fd in ours[:2])
        inlet = Inlet(ours[2], self._scratch, decode_client_events)
        out, err = (OutputPipe(fd, fd == ours[4], self._output) for fd in ours[3:])
        worker = self._workers[client] = _Worker(data, control, inlet, (out, err))
        self._reactor.add(inlet.fd, lambda _: self._read(worker), MESSAGES)
        self._reactor.add(out.fd, lambda _: self._read_output(out), OUTPUT)
        self._reactor.add(err.fd, lambda _: self._read_output(err), OUTPUT)

    def _not_started(self, client: int, error: OSError) -> None:
        reason = str(error)
        if error.errno == errno.EMFILE:
            reason += "; the driver needs 5 for each worker: raise its limit (ulimit -n)"

        def tell() -> None:
            if not self._closed:
                self.exited(client, reason, False, 0)

        self._reactor.set_timer(monotonic_ns() + _FAILURE_NS, tell)

    def stop(self, client: int, kill: bool) -> None:
        """End a worker: now (``kill``) or when idle."""
        if kill:
            self._foreman.kill(self._node, client)
        else:
            self.deliver(client, Stop())

    def deliver(self, client: int, message: Delivery) -> None:
        """Send a message to a client; one that is gone is ignored."""
        if client == DRIVER:
            self._to_driver(message)
            return
        worker = self._workers.get(client)
        if worker is None or worker.gone:
            return
        if isinstance(message, Recall | Interrupt):
            self._say_now(worker, message)
            return
        worker.outlet.append(message)
        self._urgent = True
        if not worker.pending:
            worker.pending = True
            self._pending.append(worker)

    def run(self, client: int, tasks: RunTask | RunTasks) -> None:
        """Send tasks to a worker; one that is gone is ignored."""
        worker = self._workers.get(client)
        if worker is None or worker.gone:
            return
        worker.outlet.append(tasks)
        if isinstance(tasks, RunTask):
            worker.tasks += 1
            worker.unsent_bytes += len(tasks.payload)
            if tasks.creation is not None:
                worker.enough = _LAZY_TASKS + tasks.creation.calls_at_a_time - 1
        else:
            worker.tasks += 1 + len(tasks.payloads)
            worker.unsent_bytes += len(tasks.first.payload) + sum(map(len, tasks.payloads))
        if worker.tasks <= worker.enough or worker.unsent_bytes >= _LAZY_BYTES:
            self._urgent = True
        if not worker.pending:
            worker.pending = True
            self._pending.append(worker)

    def _say_now(self, worker: _Worker, message: Delivery) -> None:
        if type(message) is Recall:
            worker.recall_again = not self._flush(worker)
        worker.control.append(message)
        worker.control.flush()  # these few bytes always find room, unless the worker is beyond help

    # -- sending -----------------------------------------------------------------------------------

    def settle(self) -> None:
        """A step is over: send if a worker may be waiting."""
        if self._urgent:
            self.flush()

    def flush(self) -> None:
        """Send all there is."""
        if self._pending:
            pending, self._pending = self._pending, []
            self._urgent = False
            for worker in pending:
                worker.pending = False
                if not worker.stuck:
                    self._flush(worker)

    def _flush(self, worker: _Worker) -> bool:
        worker.unsent_bytes = 0
        done = worker.outlet.flush() or worker.gone
        if worker.stuck == done:
            worker.stuck = not done
            fd = worker.socks[0].fileno()
            if done:
                self._reactor.remove(fd)
            else:
                self._reactor.add(fd, lambda _: self._go_on(worker), MESSAGES, select.EPOLLOUT)
        return done

    def _go_on(self, worker: _Worker) -> None:
        """There is room again, or the other end is closed."""
        if self._flush(worker) and worker.recall_again:
            self._say_now(worker, Recall())

    # -- receiving ---------------------------------------------------------------------------------

    def _read(self, worker: _Worker) -> bool:
        """Take in what the worker has said. False: nothing."""
        heard: list[ClientEvent] = []
        try:
            heard = worker.inlet.receive()
            for kind, alike in groupby(heard, type):
                together = list(alike)
                if kind in _ENDS:
                    worker.tasks -= len(together)
                    self.receive(together)
                    continue
                for event in together:
                    if type(event) is TasksReturned:
                        worker.tasks -= len(event.task_ids)
                    elif type(event) is WorkerStarted:  # may be heard of before the guardian's word
                        worker.know(event.pid)
                    self.receive((event,))
        except EOFError:
            self._hear_no_more(worker)
        return bool(heard)

    def _read_output(self, pipe: OutputPipe) -> None:
        try:
            pipe.read()
        except EOFError:
            self._reactor.remove(pipe.fd)

    # -- what the guardian tells (see foreman.Crew) ------------------------------------------------

    def began(self, client: int, pid: int) -> None:
        """A worker has a process."""
        worker = self._workers.get(client)
        if worker is not None:
            worker.know(pid)

    def ended(self, client: int, reason: str, starved: bool) -> None:
        """A worker's process is gone; what it has said before still counts."""
        worker = self._workers.get(client)
        if worker is None:
            return
        while not worker.gone and self._read(worker):
            pass
        del self._workers[client]
        self._forget(worker)
        self.exited(client, reason, starved, worker.outputs[0].pid)

    def all_ended(self, reason: str) -> None:
        """So are all of them."""
        for each in list(self._workers):
            self.ended(each, reason, False)

    def _hear_no_more(self, worker: _Worker) -> None:
        worker.gone = True
        worker.stuck = False
        self._reactor.remove(worker.inlet.fd)
        self._reactor.remove(worker.socks[0].fileno())

    def _forget(self, worker: _Worker) -> None:
        self._hear_no_more(worker)
        for pipe in worker.outputs:
            self._reactor.remove(pipe.fd)
            pipe.close()
        worker.close()

    def close(self) -> None:
        """Listen to the workers no more, but show what they have printed."""
        self._closed = True
        for worker in self._workers.values():
            self._forget(worker)
        self._workers.clear()

    def abandon(self) -> None:
        """In a forked child: close the copies of the parent's fds."""
        for worker in self._workers.values():
            worker.close()
            for pipe in worker.outputs:
                os.close(pipe.fd)


def _connections() -> tuple[list[int], list[int]]:
    """Two sockets and three pipes: our ends and the worker's."""
    fds: list[int] = []
    try:
        for make in (_socket_pair, _socket_pair, os.pipe, os.pipe, os.pipe):
            fds += make()
    except OSError:
        for fd in fds:
            os.close(fd)
        raise
    return fds[::2], fds[1::2]


def _socket_pair() -> tuple[int, int]:
    ours, theirs = socket.socketpair()
    return ours.detach(), theirs.detach()
