"""The text Gantt: drawings kept as golden text, and what holds for every drawing."""

from __future__ import annotations

import io
import re
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsim.runtime.gantt import format_duration, render_gantt
from rsim.runtime.gantt_rows import LINE_STYLES
from rsim.runtime.trace import BLOCKED, DIED, FINISHED, Instant, Slot, Span

MS = 10**6
ANSI = re.compile(r"\x1b\[[0-9;]*m")


def span(
    node: str,
    slot: Slot,
    name: str,
    start_ms: int,
    end_ms: int,
    kind: str = "task",
    outcome: str = FINISHED,
) -> Span:
    return Span(node, slot, name, start_ms * MS, end_ms * MS, kind, outcome=outcome)


def text(*spans: Span, instants: tuple[Instant, ...] = (), unicode: bool = True) -> str:
    drawn = render_gantt(spans, instants=instants, width=69, colour=False, unicode=unicode)
    return "\n" + drawn


CLUSTER = (
    span("n0", "driver", "main", 0, 5000, "driver"),
    span("n0", 0, "load", 0, 1000),
    span("n0", 0, "load", 1000, 2050),
    span("n0", 0, "reduce", 2100, 4950),
    span("n0", 0, "get", 2300, 3900, BLOCKED),
    span("n0", 1, "load", 50, 1100),
    span("n0", 1, "square", 1150, 3000, outcome=DIED),
    span("n0", "transfers", "load.0", 3000, 3850, "transfer"),
    span("n2", 0, "square", 1100, 3900),
    span("n10", 0, "square", 2000, 2450),
    *(span("n10", 0, "tiny", 3000 + 20 * i, 3004 + 20 * i) for i in range(50)),
    *(span("n10", 0, "tiny", 4000 + 10 * i, 4008 + 10 * i) for i in range(50)),
)
NODE_DEATH = Instant("n2", None, "node died", 4500 * MS, "death")


def test_a_small_cluster() -> None:
    assert (
        text(*CLUSTER, instants=(NODE_DEATH,))
        == """
             0         1 s       2 s       3 s       4 s       5 s
             ┬─────────┬─────────┬─────────┬─────────┬─────────┬
n0  2 workers, 62% busy
  driver     ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━
  worker 0   A█████████A██████████▐C▌░░░░░░░░░░░░░░░░▒▒▒▒▒▒▒▒▒▒▌  66%
  worker 1   ▐A█████████▐B▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓✗····················  58%
  transfers  ······························╺━━━━━━━━╸···········
n2  1 worker, 56% busy
  worker 0   ···········B▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓·····✗       56%
n10  1 worker, 21% busy
  worker 0   ····················▐B▓▓▓·····dddddddddddDDDDD·····  21%

             runs      mean   share
A█  load        3    1.03 s     16%
B▓  square      3     1.7 s     26%
C▒  reduce      1    1.25 s      6%
D█  tiny      100      6 ms      3%
· idle   ░ waiting, its CPU given back   ━ transfer (1)   ✗ death
lower case: busy for less than half
"""
    )


def test_a_small_cluster_in_ascii() -> None:
    assert (
        text(*CLUSTER, instants=(NODE_DEATH,), unicode=False)
        == """
             0         1 s       2 s       3 s       4 s       5 s
             +---------+---------+---------+---------+---------+
n0  2 workers, 62% busy
  driver     ~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
  worker 0   A#########A##########.C%----------------%%%%%%%%%%%  66%
  worker 1   .A#########.B=================!....................  58%
  transfers  ...............................~~~~~~~~~...........
n2  1 worker, 56% busy
  worker 0   ...........B============================.....!       56%
n10  1 worker, 21% busy
  worker 0   .....................B===.....dddddddddddDDDDD.....  21%

             runs      mean   share
A#  load        3    1.03 s     16%
B=  square      3     1.7 s     26%
C%  reduce      1    1.25 s      6%
D#  tiny      100      6 ms      3%
. idle   - waiting, its CPU given back   ~ transfer (1)   ! death
lower case: busy for less than half
"""
    )


