"""Runs a script as Python does, for the command lines that prepare the process for it.

Decides nothing. Must never leave a frame of its own in the script's tracebacks. Owns no state.
"""

from __future__ import annotations

import os
import sys


def run_script(path: str) -> None:
    """Run it to its end: its folder on the path, its names in the module `__main__`.

    `-` is standard input. Exits with 1 when it raises, with 2 when there is no such file.
    """
    source: str | bytes
    if path == "-":
        sys.path.insert(0, "")
        source, name = sys.stdin.read(), "<stdin>"
    else:
        source, name = _source_of(path), os.path.abspath(path)
        sys.path.insert(0, os.path.dirname(name))
    module = type(sys)("__main__")
    module.__file__ = name
    module.__builtins__ = __builtins__  # type: ignore[attr-defined]
    sys.modules["__main__"] = module
    try:
        exec(compile(source, name, "exec"), vars(module))
    except Exception as error:
        assert error.__traceback__ is not None
        error.__traceback__ = error.__traceback__.tb_next  # without this frame
        sys.excepthook(type(error), error, error.__traceback__)
        sys.exit(1)


def _source_of(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        print(f"{sys.executable}: can't open file {path!r}: {error.strerror}", file=sys.stderr)
        sys.exit(2)
