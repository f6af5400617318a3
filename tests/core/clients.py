"""The clients of bare machines: what a driver or a worker knows of its refs and its tasks."""

from __future__ import annotations

import msgspec

from rsim.core import effects as fx
from rsim.core import events
from rsim.core.bundles import demand_in, placed_in
from rsim.core.ids import child_task_id, consecutive
from rsim.core.records import ActorOptions, Strategy, TaskOptions, TaskSpec
from tests.core.specs import task_spec

CPU = (("CPU", 10_000),)

_known: dict[TaskOptions, TaskOptions] = {}


class Client:
    """Counts refs as the real client does."""

    def __init__(self, node: str, number: int, task_id: bytes, depth: int) -> None:
        self.node, self.number, self.task_id, self.depth = node, number, task_id, depth
        self.submitted = self.puts = 0
        self.loans: dict[bytes, int] = {}

    def lent(self, object_ids: tuple[bytes, ...]) -> None:
        for object_id in object_ids:
            self.loans[object_id] = self.loans.get(object_id, 0) + 1

    def unlent(self, reply: fx.ReplyNext) -> None:
        for each in consecutive(reply.object_id, reply.count):
            self.loans[each] -= 1
            if not self.loans[each]:
                del self.loans[each]

    def give_up(self, object_ids: list[bytes]) -> events.RefsReleased:
        counts = tuple(self.loans.pop(each) for each in object_ids)
        return events.RefsReleased(self.number, tuple(object_ids), counts)

    def spec(
        self,
        deps: tuple[bytes, ...],
        borrows: tuple[bytes, ...],
        retries: int,
        strategy: Strategy | None = None,
        *,
        creation: ActorOptions | None = None,
        actor: bytes = b"",
        kind: ActorOptions | None = None,
        num_returns: int = 1,
        group: bytes = b"",
        bundle: int = -1,
    ) -> TaskSpec:
        """``kind``: of the actor that is called."""
        task_id = child_task_id(self.task_id, self.submitted)
        self.submitted += 1
        options = TaskOptions(CPU, retries, False, strategy or Strategy())
        if group:
            demand, place = placed_in(group, bundle, False, CPU, Strategy())
            if creation is not None:
                held = demand_in(creation.held, group, bundle)
                creation = msgspec.structs.replace(creation, held=held)
            options = TaskOptions(demand, retries, False, place)
        function = b"f" * 16
        if actor:
            loose = kind is not None and kind.is_concurrent
            group = kind.groups[0][0] if kind and kind.groups and self.submitted % 2 else ""
            options = TaskOptions((), retries, out_of_order=loose, group=group)
        options = _known.setdefault(options, options)  # as calls of a remote function share theirs
        return task_spec(
            task_id, self.task_id, self.submitted - 1, self.depth + 1, function,
            f"t{task_id.hex()[:6]}", b"x", deps, borrows, num_returns, options, creation, actor,
            "method",
        )  # fmt: skip
