"""A global scheduler at work, for its tests."""

from collections.abc import Sequence

from rsim.core.choices import FirstChoice
from rsim.core.effects import Effect, Send
from rsim.core.events import MessageArrived, NodeDied, NodeJoined
from rsim.core.global_scheduler import GlobalScheduler
from rsim.core.ids import child_task_id
from rsim.core.messages import (
    PlacementFailure,
    PlacementRequest,
    PlacementWithdrawal,
    ResourceReport,
    TaskPlacement,
)
from rsim.core.records import RESOURCE_UNITS, Strategy, TaskSpec
from rsim.core.resources import demand_of


def task_id(number: int) -> bytes:
    return child_task_id(b"root", number)


class Desk:
    """A global scheduler at work; every step is checked, and its answers are put in plain words."""

    def __init__(self, *nodes: str, cpus: float = 2, policy: object = None) -> None:
        self.lineage: dict[bytes, TaskSpec] = {}
        self.machine = GlobalScheduler(policy, FirstChoice(), self)
        self.seq = 0
        for name in nodes:
            self.join(name, cpus)

    def spec(self, task_id: bytes) -> TaskSpec | None:
        return self.lineage.get(task_id)

    def step(self, event: object) -> list[Effect]:
        effects = self.machine.handle(event, 0)  # type: ignore[arg-type]
        self.machine.check()
        return effects

    def send(self, source: str, message: object) -> list[object]:
        return words(self.step(MessageArrived(source, message)))  # type: ignore[arg-type]

    def join(self, name: str, cpus: float = 2, gpus: float = 0) -> list[object]:
        return words(self.step(NodeJoined(name, demand_of(cpus, gpus))))

    def die(self, name: str) -> list[object]:
        return words(self.step(NodeDied(name)))

    def ask(
        self,
        number: int,
        cpus: float = 1,
        strategy: Strategy = Strategy(),  # noqa: B008 -- frozen
        source: str = "a",
        gpus: float = 0,
    ) -> list[object]:
        message = PlacementRequest(task_id(number), demand_of(cpus, gpus), strategy, ())
        return self.send(source, message)

    def withdraw(self, number: int, source: str = "a") -> list[object]:
        return self.send(source, PlacementWithdrawal(task_id(number)))

    def report(
        self, name: str, cpus: float, *accepted: int, seq: int | None = None
    ) -> list[object]:
        self.seq += 1
        ids = tuple(map(task_id, accepted))
        return self.send(
            name,
            ResourceReport(
                self.seq if seq is None else seq, (("CPU", int(cpus * RESOURCE_UNITS)),), 0, ids
            ),
        )

    def free(self, name: str) -> float:
        view = next(view for view in self.machine.views() if view.name == name)
        return view.available.get("CPU", 0) / 10_000


NUMBERS = {task_id(number): number for number in range(5000)}


def words(effects: Sequence[Effect]) -> list[object]:
    """(who, task, node) for a placement, (who, task, final) for a failure, else (who, message)."""
    said: list[object] = []
    for effect in effects:
        assert isinstance(effect, Send)
        message = effect.message
        if isinstance(message, TaskPlacement):
            said.append((effect.node, NUMBERS[message.task_id], message.node))
        elif isinstance(message, PlacementFailure):
            said.append((effect.node, NUMBERS[message.task_id], message.final))
        else:
            said.append((effect.node, message))
    return said
