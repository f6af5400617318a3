"""The choice tape: every free choice of a simulated run, as one labelled bounded draw.

Decides which alternative is taken wherever several are legal, by asking a source (`sources.py`).
Must never be bypassed. Owns the recorded draws.

Choice 0 is always canonical: first in, first out, no delay, no fault. So a run is described by
where it deviates from 0, and a recording stays playable after edits: choices out of range are
clamped, choices past its end are 0.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from typing import Any

import msgspec

from rsim.exceptions import NondeterminismError
from rsim.runtime.checks import shown
from rsim.sim.sources import Draw, Fifo, Replay, Seeded, SeededFaults, Source

FORMAT = "rsim-tape"
FORMAT_VERSION = 2
"""Raised whenever an old recording would be read or played differently."""

MAX_NAMED_CANDIDATES = 16
"""How many candidates a draw keeps, so that a tape grows by draws and not by queue lengths."""


def hex_name(key: object) -> str:
    """Name an entity without knowing what it is: bytes in hex, numbers in decimal.

    Raises TypeError for anything else: its repr might hold an address, its order a hash.
    """
    if isinstance(key, str):
        return key
    if isinstance(key, bytes):
        return key.hex()
    if isinstance(key, int):
        return str(key)
    raise TypeError(f"an entity key must be bytes, str or int, not {type(key).__name__}: {key!r}")


class Tape:
    """The draws of one run, decided by `source` and recorded in order.

    `namer` renders a key as a stable path; it is only called to save, to format or to compare.
    Draws with a single alternative are no decision and are not recorded. `seed` is that of the
    run's other randomness, of which the tape knows nothing else.
    """

    def __init__(
        self,
        source: Source | None = None,
        *,
        namer: Callable[[object], str] = hex_name,
        seed: int = 0,
    ) -> None:
        self.seed = seed
        self.source: Source = Fifo() if source is None else source
        self.namer = namer
        self._draws: list[Draw] = []
        self._append = self._draws.append
        self._choose = self.source.choose
        self._expected: tuple[Draw, ...] | None = getattr(self.source, "expected", None)

    def pick(self, label: str, candidates: Sequence[object]) -> int:
        """Draw one of the candidates (stable entity keys) and return its index."""
        n = len(candidates)
        if n < 2:
            return 0
        named = n if n <= MAX_NAMED_CANDIDATES else MAX_NAMED_CANDIDATES
        kept = tuple(candidates if named == n else candidates[:named])
        if self._expected is not None:
            self._compare(Draw(label, n, 0, "", kept))
        choice = self._choose(label, n, candidates, 0.0)
        if not 0 <= choice < n:
            raise _out_of_range(self.source, label, n, choice)
        self._append(Draw(label, n, choice, candidates[choice], kept))
        return choice

    def draw(self, label: str, n: int, entity: object = "") -> int:
        """Draw a number from 0 (canonical) to n - 1 that concerns `entity`."""
        if n < 2:
            return 0
        return self._draw(label, n, entity, 0.0)

    def chance(self, label: str, entity: object, rate: float) -> bool:
        """Draw whether the fault `label` strikes `entity`; `rate` is its chance, from 0 to 1.

        Raises ValueError when the rate is out of range. A rate of 0 is no decision.
        """
        if not 0.0 < rate <= 1.0:
            if rate == 0.0:
                return False
            raise ValueError(f"rate of {label!r} must be from 0 to 1, not {rate!r}")
        return self._draw(label, 2, entity, rate) == 1

    @property
    def draws(self) -> Sequence[Draw]:
        """The draws recorded so far."""
        return self._draws

    @property
    def deviations(self) -> int:
        """How many choices differ from the canonical 0."""
        return sum(1 for draw in self._draws if draw.choice)

    def choices(self) -> tuple[int, ...]:
        """All that is needed to replay the run."""
        return tuple(draw.choice for draw in self._draws)

    def replay(self) -> Replay:
        """What plays the tape again, and tells when a run differs from it."""
        return Replay(self._draws, strict=True, seed=self.seed)

    def edited(self, index: int, choice: int) -> Replay:
        """What plays the tape with one choice changed; the tape stays as it is.

        Raises ValueError when there is no such draw or alternative.
        """
        if not 0 <= index < len(self._draws):
            raise ValueError(f"index must be from 0 to {len(self._draws) - 1}, not {index}")
        n = self._draws[index].n
        if not 0 <= choice < n:
            raise ValueError(f"choice of draw {index} must be from 0 to {n - 1}, not {choice}")
        choices = self.choices()
        return Replay((*choices[:index], choice, *choices[index + 1 :]), seed=self.seed)

    def check_complete(self) -> None:
        """At the end of a strict replay: raise NondeterminismError if draws are left over."""
        step = len(self._draws)
        if self._expected is not None and step < len(self._expected):
            raise self._diverged(self._expected[step], None, "the run ended early")

    def digest(self) -> str:
        """Digest labels, names and choices; equal for equal runs on every machine."""
        hasher = blake2b(digest_size=16)
        for line in self._lines():
            hasher.update(line.encode())
        return hasher.hexdigest()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the tape as JSON lines: a header with the format version, then the draws."""
        header = {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "seed": self.seed,
            "draws": len(self._draws),
        }
        with open(os.fspath(path), "w", encoding="ascii", newline="\n") as file:
            file.write(json.dumps(header) + "\n")
            file.writelines(self._lines())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Tape:
        """Read a saved tape, its keys as names; `rsim.init("sim", tape=...)` plays it again.

        Raises ValueError, with the line, when the file is broken or of another version.
        """
        lines = _read(os.fspath(path))
        tape = cls(seed=next(lines))
        tape._draws.extend(lines)
        return tape

    def _draw(self, label: str, n: int, entity: object, rate: float) -> int:
        if self._expected is not None:
            self._compare(Draw(label, n, 0, entity, (), rate))
        choice = self._choose(label, n, (entity,), rate)
        if not 0 <= choice < n:
            raise _out_of_range(self.source, label, n, choice)
        self._append(Draw(label, n, choice, entity, (), rate))
        return choice

    def _name(self, key: object) -> str:
        return key if isinstance(key, str) else self.namer(key)

    def _named(self, draw: Draw) -> Draw:
        return Draw(
            draw.label,
            draw.n,
            draw.choice,
            self._name(draw.entity),
            tuple(self._name(key) for key in draw.candidates),
            draw.rate,
        )

    def _lines(self) -> Iterator[str]:
        for draw in map(self._named, self._draws):
            fields = {key: value for key, value in msgspec.structs.asdict(draw).items() if value}
            yield json.dumps({"choice": 0, **fields}, separators=(",", ":"), sort_keys=True) + "\n"

    def _compare(self, got: Draw) -> None:
        assert self._expected is not None
        step = len(self._draws)
        if step >= len(self._expected):
            raise self._diverged(None, got, "the recording is over")
        expected = self._expected[step]
        if expected.label != got.label:
            raise self._diverged(expected, got, "another kind of decision")
        if expected.n != got.n:
            raise self._diverged(expected, got, "another number of alternatives")
        if expected.candidates != got.candidates:
            pairs = zip(self._named(expected).candidates, self._named(got).candidates, strict=False)
            for position, (old, new) in enumerate(pairs):
                if old != new:
                    raise self._diverged(expected, got, f"candidate {position} differs")
        if not got.candidates and self._name(expected.entity) != self._name(got.entity):
            raise self._diverged(expected, got, "about another entity")

    def _diverged(self, expected: Draw | None, got: Draw | None, why: str) -> NondeterminismError:
        return NondeterminismError(
            f"the run differs from its recording at draw {len(self._draws)}: {why}\n"
            f"  expected: {self._describe(expected)}\n"
            f"  got:      {self._describe(got)}"
        )

    def _describe(self, draw: Draw | None) -> str:
        if draw is None:
            return "no more draws"
        draw = self._named(draw)
        if not draw.candidates:
            return f"{draw.label}, {draw.n} alternatives, about {draw.entity!r}"
        more = ", …" if draw.n > len(draw.candidates) else ""
        return f"{draw.label}, {draw.n} of [{', '.join(map(str, draw.candidates))}{more}]"


