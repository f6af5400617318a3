"""Style as a test: the checks of `tidy` hold for the repository, and each bites a bad snippet."""

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.meta import tidy
from tests.meta.tidy import Source

ROOT = Path(__file__).parents[2]
CODE_FOLDERS = ("rsim", "examples", "benchmarks")
TEXT_SUFFIXES = (".py", ".md", ".toml", ".yaml", ".yml")


def _files(*folders: str, suffixes: tuple[str, ...] = (".py",)) -> Iterator[Path]:
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*")):
            hidden = any(part.startswith(".") for part in path.relative_to(ROOT).parts)
            if path.suffix in suffixes and not hidden:
                yield path


def _sources(*folders: str) -> list[Source]:
    return [Source(str(path.relative_to(ROOT)), path.read_text()) for path in _files(*folders)]


def _texts(*suffixes: str) -> list[tuple[str, str]]:
    paths = _files(".", suffixes=suffixes)
    return [(str(path.relative_to(ROOT)), path.read_text()) for path in paths]


def _assert_none(violations: list[str]) -> None:
    assert not violations, "\n" + "\n".join(violations)


Check = Callable[[Source], list[str]]
RULES: list[tuple[Check, tuple[str, ...]]] = [
    (tidy.file_ceiling, CODE_FOLDERS),
    (tidy.function_ceiling, CODE_FOLDERS),
    (tidy.module_docstring, CODE_FOLDERS),
    (tidy.mode_flags, CODE_FOLDERS),
    (tidy.impure_imports, ("rsim/core",)),
    (tidy.impure_calls, ("rsim/core",)),
    (tidy.set_iteration, ("rsim/core",)),
    (tidy.sleeps, ("tests",)),
]


@pytest.mark.parametrize(
    ("check", "folders"), RULES, ids=lambda value: getattr(value, "__name__", "")
)
def test_repository_obeys(check: Check, folders: tuple[str, ...]) -> None:
    sources = _sources(*folders)
    assert sources
    _assert_none([violation for source in sources for violation in check(source)])


def test_files_over_the_soft_ceiling_are_shown() -> None:
    for source in _sources(*CODE_FOLDERS):
        for violation in tidy.file_ceiling(source, limit=tidy.FILE_SOFT_LINES):
            warnings.warn(f"soft ceiling: {violation}", stacklevel=1)


def test_nothing_is_left_unfinished() -> None:
    texts = _texts(*TEXT_SUFFIXES)
    _assert_none([line for name, text in texts for line in tidy.unfinished(name, text)])


def test_every_page_has_one_title() -> None:
    _assert_none([line for name, text in _texts(".md") for line in tidy.one_h1(name, text)])


# --- each check bites --------------------------------------------------------------------------

