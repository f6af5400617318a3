"""The program of a worker process.

Decides when to read the next task, and gives back what it has not begun when asked to or when its
task blocks. Must never run user code outside the main thread, and never survive its driver. Owns
the worker's ends of three streams: tasks and replies come by a socket, what cannot wait until the
main thread looks (recalls and interrupts) by another, read by a thread that otherwise sleeps, and
events go by a pipe, which takes a third of the time that a socket does.
"""

from __future__ import annotations

import atexit
import faulthandler
import math
import os
import select
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from time import monotonic_ns
from types import FrameType
from typing import Any, Final

import msgspec

from rsim.backends.local.fetched import Fetched
from rsim.backends.local.link import READ_BYTES, Inlet, Outlet
from rsim.backends.local.logs import TaskStream
from rsim.backends.local.parking import Parking
from rsim.backends.local.pump import Pump
from rsim.backends.local.rest import Rest
from rsim.backends.local.segment import Segment
from rsim.backends.local.stage import LocalStage
from rsim.core.events import Event, TaskDone, TaskFinished, TasksReturned, WorkerStarted
from rsim.runtime import current, refs
from rsim.runtime.client import Client
from rsim.runtime.executor import Executor
from rsim.runtime.late import give_back
from rsim.runtime.wire import (
    AllocationReply,
    AnyDelivery,
    Delivery,
    FunctionExported,
    Interrupt,
    NextReply,
    Nudge,
    Recall,
    RunTask,
    RunTasks,
    Stop,
    decode_deliveries,
)

_IDLE: Final = -1
"""What the main thread waits for between tasks, in place of the number of a request."""

_REPEAT_MS: Final = 200
"""When to send an interrupt again: one that comes just before a system call does not end that."""


