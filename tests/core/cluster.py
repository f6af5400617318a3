"""A cluster of bare machines: no shell, no user code, every delivery a random choice.

Nodes and the global scheduler exchange their real messages over in-order channels; workers are
generators that act out random tasks (submit children, wait for them, put objects, return small or
stored results, die). After each step the machine that took it checks itself.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Generator
from typing import Any

import msgspec

from rsim.core import effects as fx
from rsim.core import events, messages
from rsim.core.config import NodeConfig
from rsim.core.global_scheduler import GlobalScheduler
from rsim.core.ids import child_task_id, consecutive, driver_task_id, put_id, return_id
from rsim.core.node import Node
from rsim.core.records import (
    DRIVER,
    LENT_ITEM,
    STREAMING,
    ActorName,
    ActorOptions,
    ErrorInfo,
    GroupRemoval,
    GroupSpec,
    GroupState,
    NamedActor,
    Result,
    TaskSpec,
)
from rsim.runtime.name_table import NameTable
from rsim.runtime.wire import NameClaimed, NameSought
from tests.core.clients import CPU, Client

MIB = 1 << 20


TOGETHER = (
    events.TaskSubmitted
    | events.TaskDone
    | events.TaskFinished
    | events.RefsReleased
    | events.PinsReleased
)
"""What a node may be told together, if a client has said it in a row."""


class RandomChoices:
    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def pick(self, label: str, candidates: Any) -> int:
        return self._rng.randrange(len(candidates))

    def chance(self, label: str, entity: object, rate: float) -> bool:
        return self._rng.random() < rate


class Lineage:
    def __init__(self) -> None:
        self.specs: dict[bytes, TaskSpec] = {}

    def spec(self, task_id: bytes) -> TaskSpec | None:
        return self.specs.get(task_id)


Acting = Generator[events.Event, Any, None]
Key = tuple[str, int, bytes]
"""A node, a client and the task that it runs."""

PARKING = (
    events.ObjectsRequested,
    events.AllocationRequested,
    events.NextRequested,
    events.ConsumptionAwaited,
)
"""What a task waits for the answer to."""


def items_of(task_id: bytes) -> int:
    """How many items a generator yields, in every run."""
    return task_id[0] % 7


class Cluster:
    def __init__(
        self,
        seed: int,
        nodes: int = 3,
        cpus: int = 2,
        *,
        crash: float = 0.0,
        kill_nodes: int = 0,
        join_nodes: int = 0,
        pipeline: int = 1,
        capacity_bytes: int = 8 * MIB,
        streams: float = 0.0,
        naming: float = 0.0,
        in_full: bool = False,
    ) -> None:
        self.rng = rng = random.Random(seed)
        self.crash = crash
        self.streams = streams
        """How many of the tasks call a generator."""
        self.naming = naming
        self.in_full = in_full
        """Whether workers never say in short that a task has ended well."""
        self.names = NameTable()
        self.dead: list[str] = []
        self.kills_left = kill_nodes
        self.joins_left = join_nodes
        self.now = 0
        self.lineage = Lineage()
        self.choices = RandomChoices(rng)
        self.glob = GlobalScheduler(None, self.choices, self.lineage)
        self.config = NodeConfig(pipeline_depth=pipeline, tiny_task_ns=10**12, prestart_workers=1)
        self.total = (("CPU", cpus * 10_000),)
        self.capacity_bytes = capacity_bytes
        self.nodes: dict[str, Node] = {}
        self.channels: dict[tuple[str, str], deque[tuple[str, Any]]] = {}
        self.timers: list[tuple[int, str, int]] = []
        self.acts: dict[Key, Acting] = {}
        self.clients: dict[Key, Client] = {}
        self.ops = 0
        self.queued: dict[tuple[str, int], deque[fx.StartTask | None]] = {}
        self.concurrency: dict[tuple[str, int], int] = {}
        """How many calls the workers of concurrent actors run at a time."""
        self.parked: dict[tuple[str, int, int], Key] = {}
        """Who waits, by request."""
        self.allocating: dict[tuple[str, int, int], bytes] = {}
        """What is to be written, by request."""
        self.starts: dict[Key, fx.StartTask] = {}
        self.paused: dict[Key, int] = {}
        """Generators that wait for their consumers, and the numbers of their requests."""
        self.errors: dict[tuple[str, bytes], ErrorInfo] = {}
        self.written: dict[tuple[str, int], bytes] = {}
        """Which object's bytes are where in a node's memory."""
        self.executions: dict[bytes, int] = {}
        self.crashes: dict[bytes, int] = {}
        """How often a worker died that was running a task."""
        self.actors: dict[bytes, ActorOptions | None] = {}
        self.calls: dict[bytes, list[tuple[bytes, int]]] = {}
        self.attempts: dict[str, dict[bytes, int]] = {}
        """Of each node's calls of actors, after its last step."""
        self.answers: dict[int, fx.Effect] = {}
        self.groups: dict[bytes, GroupState] = {}
        self.told: dict[tuple[str, int], list[fx.ReplyState]] = {}
        self.steps = 0
        for number in range(nodes):
            self.join_node(f"n{number}")
        self.driver = Client("n0", DRIVER, driver_task_id(0), -1)

    # -- machines ----------------------------------------------------------------------------------

    def step(self, name: str, event: events.Event) -> None:
        self.steps += 1
        if isinstance(event, NameClaimed | NameSought):
            self.ask_for_name(name, event)
            return
        if isinstance(event, events.ObjectReceived):
            event = self.land(name, event)
        if name == messages.GLOBAL:
            self.apply(name, self.glob.handle(event, self.now))
            self.glob.check()
        elif name in self.nodes:
            self.apply(name, self.nodes[name].handle(event, self.now))
            self.check(name)

    def check(self, name: str) -> None:
        """The node's own checks, and that no call was made again twice in one step."""
        node = self.nodes[name]
        node.check()
        node.lineage.check()
        calls = (task for task in node.tasks.table.values() if task.spec.actor)
        attempts = {task.spec.task_id: task.attempt for task in calls}
        before = self.attempts.get(name, {})
        for task_id, attempt in attempts.items():
            assert attempt <= before.get(task_id, attempt) + 1, task_id.hex()
        self.attempts[name] = attempts

    def step_together(self, name: str, together: list[events.Event]) -> None:
        """Events of one client that came together: one step for all."""
        if len(together) == 1 or name not in self.nodes:
            for event in together:
                self.step(name, event)
            return
        self.steps += 1
        self.apply(name, self.nodes[name].handle_all(together, self.now))
        self.check(name)

    def post(self, lane: tuple[str, str], name: str, event: Any) -> None:
        self.channels.setdefault(lane, deque()).append((name, event))

    def apply(self, name: str, effects: list[fx.Effect]) -> None:
        for effect in effects:
            getattr(self, "_" + type(effect).__name__)(name, effect)

    def _Send(self, name: str, e: fx.Send) -> None:
        if e.node == messages.GLOBAL or e.node in self.nodes:
            self.post((name, e.node), e.node, events.MessageArrived(name, e.message))

    def _SendLocation(self, name: str, e: fx.SendLocation) -> None:
        assert isinstance(e.message, messages.ObjectLocation)
        error = self.errors.get((name, e.message.object_id))
        changes: dict[str, Any] = {"inline": b"v", "size_bytes": 1}
        if error is not None:
            changes = {"failure": error.kind, "message": error.message}
        self._Send(name, fx.Send(e.node, msgspec.structs.replace(e.message, **changes)))

    def _SendObject(self, name: str, e: fx.SendObject) -> None:
        assert self.written[name, e.offset] == e.object_id
        if e.node in self.nodes:
            received = events.ObjectReceived(name, e.object_id, e.size_bytes, False, True)
            self.post((name, e.node), e.node, received)

    def land(self, name: str, event: events.ObjectReceived) -> events.ObjectReceived:
        """What the shell does with the bytes of an object."""
        offset = self.nodes[name].peers.landing_offset(event.object_id)
        if offset is not None:
            self.written[name, offset] = event.object_id
        return msgspec.structs.replace(event, ok=offset is not None)

    def read(self, name: str, object_ids: tuple[bytes, ...]) -> None:
        """A client looks at objects."""
        for object_id in object_ids:
            located = self.nodes[name].located(object_id)
            assert located is None or self.written[name, located.offset] == object_id

    def _StartWorker(self, name: str, e: fx.StartWorker) -> None:
        self.post((name, f"w{e.client}"), name, events.WorkerStarted(e.client))
        self.queued[name, e.client] = deque()

    def _StopWorker(self, name: str, e: fx.StopWorker) -> None:
        if e.kill:
            self.kill_worker(name, e.client, "killed")
        elif (name, e.client) in self.queued:
            self.queued[name, e.client].append(None)

    def _StartTask(self, name: str, e: fx.StartTask) -> None:
        if (name, e.client) not in self.queued:
            return
        self.read(name, e.spec.deps)
        self.queued[name, e.client].append(e)
        if any(key[:2] == (name, e.client) for key in self.parked):
            self.give_back(name, e.client)

    def _StartTasks(self, name: str, e: fx.StartTasks) -> None:
        for spec in e.specs:
            self._StartTask(name, fx.StartTask(e.client, spec, 0))

    def _KeepValues(self, name: str, e: fx.KeepValues) -> None:
        assert e.values  # what they are does not matter here

    def _RecallTasks(self, name: str, e: fx.RecallTasks) -> None:
        if (name, e.client) in self.queued:
            self.give_back(name, e.client)

    def give_back(self, name: str, client: int) -> None:
        queued = self.queued[name, client]
        kept = [each for each in queued if each is None or each.spec.actor]
        task_ids = tuple(each.spec.task_id for each in queued if each and not each.spec.actor)
        queued.clear()
        queued.extend(kept)
        self.post((name, f"w{client}"), name, events.TasksReturned(client, task_ids))

    def _InterruptTask(self, name: str, e: fx.InterruptTask) -> None:
        """A call that has not begun is given back; one that runs gives in, or does not."""
        queued = self.queued.get((name, e.client), deque())
        for start in queued:
            if start is not None and start.spec.task_id == e.task_id and start.spec.actor:
                queued.remove(start)
                self.post_from(name, e.client, events.TasksReturned(e.client, (e.task_id,)))
                return
        key = name, e.client, e.task_id
        if key in self.paused and not self.is_call(key):
            del self.parked[name, e.client, self.paused.pop(key)]
            self.give_in(key, events.TaskFinished(e.client, e.task_id, (Result(b"e", 1),), True))
            return
        asked = key in self.parked.values()
        if key in self.acts and self.is_call(key) and not asked and self.rng.random() < 0.7:
            finished = events.TaskFinished(e.client, e.task_id, (), True, cancelled=True)
            self.give_in(key, finished)

    def give_in(self, key: Key, finished: events.TaskFinished) -> None:
        """A task ends in its middle."""
        name, number, _ = key
        del self.acts[key]
        client = self.clients[key]
        self.post_from(name, number, finished)
        self.post_from(name, number, client.give_up(list(client.loans)))
        deps = self.starts[key].spec.deps
        self.post_from(name, number, events.PinsReleased(number, deps))

    def is_call(self, key: Key) -> bool:
        return bool(self.starts[key].spec.actor)

    def post_from(self, name: str, client: int, event: events.Event) -> None:
        self.post((name, f"w{client}"), name, event)

    def reply(self, name: str, e: Any) -> None:
        """A client gets the answer to a request."""
        if e.client == DRIVER:
            self.driver.lent(getattr(e, "lent", ()))
            self.answers[e.op] = e
            return
        key = self.parked.pop((name, e.client, e.op), None)
        if key is not None:
            self.clients[key].lent(getattr(e, "lent", ()))
            self.advance(key, e)

    _ReplyWait = _ReplyConsumption = _ReplyName = reply

    def _ReplyObjects(self, name: str, e: fx.ReplyObjects) -> None:
        if e.error is None and not e.timed_out:
            self.read(name, e.object_ids)
        self.reply(name, e)

    def _ReplyAllocation(self, name: str, e: fx.ReplyAllocation) -> None:
        object_id = self.allocating.pop((name, e.client, e.op), None)
        if e.error is None and object_id is not None:
            self.written[name, e.offset] = object_id
        self.reply(name, e)

    def _ReplyNext(self, name: str, e: fx.ReplyNext) -> None:
        key = self.parked.get((name, e.client, e.op))
        client = self.driver if key is None else self.clients[key]
        if e.state == LENT_ITEM and (key is not None or e.client == DRIVER):
            client.lent(tuple(consecutive(e.object_id, e.count)))
        self.reply(name, e)

    def _ReplyGroups(self, name: str, e: fx.ReplyGroups) -> None:
        assert not e.error
        self.groups.update((group.spec.group_id, group) for group in e.groups)

    def _ReleaseName(self, name: str, e: fx.ReleaseName) -> None:
        self.names.release(e.name, e.actor_id, e.owner)

    def _ReleaseNames(self, name: str, e: fx.ReleaseNames) -> None:
        self.names.release_all(e.owner)

    def ask_for_name(self, node: str, event: NameClaimed | NameSought) -> None:
        """What the shell and the control store do."""
        claim, reuse = b"", False
        if isinstance(event, NameClaimed):
            named, claim, reuse = self.names.claim(event.named), event.named.actor_id, event.reuse
        else:
            named = self.names.find(event.name)
        found = events.NameFound(event.client, event.op, named, claim, reuse)
        self.post((node, "control"), node, found)

    def _ReplyState(self, name: str, e: fx.ReplyState) -> None:
        self.told.setdefault((name, e.op), []).append(e)

    def _StoreError(self, name: str, e: fx.StoreError) -> None:
        self.errors[name, e.object_id] = e.error

    def _CopyError(self, name: str, e: fx.CopyError) -> None:
        self.errors[name, e.target] = self.errors[name, e.source]

    def _ForgetValues(self, name: str, e: fx.ForgetValues) -> None:
        for object_id in e.object_ids:
            self.errors.pop((name, object_id), None)

    def _SpillObject(self, name: str, e: fx.SpillObject) -> None:
        self.post((name, "disk"), name, events.SpillFinished(e.object_id, True))

    def _RestoreObject(self, name: str, e: fx.RestoreObject) -> None:
        self.written[name, e.offset] = e.object_id
        self.post((name, "disk"), name, events.RestoreFinished(e.object_id, True))

    def _DropSpilled(self, name: str, e: fx.DropSpilled) -> None:
        pass

    def _RecordLineage(self, name: str, e: fx.RecordLineage) -> None:
        for spec in e.specs:
            self.lineage.specs[spec.task_id] = spec
        self.post((name, "control"), name, events.LineageRecorded(e.op))

    def _ForgetLineage(self, name: str, e: fx.ForgetLineage) -> None:
        for task_id in e.task_ids:
            self.lineage.specs.pop(task_id, None)

    def _SetTimer(self, name: str, e: fx.SetTimer) -> None:
        self.timers.append((e.at_ns, name, e.op))

    def _CancelTimer(self, name: str, e: fx.CancelTimer) -> None:
        self.timers = [each for each in self.timers if each[1:] != (name, e.op)]

    def _WarnDriver(self, name: str, e: fx.WarnDriver) -> None:
        pass

    # -- workers -----------------------------------------------------------------------------------

    def act(self, client: Client, start: fx.StartTask) -> Acting:
        """What a task does."""
        rng = self.rng
        mine = list(dict.fromkeys(start.lent))
        got: tuple[bytes, ...] = ()
        if start.spec.num_returns == STREAMING:
            yield from self.generate(client, start)
            return
        if start.spec.depth < 3 and start.spec.task_id[1] < 256 * self.streams:
            mine += yield from self.consume(client)
        reachable = [each for each in (*mine, start.spec.actor) if each in self.actors]
        for actor in reachable[: rng.randint(0, 1)] if start.spec.depth < 3 else ():
            spec = client.spec((), (), 50, actor=actor, kind=self.actors[actor])
            result_id = return_id(spec.task_id, 0)
            client.lent((result_id,))
            yield events.TaskSubmitted(client.number, spec)
        if start.spec.depth < 3 and not start.spec.actor and rng.random() < 0.5:
            children = []
            for _ in range(rng.randint(1, 2)):
                pool = (*start.spec.deps, *mine, *children)
                deps = tuple(rng.sample(pool, min(len(pool), rng.randint(0, 1))))
                spec = client.spec(deps, (), 50)
                children.append(return_id(spec.task_id, 0))
                client.lent((children[-1],))
                yield events.TaskSubmitted(client.number, spec)
            mine += children
            if rng.random() < 0.5:
                self.ops += 1
                reply = yield events.ObjectsRequested(client.number, self.ops, tuple(children))
                got = reply.object_ids
        if self.naming and start.spec.depth < 3 and rng.random() < self.naming:
            mine += yield from self.name_an_actor(client)
        if rng.random() < 0.3:
            object_id = put_id(client.task_id, client.puts)
            client.puts += 1
            client.lent((object_id,))
            mine.append(object_id)
            yield events.ObjectPut(client.number, object_id, 10, (), False)
        kept = tuple(each for each in dict.fromkeys(mine) if rng.random() < 0.5)
        if start.spec.creation is not None and self.naming:
            kept = ()  # it may have found itself, and what leads to it would be a cycle
        result = Result(b"v", 1, kept)
        if rng.random() < 0.4 and start.spec.creation is None:
            size_bytes = rng.randint(MIB // 2, MIB)
            self.ops += 1
            written = return_id(start.spec.task_id, 0)
            yield events.AllocationRequested(client.number, self.ops, written, size_bytes)
            yield events.ResultWritten(client.number, written)
            result = Result(None, size_bytes, kept)
        given_up = client.give_up(list(client.loans))
        finished = events.TaskFinished(client.number, start.spec.task_id, (result,))
        yield finished if result.payload is None or kept else self.in_short(finished)
        yield given_up
        yield events.PinsReleased(client.number, start.spec.deps + got)

    def in_short(self, finished: events.TaskFinished) -> events.Event:
        """What a worker says if all that came of a task is one small value."""
        payload = finished.results[0].payload
        assert payload is not None
        short = events.TaskDone(finished.client, finished.task_id, payload)
        assert short.in_full() == finished
        return finished if self.in_full else short

    def generate(self, client: Client, start: fx.StartTask) -> Acting:
        """What a generator does: its items are the same in every run, large or small."""
        rng, task_id, number = self.rng, start.spec.task_id, client.number
        ahead, consumed = rng.choice([0, 0, 1, 3]), 0
        if start.spec.actor and not start.spec.options.out_of_order:
            ahead = 0  # a paused call holds up the next, whose items the driver may want first
        for index in range(1, items_of(task_id) + 1):
            object_id = put_id(task_id, client.puts)
            client.puts += 1
            client.lent((object_id,))
            yield events.ObjectPut(number, object_id, 10, (), False)
            kept = (object_id,) if rng.random() < 0.5 else ()
            result = Result(b"v", 1, kept)
            if rng.random() < 0.4:
                size_bytes = rng.randint(MIB // 2, MIB)
                self.ops += 1
                item = return_id(task_id, index)
                yield events.AllocationRequested(number, self.ops, item, size_bytes)
                result = Result(None, size_bytes, kept)
            yield events.ItemYielded(number, task_id, index, result)
            if rng.random() < 0.5:
                yield client.give_up([object_id])
            if ahead and index - consumed >= ahead:
                self.ops += 1
                count = index - ahead + 1
                reply = yield events.ConsumptionAwaited(number, self.ops, task_id, count)
                consumed = reply.consumed
                assert consumed >= count
        given_up = client.give_up(list(client.loans))
        yield self.in_short(events.TaskFinished(number, task_id, (Result(b"v", 1),)))
        yield given_up
        yield events.PinsReleased(number, start.spec.deps)

    def consume(self, client: Client) -> Generator[events.Event, Any, list[bytes]]:
        """A task calls a generator and takes some or all of its items."""
        spec = client.spec((), (), 50, num_returns=STREAMING)
        client.lent((return_id(spec.task_id, 0),))
        yield events.TaskSubmitted(client.number, spec)
        taken: list[bytes] = []
        for _ in range(1, self.rng.randint(1, 8)):
            self.ops += 1
            item, most = return_id(spec.task_id, len(taken) + 1), self.rng.randint(1, 4)
            reply = yield events.NextRequested(client.number, self.ops, item, True, most)
            if reply.state != LENT_ITEM:
                assert len(taken) == items_of(spec.task_id)
                break
            assert reply.count <= most
            taken += consecutive(item, reply.count)
        if self.rng.random() < 0.5:
            yield client.give_up([return_id(spec.task_id, 0)])
        return taken

    def name_an_actor(self, client: Client) -> Generator[events.Event, Any, list[bytes]]:
        """Create an actor with a name, or find it; call it."""
        rng = self.rng
        name = ActorName("ns", rng.choice("ab"))
        creation = ActorOptions(rng.choice((0, -1)), name=name, detached=rng.random() < 0.2)
        spec = client.spec((), (), 50, creation=creation)
        actor = return_id(spec.task_id, 0)
        self.ops += 1
        reply: fx.ReplyName
        if rng.random() < 0.3:
            reply = yield NameSought(client.number, self.ops, name)
        else:
            named = NamedActor(name, actor, client.node, b"")
            reply = yield NameClaimed(client.number, self.ops, named, rng.random() < 0.5)
        if reply.claimed and rng.random() < 0.1:
            yield events.NameDropped(client.number, actor)
        elif reply.claimed:
            self.actors[actor] = None
            client.lent((actor,))
            yield events.TaskSubmitted(client.number, spec)
        elif reply.lent:
            (actor,) = reply.lent
        if actor not in client.loans:
            return []
        if creation.detached or rng.random() < 0.2:
            yield events.ActorKilled(client.number, actor, True)
        spec = client.spec((), (), 50, actor=actor)
        client.lent((return_id(spec.task_id, 0),))
        yield events.TaskSubmitted(client.number, spec)
        return [actor]

    def advance(self, key: Key, answer: Any = None) -> None:
        """Let a task go on until it has to wait for an answer, or for its turn."""
        act = self.acts[key]
        self.paused.pop(key, None)
        name, number, _ = key
        while True:
            try:
                event = act.send(answer)
            except StopIteration:
                del self.acts[key]
                creation = self.starts[key].spec.creation
                if creation is not None and creation.is_concurrent:
                    self.concurrency[name, number] = creation.calls_at_a_time
                return
            answer = None
            self.post_from(name, number, event)
            if isinstance(event, NameClaimed | NameSought):
                self.parked[name, number, event.op] = key
                return
            if isinstance(event, events.AllocationRequested):
                self.allocating[name, number, event.op] = event.object_id
            if isinstance(event, PARKING):
                self.parked[name, number, event.op] = key
                if isinstance(event, events.ConsumptionAwaited):
                    self.paused[key] = event.op
                self.give_back(name, number)
                return
            begun = isinstance(event, events.TaskSubmitted | events.ObjectPut)
            if begun and self.is_call(key) and self.rng.random() < 0.5:
                return  # others may run

    def kill_worker(self, name: str, number: int, reason: str) -> None:
        for key in [key for key in self.acts if key[:2] == (name, number)]:
            self.crashes[key[2]] = self.crashes.get(key[2], 0) + 1
            del self.acts[key]
        self.allocating = {k: v for k, v in self.allocating.items() if k[:2] != (name, number)}
        for op in [op for op in self.parked if op[:2] == (name, number)]:
            self.paused.pop(self.parked.pop(op), None)
        self.concurrency.pop((name, number), None)
        self.queued.pop((name, number), None)
        lane = self.channels.get((name, f"w{number}"))
        if lane is not None:
            lane.clear()
        self.post((name, f"w{number}"), name, events.WorkerExited(number, reason))

    def join_node(self, name: str) -> None:
        """A node joins, and at that moment it and all others know of each other."""
        node = Node(
            name, self.total, capacity_bytes=self.capacity_bytes, spill_limit_bytes=None,
            choices=self.choices, config=self.config,
        )  # fmt: skip
        others = list(self.nodes)
        self.nodes[name] = node
        self.apply(name, node.start(self.now))
        for other in others:
            self.step(name, events.NodeJoined(other, self.total))
        for each in (*self.nodes, messages.GLOBAL):
            self.step(each, events.NodeJoined(name, self.total))
        for dead in self.dead:  # the others may not have heard of it yet
            self.post(("membership", name), name, events.NodeDied(dead))

    def kill_node(self, name: str) -> None:
        del self.nodes[name]
        self.dead.append(name)
        self.channels = {lane: rest for lane, rest in self.channels.items() if name not in lane}
        self.timers = [each for each in self.timers if each[1] != name]
        self.acts = {key: act for key, act in self.acts.items() if key[0] != name}
        self.queued = {key: queue for key, queue in self.queued.items() if key[0] != name}
        for other in [*self.nodes, messages.GLOBAL]:
            self.post(("membership", other), other, events.NodeDied(name))

    # -- placement groups --------------------------------------------------------------------------

    def create_group(self, bundles: int, strategy: str) -> bytes:
        """The driver asks for a group of bundles of one CPU."""
        group_id = child_task_id(self.driver.task_id, self.driver.submitted)
        self.driver.submitted += 1
        self.step(
            "n0", events.GroupsRequested(DRIVER, 0, GroupSpec(group_id, (CPU,) * bundles, strategy))
        )
        return group_id

    def remove_group(self, group_id: bytes) -> None:
        self.step("n0", events.GroupsRequested(DRIVER, 0, GroupRemoval(group_id)))

    # -- the run -----------------------------------------------------------------------------------

    def turn(self) -> bool:
        """One random thing happens; False when nothing can."""
        rng = self.rng
        lanes = [lane for lane, queue in self.channels.items() if queue]
        ready = [worker for worker, queue in self.queued.items() if queue and self.has_room(worker)]
        paused = [key for key in self.acts if key not in self.parked.values()]
        if len(self.nodes) > 1 and self.kills_left and rng.random() < 0.01:
            self.kills_left -= 1
            self.kill_node(rng.choice([name for name in self.nodes if name != "n0"]))
            return True
        if self.joins_left and rng.random() < 0.01:
            self.joins_left -= 1
            self.join_node(f"late{self.joins_left}")
            return True
        if self.acts and rng.random() < self.crash:
            name, number, _ = rng.choice(list(self.acts))
            self.kill_worker(name, number, "crashed")
            return True
        if paused and rng.random() < 0.5:
            self.advance(rng.choice(paused))
            return True
        if not lanes and not ready:
            if paused:
                return True
            if not self.timers:
                return False
            self.timers.sort()
            self.now, name, op = self.timers.pop(0)
            self.step(name, events.TimerFired(op))
            return True
        which = rng.randrange(len(lanes) + len(ready))
        self.now += 1000
        if which < len(lanes):
            lane = self.channels[lanes[which]]
            name, event = lane.popleft()
            together = [event]
            while isinstance(event, TOGETHER) and lane and isinstance(lane[0][1], TOGETHER):
                if rng.random() < 0.5:
                    break
                together.append(lane.popleft()[1])
            self.step_together(name, together)
        else:
            name, number = ready[which - len(lanes)]
            start = self.queued[name, number].popleft()
            if start is None:
                self.kill_worker(name, number, "stopped")
                return True
            task_id = start.spec.task_id
            self.executions[task_id] = self.executions.get(task_id, 0) + 1
            if start.spec.actor and not start.spec.options.out_of_order:
                call = (start.spec.parent_id, start.spec.index)
                self.calls.setdefault(start.spec.actor, []).append(call)
            client = Client(name, number, task_id, start.spec.depth)
            client.lent(start.lent)
            key = name, number, task_id
            self.clients[key], self.starts[key] = client, start
            self.acts[key] = self.act(client, start)
            self.advance(key)
        return True

    def has_room(self, worker: tuple[str, int]) -> bool:
        """Whether a worker can begin what is first in its queue."""
        running = sum(key[:2] == worker for key in self.acts)
        first = self.queued[worker][0]
        return running < (1 if first is None else self.concurrency.get(worker, 1))

    def run(self, limit: int = 200_000) -> None:
        for _ in range(limit):
            if not self.turn():
                return
        raise AssertionError(f"still running after {limit} turns")