BAD: list[tuple[Check, str]] = [
    (tidy.file_ceiling, "x = 1\n" * (tidy.FILE_HARD_LINES + 1)),
    (tidy.function_ceiling, "def f():\n" + "    x = 1\n" * tidy.FUNCTION_LINES),
    (tidy.function_ceiling, "async def f():\n" + "    x = 1\n" * tidy.FUNCTION_LINES),
    (tidy.module_docstring, "import math\n"),
    (tidy.mode_flags, "if self.is_sim: pass"),
    (tidy.mode_flags, "x = 1 if _in_simulation() else 2"),
    (tidy.mode_flags, "if not simulated: pass"),
    (tidy.mode_flags, "if a:\n    pass\nelif config.backend == 'sim':\n    pass"),
    (tidy.mode_flags, "while backend != 'local': pass"),
    (tidy.sleeps, "import time\ntime.sleep(1)"),
    (tidy.sleeps, "def test():\n    sleep(1)\n@rsim.remote\ndef f(): pass"),
    (tidy.impure_imports, "import time"),
    (tidy.impure_imports, "import math, os.path"),
    (tidy.impure_imports, "def f():\n    from random import choice"),
    (tidy.impure_imports, "import threading as t"),
    (tidy.impure_imports, "import numpy"),
    (tidy.impure_calls, "key = hash(x)"),
    (tidy.impure_calls, "d[id(x)] = 1"),
    (tidy.impure_calls, "print(1)"),
    (tidy.impure_calls, "with open('f') as f: pass"),
    (tidy.set_iteration, "for x in {1, 2}: pass"),
    (tidy.set_iteration, "[x for x in set(y)]"),
    (tidy.set_iteration, "for x in {y for y in z}: pass"),
    (tidy.set_iteration, "s = set()\nfor x in s: pass"),
    (tidy.set_iteration, "def f(s: set[int]):\n    return [x for x in s]"),
    (tidy.set_iteration, "def f(s: 'frozenset[int] | None'):\n    yield from s"),
    (tidy.set_iteration, "class A:\n    s: set[int]\n    def f(self):\n        list(self.s)"),
    (
        tidy.set_iteration,
        "class A:\n    def __init__(self):\n        self.s = set()\n"
        "    def f(self):\n        return self.s.pop()",
    ),
    (tidy.set_iteration, "d: dict[str, set[int]] = {}\nfor x in d['a']: pass"),
    (tidy.set_iteration, "d: dict[str, set[int]] = {}\nfor x in d.get('a', ()): pass"),
    (tidy.set_iteration, "a = {1}\nfor x in a | b: pass"),
    (tidy.set_iteration, "a = {1}\nf(*a.union(b))"),
    (tidy.set_iteration, "a = {'x'}\n','.join(a)"),
]


@pytest.mark.parametrize(("check", "text"), BAD)
def test_check_bites(check: Check, text: str) -> None:
    assert len(check(Source("bad.py", text))) == 1


GOOD: list[tuple[Check, str]] = [
    (tidy.file_ceiling, "x = 1\n" * tidy.FILE_HARD_LINES),
    (tidy.function_ceiling, "def f():\n" + "    x = 1\n" * (tidy.FUNCTION_LINES - 1)),
    (tidy.module_docstring, '"""What it decides."""'),
    (tidy.mode_flags, "if is_similar(a, b): pass\nsimulated = 1\nif backend is None: pass"),
    (tidy.sleeps, "program = 'time.sleep(1)'"),
    (tidy.sleeps, "time.sleep(1)  # user program"),
    (tidy.sleeps, "def f(x):  # user program\n    time.sleep(1)"),
    (tidy.sleeps, "def test():\n    @rsim.remote(num_cpus=1)\n    def f():\n        time.sleep(1)"),
    (tidy.sleeps, "# user program\nimport time\ntime.sleep(1)"),
    (tidy.impure_imports, "from rsim.core.ids import TaskID\nfrom . import ids\nimport heapq"),
    (tidy.impure_calls, "self.print(x)\nlen(x)"),
    (tidy.set_iteration, "s = {1}\nsorted(s)\nlen(s)\n1 in s\ns.add(2)"),
    (tidy.set_iteration, "def f():\n    s = {1}\ndef g(s: list[int]):\n    return [x for x in s]"),
    (tidy.set_iteration, "d: dict[str, set[int]] = {}\nfor x in d: pass"),
    (tidy.set_iteration, "for x in {1: 2}: pass"),
]


@pytest.mark.parametrize(("check", "text"), GOOD)
def test_check_lets_pass(check: Check, text: str) -> None:
    assert check(Source("good.py", text)) == []


def test_unfinished_bites() -> None:
    assert len(tidy.unfinished("f", "a = 1  # " + "TO" + "DO later\nmethod\n")) == 1
    assert tidy.unfinished("f", "todos, XXXL") == []


@pytest.mark.parametrize(
    ("text", "violations"),
    [
        ("# a\n## b\n", 0),
        ("# a\n```sh\n# a comment\n```\n", 0),
        ("## b\n", 1),
        ("# a\n\n# b\n", 1),
    ],
)
def test_one_h1_bites(text: str, violations: int) -> None:
    assert len(tidy.one_h1("page.md", text)) == violations
