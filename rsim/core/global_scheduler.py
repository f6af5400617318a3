"""The global scheduler: on which node a task runs that its local scheduler does not keep.

Decides late: a request waits here until the policy names a node that is free, in this view of it,
and then reserves the task's demand there in the same step. Must never reserve what a node's view
does not have, nor answer a request twice in different ways. Owns the waiting requests; in `Fleet`
the view of the cluster with the reservations, in `Groups` the placement groups, and in `Orphans`
who adopts the objects of a dead node.

Order. Requests of one demand and strategy (a shape) form a queue, first in, first out; whenever
something becomes free, the shapes that fit take turns in the order in which their first requests
came. A shape that fits nowhere now costs one comparison per event that frees something it asks for,
however many requests it has.

Reservations. One lasts from the placement until the node reports the task as accepted (its own
``available`` then accounts for it), the source withdraws the request, or either node dies. A node's
report replaces the view of it, less the reservations that are left. Hence the rules for nodes:

* whoever gets a ``TaskPlacement`` that it does not want (any more) answers ``PlacementWithdrawal``;
* a placement on a node that the source knows to be dead is declined so, and asked for again;
* a task placed on the asking node itself is reported as accepted like one that was forwarded;
* a node that refuses or drops a forwarded task reports it as accepted all the same.

A repeated request gets the same answer again. A request of another source, or of another number
(``op``), for a task supersedes the first. Names of dead nodes do not come back.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from hashlib import blake2b
from heapq import heapify, heappop, heappush

import msgspec

from rsim.core.bundles import mark_of
from rsim.core.choices import Choices
from rsim.core.effects import Effect, Send
from rsim.core.events import Event, MessageArrived, NodeDied, NodeJoined, TimerFired
from rsim.core.fleet import Fleet, Member
from rsim.core.groups import Groups
from rsim.core.ids import TASK_ID_BYTES
from rsim.core.messages import (
    GLOBAL,
    BundleReply,
    GroupQuestion,
    OrphanReport,
    PlacementFailure,
    PlacementRequest,
    PlacementWithdrawal,
    ResourceReport,
    TaskPlacement,
)
from rsim.core.orphans import LineageView, NoLineage, Orphans
from rsim.core.policies import Composite, NodeView, TaskView, as_policy
from rsim.core.records import Demand, Strategy
from rsim.core.resources import format_demand
from rsim.exceptions import PolicyError


class _Request:
    """A request, waiting in its shape's queue or placed on ``node``."""

    __slots__ = ("message", "node", "number", "shape", "source", "told")

    def __init__(self, number: int, source: str, message: PlacementRequest, shape: _Shape) -> None:
        self.number = number
        self.source = source
        self.message = message
        self.shape = shape
        self.node = ""
        self.told = False
        """The source knows that no node can run the task."""


class _Shape:
    """The waiting requests of one demand and strategy; exists only while there are some."""

    __slots__ = ("demand", "feasible", "queue", "strategy")

    def __init__(self, demand: Demand, strategy: Strategy) -> None:
        self.demand = demand
        self.strategy = strategy
        self.queue: OrderedDict[bytes, _Request] = OrderedDict()
        self.feasible = False
        """Some living node could run them, were it idle."""

    @property
    def first(self) -> _Request:
        return next(iter(self.queue.values()))


