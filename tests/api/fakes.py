"""A backend without a node: it remembers what the driver sends, and answers with what was put."""

from dataclasses import dataclass, field

from rsim.core import events
from rsim.core.ids import driver_task_id
from rsim.runtime import current, refs
from rsim.runtime.client import Client
from rsim.runtime.session import SessionConfig
from rsim.runtime.trace import NullTrace
from rsim.runtime.wire import Delivery, WaitReply


@dataclass
class FakeChannel:
    """Only what was put is ever there; whoever waits for more is told so at once."""

    sent: list[events.Event] = field(default_factory=list)
    exports: dict[bytes, bytes] = field(default_factory=dict)
    times_exported: int = 0
    values: dict[bytes, bytes] = field(default_factory=dict)

    def send(self, event: events.Event) -> None:
        self.sent.append(event)
        if isinstance(event, events.ObjectPut):
            assert event.payload is not None
            self.values[event.object_id] = event.payload

    def park(self, op: int) -> Delivery:
        return WaitReply(op, ())

    def peek(self, object_id: bytes) -> bytes | None:
        return self.values.get(object_id)

    def view(self, offset: int, size_bytes: int) -> memoryview:
        raise NotImplementedError

    def export_function(self, function_id: bytes, blob: bytes) -> None:
        assert self.exports.setdefault(function_id, blob) == blob
        self.times_exported += 1

    def now_ns(self) -> int:
        return 0

    def spend(self, duration_ns: int) -> None:
        raise NotImplementedError


def start(config: SessionConfig) -> "FakeBackend":
    return FakeBackend(config)


class FakeBackend:
    """What the driver knows of it."""

    spare = "spare"
    trace = NullTrace()

    def __init__(self, config: SessionConfig) -> None:
        self.config = config
        self.address = config.address
        self.channel = FakeChannel()
        self.client = Client(self.channel, 0, driver_task_id(1))
        self.shutdowns = 0
        current.client = self.client
        refs.set_factory(self.client.make_ref)

    def now(self) -> float:
        return 1.5

    def digest(self) -> str:
        return "d1"

    def infeasible(self) -> list[str]:
        return []

    def poke(self) -> str:
        return "poked"

    def shutdown(self) -> None:
        self.shutdowns += 1
        current.client = None
        refs.set_factory(None)

    @property
    def specs(self) -> list:  # type: ignore[type-arg]
        return [event.spec for event in self.channel.sent if type(event) is events.TaskSubmitted]