def test_a_worker_that_never_rests_is_one_solid_bar() -> None:
    assert (
        text(span("n0", 0, "train", 0, 90 * 60_000))
        == """
            0          20 min      40 min     1 h         1h20m
            ┬──────────┬───────────┬──────────┬───────────┬─────
n0  1 worker, 100% busy
  worker 0  A███████████████████████████████████████████████████ 100%

            runs      mean   share
A█  train      1     1h30m    100%
· idle
"""
    )


def test_tasks_that_take_no_virtual_time_are_seen() -> None:
    assert (
        text(*(span("n0", i, "instant", 0, 0) for i in range(2)))
        == """
            0         20 ns     40 ns     60 ns     80 ns     100 ns
            ┬─────────┬─────────┬─────────┬─────────┬─────────┬─
n0  2 workers, 0% busy
  worker 0  a···················································   0%
  worker 1  a···················································   0%

              runs      mean   share
A█  instant      2      0 ns      0%
· idle   lower case: busy for less than half
"""
    )


def test_a_node_that_comes_back_is_drawn_again() -> None:
    drawn = text(
        span("n0", 0, "f", 0, 1000, outcome=DIED),
        span("n0", 0, "f", 3000, 5000),
        instants=(Instant("n0", None, "killed", 1000 * MS, "death"),),
    )
    (row,) = [line for line in drawn.splitlines() if "worker 0" in line]
    assert re.fullmatch(r"  worker 0  A█{8,9}✗ {15,20}▐?A█+ +60%", row)


def test_spills_and_transfers_keep_no_worker_busy() -> None:
    drawn = text(
        span("n0", 0, "f", 0, 500), span("n0", "disk", "x", 0, 1000, "spill"), unicode=False
    )
    assert "1 worker, 50% busy" in drawn
    assert "~ spill (1)" in drawn


def test_an_open_span_lasts_until_the_end() -> None:
    done = span("n0", 0, "f", 0, 1000)
    open_ = Span("n0", 1, "g", 500 * MS)
    assert "75% busy" in text(done, open_)


def test_more_functions_than_letters_share_a_star() -> None:
    drawn = text(*(span("n0", 0, f"f{i}", 100 * i, 100 * i + 100) for i in range(30)))
    assert "Z▓  f25" in drawn
    assert "*   4 more functions" in drawn
    assert "*" in next(line for line in drawn.splitlines() if "worker 0" in line)


def test_nodes_beyond_the_limit_are_counted() -> None:
    drawn = render_gantt([span(f"n{i}", 0, "f", 0, 9) for i in range(12)], max_nodes=3)
    assert [line.split()[0] for line in drawn.splitlines() if line.startswith("n")] == [
        "n0",
        "n1",
        "n2",
    ]
    assert "9 more nodes" in drawn


def test_colours_tell_functions_apart_and_change_no_character() -> None:
    plain = render_gantt(CLUSTER, instants=[NODE_DEATH], colour=False, unicode=True)
    painted = render_gantt(CLUSTER, instants=[NODE_DEATH], colour=True, unicode=True)
    assert ANSI.search(plain) is None
    assert [line.rstrip() for line in ANSI.sub("", painted).splitlines()] == plain.splitlines()
    letters = dict(re.findall(r"\x1b\[(30;48;5;\d+)m([A-Z])\x1b", painted))
    assert sorted(letters.values()) == ["A", "B", "C", "D"]
    assert "\x1b[1;31m✗\x1b[0m" in painted


@pytest.mark.parametrize(
    ("encoding", "no_colour", "dumb"),
    [("utf-8", False, True), ("ascii", True, False), ("latin-1", False, False)],
)
def test_the_terminal_decides_what_is_not_said(
    monkeypatch: pytest.MonkeyPatch, encoding: str, no_colour: bool, dumb: bool
) -> None:
    class Terminal(io.TextIOWrapper):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdout", Terminal(io.BytesIO(), encoding=encoding))
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "dumb" if dumb else "xterm")
    if no_colour:
        monkeypatch.setenv("NO_COLOR", "1")
    drawn = render_gantt(CLUSTER)
    drawn.encode(encoding)
    assert ("█" in drawn) == (encoding == "utf-8")
    assert (ANSI.search(drawn) is None) == (no_colour or dumb)