class GlobalScheduler:
    """The machine at the address ``messages.GLOBAL``.

    ``policy``: a name, an object with ``place``, or None for Ray's. `PolicyError` out of `handle`
    when it names a node that does not exist or can never run the task.
    """

    name = GLOBAL
    """Its address."""

    def __init__(
        self, policy: object, choices: Choices, lineage: LineageView | None = None
    ) -> None:
        policy = as_policy(policy)
        self._policy = policy if isinstance(policy, Composite) else Composite(policy)
        self._choices = choices
        self._fleet = Fleet()
        self._groups = Groups(self._fleet)
        self._requests: dict[bytes, _Request] = {}
        self._shapes: dict[tuple[Demand, Strategy], _Shape] = {}
        self._by_resource: dict[str, dict[_Shape, None]] = {}
        """The shapes that ask for a resource."""
        self._held: dict[_Shape, None] = {}
        """For these a node was free, but the policy waits for another one: ask again whenever
        anything has changed.
        """
        self._due: dict[_Shape, None] = {}
        """Their first requests are new."""
        self._orphans = Orphans(self._fleet.members, lineage or NoLineage())
        self._arrivals = 0
        self._out: list[Effect] = []

    def handle(self, event: Event, now_ns: int) -> list[Effect]:
        """Take a step. TypeError for an event or message that is not for a global scheduler."""
        self._out = []
        self._groups.now_ns = now_ns
        if isinstance(event, MessageArrived):
            self._message(event.source, event.message)
        elif isinstance(event, NodeJoined):
            if self._fleet.join(event.node, event.total, event.labels):
                self._node_joined()
        elif isinstance(event, NodeDied):
            if self._fleet.die(event.node):
                self._node_died(event.node)
        elif not isinstance(event, TimerFired):
            raise TypeError(f"the global scheduler got {event!r}")
        self._settle()
        return self._out

    def _message(self, source: str, message: msgspec.Struct) -> None:
        if isinstance(message, ResourceReport):
            self._reported(source, message)
        elif isinstance(message, PlacementRequest):
            self._requested(source, message)
        elif isinstance(message, PlacementWithdrawal):
            request = self._requests.get(message.task_id)
            known = request is not None and request.source == source
            if request is not None and known and request.message.op == message.op:
                self._drop(request)
        elif isinstance(message, GroupQuestion):
            self._groups_asked(source, message)
        elif isinstance(message, BundleReply):
            self._groups.answered(source, message)
        elif isinstance(message, OrphanReport):
            self._out += self._orphans.report(source, message)
        else:
            raise TypeError(f"the global scheduler got {message!r} from {source!r}")

    # -- requests ---------------------------------------------------------------------------------

    def _requested(self, source: str, message: PlacementRequest) -> None:
        if source in self._fleet.dead:
            return
        task_id, demand, strategy = message.task_id, message.demand, message.strategy
        known = self._requests.get(task_id)
        if known is not None:
            if known.source == source and known.message.op == message.op:
                if known.node:
                    self._out.append(Send(source, TaskPlacement(task_id, known.node, message.op)))
                return
            self._drop(known)
        if self._is_hopeless(demand, strategy):
            self._fail(source, message, final=True)
            return
        shape = self._shapes.get((demand, strategy))
        if shape is None:
            shape = self._open(demand, strategy)
        self._arrivals += 1
        request = _Request(self._arrivals, source, message, shape)
        shape.queue[task_id] = self._requests[task_id] = request
        if not shape.feasible:
            self._tell_infeasible(shape, [request])
        elif len(shape.queue) == 1:
            self._due[shape] = None

    def _open(self, demand: Demand, strategy: Strategy) -> _Shape:
        shape = self._shapes[demand, strategy] = _Shape(demand, strategy)
        shape.feasible = self._is_feasible(shape)
        for name, _ in demand:
            self._by_resource.setdefault(name, {})[shape] = None
        return shape

    def _close(self, shape: _Shape) -> None:
        """Nothing of the shape waits any more."""
        del self._shapes[shape.demand, shape.strategy]
        self._held.pop(shape, None)
        for name, _ in shape.demand:
            asking = self._by_resource[name]
            del asking[shape]
            if not asking:
                del self._by_resource[name]

    def _is_hopeless(self, demand: Demand, strategy: Strategy) -> bool:
        """Whether such a task must not wait: what it insists on is not there."""
        if strategy.kind == "GROUP":
            return not self._groups.exists(strategy.group)
        if strategy.kind != "AFFINITY" or strategy.soft:
            return False
        node = self._fleet.members.get(strategy.node)
        if node is None or not node.view.fits_total(demand) or not node.view.suits(strategy):
            return True
        return strategy.fails and not node.view.fits_now(demand)

    def _drop(self, request: _Request) -> None:
        """Forget a request, and give back what is reserved for it."""
        del self._requests[request.message.task_id]
        shape = request.shape
        if request.node:
            self._fleet.release(request.node, request.message.task_id)
            return
        if shape.first is request:
            self._due[shape] = None
        self._unqueue(request)

    def _unqueue(self, request: _Request) -> None:
        """Take a request out of its queue."""
        shape = request.shape
        del shape.queue[request.message.task_id]
        if not shape.queue:
            self._close(shape)

    def _tell_infeasible(self, shape: _Shape, requests: Iterable[_Request]) -> None:
        for request in requests:
            if not request.told:
                request.told = True
                self._fail(request.source, request.message, final=False)

    def _fail(self, source: str, message: PlacementRequest, *, final: bool) -> None:
        strategy = message.strategy
        reason = reason_against(self._fleet, message.demand, strategy)
        removed = final and strategy.kind == "GROUP"
        failure = PlacementFailure(message.task_id, reason, final, message.op, removed)
        self._out.append(Send(source, failure))

    # -- placement --------------------------------------------------------------------------------

    def _is_feasible(self, shape: _Shape) -> bool:
        demand, strategy = shape.demand, shape.strategy
        if strategy.kind == "GROUP":  # while there is such a group, there will be room
            return True
        return any(view.fits_total(demand) and view.suits(strategy) for view in self._fleet.views)

    def _settle(self) -> None:
        """Place what there may be room for since the last time, groups first."""
        due, self._due = self._due, {}
        news = self._fleet.take_news()
        if news is not None:
            self._groups.retry(news)
            due.update(self._held)
            for node, names in news.items():
                due.update(self._fitting(node, names))
        self._out += self._groups.take()
        if due:
            self._serve(due)

    def _fitting(self, node: str, names: Iterable[str]) -> dict[_Shape, None]:
        """The shapes that ask for one of these resources and fit on the node now."""
        member = self._fleet.members.get(node)
        if member is None:
            return {}
        return {
            shape: None
            for name in names
            for shape in self._by_resource.get(name, ())
            if member.view.fits_now(shape.demand)
        }

    def _serve(self, shapes: Iterable[_Shape]) -> None:
        """Place what can be placed from these queues, the earliest request first."""
        heads = [(shape.first.number, shape) for shape in shapes if shape.queue]
        heapify(heads)
        while heads:
            _, shape = heappop(heads)
            request = shape.first
            node = self._choose(request)
            if node is not None:
                self._unqueue(request)
                self._reserve(node, request)
                if shape.queue:
                    heappush(heads, (shape.first.number, shape))

    def _choose(self, request: _Request) -> Member | None:
        """The node that the policy names, if it is free."""
        message, shape = request.message, request.shape
        demand = message.demand
        self._held.pop(shape, None)
        strategy, views = message.strategy, self._fleet.views
        if not any(view.fits_now(demand) and view.suits(strategy) for view in views):
            return None
        task = TaskView(message.task_id, demand, strategy, message.locality, request.source)
        answer = self._policy.place(task, self._fleet.cluster, self._choices)
        node = None if answer is None else self._valid(task, answer)
        if node is None or not node.view.fits_now(demand):
            self._held[shape] = None
            return None
        return node

    def _valid(self, task: TaskView, answer: object) -> Member:
        node = self._fleet.members.get(answer) if isinstance(answer, str) else None
        if node is not None and node.view.fits_total(task.demand):
            return node
        if node is None:
            names = ", ".join(view.name for view in self._fleet.views)
            why = f"there is no such node; valid: {names}"
            if not isinstance(answer, str):
                why = f"not the name of a node, nor None to let it wait; valid: {names}"
        else:
            total = format_demand(tuple(node.view.total.items()))
            why = f"which has {total} in total, but the task needs {format_demand(task.demand)}"
        policy = self._policy.decider(task.strategy)
        raise PolicyError(f"policy {policy} placed task {task.task_id.hex()} on {answer!r}: {why}")

    def _reserve(self, node: Member, request: _Request) -> None:
        message = request.message
        request.node = node.view.name
        self._fleet.reserve(request.node, message.task_id, message.demand)
        answer = TaskPlacement(message.task_id, request.node, message.op)
        self._out.append(Send(request.source, answer))

    # -- placement groups -------------------------------------------------------------------------

    def _groups_asked(self, source: str, message: GroupQuestion) -> None:
        if source in self._fleet.dead:
            return
        ended = self._groups.asked(source, message)
        self._out += self._groups.take()
        if not ended:
            return
        shapes = list(self._by_resource.get(mark_of(ended), ()))
        requests = [request for shape in shapes for request in shape.queue.values()]
        for request in sorted(requests, key=lambda each: each.number):
            self._drop_quietly(request)
            self._fail(request.source, request.message, final=True)

    # -- nodes ------------------------------------------------------------------------------------

    def _reported(self, source: str, report: ResourceReport) -> None:
        ended = self._fleet.report(source, report)
        if ended is None:
            return
        for key in ended:
            self._requests.pop(key, None)  # else it was a reservation of bundles

    def _node_joined(self) -> None:
        for shape in self._shapes.values():
            shape.feasible = shape.feasible or self._is_feasible(shape)
            self._due[shape] = None

    def _node_died(self, dead: str) -> None:
        for request in list(self._requests.values()):
            strategy = request.message.strategy
            if request.node == dead:
                del self._requests[request.message.task_id]
            elif request.source == dead:
                self._drop_quietly(request)
            elif not request.node and strategy.node == dead and not strategy.soft:
                self._drop_quietly(request)
                self._fail(request.source, request.message, final=True)
        for shape in self._shapes.values():
            shape.feasible = self._is_feasible(shape)
            if not shape.feasible:
                self._tell_infeasible(shape, shape.queue.values())
        self._groups.node_died(dead)
        self._settle()
        self._out += self._orphans.node_died(dead)

    def _drop_quietly(self, request: _Request) -> None:
        """Forget a request without placing others in its stead yet."""
        task_id = request.message.task_id
        del self._requests[task_id]
        if request.node:
            self._fleet.release(request.node, task_id)
        else:
            self._unqueue(request)

    # -- reports and checks -----------------------------------------------------------------------

    def views(self) -> list[NodeView]:
        """The nodes as policies see them, sorted by name."""
        return list(self._fleet.views)

    def infeasible(self) -> list[PlacementRequest]:
        """The requests that no node of the cluster could ever satisfy, in order of arrival."""
        return [
            request.message
            for request in self._requests.values()
            if not request.node and not request.shape.feasible
        ]

    def waiting_report(self) -> list[str]:
        """A line for each kind of request that waits, and for what."""
        lines = []
        for shape in self._shapes.values():
            first, count = shape.first, len(shape.queue)
            demand, strategy = shape.demand, shape.strategy
            where = f" on {strategy.node}" if strategy.kind == "AFFINITY" else ""
            why = ": none is free"
            if not shape.feasible:
                why = f", which {reason_against(self._fleet, demand, strategy)}"
            who = f"task {first.message.task_id.hex()} of {first.source}"
            who = f"{who} waits" if count == 1 else f"{count} tasks, first {who}, wait"
            lines.append(f"{who} for {format_demand(demand)}{where}{why}")
        return lines + self._groups.waiting_report() + self._orphans.waiting_report()

    def quiescent(self) -> bool:
        """Whether nothing is in flight that was started here (requests may well wait)."""
        return self._orphans.quiescent() and self._groups.quiescent()

    def check(self) -> None:
        """Derive views, queues and feasibility again, and compare."""
        self._fleet.check()
        self._groups.check()
        placed = {
            task_id: (name, demand)
            for name, member in self._fleet.members.items()
            for task_id, demand in member.reservations.items()
            if len(task_id) == TASK_ID_BYTES  # else it is for bundles
        }
        for (demand, strategy), shape in self._shapes.items():
            assert shape.queue and (demand, strategy) == (shape.demand, shape.strategy)
            assert shape.feasible == self._is_feasible(shape)
            views = self._fleet.views
            free_now = any(view.fits_now(demand) and view.suits(strategy) for view in views)
            waits_well = shape in self._held or not free_now
            assert waits_well, f"{format_demand(demand)} waits without reason"
            assert all(shape in self._by_resource[name] for name, _ in demand)
            numbers = [request.number for request in shape.queue.values()]
            assert numbers == sorted(numbers)
        indexed = (shape for shapes in self._by_resource.values() for shape in shapes)
        assert all(shape.queue for shape in (*indexed, *self._held))
        for task_id, request in self._requests.items():
            assert task_id == request.message.task_id and request.source not in self._fleet.dead
            expected = (request.node, request.message.demand) if request.node else None
            assert placed.pop(task_id, None) == expected, task_id.hex()
            assert (request.shape.queue.get(task_id) is request) == (not request.node)
        assert not placed, "reservations without a request"
        self._orphans.check()

    def fingerprint(self) -> str:
        """A digest of the state; equal for equal histories."""
        state = (
            self._fleet.state(),
            self._groups.state(),
            [(r.source, r.message, r.node, r.number, r.told) for r in self._requests.values()],
            [(s.demand, s.strategy, s.feasible, s in self._held) for s in self._shapes.values()],
            self._policy.fingerprint(),
            self._orphans.state(),
        )
        return blake2b(repr(state).encode(), digest_size=16).hexdigest()


def reason_against(fleet: Fleet, demand: Demand, strategy: Strategy) -> str:
    """Why no node can run such a task; for "it asks for {...}, which ..." unless final."""
    if strategy.kind == "GROUP":
        return f"its placement group {strategy.group.hex()} was removed"
    if strategy.kind != "AFFINITY" or strategy.soft:
        if any(view.fits_total(demand) for view in fleet.views):
            return "no node with the labels that it selects has in total"
        return "no node has in total"
    name = strategy.node
    node = fleet.members.get(name)
    if node is None:
        state = "is dead" if name in fleet.dead else "does not exist"
        return f"node {name!r} {state}, and the task may run nowhere else"
    if not node.view.fits_total(demand):
        total = format_demand(tuple(node.view.total.items()))
        return f"node {name!r} has {total} in total, not {format_demand(demand)}"
    if not node.view.suits(strategy):
        return f"node {name!r} has not the labels that the task selects"
    return f"node {name!r} is busy, and the task is not to wait for it"
