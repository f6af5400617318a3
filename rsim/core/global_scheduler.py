"""The global scheduler: on which node a task runs that its local scheduler does not keep.

Decides late: a request waits here until the policy names a node that is free, in this view of it,
and then reserves the task's demand there in the same step. Must never reserve what a node's view
does not have, nor answer a request twice in different ways. Owns the view of the cluster, the
waiting requests, the reservations and, in `Orphans`, who adopts the objects of a dead node.

Order. Requests of one demand and strategy (a shape) form a queue, first in, first out; whenever
something becomes free, the shapes that fit take turns in the order in which their first requests
came. A shape that fits nowhere now costs one comparison per event, however many requests it has.

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

from rsim.core.choices import Choices
from rsim.core.effects import Effect, Send
from rsim.core.events import Event, MessageArrived, NodeDied, NodeJoined, TimerFired
from rsim.core.messages import (
    GLOBAL,
    OrphanReport,
    PlacementFailure,
    PlacementRequest,
    PlacementWithdrawal,
    ResourceReport,
    TaskPlacement,
)
from rsim.core.orphans import LineageView, NoLineage, Orphans
from rsim.core.policies import (
    ClusterView,
    Composite,
    NodeView,
    PolicyError,
    TaskView,
    as_policy,
)
from rsim.core.records import Demand, Strategy
from rsim.core.resources import fits, format_demand


class _Node:
    """A living node: its last report, and what is reserved on top of that."""

    __slots__ = ("index", "reported", "reservations", "seq", "view")

    def __init__(self, name: str, total: Demand) -> None:
        self.reported = dict(total)
        self.reservations: dict[bytes, Demand] = {}
        self.seq = -1
        self.view = NodeView(name, dict(total), dict(total))
        self.index = 0
        """Where its view is among all."""


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

    __slots__ = ("demand", "feasible", "held", "queue", "strategy")

    def __init__(self, demand: Demand, strategy: Strategy) -> None:
        self.demand = demand
        self.strategy = strategy
        self.queue: OrderedDict[bytes, _Request] = OrderedDict()
        self.feasible = False
        """Some living node could run them, were it idle."""
        self.held = False
        """A node was free, but the policy waits for another one: ask again at every event."""

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
        self._nodes: dict[str, _Node] = {}
        self._dead: dict[str, None] = {}
        self._views: list[NodeView] = []
        self._cluster = ClusterView(self._views)
        self._requests: dict[bytes, _Request] = {}
        self._shapes: dict[tuple[Demand, Strategy], _Shape] = {}
        self._orphans = Orphans(self._nodes, lineage or NoLineage())
        self._arrivals = 0
        self._out: list[Effect] = []

    def handle(self, event: Event, now_ns: int) -> list[Effect]:
        """Take a step. TypeError for an event or message that is not for a global scheduler."""
        self._out = []
        if isinstance(event, MessageArrived):
            self._message(event.source, event.message)
        elif isinstance(event, NodeJoined):
            self._node_joined(event)
        elif isinstance(event, NodeDied):
            self._node_died(event.node)
        elif not isinstance(event, TimerFired):
            raise TypeError(f"the global scheduler got {event!r}")
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
        elif isinstance(message, OrphanReport):
            self._out += self._orphans.report(source, message)
        else:
            raise TypeError(f"the global scheduler got {message!r} from {source!r}")

    # -- requests ---------------------------------------------------------------------------------

    def _requested(self, source: str, message: PlacementRequest) -> None:
        if source in self._dead:
            return
        task_id, demand, strategy = message.task_id, message.demand, message.strategy
        known = self._requests.get(task_id)
        if known is not None:
            if known.source == source and known.message.op == message.op:
                if known.node:
                    self._out.append(Send(source, TaskPlacement(task_id, known.node, message.op)))
                return
            self._drop(known)
        if strategy.kind == "AFFINITY" and not strategy.soft:
            node = self._nodes.get(strategy.node)
            if node is None or not node.view.fits_total(demand):
                self._fail(source, message, final=True)
                return
        shape = self._shapes.get((demand, strategy))
        if shape is None:
            shape = self._shapes[demand, strategy] = _Shape(demand, strategy)
            shape.feasible = self._is_feasible(shape)
        self._arrivals += 1
        request = _Request(self._arrivals, source, message, shape)
        shape.queue[task_id] = self._requests[task_id] = request
        if not shape.feasible:
            self._tell_infeasible(shape, [request])
        elif len(shape.queue) == 1:
            self._serve([shape])

    def _drop(self, request: _Request) -> None:
        """Forget a request, and give back what is reserved for it."""
        del self._requests[request.message.task_id]
        shape = request.shape
        if request.node:
            self._release(request)
        elif self._unqueue(request):
            self._serve([shape])

    def _unqueue(self, request: _Request) -> bool:
        """Take a request out of its queue; whether another one is first in it now."""
        shape = request.shape
        was_first = shape.first is request
        del shape.queue[request.message.task_id]
        if not shape.queue:
            del self._shapes[shape.demand, shape.strategy]
        return was_first and bool(shape.queue)

    def _tell_infeasible(self, shape: _Shape, requests: Iterable[_Request]) -> None:
        for request in requests:
            if not request.told:
                request.told = True
                self._fail(request.source, request.message, final=False)

    def _fail(self, source: str, message: PlacementRequest, *, final: bool) -> None:
        reason = self._reason(message.demand, message.strategy)
        self._out.append(Send(source, PlacementFailure(message.task_id, reason, final, message.op)))

    def _reason(self, demand: Demand, strategy: Strategy) -> str:
        """Why no node can run such a task; for "it asks for {...}, which ..." unless final."""
        if strategy.kind != "AFFINITY" or strategy.soft:
            return "no node has in total"
        node = self._nodes.get(strategy.node)
        if node is not None:
            total = format_demand(tuple(node.view.total.items()))
            return f"node {strategy.node!r} has {total} in total, not {format_demand(demand)}"
        state = "is dead" if strategy.node in self._dead else "does not exist"
        return f"node {strategy.node!r} {state}, and the task may run nowhere else"

    # -- placement --------------------------------------------------------------------------------

    def _is_feasible(self, shape: _Shape) -> bool:
        return any(view.fits_total(shape.demand) for view in self._views)

    def _freed(self, node: _Node) -> None:
        """Something may be free on ``node``: place what waits for it."""
        available = node.view.available
        self._serve(
            [each for each in self._shapes.values() if each.held or fits(available, each.demand)]
        )

    def _serve(self, shapes: Iterable[_Shape]) -> None:
        """Place what can be placed from these queues, the earliest request first."""
        heads = [(shape.first.number, shape) for shape in shapes]
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

    def _choose(self, request: _Request) -> _Node | None:
        """The node that the policy names, if it is free."""
        message, shape = request.message, request.shape
        demand = message.demand
        shape.held = False
        if not any(view.fits_now(demand) for view in self._views):
            return None
        task = TaskView(message.task_id, demand, message.strategy, message.locality, request.source)
        answer = self._policy.place(task, self._cluster, self._choices)
        node = None if answer is None else self._valid(task, answer)
        shape.held = node is None or not node.view.fits_now(demand)
        return None if shape.held else node

    def _valid(self, task: TaskView, answer: object) -> _Node:
        node = self._nodes.get(answer) if isinstance(answer, str) else None
        if node is not None and node.view.fits_total(task.demand):
            return node
        if node is None:
            why = f"there is no such node; valid: {', '.join(view.name for view in self._views)}"
        else:
            total = format_demand(tuple(node.view.total.items()))
            why = f"which has {total} in total, but the task needs {format_demand(task.demand)}"
        policy = self._policy.decider(task.strategy)
        raise PolicyError(f"policy {policy} placed task {task.task_id.hex()} on {answer!r}: {why}")

    def _reserve(self, node: _Node, request: _Request) -> None:
        message = request.message
        request.node = node.view.name
        node.reservations[message.task_id] = message.demand
        self._adjust(node, message.demand, -1)
        answer = TaskPlacement(message.task_id, request.node, message.op)
        self._out.append(Send(request.source, answer))

    def _release(self, request: _Request) -> None:
        node = self._nodes[request.node]
        self._adjust(node, node.reservations.pop(request.message.task_id), 1)
        self._freed(node)

    def _adjust(self, node: _Node, demand: Demand, sign: int) -> None:
        available = dict(node.view.available)
        for name, units in demand:
            available[name] = available.get(name, 0) + sign * units
        self._show(node, available, node.view.queued)

    def _show(self, node: _Node, available: dict[str, int], queued: int) -> None:
        """Let policies see this of a node; the old view stays as it was."""
        view = NodeView(node.view.name, node.view.total, available, queued)
        node.view = self._views[node.index] = view

    # -- nodes ------------------------------------------------------------------------------------

    def _reported(self, source: str, report: ResourceReport) -> None:
        node = self._nodes.get(source)
        if node is None or report.seq <= node.seq:
            return
        node.seq = report.seq
        node.reported = dict(report.available)
        for task_id in report.accepted:
            if node.reservations.pop(task_id, None) is not None:
                del self._requests[task_id]
        available = dict(report.available)
        for demand in node.reservations.values():
            for name, units in demand:
                available[name] = available.get(name, 0) - units
        self._show(node, available, report.queued)
        self._freed(node)

    def _node_joined(self, event: NodeJoined) -> None:
        if event.node in self._nodes or event.node in self._dead:
            return
        node = self._nodes[event.node] = _Node(event.node, event.total)
        self._arrange()
        for shape in self._shapes.values():
            shape.feasible = shape.feasible or node.view.fits_total(shape.demand)
        self._freed(node)

    def _node_died(self, dead: str) -> None:
        if dead in self._dead:
            return
        self._dead[dead] = None
        self._nodes.pop(dead, None)
        self._arrange()
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
        self._serve(list(self._shapes.values()))
        self._out += self._orphans.node_died(dead)

    def _drop_quietly(self, request: _Request) -> None:
        """Forget a request without placing others in its stead yet."""
        task_id = request.message.task_id
        del self._requests[task_id]
        if request.node:
            node = self._nodes[request.node]
            self._adjust(node, node.reservations.pop(task_id), 1)
        else:
            self._unqueue(request)

    def _arrange(self) -> None:
        """Nodes came or went: sort the views by name."""
        self._views[:] = sorted(
            (node.view for node in self._nodes.values()), key=lambda view: view.name
        )
        for index, view in enumerate(self._views):
            self._nodes[view.name].index = index

    # -- reports and checks -----------------------------------------------------------------------

    def views(self) -> list[NodeView]:
        """The nodes as policies see them, sorted by name."""
        return list(self._views)

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
            why = "none is free" if shape.feasible else self._reason(demand, strategy)
            lines.append(
                f"{count} task{'s' if count > 1 else ''} from {first.message.task_id.hex()} of "
                f"{first.source} on: wait for {format_demand(demand)}{where}: {why}"
            )
        return lines + self._orphans.waiting_report()

    def quiescent(self) -> bool:
        """Whether nothing is in flight that was started here (requests may well wait)."""
        return self._orphans.quiescent()

    def check(self) -> None:
        """Derive views, queues and feasibility again, and compare."""
        assert [view.name for view in self._views] == sorted(self._nodes)
        placed = {}
        for name, node in self._nodes.items():
            assert name not in self._dead and self._views[node.index] is node.view
            free = dict(node.reported)
            for task_id, demand in node.reservations.items():
                placed[task_id] = (name, demand)
                for resource, units in demand:
                    free[resource] = free.get(resource, 0) - units
            shown = node.view.available
            for resource in (*free, *shown):
                assert free.get(resource, 0) == shown.get(resource, 0), (name, resource)
        for (demand, strategy), shape in self._shapes.items():
            assert shape.queue and (demand, strategy) == (shape.demand, shape.strategy)
            assert shape.feasible == self._is_feasible(shape)
            free_now = any(view.fits_now(demand) for view in self._views)
            assert shape.held or not free_now, f"{format_demand(demand)} waits without reason"
            numbers = [request.number for request in shape.queue.values()]
            assert numbers == sorted(numbers)
        for task_id, request in self._requests.items():
            assert task_id == request.message.task_id and request.source not in self._dead
            expected = (request.node, request.message.demand) if request.node else None
            assert placed.pop(task_id, None) == expected, task_id.hex()
            assert (request.shape.queue.get(task_id) is request) == (not request.node)
        assert not placed, "reservations without a request"
        self._orphans.check()

    def fingerprint(self) -> str:
        """A digest of the state; equal for equal histories."""
        state = (
            [
                (name, node.seq, node.view.queued, sorted(node.reported.items()), node.reservations)
                for name, node in self._nodes.items()
            ],
            list(self._dead),
            [(r.source, r.message, r.node, r.number, r.told) for r in self._requests.values()],
            [(s.demand, s.strategy, s.feasible, s.held) for s in self._shapes.values()],
            self._policy.fingerprint(),
            self._orphans.state(),
        )
        return blake2b(repr(state).encode(), digest_size=16).hexdigest()
