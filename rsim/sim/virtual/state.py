"""What the virtualisation remembers of each context.

Decides how a context's random streams are derived: blake2b of (its seed, the stream's label), so
that one more draw from one stream shifts no other. Must never draw from real entropy. Owns all
per-context state, each part made at its first use.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections.abc import Callable, Iterator
from hashlib import blake2b
from random import Random
from typing import Any, TypeVar
from uuid import UUID

from rsim.sim.virtual.context import VirtualContext

T = TypeVar("T")

_GREGORIAN_OFFSET = 0x01B21DD213814000  # 100 ns steps from 1582-10-15 to 1970-01-01


class ContextState:
    """The private randomness and event loop of one context."""

    def __init__(self, context: VirtualContext) -> None:
        self.context = context  # keeps it alive, and so its id() its own
        self.event_loop: AbstractEventLoop | None = None
        self._streams: dict[str, Any] = {}

    @property
    def random(self) -> Random:
        """The generator behind the functions of the module `random`."""
        return self.stream("random", _python_stream)

    @property
    def urandom(self) -> Random:
        """The generator behind `os.urandom`."""
        return self.stream("urandom", _python_stream)

    @property
    def uuid1(self) -> Uuid1:
        """The source of `uuid.uuid1` and of `uuid.getnode`."""
        return self.stream("uuid1", Uuid1)

    @property
    def tempfile_names(self) -> Iterator[str]:
        """The candidate names of `tempfile`."""
        return self.stream("tempfile", _file_names)

    def stream(self, label: str, make: Callable[[bytes], T]) -> T:
        """The stream of that label, made from its 32-byte seed at the first call."""
        stream: T | None = self._streams.get(label)
        if stream is None:
            text = f"{self.context.entropy_seed()}/{label}"
            stream = make(blake2b(text.encode(), digest_size=32).digest())
            self._streams[label] = stream
        return stream


class ContextStates:
    """The state of every context that has any."""

    def __init__(self) -> None:
        self._states: dict[int, ContextState] = {}

    def of(self, context: VirtualContext) -> ContextState:
        state = self._states.get(id(context))
        if state is None:
            state = self._states[id(context)] = ContextState(context)
        return state

    def forget(self, context: VirtualContext) -> None:
        self._states.pop(id(context), None)

    def clear(self) -> None:
        self._states.clear()


class Uuid1:
    """Time-based UUIDs of one context: a random node, ticks that never repeat."""

    def __init__(self, seed: bytes) -> None:
        generator = _python_stream(seed)
        self.node = generator.getrandbits(48) | 1 << 40  # the multicast bit: not a real address
        self._clock_seq = generator.getrandbits(14)
        self._last_ticks = 0

    def draw(self, wall_ns: int, node: int | None, clock_seq: int | None) -> UUID:
        ticks = max(wall_ns // 100 + _GREGORIAN_OFFSET, self._last_ticks + 1)
        self._last_ticks = ticks
        sequence = self._clock_seq if clock_seq is None else clock_seq
        fields = (
            ticks & 0xFFFFFFFF,
            ticks >> 32 & 0xFFFF,
            ticks >> 48 & 0x0FFF,
            sequence >> 8 & 0x3F,
            sequence & 0xFF,
            self.node if node is None else node,
        )
        return UUID(fields=fields, version=1)


def _python_stream(seed: bytes) -> Random:
    return Random(int.from_bytes(seed, "little"))


def _file_names(seed: bytes) -> Iterator[str]:
    generator = _python_stream(seed)
    while True:
        yield "".join(generator.choices("abcdefghijklmnopqrstuvwxyz0123456789_", k=8))
