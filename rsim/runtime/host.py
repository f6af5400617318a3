"""The one interpreter of effects: a machine of the core, its ports, and the values that the machine
only knows by name.

Decides in which order events are handled (as they come; those that arise during a step wait for its
end). Must never decide anything that the machine could. Owns the inline values of the node and the
record of which worker has been sent which function.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any

import msgspec

from rsim.core import effects as fx
from rsim.core import events
from rsim.core.ids import consecutive, return_id
from rsim.core.messages import ItemReport, ObjectLocation, TaskOutcome
from rsim.core.node import Node
from rsim.core.records import (
    LENT_ITEM,
    ActorName,
    ErrorInfo,
    Inline,
    NamedActor,
    Result,
    TaskOptions,
    TaskTemplate,
    Value,
)
from rsim.runtime import errors, wire
from rsim.runtime.ports import Ports

Stored = bytes | Inline | ErrorInfo
"""An inline value: plain bytes where there is nothing else to know about it (no nested refs, no
error).
"""

_id_of, _payload_of = attrgetter("task_id"), attrgetter("payload")
_template_of = attrgetter("template")

_VALUES_WITH_ITEMS_BYTES = 64 * 1024
"""Most bytes of values that a consumer is sent together with the items of a stream."""


class Host:
    """Hosts the machine of one node."""

    def __init__(self, machine: Node, ports: Ports) -> None:
        self.machine = machine
        self.ports = ports
        self.values: dict[bytes, Stored] = {}
        self._address = machine.name
        self._now_ns = ports.timers.now_ns
        self._deliver = ports.workers.deliver
        self._stepping = False
        self._inbox: deque[events.Event] = deque()
        self._sent_functions: dict[int, set[bytes]] = {}
        transport, timers, workers = ports.transport, ports.timers, ports.workers
        self._keepers: dict[type[events.Event], Callable[[Any], bool]] = {
            events.TaskFinished: self._task_finished,
            events.ItemYielded: self._item_yielded,
            events.ObjectPut: self._object_put,
            wire.FunctionExported: self._function_exported,
            wire.FunctionRequested: self._function_requested,
            wire.NameClaimed: self._name_claimed,
            wire.NameSought: self._name_sought,
            wire.NamesRequested: self._names_requested,
            wire.SessionRequested: self._session_requested,
        }
        """What to do with an event of a client before the machine sees it; False: it need not."""
        self._actions: dict[type[fx.Effect], Callable[[Any], None]] = {
            fx.StartTask: self._start_task,
            fx.StartTasks: self._start_tasks,
            fx.KeepValues: lambda e: self.values.update(e.values),
            fx.RecallTasks: lambda e: self._deliver(e.client, wire.Recall()),
            fx.InterruptTask: lambda e: self._deliver(
                e.client, wire.Interrupt(e.task_id, e.recursive)
            ),
            fx.StartWorker: lambda e: workers.start(e.client),
            fx.StopWorker: lambda e: workers.stop(e.client, e.kill),
            fx.ReplyObjects: self._reply_objects,
            fx.ReplyWait: lambda e: self._deliver(e.client, wire.WaitReply(e.op, e.ready)),
            fx.ReplyNext: self._reply_next,
            fx.ReplyConsumption: lambda e: self._deliver(
                e.client, wire.ConsumptionReply(e.op, e.consumed)
            ),
            fx.ReplyAllocation: self._reply_allocation,
            fx.ReplyGroups: lambda e: self._deliver(
                e.client, wire.GroupsReply(e.op, e.groups, e.error)
            ),
            fx.ReplyName: lambda e: self._deliver(
                e.client, wire.NameReply(e.op, e.named, e.lent, e.claimed)
            ),
            fx.ReleaseName: lambda e: ports.control.release_name(e.name, e.actor_id, e.owner),
            fx.ReleaseNames: lambda e: ports.control.release_names(e.owner),
            fx.ReplyState: lambda e: self._deliver(
                e.client, wire.StateReply(e.op, e.facts, e.missing)
            ),
            fx.StoreError: self._store_error,
            fx.CopyError: self._copy_error,
            fx.ForgetValues: self._forget_values,
            fx.SpillObject: self._spill,
            fx.RestoreObject: self._restore,
            fx.DropSpilled: lambda e: ports.spill.drop(e.object_id),
            fx.Send: lambda e: transport.send(e.node, e.message),
            fx.SendLocation: self._send_location,
            fx.SendObject: self._send_object,
            fx.RecordLineage: lambda e: ports.control.record_lineage(e.op, e.specs, e.owner),
            fx.ForgetLineage: lambda e: ports.control.forget_lineage(e.task_ids),
            fx.SetTimer: lambda e: timers.set_timer(e.op, e.at_ns),
            fx.CancelTimer: lambda e: timers.cancel_timer(e.op),
            fx.WarnDriver: lambda e: ports.warn(e.message),
        }

    # -- steps -------------------------------------------------------------------------------------

    def start(self) -> None:
        """Let the machine take its first step."""
        self._carry_out(self.machine.start(self._now_ns()))

    def handle(self, event: events.Event) -> None:
        """Step the machine and carry out what it decides; during a step, wait for its end."""
        if self._stepping:
            self._inbox.append(event)
            return
        self._stepping = True
        try:
            inbox = self._inbox
            step = self.machine.handle
            tracer = self.ports.tracer
            while True:
                now_ns = self._now_ns()
                effects = step(event, now_ns)
                if tracer is not None:
                    tracer.step(self._address, now_ns, event, effects)
                if effects:
                    self._carry_out(effects)
                if not inbox:
                    return
                event = inbox.popleft()
        finally:
            self._stepping = False

    def _carry_out(self, effects: list[fx.Effect]) -> None:
        actions = self._actions
        for effect in effects:
            actions[type(effect)](effect)

    # -- in ----------------------------------------------------------------------------------------

    def receive(self, event: events.Event) -> None:
        """An event from a client: keep the values that came with it, then step."""
        keep = self._keepers.get(type(event))
        if keep is None or keep(event):
            self.handle(event)

    def receive_all(self, together: Sequence[events.Event]) -> None:
        """Events of one client that came together: one step for all, unless steps are traced."""
        if len(together) == 1 or self._stepping or self.ports.tracer is not None:
            for event in together:
                self.receive(event)
            return
        kept: list[events.Event] = []
        for kind, group in groupby(together, type):
            alike: list[Any] = list(group)
            keep = self._keepers.get(kind)
            if keep is not None:
                alike = [event for event in alike if keep(event)]
            kept += alike
        self._stepping = True
        try:
            self._carry_out(self.machine.handle_all(kept, self._now_ns()))
        finally:
            self._stepping = False
        if self._inbox:
            self.handle(self._inbox.popleft())

    def _task_finished(self, event: events.TaskFinished) -> bool:
        if self.machine.wants_results(event.client, event.task_id):
            self._keep_results(event.task_id, event.results, event.error)
        return True

    def _item_yielded(self, event: events.ItemYielded) -> bool:
        if self.machine.streams.wants_yielded(event):
            self._keep_item(event)
        return True

    def _object_put(self, event: events.ObjectPut) -> bool:
        if event.is_error and self.machine.objects.exists(event.object_id):
            return True  # an earlier run of the generator has made a value, which stays
        if event.payload is not None:
            plain = not event.contained and not event.is_error
            value = event.payload if plain else Inline(event.payload, event.is_error)
            self.values[event.object_id] = value
        return True

    def _function_exported(self, event: wire.FunctionExported) -> bool:
        self.ports.control.put_function(event.function_id, event.blob)
        return False

    def _function_requested(self, event: wire.FunctionRequested) -> bool:
        blob = self.ports.control.get_function(event.function_id)
        self._deliver(event.client, wire.FunctionReply(event.op, blob))
        return False

    def _name_claimed(self, event: wire.NameClaimed) -> bool:
        """Ask the control store for a name; the machine hears the answer, as below."""
        named = event.named
        named = NamedActor(
            self._in_full(named.name), named.actor_id, self._address, named.interface
        )

        def answer(holder: NamedActor | None) -> None:
            found = events.NameFound(event.client, event.op, holder, named.actor_id, event.reuse)
            self.handle(found)

        self.ports.control.claim_name(named, answer)
        return False

    def _name_sought(self, event: wire.NameSought) -> bool:
        def answer(holder: NamedActor | None) -> None:
            self.handle(events.NameFound(event.client, event.op, holder))

        self.ports.control.find_name(self._in_full(event.name), answer)
        return False

    def _in_full(self, name: ActorName) -> ActorName:
        return name if name.namespace else ActorName(self.ports.control.namespace, name.name)

    def _names_requested(self, event: wire.NamesRequested) -> bool:
        control = self.ports.control
        names = control.list_names(None if event.all_namespaces else control.namespace)
        self._deliver(event.client, wire.NamesReply(event.op, names))
        return False

    def _session_requested(self, event: wire.SessionRequested) -> bool:
        reply = wire.SessionReply(event.op, self._address, self.ports.session)
        self._deliver(event.client, reply)
        return False

    def receive_message(self, source: str, message: msgspec.Struct) -> None:
        """A message from another machine: keep the values that came with it, then step."""
        if isinstance(message, TaskOutcome):
            if self.machine.wants_outcome(source, message):
                self._keep_results(message.task_id, message.results, message.error)
        elif isinstance(message, ItemReport):
            if self.machine.streams.wants_reported(source, message):
                self._keep_item(message)
        elif isinstance(message, ObjectLocation) and message.inline is not None:
            plain = not message.contained and not message.is_error
            payload = message.inline
            self.values[message.object_id] = payload if plain else Inline(payload, message.is_error)
        self.handle(events.MessageArrived(source, message))

    def receive_object(self, source: str, object_id: bytes, data: memoryview | bytes) -> None:
        """The bytes of an object from another node: write them to the room made for them."""
        offset = self.machine.peers.landing_offset(object_id)
        error = None if offset is None else self._reserve()
        if offset is not None and error is None:
            self.ports.memory.view(offset, len(data))[:] = data
        ok = offset is not None
        self.handle(events.ObjectReceived(source, object_id, len(data), False, ok, error))

    def _keep_results(self, task_id: bytes, results: tuple[Result, ...], error: bool) -> None:
        for index, result in enumerate(results):
            self._keep_result(return_id(task_id, index), result, error and not result.is_value)

    def _keep_item(self, item: events.ItemYielded | ItemReport) -> None:
        self._keep_result(return_id(item.task_id, item.index), item.result, item.error)

    def _keep_result(self, object_id: bytes, result: Result, error: bool) -> None:
        payload = result.payload
        if payload is not None:
            plain = not error and not result.contained
            self.values[object_id] = payload if plain else Inline(payload, error)

    # -- out: clients ------------------------------------------------------------------------------

    def value(self, object_id: bytes) -> Value:
        """A local value as it is sent to a client."""
        value = self.values.get(object_id)
        if value is None:
            located = self.machine.located(object_id)
            if located is None:
                text = f"object {object_id.hex()} is not known here: it was freed, or never was"
                return ErrorInfo("ObjectLostError", text, object_id)
            return located
        return Inline(value) if isinstance(value, bytes) else value

    def _start_task(self, effect: fx.StartTask) -> None:
        client, spec, template = effect.client, effect.spec, effect.spec.template
        options = template.options
        kind = wire.CALL
        if not template.actor:
            kind = wire.TASK if template.creation is None else wire.CREATION
        task = wire.RunTask(
            spec.task_id,
            spec.payload,
            template.depth,
            template.name,
            template.function_id,
            self._unsent_function(client, template),
            options.extras,
            kind,
            template.method,
            options.group,
            _tenancy(options, effect.devices),
            template.num_returns,
            effect.attempt,
            template.creation,
            spec.deps,
            tuple(map(self.value, spec.deps)),
            effect.lent,
        )
        self.ports.workers.run(client, task)

    def _start_tasks(self, effect: fx.StartTasks) -> None:
        for template, group in groupby(effect.specs, _template_of):
            first, *others = group
            options = template.options
            task = wire.RunTask(
                first.task_id,
                first.payload,
                template.depth,
                template.name,
                template.function_id,
                self._unsent_function(effect.client, template),
                options.extras,
                wire.CALL if template.actor else wire.TASK,
                template.method,
                options.group,
                _tenancy(options),
            )
            message: wire.RunTask | wire.RunTasks = task
            if others:
                task_ids, payloads = map(_id_of, others), map(_payload_of, others)
                message = wire.RunTasks(task, tuple(task_ids), tuple(payloads))
            self.ports.workers.run(effect.client, message)

    def _unsent_function(self, client: int, template: TaskTemplate) -> bytes | None:
        """The tasks' function, if the worker has not been sent it yet."""
        if template.actor:
            return None
        function_id = template.function_id
        sent = self._sent_functions.get(client)
        if sent is None:
            sent = self._sent_functions[client] = set()
        if function_id in sent:
            return None
        sent.add(function_id)
        return self.ports.control.get_function(function_id)

    def _reply_objects(self, effect: fx.ReplyObjects) -> None:
        values: tuple[Value, ...] = ()
        if not effect.timed_out and effect.error is None:
            values = tuple(map(self.value, effect.object_ids))
        message = wire.ObjectsReply(
            effect.op, effect.object_ids, values, effect.lent, effect.timed_out, effect.error
        )
        self._deliver(effect.client, message)

    def _reply_next(self, effect: fx.ReplyNext) -> None:
        """With the items go their values, as long as they are small."""
        object_id, count = effect.object_id, effect.count
        values: list[bytes | None] = []
        if effect.state == LENT_ITEM:
            room = _VALUES_WITH_ITEMS_BYTES
            for each in consecutive(object_id, count):
                value = self.values.get(each)
                if type(value) is bytes and len(value) <= room:
                    room -= len(value)
                    values.append(value)
                else:
                    values.append(None)
        reply = wire.NextReply(effect.op, object_id, effect.state, count, tuple(values))
        self._deliver(effect.client, reply)

    def _reply_allocation(self, effect: fx.ReplyAllocation) -> None:
        error = effect.error or self._reserve()
        self._deliver(effect.client, wire.AllocationReply(effect.op, effect.offset, error))

    def _reserve(self) -> ErrorInfo | None:
        """See to it that the memory which was given out is really there."""
        try:
            self.ports.memory.reserve(self.machine.shelf.store.arena.high_water_bytes)
        except MemoryError as shortage:
            return ErrorInfo("ObjectStoreFullError", str(shortage))
        return None

    def worker_gone(
        self, client: int, reason: str, out_of_memory: bool = False, pid: int = 0
    ) -> None:
        """A worker process has ended; ``out_of_memory``: the system has killed it for that."""
        self._sent_functions.pop(client, None)
        self.handle(events.WorkerExited(client, reason, out_of_memory, pid))

    # -- out: values -------------------------------------------------------------------------------

    def _store_error(self, effect: fx.StoreError) -> None:
        self.values[effect.object_id] = effect.error

    def _copy_error(self, effect: fx.CopyError) -> None:
        value = self.values[effect.source]
        if effect.is_actor:
            value = errors.never_created(effect.target, effect.dependent, value)
        elif effect.dependent and isinstance(value, ErrorInfo):
            value = Inline(errors.serialize_input_error(value, effect.dependent), is_error=True)
        self.values[effect.target] = value

    def _forget_values(self, effect: fx.ForgetValues) -> None:
        for object_id in effect.unseen:
            value = self.values.get(object_id)
            if isinstance(value, Inline) and value.is_error:  # what the system says, others know
                errors.report_unseen(value.payload, self.ports.warn)
        for object_id in effect.object_ids:
            self.values.pop(object_id, None)

    def _spill(self, effect: fx.SpillObject) -> None:
        view = self.ports.memory.view(effect.offset, effect.size_bytes)
        self.ports.spill.write(effect.object_id, view)

    def _restore(self, effect: fx.RestoreObject) -> None:
        self.ports.memory.reserve(self.machine.shelf.store.arena.high_water_bytes)
        view = self.ports.memory.view(effect.offset, effect.size_bytes)
        self.ports.spill.read(effect.object_id, view)

    # -- out: other nodes --------------------------------------------------------------------------

    def _send_location(self, effect: fx.SendLocation) -> None:
        message = effect.message
        assert isinstance(message, ObjectLocation)
        value = self.values[message.object_id]
        if isinstance(value, ErrorInfo):
            changes: dict[str, Any] = {
                "failure": value.kind,
                "message": value.message,
                "subject": value.subject,
            }
        elif isinstance(value, Inline):
            changes = {"inline": value.payload, "size_bytes": len(value.payload)}
        else:
            changes = {"inline": value, "size_bytes": len(value)}
        self.ports.transport.send(effect.node, msgspec.structs.replace(message, **changes))

    def _send_object(self, effect: fx.SendObject) -> None:
        view = self.ports.memory.view(effect.offset, effect.size_bytes)
        self.ports.transport.send_object(effect.node, effect.object_id, view)

    def peek(self, object_id: bytes) -> Stored | None:
        """The inline value or error of an object, if it is here."""
        return self.values.get(object_id)


def _tenancy(
    options: TaskOptions, devices: tuple[tuple[str, int], ...] = ()
) -> wire.Tenancy | None:
    strategy, threads = options.strategy, options.threads
    if devices or strategy.group or options.env_vars or threads > 1:
        return wire.Tenancy(devices, strategy.group, strategy.captures, options.env_vars, threads)
    return None