class WorkerChannel:
    """The worker's way to its node, and the queue of tasks it was sent."""

    def __init__(
        self,
        client: int,
        inlet: Inlet[AnyDelivery],
        events_fd: int,
        segment: Segment,
        streams: tuple[TaskStream, ...],
    ) -> None:
        self.lock = threading.RLock()
        self.tasks: deque[RunTask] = deque()
        self.stopping = False
        self.interrupt_target: bytes | None = None
        self.stage = LocalStage(self)
        self.executor: Executor
        self.rest: Rest
        self.now_ns = monotonic_ns
        self._client = client
        self.inlet = inlet
        self._outlet = Outlet(partial(os.write, events_fd))
        self._segment = segment
        self._streams = streams
        self._functions: dict[bytes, bytes] = {}
        """Functions that came with tasks which were given back: they will not be sent again."""
        self._subscribed: dict[int, bytes | None] = {}
        """Which task was running when it asked for an answer without waiting."""
        self._fetched = Fetched()
        self.peek = self._fetched.get
        """Only some values are here: those that came with items of streams."""
        self._allocated = -1
        self._blocked = False
        self._wakeup = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poll = select.poll()
        self._poll.register(inlet.fd, select.POLLIN)
        self._poll.register(self._wakeup, select.POLLIN)
        self.parking = Parking(self)
        self.parking.discard = lambda reply: give_back(client, reply, self.send)
        self.pump = Pump(self.parking, self.lock)

    # -- Channel -----------------------------------------------------------------------------------

    def send(self, event: Event) -> None:
        """Hand an event to the node. Blocks while the socket is full."""
        kind = type(event)
        if kind is TaskDone or kind is TaskFinished:
            title = self.executor.title
            for stream in self._streams:
                if stream.inside_line:
                    stream.end_line()
                if title:  # an asynchronous actor is created and called in one run
                    stream.task = title
        with self.lock:
            self._outlet.append(event)
            self._fetched.sent(event)
            try:
                self._outlet.send_all()
            except OSError:
                os._exit(1)  # the driver is gone
        if self.parking.interrupted:
            self.parking.see_to_interrupt()

    def park(self, op: int) -> Delivery:
        """Block until the reply to ``op`` is there; meanwhile others get its tasks."""
        if threading.current_thread() is not threading.main_thread():
            return self.parking.wait(op)
        try:
            with self.lock:
                self._blocked = True
                self.give_back()
            return self.parking.wait(op)
        finally:
            self._blocked = False

    def subscribe(self, op: int, callback: Callable[[Any], None]) -> None:
        """Hand the answer to ``op`` to ``callback``; until it comes others get the tasks."""

        def taken(reply: Any) -> None:
            del self._subscribed[op]
            callback(reply)

        with self.lock:
            if self.stage.has_loop:  # which reads the answer
                self.parking.subscriptions[op] = callback
                return
            self._subscribed[op] = self.executor.running
            self.pump.subscribe(op, taken)
            self.give_back()

    def run(self, callback: Callable[[], object]) -> None:
        """Call ``callback`` in a thread of its own."""
        self.pump.run(callback)

    def view(self, offset: int, size_bytes: int) -> memoryview:
        """A writable view of the node's shared memory."""
        if offset == self._allocated:
            self._allocated = -1
            self._segment.populate(offset, size_bytes)
        return self._segment.view(offset, size_bytes)

    def export_function(self, function_id: bytes, blob: bytes) -> None:
        """Make a function known to the cluster."""
        self.send(FunctionExported(self._client, function_id, blob))

    def spend(self, duration_ns: int) -> None:
        """Real time passes by itself."""

    @property
    def _awaiting(self) -> bool:
        """Whether a task waits for something without being parked."""
        running = self.executor.running
        return running is not None and running in self._subscribed.values()

    # -- Loop (see parking) ------------------------------------------------------------------------

    def turn(self, timeout_s: float | None) -> bool:
        """Wait so long at most (None: for ever) and handle what happens. False: nothing did."""
        ready = self._poll.poll(None if timeout_s is None else math.ceil(1000 * timeout_s))
        if not ready:
            return False
        with self.lock:
            for fd, _ in ready:
                if fd == self._wakeup:
                    try:
                        os.eventfd_read(fd)
                    except BlockingIOError:
                        pass  # another thread was quicker
                    if self.rest.woken:
                        self.nudge()
                else:
                    self.drain()
        return True

    def drain(self) -> None:
        """Read what there is. The lock is held."""
        try:
            for delivery in self.inlet.receive():
                self._take(delivery)
        except EOFError:
            os._exit(1)  # the driver is gone

    def read(self) -> None:
        """Read what there is, and handle it."""
        with self.lock:
            self.drain()

    def wake(self) -> None:
        """End the sleep of the thread that is in ``turn``; safe in a signal handler."""
        os.eventfd_write(self._wakeup, 1)

    def patience_s(self, rounds: int) -> float | None:
        """A worker sleeps until it hears something, but for one look around when it rests."""
        return None if rounds or not self.parking.awaits(_IDLE) else self.rest.patience_s()

    def impatient(self, rounds: int, parked: Sequence[int]) -> None:
        """Let the main thread look around."""
        self.rest.slept()
        self.nudge()

    def raise_interrupt(self) -> None:
        """Raise the KeyboardInterrupt that was put off, if its task still runs."""
        target, self.interrupt_target = self.interrupt_target, None
        if target is not None and self.executor.running == target:
            raise KeyboardInterrupt

    # -- tasks -------------------------------------------------------------------------------------

    def _take(self, delivery: AnyDelivery) -> None:
        if isinstance(delivery, RunTask):
            self._take_tasks((delivery,))
        elif isinstance(delivery, RunTasks):
            self._take_tasks(delivery.each())
        elif isinstance(delivery, Stop):
            self.stopping = True
            if self.stage.has_loop:
                self.stage.hand(self.executor.leave)
            else:
                self._rouse()
        elif not isinstance(delivery, Recall | Interrupt):
            if type(delivery) is AllocationReply:
                self._allocated = delivery.offset
            elif type(delivery) is NextReply and delivery.values:
                self._fetched.came(delivery)
            self.parking.deliver(delivery.op, delivery)

    def _take_tasks(self, tasks: Iterable[RunTask]) -> None:
        if self.stage.has_loop:
            for task in tasks:
                self.stage.hand(self.executor.run, task)
            return
        self.tasks.extend(tasks)
        if self._blocked or self._awaiting:
            self.give_back()
        else:
            self._rouse()

    def _rouse(self) -> None:
        """Let the main thread see what has come, unless it was that which read it, for a task."""
        parking = self.parking
        if parking.awaits(_IDLE) or threading.get_ident() != self.stage.main_thread:
            parking.deliver(_IDLE, Nudge(_IDLE))

    def give_back(self) -> None:
        """Return the tasks that were not begun, but not calls of an actor. The lock is held."""
        if self.executor.hosts_actor:
            return
        returned = []
        while True:
            try:
                task = self.tasks.pop()  # atomic: the main thread takes from the other end
            except IndexError:
                break
            if task.function is not None:
                self._functions[task.function_id] = task.function
            returned.append(task.task_id)
        if returned:
            self.send(TasksReturned(self._client, tuple(reversed(returned))))

    def next_task(self) -> RunTask | None:
        """The next task to run; None: the worker is to end."""
        while True:
            try:
                task = self.tasks.popleft()
            except IndexError:
                if self.stopping and not self.executor.busy:
                    return None
                self.rest.begin()
                if not self.parking.look_out():
                    self.parking.wait(_IDLE)
                self.rest.end()
                continue
            self.rest.ran()
            if self._functions and task.function is None:
                blob = self._functions.pop(task.function_id, None)
                if blob is not None:
                    return msgspec.structs.replace(task, function=blob)
            return task

    def withdraw(self, task_id: bytes) -> bool:
        """Take a call out of the queue; called in the control thread. The lock is held."""
        later: list[RunTask] = []
        found = False
        while not found:
            try:
                task = self.tasks.pop()  # atomic: the main thread takes from the other end
            except IndexError:
                break
            found = task.task_id == task_id
            if not found:
                later.append(task)
        self.tasks.extend(reversed(later))
        return found

    def nudge(self) -> None:
        """Let the main thread look again what there is to do, if it is idle, or soon will be."""
        with self.lock:
            if _IDLE not in self.parking.replies:
                self.parking.deliver(_IDLE, Nudge(_IDLE))

    # -- interrupts --------------------------------------------------------------------------------

    def interrupts(self, task_id: bytes, recursive: bool) -> bool:
        """Whether the main thread is to be interrupted, for a task that runs there; what is to be
        done about a call is done. Called in the control thread.
        """
        if not self.executor.hosts_actor:
            if self.executor.interrupt(task_id):
                self.interrupt_target = task_id
                return True
            return False
        with self.lock:
            self.drain()  # it may not be taken in yet
            self.executor.interrupt(task_id, recursive)
            self.nudge()
        return False

    def handle_sigint(self, signum: int, frame: FrameType | None) -> None:
        """Interrupt the running task if it is meant: now, or as soon as it does no harm."""
        if not self.parking.interrupt():
            self.raise_interrupt()


