"""What is measured, which bars hold, and how that looks.

Decides the bars. Must never measure. Owns no state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from benchmarks.rounds import Results

PEERS = {"pool": "Pool", "ray": "Ray"}
_GREEN, _RED, _GREY, _BOLD = "32", "31", "38;5;245", "1"

Format = Callable[[float], str]


@dataclass(frozen=True)
class Bar:
    """What one figure must reach."""

    text: str
    met: Callable[[Results], bool | None]
    """None where it cannot be said, because a peer did not run."""


@dataclass(frozen=True)
class Row:
    """One benchmark."""

    figure: str
    case: str
    """The case of the peers that yields the figure."""
    label: str
    shown: Format
    bars: tuple[Bar, ...] = ()
    peer: str = "local"
    """Whose figure is in the first column."""
    full_size_only: bool = False
    """Bars mean nothing where the size was reduced."""


def _per_second(value: float) -> str:
    return f"{value:,.0f}/s"


def _at_least(figure: str, least: float, shown: Format) -> Bar:
    return Bar(f"≥ {shown(least)}", lambda results: _compare(results, figure, least, 1))


def _under(figure: str, most: float, shown: Format, peer: str = "local") -> Bar:
    return Bar(f"≤ {shown(most)}", lambda results: _compare(results, figure, most, -1, peer))


def _compare(
    results: Results, figure: str, bound: float, sign: int, peer: str = "local"
) -> bool | None:
    value = results.median(peer, figure)
    return None if value is None else sign * value >= sign * bound


def _times(figure: str, factor: float, peer: str) -> Bar:
    def met(results: Results) -> bool | None:
        ratio = ratio_to(results, figure, peer)
        return None if ratio is None else ratio >= factor

    return Bar(f"{factor:g}x {PEERS[peer]}", met)


def ratio_to(results: Results, figure: str, peer: str) -> float | None:
    """How many times the peer's figure ours is."""
    ours, theirs = results.median("local", figure), results.median(peer, figure)
    return ours / theirs if ours and theirs else None


def _no_copy() -> Bar:
    return Bar("no copy", lambda results: _compare(results, "get_array_copies", 0.0, -1))


def _rate(
    case: str, label: str, least: float, *, pool: float | None = None, ray: float | None = None
) -> Row:
    ratios = (("pool", pool), ("ray", ray))
    times = [_times(case, factor, peer) for peer, factor in ratios if factor is not None]
    return Row(case, case, label, _per_second, (_at_least(case, least, _per_second), *times))


def _us(value: float) -> str:
    return f"{value:,.1f} us"


def _s(value: float) -> str:
    return f"{value:.2f} s"


def _gib(value: float) -> str:
    return f"{value:.2f} GiB"


def _fraction(value: float) -> str:
    return f"{value:.2f}"


def _gib_per_s(value: float) -> str:
    return f"{value:.1f} GiB/s"


ROWS = (
    _rate("single", "one task at a time: get(f.remote())", 10_000, pool=3, ray=30),
    _rate("batch", "10,000 tiny tasks submitted, then get", 40_000, pool=2, ray=40),
    _rate("chain", "chain of 1,000 dependent tasks", 8_000, ray=20),
    _rate("put_small", "put of a small object", 100_000),
    _rate("get_small", "get of a small object", 300_000),
    Row(
        "put_array",
        "arrays",
        "put of a 100 MiB array / warm memcpy",
        _fraction,
        (_at_least("put_array", 0.7, _fraction),),
    ),
    Row("put_array_gib", "arrays", "  the same in GiB/s", _gib_per_s),
    Row(
        "get_array",
        "arrays",
        "get of a 100 MiB array",
        _us,
        (_under("get_array", 100, _us), _no_copy()),
    ),
    _rate("actor", "one actor call at a time", 12_000, ray=12),
    _rate("actor_batch", "5,000 actor calls, then get", 40_000, ray=15),
    Row("async", "async", "one async actor call at a time", _per_second),
    Row(
        "async_batch",
        "async_batch",
        "5,000 async actor calls, then get",
        _per_second,
        (_times("async_batch", 15, "ray"),),
    ),
    Row(
        "wait",
        "wait",
        "wait one by one over 1,000 refs",
        _per_second,
        (_times("wait", 20, "ray"),),
    ),
    Row(
        "actors",
        "actors",
        "200 actors created, called, killed",
        _s,
        (_under("actors", 10, _s),),
    ),
    Row("start", "start", "import, init, first result", _s, (_under("start", 0.5, _s),)),
    Row(
        "million",
        "million",
        "1,000,000 queued tasks: driver's peak",
        _gib,
        (_under("million", 1.2, _gib),),
        full_size_only=True,
    ),
    Row("million_rate", "million", "  and drained at", _per_second),
    Row(
        "sleepers",
        "sleepers",
        "sim: 1,000 tasks sleep an hour each",
        _s,
        (_under("sleepers", 1.0, _s, "sim"),),
        peer="sim",
    ),
    Row("steps", "steps", "sim: steps of the machines", _per_second, peer="sim"),
    Row("sim_tasks", "steps", "sim: tiny tasks", _per_second, peer="sim"),
)


def render(results: Results, rows: Iterable[Row], *, quick: bool, colour: bool) -> str:
    """The table: a line per benchmark with medians, ratios and bars."""

    def paint(text: str, style: str) -> str:
        return f"\x1b[{style}m{text}\x1b[0m" if colour else text

    heading = f"{'benchmark':38}{'rsim':>12}{'Pool(2)':>11}{'rsim is':>8}{'Ray':>11}{'rsim is':>8}"
    lines = [paint(f"{heading}   bars", _BOLD)]
    for row in rows:
        cells = [f"{row.label:38}{_cell(results, row, row.peer):>12}"]
        for peer in ("pool", "ray"):
            ratio = ratio_to(results, row.figure, peer) if row.shown is _per_second else None
            times = "" if ratio is None else f"{ratio:.3g}x"
            cells.append(f"{_cell(results, row, peer):>11}{times:>8}")
        marks = []
        for bar in row.bars:
            met = None if quick and row.full_size_only else bar.met(results)
            mark, style = {True: ("✓", _GREEN), False: ("✗", _RED), None: ("-", _GREY)}[met]
            marks.append(f"{paint(mark, style)} {bar.text}")
        lines.append(("".join(cells) + "   " + "  ".join(marks)).rstrip())
    return "\n".join(lines)


def _cell(results: Results, row: Row, peer: str) -> str:
    value = results.median(peer, row.figure)
    return "" if value is None else row.shown(value)