def _out_of_range(source: Source, label: str, n: int, choice: int) -> ValueError:
    return ValueError(
        f"{type(source).__name__} chose {choice!r} for {label!r}; it must be from 0 to {n - 1}"
    )


def _read(path: str) -> Iterator[Any]:
    """Yield the seed of a saved tape, then its draws."""
    with open(path, encoding="utf-8", errors="replace") as file:
        first = file.readline()
        try:
            header = json.loads(first)
        except ValueError:
            header = None
        if not isinstance(header, dict) or header.get("format") != FORMAT:
            raise ValueError(f"{path}, line 1: not a choice tape (no {FORMAT!r} header)")
        if header.get("version") != FORMAT_VERSION:
            raise ValueError(
                f"{path}, line 1: tape format version {header.get('version')!r}, "
                f"but this release plays version {FORMAT_VERSION} only; record it again"
            )
        if not isinstance(header.get("seed"), int):
            raise ValueError(f"{path}, line 1: the seed is {header.get('seed')!r}, not a number")
        yield header["seed"]
        number = 1
        for number, line in enumerate(file, start=2):
            yield _parse(path, number, line)
        if number - 1 != header.get("draws"):
            raise ValueError(
                f"{path}, line {number}: the file ends after {number - 1} draws, "
                f"but its header promises {header.get('draws')!r}"
            )


def source_of(seed: object, tape: object) -> Source:
    """What decides in a session with these arguments of `rsim.init`.

    Raises TypeError or ValueError for bad ones.
    """
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int)):
        raise TypeError(f"seed must be an int or None, not {seed!r}")
    if tape is None:
        return SeededFaults() if seed is None else Seeded(seed)
    if seed is not None:
        raise ValueError("seed cannot be given together with tape, which has one of its own")
    if isinstance(tape, str | os.PathLike):
        tape = Tape.load(tape)
    if isinstance(tape, Tape):
        tape = tape.replay()
    if not isinstance(tape, Replay):
        raise TypeError(f"tape must be a path, an rsim.sim.Tape or a Replay, not {shown(tape)}")
    return tape.rewound()


class _Saved(Draw, frozen=True, forbid_unknown_fields=True):
    """A draw as it is in a file: its keys are names."""

    entity: str = ""
    candidates: tuple[str, ...] = ()


def _parse(path: str, number: int, line: str) -> Draw:
    try:
        saved = msgspec.convert(json.loads(line), _Saved)
        if not (saved.n >= 2 and 0 <= saved.choice < saved.n):
            raise ValueError(f"choice {saved.choice} of {saved.n} alternatives")
    except ValueError as error:
        raise ValueError(f"{path}, line {number}: not a draw: {error}") from None
    return Draw(saved.label, saved.n, saved.choice, saved.entity, saved.candidates, saved.rate)
