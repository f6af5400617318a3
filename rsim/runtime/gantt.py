"""A text Gantt of nodes x time, for terminals, logs and mails.

Decides how spans look in a given number of columns, and nothing about what they mean. Must never
print, read a clock or change a span. Owns no state.

A column has two halves; a half belongs to the span that covers most of it, if that is at least
half of it. What is too short for that must not vanish: a column that has whole spans inside shows
the letter of the one that ran longest, in lower case if the slot was busy for less than half of
the column. The text is the same with and without colour.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import TypeAlias

import msgspec

from rsim.runtime.gantt_rows import LINE_STYLES, Bar, Piece, Row, nesting, rows_by_node
from rsim.runtime.trace import BLOCKED, Instant, Span, slot_label

MIN_WIDTH = 40

_MAX_LABEL = 24
_MAX_NAME = 32
_MARGIN = 5
_TICK_COLUMNS = 10
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_COLOURS = (75, 214, 114, 204, 141, 80, 221, 209, 111, 150, 177, 180)
_BOLD, _GREY, _FAINT, _RED = "1", "38;5;245", "38;5;240", "1;31"

_SECOND, _MINUTE, _HOUR = 10**9, 60 * 10**9, 3600 * 10**9
_STEPS = (
    *(digit * 10**power for power in range(9) for digit in (1, 2, 5)),
    *(count * _SECOND for count in (1, 2, 5, 10, 20, 30)),
    *(count * _MINUTE for count in (1, 2, 5, 10, 20, 30)),
    *(count * _HOUR for count in (1, 2, 4, 6, 12)),
    *(digit * 10**power * 24 * _HOUR for power in range(8) for digit in (1, 2, 5)),
)

_Text: TypeAlias = tuple[str, str]
"""Characters, and the ANSI style that they have where there is colour."""


class _Glyphs(msgspec.Struct, frozen=True):
    bodies: str
    left: str
    right: str
    blocked: str
    idle: str
    line: str
    line_left: str
    line_right: str
    death: str
    tick: str
    rule: str
    cut: str
    times: str
    micro: str


_UNICODE = _Glyphs("█▓▒", "▌", "▐", "░", "·", "━", "╸", "╺", "✗", "┬", "─", "…", "×", "µs")
_ASCII = _Glyphs("#=%", "", "", "-", ".", "~", "~", ".", "!", "+", "-", "~", "x", "us")
"""Without halves: the left half stands for its column."""


class _Scale(msgspec.Struct, frozen=True):
    """Maps time to columns."""

    start_ns: int
    length_ns: int
    columns: int

    def edge(self, column: int) -> int:
        """The time at which a column begins."""
        return self.start_ns + self.length_ns * column // self.columns

    def column(self, at_ns: int) -> int:
        """The column in which a moment lies."""
        return ((at_ns - self.start_ns + 1) * self.columns - 1) // self.length_ns


def render_gantt(
    spans: Sequence[Span],
    *,
    instants: Sequence[Instant] = (),
    width: int = 100,
    colour: bool | None = None,
    unicode: bool | None = None,
    max_nodes: int = 40,
) -> str:
    """Draw what ran where and when: a row per worker slot, grouped by node, and a legend.

    `width` is the length of the longest line, at least 40. `colour` None means: where stdout is
    a terminal; `unicode` None: where stdout can encode it. Nodes beyond `max_nodes` are counted,
    not drawn. Deaths are the spans that died, and the instants of kind "death".
    Raises ValueError when width or max_nodes is too small.
    """
    if width < MIN_WIDTH:
        raise ValueError(f"width must be {MIN_WIDTH} or more, not {width}")
    if max_nodes < 1:
        raise ValueError(f"max_nodes must be 1 or more, not {max_nodes}")
    if not spans:
        return "nothing ran\n"
    glyphs = _UNICODE if (_stdout_encodes(_UNICODE) if unicode is None else unicode) else _ASCII
    deaths = [instant for instant in instants if instant.kind == "death"]
    paint = _stdout_has_colour() if colour is None else colour
    lines = _Chart(spans, deaths, width, glyphs).lines(max_nodes)
    return "".join(_joined(line, paint) + "\n" for line in lines)


def format_duration(time_ns: int, *, micro: str = "µs") -> str:
    """Render a duration in the unit that suits, to three digits: 12.3 ms, 1m30s, 2h05m."""
    if time_ns < 1_000:
        return f"{time_ns} ns"
    for unit_ns, unit in ((1_000, micro), (1_000_000, "ms"), (_SECOND, "s")):
        if time_ns < (_MINUTE if unit_ns == _SECOND else unit_ns * 1_000):
            return f"{float(f'{time_ns / unit_ns:.3g}'):g} {unit}"
    minutes, seconds = divmod(time_ns // _SECOND, 60)
    if minutes < 60:
        return f"{minutes}m{seconds:02}s" if seconds else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if minutes else f"{hours} h"


class _Chart:
    """Lays out one drawing: the axis, the rows of each node, the legend."""

    def __init__(
        self, spans: Sequence[Span], deaths: Sequence[Instant], width: int, glyphs: _Glyphs
    ) -> None:
        self.width, self.glyphs, self.deaths = width, glyphs, deaths
        starts = [span.start_ns for span in spans] + [death.at_ns for death in deaths]
        ends = [end for span in spans if (end := span.end_ns) is not None]
        self.start_ns, self.end_ns = min(starts), max(starts + ends)
        self.nodes = rows_by_node(spans, self.end_ns)
        self.rows = [row for rows in self.nodes.values() for row in rows]
        self.label_width = min(_MAX_LABEL, 4 + max(len(slot_label(row.slot)) for row in self.rows))
        columns = width - self.label_width - _MARGIN
        # The end belongs to the last column; two nanoseconds a column, so that no half is empty.
        length_ns = max(self.end_ns - self.start_ns + 1, 2 * columns)
        self.scale = _Scale(self.start_ns, length_ns, columns)
        bars = [bar for row in self.rows for bar in row.bars]
        self.bars = sorted(bars, key=nesting)
        self.pen = _Pen(glyphs, list(dict.fromkeys(bar.name for bar in self.bars if bar.works)))

    def lines(self, max_nodes: int) -> Iterator[list[_Text]]:
        """Yield the drawing."""
        workers = [row for row in self.rows if row.is_worker]
        yield from self._axis()
        for node in list(self.nodes)[:max_nodes]:
            yield from self._node(node)
        if len(self.nodes) > max_nodes:
            yield [(f"{len(self.nodes) - max_nodes} more nodes", _GREY)]
        yield []
        yield from self._legend(workers)

    def _axis(self) -> Iterator[list[_Text]]:
        scale = self.scale
        step_ns = next(
            (step for step in _STEPS if step * scale.columns >= _TICK_COLUMNS * scale.length_ns),
            scale.length_ns,
        )
        labels = ""
        rule = [self.glyphs.rule] * scale.columns
        for at_ns in range(0, scale.length_ns, step_ns):
            column = scale.column(scale.start_ns + at_ns)
            label = format_duration(at_ns, micro=self.glyphs.micro) if at_ns else "0"
            rule[column] = self.glyphs.tick
            if column + len(label) <= scale.columns + _MARGIN:
                labels = labels.ljust(column) + label
        margin = " " * self.label_width
        yield [(margin, ""), (labels, _GREY)]
        yield [(margin, ""), ("".join(rule), _GREY)]

    def _node(self, node: str) -> Iterator[list[_Text]]:
        rows = self.nodes[node]
        workers = [row for row in rows if row.is_worker]
        plural = "" if len(workers) == 1 else "s"
        summary = f"  {len(workers)} worker{plural}, {self._share(workers)}% busy"
        name = _cut(node, self.width - len(summary), self.glyphs.cut)
        yield [(name, _BOLD), (summary if workers else "", _GREY)]
        for row in rows:
            label = _cut("  " + slot_label(row.slot), self.label_width - 2, self.glyphs.cut)
            share = f"{self._share([row])}%".rjust(_MARGIN) if row.is_worker else ""
            cells = self._cells(row)
            self._mark_deaths(node, row, cells)
            yield [(label.ljust(self.label_width), ""), *cells, (share, _GREY)]

    def _cells(self, row: Row) -> list[_Text]:
        scale = self.scale
        columns: list[list[Piece]] = [[] for _ in range(scale.columns)]
        for piece in row.pieces:
            last = scale.column(max(piece.start_ns, piece.end_ns - 1))
            for column in range(scale.column(piece.start_ns), last + 1):
                columns[column].append(piece)
        edges = [scale.edge(column) for column in range(scale.columns + 1)]
        self.pen.start_row()
        return [
            self.pen.cell(pieces, edges[column], edges[column + 1])
            for column, pieces in enumerate(columns)
        ]

    def _mark_deaths(self, node: str, row: Row, cells: list[_Text]) -> None:
        """Mark what died; after the death of its node a row is blank until something runs there."""
        own = [bar.end_ns for bar in row.bars if bar.died]
        own += [d.at_ns for d in self.deaths if d.node == node and d.slot == row.slot]
        of_node = [d.at_ns for d in self.deaths if d.node == node and d.slot is None]
        marks = [self._death_column(at_ns) for at_ns in own + of_node]
        for at_ns in of_node:
            later = [bar.start_ns for bar in row.bars if bar.start_ns >= at_ns]
            end = self.scale.column(min(later)) if later else len(cells)
            for column in range(self._death_column(at_ns) + 1, end):
                cells[column] = (" ", "")
        for column in marks:
            cells[column] = (self.glyphs.death, _RED)

    def _death_column(self, at_ns: int) -> int:
        """The last column before a death, so that the mark does not hide what comes next."""
        return self.scale.column(max(self.start_ns, at_ns - 1))

    def _share(self, rows: Sequence[Row]) -> int:
        """Per cent of the time in which these slots were busy."""
        return self._per_cent(sum(row.busy_ns for row in rows), rows)

    def _per_cent(self, busy_ns: int, rows: Sequence[Row]) -> int:
        whole_ns = (self.end_ns - self.start_ns) * len(rows)
        return (200 * busy_ns + whole_ns) // (2 * whole_ns) if whole_ns else 0

    def _legend(self, workers: Sequence[Row]) -> Iterator[list[_Text]]:
        names = self.pen.names[: len(_LETTERS)]
        room = min(_MAX_NAME, self.width - 29)
        width = max((min(room, len(name)) for name in names), default=0)
        counts = Counter(bar.name for bar in self.bars if bar.works)
        busy_ns = Counter[str]()
        for row in workers:
            for piece in row.pieces:
                if piece.bar.works:
                    busy_ns[piece.bar.name] += piece.end_ns - piece.start_ns
        if names:
            yield [(f"    {'':{width}}   runs      mean   share", _GREY)]
        for name in names:
            mean = format_duration(busy_ns[name] // counts[name], micro=self.glyphs.micro)
            share = self._per_cent(busy_ns[name], workers)
            text = f"  {_cut(name, room, self.glyphs.cut):{width}}"
            yield [*self.pen.sample(name), (f"{text}{counts[name]:>7}{mean:>10}{share:>7}%", "")]
        if len(self.pen.names) > len(names):
            yield [(f"*   {len(self.pen.names) - len(names)} more functions", "")]
        line = ""
        for part in self._symbols():
            if len(line) + 3 + len(part) > self.width:
                yield [(line, _GREY)]
                line = ""
            line += ("   " if line else "") + part
        yield [(line, _GREY)]

    def _symbols(self) -> list[str]:
        glyphs = self.glyphs
        kinds = Counter(bar.kind for bar in self.bars)
        parts = [f"{glyphs.idle} idle"]
        if kinds[BLOCKED]:
            parts.append(f"{glyphs.blocked} waiting, its CPU given back")
        for kind in ("transfer", "spill"):
            if kinds[kind]:
                parts.append(f"{glyphs.line} {kind} ({kinds[kind]})")
        if self.deaths or any(bar.died for bar in self.bars):
            parts.append(f"{glyphs.death} death")
        if self.pen.has_lower_case:
            parts.append("lower case: busy for less than half")
        return parts


class _Pen:
    """Turns what lies in a column into one character."""

    def __init__(self, glyphs: _Glyphs, names: Sequence[str]) -> None:
        self.glyphs = glyphs
        self.names = names
        self.has_lower_case = False
        self._index = {name: index for index, name in enumerate(names)}
        self._lettered: Bar | None = None

    def start_row(self) -> None:
        """Forget which bar shows its letter already."""
        self._lettered = None

    def sample(self, name: str) -> list[_Text]:
        """How a function looks, for the legend."""
        return [(self._letter(name), self._on(name)), (self._body(name), self._in(name))]

    def cell(self, pieces: Sequence[Piece], start_ns: int, end_ns: int) -> _Text:
        """Draw the column from `start_ns` to `end_ns`, with the pieces that touch it."""
        inside = [
            piece
            for piece in pieces
            if piece.bar.works and piece.bar.start_ns >= start_ns and piece.bar.end_ns <= end_ns
        ]
        if inside:
            return self._crowd(pieces, inside, start_ns, end_ns)
        middle_ns = (start_ns + end_ns) // 2
        left = _owner(pieces, start_ns, middle_ns)
        right = _owner(pieces, middle_ns, end_ns)
        next_end_ns = end_ns + (end_ns - start_ns)
        if right and right.works and start_ns <= right.start_ns and right.end_ns < next_end_ns:
            left = right  # its only chance to show a letter
        return self._whole(left) if left is right else self._halves(left, right)

    def _crowd(
        self, pieces: Sequence[Piece], inside: Sequence[Piece], start_ns: int, end_ns: int
    ) -> _Text:
        times_ns = Counter[str]()
        for piece in inside:
            times_ns[piece.bar.name] += piece.within(start_ns, end_ns)
        name = max(times_ns, key=times_ns.__getitem__)
        busy_ns = sum(piece.within(start_ns, end_ns) for piece in pieces if piece.bar.works)
        if 2 * busy_ns >= end_ns - start_ns:
            return (self._letter(name), self._on(name))
        self.has_lower_case = True
        return (self._letter(name).lower(), self._in(name))

    def _whole(self, bar: Bar | None) -> _Text:
        if bar is None:
            return (self.glyphs.idle, _FAINT)
        if bar.kind == BLOCKED:
            return (self.glyphs.blocked, _GREY)
        if not bar.works:
            return (self.glyphs.line, LINE_STYLES[bar.kind])
        if self._lettered is bar:
            return (self._body(bar.name), self._in(bar.name))
        self._lettered = bar
        return (self._letter(bar.name), self._on(bar.name))

    def _halves(self, left: Bar | None, right: Bar | None) -> _Text:
        glyphs = self.glyphs
        if left is not None and left.works:
            style = self._in(left.name)
            if right is not None and right.works:
                style += ";4" + self._in(right.name)[1:]
            return (glyphs.left, style) if glyphs.left else self._whole(left)
        if right is not None and right.works:
            return (glyphs.right or glyphs.idle, self._in(right.name))
        for bar, line in ((left, glyphs.line_left), (right, glyphs.line_right)):
            if bar is not None and bar.kind in LINE_STYLES:
                return (line, LINE_STYLES[bar.kind])
        return (glyphs.blocked, _GREY)

    def _letter(self, name: str) -> str:
        index = self._index[name]
        return _LETTERS[index] if index < len(_LETTERS) else "*"

    def _body(self, name: str) -> str:
        return self.glyphs.bodies[self._index[name] % len(self.glyphs.bodies)]

    def _in(self, name: str) -> str:
        """The style of a character in the colour of a function."""
        return f"38;5;{_COLOURS[self._index[name] % len(_COLOURS)]}"

    def _on(self, name: str) -> str:
        """The style of a character on the colour of a function."""
        return f"30;4{self._in(name)[1:]}"


def _owner(pieces: Sequence[Piece], start_ns: int, end_ns: int) -> Bar | None:
    """The bar that covers most of the interval, if that is at least half of it."""
    best = max(pieces, key=lambda piece: piece.within(start_ns, end_ns), default=None)
    if best is None or 2 * best.within(start_ns, end_ns) < end_ns - start_ns:
        return None
    return best.bar


def _cut(text: str, width: int, mark: str) -> str:
    return text if len(text) <= width else text[: width - 1] + mark


def _joined(line: Sequence[_Text], paint: bool) -> str:
    """Put a line together, with one escape sequence for each run of a style."""
    if not paint:
        return "".join(text for text, _ in line).rstrip()
    parts = []
    for style, run in groupby(line, key=itemgetter(1)):
        text = "".join(text for text, _ in run)
        parts.append(f"\x1b[{style}m{text}\x1b[0m" if style else text)
    return "".join(parts).rstrip()


def _stdout_encodes(glyphs: _Glyphs) -> bool:
    try:
        "".join(msgspec.structs.astuple(glyphs)).encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _stdout_has_colour() -> bool:
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return sys.stdout.isatty()
