"""What workers print, on its way to the driver.

Decides how a line finds the name of its task: the worker's streams put a mark before the first line
of each task, which the driver takes out again. Must never lose a line, nor let a worker's output
break the driver. Owns, in the driver, the lines that are not complete yet.
"""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Final, TextIO

_MARK: Final = "\x1e"
_MARK_END: Final = "\x1f"
_READ_BYTES: Final = 1 << 16
_LINE_BYTES: Final = 1 << 16
"""A longer line is shown in pieces."""


class TaskStream(io.TextIOWrapper):
    """A worker's ``sys.stdout`` or ``sys.stderr``."""

    def __init__(self, fd: int) -> None:
        super().__init__(
            open(fd, "wb", closefd=False),  # noqa: SIM115 -- lives as long as the process
            encoding="utf-8",
            errors="backslashreplace",
            line_buffering=True,
        )
        self.task = ""
        """Name of the running task."""
        self._marked = ""
        self.inside_line = False

    def write(self, text: str) -> int:
        """Write, marked with the task's name where that is new."""
        if not text:
            return 0
        if self.task != self._marked:
            self.end_line()
            self._marked = self.task
            super().write(f"{_MARK}{self.task}{_MARK_END}")
        self.inside_line = not text.endswith("\n")
        return super().write(text)

    def end_line(self) -> None:
        """Complete what a task has left without a line's end, so that it is shown."""
        if self.inside_line:
            self.inside_line = False
            super().write("\n")


class Output:
    """Where the lines of all workers go: the driver's own streams, files, both or neither."""

    def __init__(self, to_driver: bool, folder: Path | None) -> None:
        self._to_driver = to_driver
        self._folder = folder
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)

    def show(self, is_error: bool, text: str) -> None:
        """Write whole lines to the driver's stdout or stderr."""
        stream = sys.stderr if is_error else sys.stdout
        if not self._to_driver or stream is None:
            return
        try:
            stream.write(text)
            stream.flush()
        except (OSError, ValueError):
            pass  # the driver's stream is closed: nobody wants to read this

    def file(self, pid: int, is_error: bool) -> TextIO | None:
        """A file for one stream of a worker, if files are wanted."""
        if self._folder is None:
            return None
        name = f"worker-{pid}.{'err' if is_error else 'out'}"
        return open(self._folder / name, "a", encoding="utf-8")


class OutputPipe:
    """The driver's end of one stream of one worker."""

    def __init__(self, fd: int, is_error: bool, output: Output) -> None:
        self.fd = fd
        self.pid = 0
        os.set_blocking(fd, False)
        self._is_error = is_error
        self._output = output
        self._task = ""
        self._partial = b""
        self._file: TextIO | None = None

    def read(self) -> None:
        """Pass on all that is there. EOFError at the end of the stream."""
        while True:
            try:
                data = os.read(self.fd, _READ_BYTES)
            except BlockingIOError:
                return
            if not data:
                self._pass_on([self._partial] if self._partial else [])
                self._partial = b""
                raise EOFError
            *lines, self._partial = (self._partial + data).split(b"\n")
            if len(self._partial) > _LINE_BYTES:
                lines.append(self._partial)
                self._partial = b""
            self._pass_on(lines)

    def _pass_on(self, lines: list[bytes]) -> None:
        shown = []
        plain = []
        for line in lines:
            text, *marked = line.decode("utf-8", "replace").split(_MARK)
            pieces = [(self._task, text)] if text or not marked else []
            for each in marked:
                self._task, _, text = each.partition(_MARK_END)
                pieces.append((self._task, text))
            shown += [f"({task or 'worker'} pid={self.pid}) {text}\n" for task, text in pieces]
            plain += [f"{text}\n" for _, text in pieces]
        if shown:
            self._output.show(self._is_error, "".join(shown))
            if self._file is None:
                self._file = self._output.file(self.pid, self._is_error)
            if self._file is not None:
                self._file.write("".join(plain))
                self._file.flush()

    def close(self) -> None:
        """Pass on what is left, and close."""
        try:
            self.read()
        except EOFError:
            pass
        os.close(self.fd)
        if self._file is not None:
            self._file.close()