def control(channel: WorkerChannel, control_fd: int) -> None:
    """Serve recalls and interrupts; end the process when the driver is gone."""
    inlet = Inlet(control_fd, memoryview(bytearray(1024)), decode_deliveries)
    main_thread = threading.main_thread().ident
    assert main_thread is not None
    poll = select.poll()
    poll.register(control_fd, select.POLLIN)
    try:
        while True:
            pending = channel.interrupt_target is not None
            if not poll.poll(_REPEAT_MS if pending else None):
                if channel.interrupt_target is not None:
                    signal.pthread_kill(main_thread, signal.SIGINT)
                continue
            for delivery in inlet.receive():
                if isinstance(delivery, Interrupt):
                    if channel.interrupts(delivery.task_id, delivery.recursive):
                        signal.pthread_kill(main_thread, signal.SIGINT)
                else:
                    with channel.lock:
                        channel.drain()
                        channel.give_back()
                        channel.nudge()
    except BaseException:  # EOFError, or what must not leave a worker without control
        os._exit(1)


def _close(fds: list[int]) -> None:
    """Once: a forked child may fork again."""
    while fds:
        os.close(fds.pop())


def main(
    number: int,
    segment_fd: int,
    data_fd: int,
    control_fd: int,
    events_fd: int,
    stdout_fd: int,
    stderr_fd: int,
) -> int:
    """Run tasks until told to stop; returns the exit code."""
    for target, fd in ((1, stdout_fd), (2, stderr_fd)):
        os.dup2(fd, target)
        os.close(fd)
    link_fds = [data_fd, control_fd, events_fd]
    for fd in link_fds:
        os.set_inheritable(fd, False)
    os.register_at_fork(after_in_child=partial(_close, link_fds))
    streams = TaskStream(1), TaskStream(2)
    sys.stdout, sys.stderr = streams
    faulthandler.enable(2, all_threads=False)  # a segmentation fault tells where it was
    inlet = Inlet(data_fd, memoryview(bytearray(READ_BYTES)), decode_deliveries)
    channel = WorkerChannel(number, inlet, events_fd, Segment.attach(segment_fd), streams)
    client = current.client = Client(channel, number, b"")
    refs.set_factory(client.make_ref)
    executor = channel.executor = Executor(client, channel.stage)
    channel.rest = Rest(client, lambda: executor.busy, channel.stage.rouse)
    signal.signal(signal.SIGINT, channel.handle_sigint)
    threading.Thread(target=control, args=(channel, control_fd), daemon=True).start()
    channel.send(WorkerStarted(number, os.getpid()))
    executor.begin()
    while (task := channel.next_task()) is not None:
        for stream in streams:
            stream.task = executor.title or task.name
        executor.run(task)
    executor.farewell()
    atexit._run_exitfuncs()
    executor.part()
    return 0
