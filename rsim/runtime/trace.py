"""What happened in a run: steps with their causes, spans on worker slots, and moments.

Decides how a run is numbered, digested, explained and exported (Chrome's trace format, which
Perfetto reads). Must never look at payload bytes, addresses, hashes or a clock: times are handed
in, and equal runs give equal digests on every machine and Python. Owns the records of one run.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any, TypeAlias

import msgspec

Slot: TypeAlias = int | str
"""A track of a node: the number of a worker slot, or a name ("driver", "transfers")."""

Args: TypeAlias = Mapping[str, str | int | float | bool | None]

FINISHED, FAILED, DIED = "finished", "failed", "died"
"""How a span can end: in order, with an error, or with the death of who ran it."""

BLOCKED = "blocked"
"""The kind of a span, within a task's span, in which the task waits and holds no CPU."""


class StepRecord(msgspec.Struct, frozen=True, gc=False):
    """One step of the run."""

    step: int
    """Counted from 1."""
    at_ns: int
    node: str
    kind: str
    subject: str
    """Who or what it happened to, as a stable path."""
    cause: int
    """The earlier step that led to this one; 0 for none."""
    detail: str


class Span(msgspec.Struct):
    """Something that took time on one track."""

    node: str
    slot: Slot
    name: str
    start_ns: int
    end_ns: int | None = None
    """None while it lasts."""
    kind: str = "task"
    """"task", "blocked" (see BLOCKED), "driver", "transfer", "spill"."""
    subject: str = ""
    """The path of what ran; ties a task to its submission."""
    args: Args | None = None
    outcome: str = FINISHED


class Instant(msgspec.Struct, frozen=True):
    """Something that happened at one moment, to one track or (slot None) to the whole node."""

    node: str
    slot: Slot | None
    name: str
    at_ns: int
    kind: str = "fault"
    args: Args | None = None


class Submission(msgspec.Struct, frozen=True, gc=False):
    """Where and when a task was submitted."""

    node: str
    slot: Slot
    at_ns: int


class Trace:
    """The trace of one run, in memory; about 200 bytes a step."""

    enabled = True
    """False where recording costs nothing; saves the caller the making of details."""

    def __init__(self) -> None:
        self._records: list[StepRecord] = []
        self._spans: list[Span] = []
        self._instants: list[Instant] = []
        self._submissions: dict[str, Submission] = {}
        self._hasher = blake2b(digest_size=16)
        self._hashed = 0

    def record(
        self, at_ns: int, node: str, kind: str, subject: str, cause: int = 0, detail: str = ""
    ) -> int:
        """Record a step and return its number. Raises ValueError if the cause is not earlier."""
        step = len(self._records) + 1
        if not 0 <= cause < step:
            raise ValueError(f"cause must be a step from 0 to {step - 1}, not {cause}")
        self._records.append(StepRecord(step, at_ns, node, kind, subject, cause, detail))
        return step

    def submitted(self, subject: str, node: str, slot: Slot, at_ns: int) -> None:
        """Note where a task was submitted: an arrow goes from here to every start of it."""
        self._submissions[subject] = Submission(node, slot, at_ns)

    def span_started(
        self,
        node: str,
        slot: Slot,
        name: str,
        at_ns: int,
        kind: str = "task",
        subject: str = "",
        args: Args | None = None,
    ) -> int:
        """Open a span on a track and return its number, for `span_ended`."""
        self._spans.append(Span(node, slot, name, at_ns, None, kind, subject, args))
        return len(self._spans) - 1

    def span_ended(self, span: int, at_ns: int, outcome: str = FINISHED) -> None:
        """Close a span. Raises ValueError if it is closed already or would end before its start."""
        opened = self._spans[span]
        if opened.end_ns is not None:
            raise ValueError(f"span {span} ({opened.name!r}) has ended already")
        if at_ns < opened.start_ns:
            raise ValueError(f"at_ns must be {opened.start_ns} or later, not {at_ns}")
        opened.end_ns = at_ns
        opened.outcome = outcome

    def instant(
        self,
        node: str,
        slot: Slot | None,
        name: str,
        at_ns: int,
        kind: str = "fault",
        args: Args | None = None,
    ) -> None:
        """Mark a moment: a fault, a death (kind "death")."""
        self._instants.append(Instant(node, slot, name, at_ns, kind, args))

    @property
    def records(self) -> Sequence[StepRecord]:
        """The steps so far, in order."""
        return self._records

    @property
    def spans(self) -> Sequence[Span]:
        """The spans so far, in the order of their starts; open ones have no end yet."""
        return self._spans

    @property
    def instants(self) -> Sequence[Instant]:
        """The moments so far, in order."""
        return self._instants

    @property
    def submissions(self) -> Mapping[str, Submission]:
        """Where each task was last submitted, by subject."""
        return self._submissions

    def digest(self) -> str:
        """Digest the steps so far, in hex. Costs only what was added since the last call."""
        pending = self._records[self._hashed :]
        # Lone surrogates occur in file names and messages.
        text = "".join(map(_canonical_line, pending))
        self._hasher.update(text.encode("utf-8", "surrogatepass"))
        self._hashed += len(pending)
        return self._hasher.copy().hexdigest()

    def explain(self, step: int) -> list[StepRecord]:
        """Return the chain of causes that led to a step, first cause first, the step itself last.

        Raises ValueError when there is no such step.
        """
        if not 1 <= step <= len(self._records):
            raise ValueError(f"step must be from 1 to {len(self._records)}, not {step}")
        chain = []
        while step:
            chain.append(self._records[step - 1])
            step = chain[-1].cause
        return chain[::-1]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a trace that https://ui.perfetto.dev and chrome://tracing open.

        A process is a node and a thread is a worker slot. On no thread do two slices overlap
        unless one is inside the other; transfers that do get threads of their own.
        """
        with open(os.fspath(path), "w", encoding="ascii", newline="\n") as file:
            file.write('{"displayTimeUnit":"ns","traceEvents":[')
            separator = "\n"
            for event in _chrome_events(self._spans, self._instants, self._submissions):
                file.write(separator + json.dumps(event, separators=(",", ":")))
                separator = ",\n"
            file.write("\n]}\n")


class NullTrace(Trace):
    """The same interface, recording nothing; for runs that nobody will ask about."""

    enabled = False

    def record(
        self, at_ns: int, node: str, kind: str, subject: str, cause: int = 0, detail: str = ""
    ) -> int:
        return 0

    def submitted(self, subject: str, node: str, slot: Slot, at_ns: int) -> None:
        pass

    def span_started(
        self,
        node: str,
        slot: Slot,
        name: str,
        at_ns: int,
        kind: str = "task",
        subject: str = "",
        args: Args | None = None,
    ) -> int:
        return 0

    def span_ended(self, span: int, at_ns: int, outcome: str = FINISHED) -> None:
        pass

    def instant(
        self,
        node: str,
        slot: Slot | None,
        name: str,
        at_ns: int,
        kind: str = "fault",
        args: Args | None = None,
    ) -> None:
        pass

    def digest(self) -> str:
        """Raise RuntimeError: two runs without a trace must not look equal."""
        raise RuntimeError("tracing is off: there is nothing to digest")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Raise RuntimeError: there is nothing to save."""
        raise RuntimeError(
            "tracing is off but in a simulation: there is nothing to save; rsim.timeline(path) "
            "writes down what has run"
        )


