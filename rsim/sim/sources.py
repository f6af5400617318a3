"""What decides the free choices of a simulated run.

Decides by canonical order (`Fifo`), a seed (`Seeded`) or a recording (`Replay`). Must never know
anything that the tape does not show: the choices alone reproduce the run. Each source owns its
random streams, or its place in the recording.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import copy
from hashlib import blake2b
from random import Random
from typing import Protocol

import msgspec

FAULT_LABELS = "fault."
"""How the labels of draws begin that may inject a fault."""


class Draw(msgspec.Struct, frozen=True, gc=False):
    """One contested decision and its outcome. Keys are raw until the tape names them."""

    label: str
    """The kind of decision: "ready", "place", "delay", "fault.kill_worker"."""
    n: int
    """How many alternatives there were, at least 2."""
    choice: int
    """The alternative taken, 0 <= choice < n."""
    entity: object = ""
    """The candidate picked, or for a plain draw whom it was about."""
    candidates: tuple[object, ...] = ()
    """What was picked from, the first MAX_NAMED_CANDIDATES; empty for a plain draw."""
    rate: float = 0.0
    """The chance of choice 1 if this is a fault, else 0."""


class Source(Protocol):
    """What decides. A strategy is a class with this one method."""

    def choose(self, label: str, n: int, candidates: Sequence[object], rate: float) -> int:
        """Return the alternative to take, 0 <= choice < n.

        `candidates` holds the n keys of a pick, or the one entity of a plain draw; `rate` is the
        chance of choice 1 if the draw is a fault (n is 2 then), else 0.
        """
        ...


class Fifo:
    """Always the canonical choice."""

    def choose(self, label: str, n: int, candidates: Sequence[object], rate: float) -> int:
        return 0


class Seeded:
    """Pseudo-random choices: uniform, and faults at their rate.

    Each label has its own stream, so one more draw of one kind does not shift the others.
    """

    def __init__(self, seed: int | str) -> None:
        self.seed = seed
        self._streams: dict[str, Random] = {}

    def choose(self, label: str, n: int, candidates: Sequence[object], rate: float) -> int:
        stream = self._streams.get(label)
        if stream is None:
            stream = self._streams[label] = Random(subseed(self.seed, label))
        if rate:
            return 1 if stream.random() < rate else 0
        # Random.randrange may change between Python versions, getrandbits does not.
        bits = (n - 1).bit_length()
        choice = stream.getrandbits(bits)
        while choice >= n:
            choice = stream.getrandbits(bits)
        return choice


class Replay:
    """The choices of a recording: plain numbers (a shrinker's), or the draws of a tape.

    Past the end every choice is `past_end`; a choice out of range becomes the nearest legal one.
    With `strict` the recording must hold draws, and a run that does not ask for exactly these
    gets a NondeterminismError from its tape. `seed` is that of what user code draws by itself.
    """

    def __init__(
        self,
        recording: Iterable[int | Draw],
        *,
        past_end: int = 0,
        strict: bool = False,
        seed: int = 0,
    ) -> None:
        self.seed = seed
        items = tuple(recording)
        self.expected: tuple[Draw, ...] | None = None
        if strict:
            self.expected = tuple(item for item in items if isinstance(item, Draw))
            if len(self.expected) != len(items):
                raise ValueError("strict=True needs recorded draws to compare with, not numbers")
        choices = tuple(item.choice if isinstance(item, Draw) else item for item in items)
        for index, choice in enumerate((*choices, past_end)):
            if choice < 0:
                where = "past_end" if index == len(choices) else f"recording[{index}]"
                raise ValueError(f"{where} is {choice}, but a choice is 0 or more")
        self.choices = choices
        self._next = iter(choices).__next__
        self._past_end = past_end

    def rewound(self) -> Replay:
        """The same from its beginning, for another run."""
        again = copy(self)
        again._next = iter(self.choices).__next__
        return again

    def choose(self, label: str, n: int, candidates: Sequence[object], rate: float) -> int:
        try:
            choice = self._next()
        except StopIteration:
            choice = self._past_end
        return choice if choice < n else n - 1


def subseed(seed: int | str, label: str) -> int:
    """Derive the seed of an independent random stream; the same on every Python and machine."""
    kind = "str" if isinstance(seed, str) else "int"
    text = f"{kind}\0{seed}\0{label}".encode()
    return int.from_bytes(blake2b(text, digest_size=16).digest(), "big")


class SeededFaults:
    """A source for runs without a seed: the canonical schedule, with the faults of seed 0."""

    def __init__(self) -> None:
        self._seeded = Seeded(0)

    def choose(self, label: str, n: int, candidates: Sequence[object], rate: float) -> int:
        if label.startswith(FAULT_LABELS):
            return self._seeded.choose(label, n, candidates, rate)
        return 0
