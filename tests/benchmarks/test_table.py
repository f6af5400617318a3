"""The table says what the figures say: medians, ratios, and whether a bar is met."""

import pytest

from benchmarks.rounds import Results
from benchmarks.table import ROWS, Row, render


def row(figure: str) -> Row:
    return next(row for row in ROWS if row.figure == figure)


def results(**figures: dict[str, float]) -> Results:
    found = Results()
    for peer, values in figures.items():
        found.add(peer, values)
    return found


def line(found: Results, figure: str, *, quick: bool = False) -> str:
    return render(found, [row(figure)], quick=quick, colour=False).splitlines()[1]


def test_a_line_shows_figures_ratios_and_bars() -> None:
    found = results(local={"batch": 50_000}, pool={"batch": 20_000}, ray={"batch": 2_000})
    words = " ".join(line(found, "batch").split())
    assert "50,000/s 20,000/s 2.5x 2,000/s 25x ✓ ≥ 40,000/s ✓ 2x Pool ✗ 40x Ray" in words


def test_a_bar_against_a_peer_that_did_not_run_is_open() -> None:
    assert line(results(local={"batch": 50_000}), "batch").endswith(
        "✓ ≥ 40,000/s  - 2x Pool  - 40x Ray"
    )


@pytest.mark.parametrize(("seconds", "mark"), [(0.49, "✓"), (0.51, "✗")])
def test_a_time_must_be_below_its_bar(seconds: float, mark: str) -> None:
    assert f"{mark} ≤ 0.50 s" in line(results(local={"start": seconds}), "start")


def test_a_copied_array_misses_its_bar() -> None:
    copied = results(local={"get_array": 50.0, "get_array_copies": 1.0})
    assert "✗ no copy" in line(copied, "get_array")


def test_the_median_of_the_rounds_counts() -> None:
    found = Results()
    for value in (1.0, 100_000.0, 12_000.0):
        found.add("local", {"single": value})
    assert "12,000/s" in line(found, "single")


def test_a_reduced_size_meets_no_bar() -> None:
    found = results(local={"million": 0.1})
    assert "✓" in line(found, "million")
    assert "✓" not in line(found, "million", quick=True)


def test_every_bar_of_a_missing_figure_is_open() -> None:
    assert all(bar.met(Results()) is None for row in ROWS for bar in row.bars)