def natural_key(text: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key that counts: n2 comes before n10."""
    parts = re.split(r"(\d+)", text)
    return tuple((1, int(part), "") if part.isdecimal() else (0, 0, part) for part in parts)


def slot_key(slot: Slot) -> tuple[int, int, tuple[tuple[int, int, str], ...]]:
    """Sort key of the tracks of a node: the driver, the workers by number, all others."""
    if isinstance(slot, int):
        return (1, slot, ())
    return (0 if slot == "driver" else 2, 0, natural_key(slot))


def slot_label(slot: Slot) -> str:
    """What people read beside a track."""
    return f"worker {slot}" if isinstance(slot, int) else slot


_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n"})


def _canonical_line(record: StepRecord) -> str:
    """The one text form of a record: no two records share it, no version of Python changes it."""
    fields = [str(field) for field in msgspec.structs.astuple(record)]
    line = "\t".join(fields)
    if "\\" in line or "\n" in line or line.count("\t") >= len(fields):
        line = "\t".join(field.translate(_ESCAPES) for field in fields)
    return line + "\n"


_Track: TypeAlias = tuple[str, Slot]


class _Slice(msgspec.Struct):
    """A complete event on its way to the file."""

    track: _Track
    start_ns: int
    end_ns: int
    name: str
    kind: str
    args: dict[str, Any]
    tid: int = 0


def _chrome_events(
    spans: Sequence[Span], instants: Sequence[Instant], submissions: Mapping[str, Submission]
) -> Iterator[dict[str, Any]]:
    """Yield the events of the export: names, then slices by track, then moments and arrows."""
    last_ns = max((span.end_ns or span.start_ns for span in spans), default=0)
    slices = [_slice_of(span, last_ns) for span in spans]
    arrows = list(_arrows(spans, slices, submissions))
    submits = {sent.args["id"]: sent for sent, _ in arrows}
    tracks: dict[_Track, list[_Slice]] = {}
    for slice_ in (*slices, *submits.values()):
        tracks.setdefault(slice_.track, []).append(slice_)
    for instant in instants:
        if instant.slot is not None:
            tracks.setdefault((instant.node, instant.slot), [])
    nodes = {node: None for node, _ in tracks} | {instant.node: None for instant in instants}
    pids = {node: pid for pid, node in enumerate(sorted(nodes, key=natural_key), start=1)}
    for node, pid in pids.items():
        yield _metadata("process_name", pid, 0, name=node)
        yield _metadata("process_sort_index", pid, 0, sort_index=pid)

    tids: dict[_Track, int] = {}
    tid = 1
    for track in sorted(tracks, key=lambda track: (pids[track[0]], slot_key(track[1]))):
        pid, label = pids[track[0]], slot_label(track[1])
        tids[track] = tid
        lanes = _assign_lanes(tracks[track], tid)
        for lane in range(lanes):
            name = label if lane == 0 else f"{label} ({lane + 1})"
            yield _metadata("thread_name", pid, tid + lane, name=name)
            yield _metadata("thread_sort_index", pid, tid + lane, sort_index=tid + lane)
        yield from (_complete(slice_, pid) for slice_ in tracks[track])
        tid += lanes
    for instant in instants:
        tid = 0 if instant.slot is None else tids[instant.node, instant.slot]
        yield _moment(instant, pids[instant.node], tid)
    for number, ends_of_arrow in enumerate(arrows, start=1):
        yield from _arrow(number, ends_of_arrow, pids)


def _slice_of(span: Span, last_ns: int) -> _Slice:
    args: dict[str, Any] = dict(span.args or {})
    if span.subject:
        args["id"] = span.subject
    outcome, end_ns = span.outcome, span.end_ns
    if end_ns is None:
        outcome, end_ns = "unfinished", last_ns
    if outcome != FINISHED:
        args["outcome"] = outcome
    return _Slice((span.node, span.slot), span.start_ns, end_ns, span.name, span.kind, args)


def _arrows(
    spans: Sequence[Span], slices: Sequence[_Slice], submissions: Mapping[str, Submission]
) -> Iterator[tuple[_Slice, _Slice]]:
    """Pair submissions with starts. An arrow must leave from a slice, so an empty one is made."""
    sources: dict[str, _Slice] = {}
    for span, started in zip(spans, slices, strict=True):
        sent = submissions.get(span.subject) if span.kind == "task" else None
        if sent is None or sent.at_ns > span.start_ns:
            continue
        if span.subject not in sources:
            name, args = f"submit {span.name}", {"id": span.subject}
            track = (sent.node, sent.slot)
            source = _Slice(track, sent.at_ns, sent.at_ns, name, "submit", args)
            sources[span.subject] = source
        yield sources[span.subject], started


def _assign_lanes(slices: list[_Slice], tid: int) -> int:
    """Sort the slices of a track, put each on the first thread where it nests, count the threads.

    The threads are numbered from `tid`.
    """
    slices.sort(key=lambda slice_: (slice_.start_ns, -slice_.end_ns))
    lanes: list[list[int]] = [[]]  # of each thread, the ends of the slices that are open
    for slice_ in slices:
        for ends in lanes:
            while ends and ends[-1] <= slice_.start_ns:
                ends.pop()
        fits = (i for i, ends in enumerate(lanes) if not ends or slice_.end_ns <= ends[-1])
        lane = next(fits, len(lanes))
        if lane == len(lanes):
            lanes.append([])
        lanes[lane].append(slice_.end_ns)
        slice_.tid = tid + lane
    return len(lanes)


def _complete(slice_: _Slice, pid: int) -> dict[str, Any]:
    event = {"ph": "X", "name": slice_.name, "cat": slice_.kind, "pid": pid, "tid": slice_.tid}
    duration_us = _us(slice_.end_ns - slice_.start_ns)
    return {**event, "ts": _us(slice_.start_ns), "dur": duration_us, "args": slice_.args}


def _moment(instant: Instant, pid: int, tid: int) -> dict[str, Any]:
    event = {"ph": "i", "s": "t" if tid else "p", "name": instant.name, "cat": instant.kind}
    place = {"pid": pid, "tid": tid, "ts": _us(instant.at_ns)}
    return {**event, **place, "args": dict(instant.args or {})}


def _arrow(
    number: int, ends: tuple[_Slice, _Slice], pids: Mapping[str, int]
) -> Iterator[dict[str, Any]]:
    for phase, slice_ in zip(({"ph": "s"}, {"ph": "f", "bp": "e"}), ends, strict=True):
        place = {"pid": pids[slice_.track[0]], "tid": slice_.tid, "ts": _us(slice_.start_ns)}
        yield {**phase, "id": number, "name": "submit", "cat": "submit", **place}


def _us(time_ns: int) -> float:
    """Microseconds that give the same nanoseconds back to a reader who cuts, as Perfetto does.

    A nanosecond lost there makes neighbours overlap, and Perfetto drops a slice that does.
    """
    time_us = time_ns / 1000
    return time_us if int(time_us * 1000) == time_ns else math.nextafter(time_us, math.inf)


def _metadata(kind: str, pid: int, tid: int, **args: str | int) -> dict[str, Any]:
    return {"ph": "M", "name": kind, "pid": pid, "tid": tid, "args": args}
