"""The trace: numbering, digest, explanation, and the Chrome/Perfetto export."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsim.runtime.trace import (
    BLOCKED,
    DIED,
    NullTrace,
    Slot,
    StepRecord,
    Trace,
    natural_key,
    slot_key,
    slot_label,
)

Event = dict[str, Any]


def small_trace() -> Trace:
    trace = Trace()
    submitted = trace.record(0, "n0", "TaskSubmitted", "driver/0", 0, "square")
    placed = trace.record(10, "n1", "TaskPlaced", "driver/0", submitted)
    trace.record(10, "n0", "HeartbeatArrived", "n1")
    trace.record(20, "n1", "TaskStarted", "driver/0", placed, "worker 0")
    return trace


def test_steps_are_numbered_from_one() -> None:
    trace = small_trace()
    assert [record.step for record in trace.records] == [1, 2, 3, 4]
    assert trace.records[3] == StepRecord(4, 20, "n1", "TaskStarted", "driver/0", 2, "worker 0")


def test_explain_follows_the_causes() -> None:
    trace = small_trace()
    assert [record.step for record in trace.explain(4)] == [1, 2, 4]
    assert [record.step for record in trace.explain(3)] == [3]
    for step in (0, 5):
        with pytest.raises(ValueError, match=f"step must be from 1 to 4, not {step}"):
            trace.explain(step)


@pytest.mark.parametrize("cause", [-1, 1, 7])
def test_a_cause_comes_before_its_effect(cause: int) -> None:
    with pytest.raises(ValueError, match=f"cause must be a step from 0 to 0, not {cause}"):
        Trace().record(0, "n0", "TaskStarted", "driver/0", cause)


def test_the_digest_is_fixed_for_ever() -> None:
    """If this fails, digests of different releases no longer compare: say so in the changelog."""
    assert small_trace().digest() == "11deae5a773955be5d4cfae7c1dbba4b"


fields = st.tuples(
    st.integers(0, 3),
    st.sampled_from(["n0", "n1"]),
    st.text("ab\t\n\\", max_size=4),
    st.text("ab\t\n\\\udc80", max_size=4),
    st.text("ab\t\n\\é", max_size=4),
)


def traced(rows: list[tuple[int, str, str, str, str]]) -> Trace:
    trace = Trace()
    for at_ns, node, kind, subject, detail in rows:
        trace.record(at_ns, node, kind, subject, 0, detail)
    return trace


@given(st.lists(fields, max_size=5), st.lists(fields, max_size=5))
def test_digests_are_equal_exactly_for_equal_steps(
    first: list[tuple[int, str, str, str, str]], second: list[tuple[int, str, str, str, str]]
) -> None:
    assert (traced(first).digest() == traced(second).digest()) == (first == second)


@given(st.lists(fields, max_size=8), st.integers(0, 8))
def test_asking_for_the_digest_does_not_change_it(
    rows: list[tuple[int, str, str, str, str]], asked_after: int
) -> None:
    trace = traced(rows[:asked_after])
    assert trace.digest() == traced(rows[:asked_after]).digest()
    for at_ns, node, kind, subject, detail in rows[asked_after:]:
        trace.record(at_ns, node, kind, subject, 0, detail)
    assert trace.digest() == trace.digest() == traced(rows).digest()


def test_the_digest_does_not_depend_on_the_hash_seed() -> None:
    program = (
        "from rsim.runtime.trace import Trace\n"
        "trace = Trace()\n"
        "for i in range(50): trace.record(i, f'n{i % 3}', 'TaskStarted', f'driver/{i}', i // 2)\n"
        "print(trace.digest())"
    )
    path = os.pathsep.join(sys.path)
    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


def test_a_span_ends_once_and_not_before_its_start() -> None:
    trace = Trace()
    span = trace.span_started("n0", 0, "square", 100)
    assert trace.spans[span].end_ns is None
    with pytest.raises(ValueError, match="at_ns must be 100 or later, not 99"):
        trace.span_ended(span, 99)
    trace.span_ended(span, 100, DIED)
    assert (trace.spans[span].end_ns, trace.spans[span].outcome) == (100, DIED)
    with pytest.raises(ValueError, match=r"span 0 \('square'\) has ended already"):
        trace.span_ended(span, 200)


def test_tracks_are_ordered_as_people_count() -> None:
    assert sorted(["n10", "n2", "a", "n1"], key=natural_key) == ["a", "n1", "n2", "n10"]
    slots: list[Slot] = ["transfers", 10, "driver", 2]
    assert [slot_label(slot) for slot in sorted(slots, key=slot_key)] == [
        "driver",
        "worker 2",
        "worker 10",
        "transfers",
    ]


def test_a_null_trace_takes_everything_and_keeps_nothing(tmp_path: Path) -> None:
    trace = NullTrace()
    assert (trace.enabled, Trace().enabled) == (False, True)
    cause = trace.record(0, "n0", "TaskSubmitted", "driver/0")
    trace.record(1, "n0", "TaskStarted", "driver/0", cause)
    trace.submitted("driver/0", "n0", "driver", 0)
    trace.span_ended(trace.span_started("n0", 0, "square", 0), 5)
    trace.instant("n0", None, "killed", 5)
    kept = (*trace.records, *trace.spans, *trace.instants, *trace.submissions)
    assert kept == ()
    for use in (trace.digest, lambda: trace.save(tmp_path / "t.json")):
        with pytest.raises(RuntimeError, match="tracing is off"):
            use()


def test_a_trace_is_saved_under_a_path_only() -> None:
    with pytest.raises(TypeError, match="not int"):  # as a number, it would be a descriptor
        Trace().save(1)  # type: ignore[arg-type]


# The export


def saved(trace: Trace, tmp_path: Path) -> list[Event]:
    trace.save(tmp_path / "trace.json")
    document = json.loads((tmp_path / "trace.json").read_text(encoding="utf-8"))
    events: list[Event] = document["traceEvents"]
    return events


def ns(time_us: float) -> int:
    """As Perfetto reads a time: it cuts."""
    return int(time_us * 1000)


def check_structure(events: list[Event]) -> None:
    """What a viewer relies on."""
    names = {(e["pid"], e["tid"]) for e in events if e["name"] == "thread_name"}
    processes = {e["pid"] for e in events if e["name"] == "process_name"}
    tracks: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    arrows: dict[int, list[Event]] = defaultdict(list)
    for event in events:
        assert event["pid"] in processes
        if event["ph"] != "M":
            assert isinstance(event["ts"], float)
        if event["ph"] in "Xsf":
            assert (event["pid"], event["tid"]) in names
        if event["ph"] == "X":
            start = ns(event["ts"])
            tracks[event["pid"], event["tid"]].append((start, start + ns(event["dur"])))
        if event["ph"] in "sf":
            arrows[event["id"]].append(event)
    for slices in tracks.values():
        open_ends: list[int] = []
        for start, end in slices:  # in the order of the file: outer before inner
            while open_ends and open_ends[-1] <= start:
                open_ends.pop()
            assert start <= end
            assert not open_ends or end <= open_ends[-1], "two slices overlap without nesting"
            open_ends.append(end)
    for pair in arrows.values():
        assert [event["ph"] for event in pair] == ["s", "f"]
        assert pair[1]["bp"] == "e"
        assert pair[0]["ts"] <= pair[1]["ts"]
        for event in pair:
            at = ns(event["ts"])
            assert any(a <= at <= b for a, b in tracks[event["pid"], event["tid"]])


def test_an_empty_trace_is_a_valid_file(tmp_path: Path) -> None:
    assert saved(Trace(), tmp_path) == []


def test_a_run_is_exported_with_names_slices_moments_and_arrows(tmp_path: Path) -> None:
    trace = Trace()
    trace.submitted("driver/0", "n0", "driver", 500)
    task = trace.span_started("n10", 1, "square", 2_000, subject="driver/0", args={"cost": 1.5})
    waiting = trace.span_started("n10", 1, "get", 3_000, BLOCKED)
    trace.span_ended(waiting, 4_000)
    trace.span_ended(task, 5_000, DIED)
    trace.span_ended(trace.span_started("n2", "transfers", "driver/0.0", 5_000, "transfer"), 9_000)
    trace.span_started("n2", 0, "endless", 6_000)
    trace.instant("n10", 1, "worker killed", 5_000, "death")
    trace.instant("n3", None, "partition", 6_000)
    events = saved(trace, tmp_path)
    check_structure(events)

    process = {e["args"]["name"]: e["pid"] for e in events if e["name"] == "process_name"}
    assert process == {"n0": 1, "n2": 2, "n3": 3, "n10": 4}
    threads = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}
    assert threads == {1: "driver", 2: "worker 0", 3: "transfers", 4: "worker 1"}
    slices = {e["name"]: e for e in events if e["ph"] == "X"}
    assert slices["square"] == {
        "ph": "X",
        "name": "square",
        "cat": "task",
        "pid": 4,
        "tid": 4,
        "ts": 2.0,
        "dur": 3.0,
        "args": {"cost": 1.5, "id": "driver/0", "outcome": "died"},
    }
    assert (slices["get"]["ts"], slices["get"]["dur"], slices["get"]["tid"]) == (3.0, 1.0, 4)
    assert slices["endless"]["args"] == {"outcome": "unfinished"}
    assert slices["endless"]["dur"] == 3.0
    moments = [(e["name"], e["s"], e["pid"], e["tid"]) for e in events if e["ph"] == "i"]
    assert moments == [("worker killed", "t", 4, 4), ("partition", "p", 3, 0)]
    arrows = [(e["ph"], e["pid"], e["tid"], e["ts"]) for e in events if e["ph"] in "sf"]
    assert arrows == [("s", 1, 1, 0.5), ("f", 4, 4, 2.0)]


def test_every_attempt_of_a_task_gets_its_arrow_from_one_submission(tmp_path: Path) -> None:
    trace = Trace()
    trace.submitted("driver/0", "n0", "driver", 0)
    for start in (1_000, 2_000):
        span = trace.span_started("n0", 0, "square", start, subject="driver/0")
        trace.span_ended(span, start + 500)
    events = saved(trace, tmp_path)
    check_structure(events)
    assert sorted(e["id"] for e in events if e["ph"] == "f") == [1, 2]
    assert sum(1 for e in events if e["name"] == "submit square" and e["ph"] == "X") == 1


def test_transfers_at_the_same_time_get_threads_of_their_own(tmp_path: Path) -> None:
    trace = Trace()
    for start, end in ((0, 10), (5, 15), (10, 20), (12, 13)):
        trace.span_ended(trace.span_started("n0", "transfers", "x", start, "transfer"), end)
    events = saved(trace, tmp_path)
    check_structure(events)
    names = [e["args"]["name"] for e in events if e["name"] == "thread_name"]
    assert names == ["transfers", "transfers (2)"]
    assert [e["tid"] for e in events if e["ph"] == "X"] == [1, 2, 1, 1]


spans = st.lists(
    st.tuples(
        st.sampled_from(["n0", "n1"]),
        st.sampled_from([0, 1, "transfers"]),
        st.integers(0, 60),
        st.one_of(st.none(), st.integers(0, 30)),
        st.integers(-10, 60),
    ),
    max_size=25,
)


@given(spans, st.sampled_from([1, 7, 999, 123_456_789, 10**12 + 1]))
def test_no_slices_overlap_whatever_ran(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str, int | str, int, int | None, int]],
    unit_ns: int,
) -> None:
    trace = Trace()
    for index, (node, slot, start, length, submitted) in enumerate(rows):
        if submitted >= 0:
            trace.submitted(f"t{index}", "n0", slot, submitted * unit_ns)
        span = trace.span_started(node, slot, "f", start * unit_ns, subject=f"t{index}")
        if length is not None:
            trace.span_ended(span, (start + length) * unit_ns)
    events = saved(trace, tmp_path_factory.mktemp("traces"))
    check_structure(events)
    exported = sum(1 for e in events if e["ph"] == "X" and e["cat"] == "task")
    assert exported == len(rows)