def test_a_file_gets_no_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="utf-8"))
    assert ANSI.search(render_gantt(CLUSTER)) is None


def test_nothing_to_draw() -> None:
    assert render_gantt([]) == "nothing ran\n"


def test_wrong_sizes_are_named() -> None:
    with pytest.raises(ValueError, match="width must be 40 or more, not 39"):
        render_gantt(CLUSTER, width=39)
    with pytest.raises(ValueError, match="max_nodes must be 1 or more, not 0"):
        render_gantt(CLUSTER, max_nodes=0)


@pytest.mark.parametrize(
    ("time_ns", "expected"),
    [
        (0, "0 ns"),
        (999, "999 ns"),
        (1_500, "1.5 µs"),
        (12_345_678, "12.3 ms"),
        (1_000_000_000, "1 s"),
        (59_000_000_000, "59 s"),
        (60_000_000_000, "1 min"),
        (90_000_000_000, "1m30s"),
        (7_500_000_000_000, "2h05m"),
        (172_800_000_000_000, "48 h"),
    ],
)
def test_durations_read_well(time_ns: int, expected: str) -> None:
    assert format_duration(time_ns) == expected


spans = st.lists(
    st.builds(
        lambda node, slot, name, start, length, unit, kind, died: Span(
            node,
            slot,
            name,
            start * unit,
            None if length is None else (start + length) * unit,
            kind,
            outcome=DIED if died else FINISHED,
        ),
        st.sampled_from(["n0", "n1", "a-node-with-quite-a-long-name.example.org"]),
        st.sampled_from([0, 11, "driver", "transfers", "a-slot-with-quite-a-long-name"]),
        st.sampled_from(["f", "g", "module.a_function_with_quite_a_long_name", "né"]),
        st.integers(0, 200),
        st.one_of(st.none(), st.integers(0, 100)),
        st.sampled_from([1, 3, 10**6, 3600 * 10**9]),
        st.sampled_from(["task", BLOCKED, *LINE_STYLES]),
        st.booleans(),
    ),
    min_size=1,
    max_size=30,
)
deaths = st.lists(
    st.builds(
        Instant,
        st.sampled_from(["n0", "n1", "n9"]),
        st.sampled_from([None, 0, 11]),
        st.just("killed"),
        st.integers(0, 10**12),
        st.sampled_from(["death", "fault"]),
    ),
    max_size=3,
)


@given(spans, deaths, st.integers(40, 120))
def test_every_drawing_fits_and_says_the_same_in_colour(
    drawn: list[Span], died: list[Instant], width: int
) -> None:
    plain = render_gantt(drawn, instants=died, width=width, colour=False, unicode=True)
    painted = render_gantt(drawn, instants=died, width=width, colour=True, unicode=True)
    assert max(map(len, plain.splitlines())) <= width
    assert [line.rstrip() for line in ANSI.sub("", painted).splitlines()] == plain.splitlines()
    again = render_gantt(list(reversed(drawn)), instants=died, width=width, colour=False)
    assert len(again.splitlines()) == len(plain.splitlines())
    assert all(0 <= int(share) <= 100 for share in re.findall(r"(\d+)%", plain))


@given(spans, deaths)
def test_ascii_is_ascii(drawn: list[Span], died: list[Instant]) -> None:
    ascii_only = [Span(s.node, s.slot, "f", s.start_ns, s.end_ns, s.kind) for s in drawn]
    assert render_gantt(ascii_only, instants=died, colour=False, unicode=False).isascii()


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 20)), min_size=1, max_size=20))
def test_the_busy_share_is_the_time_covered(rows: list[tuple[int, int]]) -> None:
    drawn = [span("n0", 0, "f", start, start + length) for start, length in rows]
    covered = {ms for start, length in rows for ms in range(start, start + length)}
    first, last = min(s for s, _ in rows), max(s + length for s, length in rows)
    expected = round(100 * len(covered) / (last - first) + 1e-9) if last > first else 0
    assert f"1 worker, {expected}% busy" in render_gantt(drawn, colour=False)
