"""The rows of a Gantt: which spans stand beside one label, and which of them shows when.

Decides what hides what: of spans that run inside each other, the innermost shows. Must never know
how wide a drawing is. Owns no state.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from rsim.runtime.trace import BLOCKED, DIED, Slot, Span, natural_key, slot_key

LINE_STYLES = {"driver": "38;5;245", "transfer": "38;5;80", "spill": "38;5;177"}
"""The kinds of spans that keep no worker busy: drawn as lines, in these styles."""


class Bar(msgspec.Struct, frozen=True, gc=False):
    """A span to be drawn; an open one lasts until the end."""

    name: str
    kind: str
    start_ns: int
    end_ns: int
    died: bool

    @property
    def works(self) -> bool:
        """Whether it keeps its worker busy."""
        return self.kind != BLOCKED and self.kind not in LINE_STYLES


class Piece(msgspec.Struct, frozen=True, gc=False):
    """A stretch of a row in which `bar` is the innermost."""

    start_ns: int
    end_ns: int
    bar: Bar

    def within(self, start_ns: int, end_ns: int) -> int:
        """How many nanoseconds of an interval it covers."""
        return max(0, min(self.end_ns, end_ns) - max(self.start_ns, start_ns))


class Row(msgspec.Struct):
    """What is drawn beside one label."""

    slot: Slot
    bars: list[Bar]
    pieces: list[Piece]

    @property
    def is_worker(self) -> bool:
        """Whether it is that of something which can be busy."""
        return isinstance(self.slot, int) or any(bar.works for bar in self.bars)

    @property
    def busy_ns(self) -> int:
        """How long something was at work."""
        return sum(piece.end_ns - piece.start_ns for piece in self.pieces if piece.bar.works)


def rows_by_node(spans: Sequence[Span], end_ns: int) -> dict[str, list[Row]]:
    """The rows of each node, in order; spans that are still open last until the end."""
    tracks: dict[str, dict[Slot, list[Bar]]] = {}
    for span in spans:
        end = end_ns if span.end_ns is None else span.end_ns
        bar = Bar(span.name, span.kind, span.start_ns, end, span.outcome == DIED)
        tracks.setdefault(span.node, {}).setdefault(span.slot, []).append(bar)
    nodes: dict[str, list[Row]] = {}
    for node in sorted(tracks, key=natural_key):
        slots = sorted(tracks[node], key=slot_key)
        nodes[node] = [Row(slot, bars := tracks[node][slot], _flatten(bars)) for slot in slots]
    return nodes


def nesting(bar: Bar) -> tuple[int, int, bool, str, str]:
    """Sorts bars so that one comes before those that it contains, in whatever order they come."""
    return bar.start_ns, -bar.end_ns, bar.kind == BLOCKED, bar.kind, bar.name


def _flatten(bars: list[Bar]) -> list[Piece]:
    """Sort the bars of a row, and cut them into pieces in which the innermost one shows."""
    bars.sort(key=nesting)
    pieces: list[Piece] = []
    stack: list[Bar] = []
    done_ns = bars[0].start_ns

    def close(until_ns: int) -> None:
        nonlocal done_ns
        while stack and done_ns < until_ns:
            end_ns = min(stack[-1].end_ns, until_ns)
            if end_ns > done_ns:
                pieces.append(Piece(done_ns, end_ns, stack[-1]))
                done_ns = end_ns
            if stack[-1].end_ns <= done_ns:
                stack.pop()
        done_ns = max(done_ns, until_ns)

    for bar in bars:
        close(bar.start_ns)
        if bar.start_ns == bar.end_ns:
            pieces.append(Piece(bar.start_ns, bar.end_ns, bar))
        else:
            stack.append(bar)
    close(max(bar.end_ns for bar in bars))
    return pieces
