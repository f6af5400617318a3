"""What workers print reaches the driver by line, under the name of the task."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rsim.backends.local.logs import Output, OutputPipe, TaskStream


class Wire:
    """A worker's stream and the driver's end of it."""

    def __init__(self, is_error: bool, output: Output) -> None:
        read, self.write = os.pipe()
        self.stream = TaskStream(self.write)
        self.pipe = OutputPipe(read, is_error, output)
        self.pipe.pid = 42

    def close(self) -> None:
        self.stream.close()
        os.close(self.write)
        self.pipe.close()


@pytest.fixture
def wire() -> Iterator[Wire]:
    made = Wire(False, Output(True, None))
    yield made
    made.close()


def test_lines_carry_the_name_of_their_task(wire: Wire, capsys: pytest.CaptureFixture[str]) -> None:
    for task in ("f", "f", "g"):
        wire.stream.task = task
        print("one\ntwo", file=wire.stream)
    wire.pipe.read()
    lines = [f"({task} pid=42) {text}" for task in "ffg" for text in ("one", "two")]
    assert capsys.readouterr().out.splitlines() == lines


def test_what_ends_without_a_newline_is_shown_when_the_task_ends(
    wire: Wire, capsys: pytest.CaptureFixture[str]
) -> None:
    wire.stream.task = "f"
    print("half", end="", file=wire.stream)
    wire.stream.end_line()
    wire.stream.end_line()
    wire.pipe.read()
    assert capsys.readouterr().out == "(f pid=42) half\n"


def test_bytes_below_the_stream_count_to_the_last_task(
    wire: Wire, capsys: pytest.CaptureFixture[str]
) -> None:
    wire.stream.task = "f"
    print("python", file=wire.stream)
    os.write(wire.write, b"raw \xff")
    wire.stream.task = "g"
    print("next", file=wire.stream)
    wire.pipe.read()
    assert capsys.readouterr().out.splitlines() == [
        "(f pid=42) python",
        "(f pid=42) raw \ufffd",
        "(g pid=42) next",
    ]


def test_outside_tasks_the_worker_is_named(wire: Wire, capsys: pytest.CaptureFixture[str]) -> None:
    print("hello", file=wire.stream)
    wire.pipe.read()
    assert capsys.readouterr().out == "(worker pid=42) hello\n"


def test_stderr_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    wire = Wire(True, Output(True, None))
    print("oops", file=wire.stream)
    wire.pipe.read()
    assert capsys.readouterr() == ("", "(worker pid=42) oops\n")
    wire.close()


def test_files_get_plain_lines_and_the_driver_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wire = Wire(False, Output(False, tmp_path / "logs"))
    wire.stream.task = "f"
    print("hello", file=wire.stream)
    wire.pipe.read()
    wire.close()
    assert (tmp_path / "logs" / "worker-42.out").read_text() == "hello\n"
    assert capsys.readouterr().out == ""


def test_an_endless_line_is_shown_in_pieces(wire: Wire, capsys: pytest.CaptureFixture[str]) -> None:
    text = "x" * 50_000
    for _ in range(2):
        os.write(wire.write, text.encode())
        wire.pipe.read()
    assert capsys.readouterr().out == f"(worker pid=42) {text * 2}\n"


def test_a_closed_stream_of_the_driver_is_no_error(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = open(os.devnull, "w")  # noqa: SIM115 -- closed at once
    broken.close()
    monkeypatch.setattr(sys, "stdout", broken)
    print("hello", file=wire.stream)
    wire.pipe.read()


def test_the_end_of_the_stream_shows_what_is_left(
    wire: Wire, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Wire(False, Output(True, None))
    os.write(other.write, b"last words")
    other.stream.close()
    os.close(other.write)
    with pytest.raises(EOFError):
        other.pipe.read()
    assert capsys.readouterr().out == "(worker pid=42) last words\n"
    os.close(other.pipe.fd)
