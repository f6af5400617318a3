"""The style rules that no linter knows, as functions from source text to violations.

Each check takes a parsed `Source` (or plain text) and returns one line per violation. It never
reads the disk: `test_tidy` feeds it the repository's files, and bad snippets to see it bite.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

FILE_SOFT_LINES = 500
FILE_HARD_LINES = 700
FUNCTION_LINES = 70

# What is pure is easier to enumerate than what is not.
PURE_MODULES = frozenset(
    "__future__ abc array base64 binascii bisect collections contextlib copy dataclasses enum "
    "fractions functools graphlib hashlib heapq itertools json math msgspec operator re rsim "
    "string struct textwrap types typing typing_extensions zlib".split()
)
IMPURE_CALLS = frozenset("__import__ breakpoint compile eval exec hash id input open print".split())

_MODE_FLAG = re.compile(
    r"(?<![a-z])(?:is|in)_sim(?:ulat\w+)?(?![a-z])|simulated|backend(?:_name)?\s*[!=]="
)
# Put together from halves, so that this file passes its own check.
_UNFINISHED = re.compile(r"\b(?:" + "|".join(["TO" + "DO", "FIX" + "ME", "X" + "XX"]) + r")\b")
_USER_PROGRAM = "# user program"

_Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Source:
    """One Python file: its name in messages, its text and its syntax tree."""

    name: str
    text: str
    tree: ast.Module = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tree", ast.parse(self.text))

    def at(self, node: ast.AST, complaint: str) -> str:
        return f"{self.name}:{getattr(node, 'lineno', 1)}: {complaint}"

    @property
    def line_count(self) -> int:
        return len(self.text.splitlines())


def _functions(tree: ast.AST) -> Iterator[_Function]:
    return (node for node in ast.walk(tree) if isinstance(node, _Function))


# --- sizes, docstrings, words ------------------------------------------------------------------


def file_ceiling(source: Source, limit: int = FILE_HARD_LINES) -> list[str]:
    if source.line_count <= limit:
        return []
    return [f"{source.name}: {source.line_count} lines, the ceiling is {limit}"]


def function_ceiling(source: Source) -> list[str]:
    return [
        source.at(node, f"{node.name} has {lines} lines, the ceiling is {FUNCTION_LINES}")
        for node in _functions(source.tree)
        if (lines := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES
    ]


def module_docstring(source: Source) -> list[str]:
    return [] if ast.get_docstring(source.tree) else [f"{source.name}:1: no module docstring"]


def unfinished(name: str, text: str) -> list[str]:
    return [
        f"{name}:{number}: unfinished: {found.group()}"
        for number, line in enumerate(text.splitlines(), 1)
        if (found := _UNFINISHED.search(line))
    ]


def one_h1(name: str, text: str) -> list[str]:
    unfenced = re.sub(r"^(```+|~~~+).*?^\1", "", text, flags=re.MULTILINE | re.DOTALL)
    count = len(re.findall(r"^# ", unfenced, flags=re.MULTILINE))
    return [] if count == 1 else [f"{name}: {count} first-level headings, there must be one"]


def mode_flags(source: Source) -> list[str]:
    """A branch on the kind of backend: what differs between backends belongs behind a port."""
    branches = (ast.If, ast.IfExp, ast.While)
    return [
        source.at(node, f"mode flag: if {condition}")
        for node in ast.walk(source.tree)
        if isinstance(node, branches) and _MODE_FLAG.search(condition := ast.unparse(node.test))
    ]


# --- sleeps in tests ---------------------------------------------------------------------------


def _user_program_lines(source: Source) -> set[int]:
    """Lines of remote functions and classes, and of whatever carries the mark."""
    marked = {
        number for number, line in enumerate(source.text.splitlines(), 1) if _USER_PROGRAM in line
    }
    lines = set(marked)
    for node in ast.walk(source.tree):
        if not isinstance(node, _Function | ast.ClassDef):
            continue
        header = range(node.lineno, node.body[0].lineno)
        remote = any("remote" in ast.unparse(decorator) for decorator in node.decorator_list)
        if remote or marked.intersection(header):
            lines.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return lines


def sleeps(source: Source) -> list[str]:
    """Sleeping to synchronise; a user program under test may sleep as it likes."""
    if source.text.lstrip().startswith(_USER_PROGRAM):
        return []
    exempt = _user_program_lines(source)
    return [
        source.at(node, f"{ast.unparse(node.func)}() in a test; use tests.polling")
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in ("time.sleep", "sleep")
        and node.lineno not in exempt
    ]


# --- purity of the core ------------------------------------------------------------------------


def impure_imports(source: Source) -> list[str]:
    found = []
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            modules = [node.module or ""]
        else:
            continue
        found += [
            source.at(node, f"the core may not import {module}")
            for module in modules
            if module.partition(".")[0] not in PURE_MODULES
        ]
    return found


def impure_calls(source: Source) -> list[str]:
    return [
        source.at(node, f"the core may not call {node.func.id}()")
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in IMPURE_CALLS
    ]


def set_iteration(source: Source) -> list[str]:
    """The order of a set depends on the hash seed, so the core may test membership only."""
    attributes = _SetNames({}, {})
    attributes.learn(source.tree, attributes_only=True)
    complaints: list[str] = []
    for scope in [source.tree, *_functions(source.tree)]:
        names = _SetNames({}, attributes.kinds)
        names.learn(scope)
        complaints += [
            source.at(node, f"iterates a set: {ast.unparse(node)}")
            for nodes in map(_iterated, _own_nodes(scope))
            for node in nodes
            if names.kind(node) == "set"
        ]
    return complaints


_SET_METHODS = frozenset("union intersection difference symmetric_difference copy".split())
_SET_TYPES = frozenset("set frozenset Set FrozenSet AbstractSet MutableSet".split())
# These consume an iterable in its order; sorted(), len(), sum(), any() and all() do not show it.
_ORDERED_CONSUMERS = frozenset("list tuple iter enumerate map filter zip reversed deque".split())


def _own_nodes(scope: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a scope without those of the functions nested in it."""
    for child in ast.iter_child_nodes(scope):
        yield child
        if not isinstance(child, _Function):
            yield from _own_nodes(child)


def _iterated(node: ast.AST) -> list[ast.expr]:
    match node:
        case ast.For(iter=iterable) | ast.AsyncFor(iter=iterable):
            return [iterable]
        case ast.comprehension(iter=iterable) | ast.YieldFrom(value=iterable):
            return [iterable]
        case ast.Starred(value=iterable):
            return [iterable]
        case ast.Call(func=ast.Name(id=name), args=args) if name in _ORDERED_CONSUMERS:
            return args
        case ast.Call(func=ast.Attribute(attr="join" | "extend" | "fromkeys"), args=args):
            return args
        case ast.Call(func=ast.Attribute(attr="pop", value=popped), args=[]):
            return [popped]
    return []


@dataclass(frozen=True)
class _SetNames:
    """What a scope knows to be a "set", or a "container" whose values are sets."""

    own: dict[str, str]  # by variable name
    kinds: dict[str, str]  # by attribute name, the same throughout the file

    def learn(self, scope: ast.AST, *, attributes_only: bool = False) -> None:
        if isinstance(scope, _Function):
            arguments = [*scope.args.posonlyargs, *scope.args.args, *scope.args.kwonlyargs]
            for argument in arguments:
                self._note(self.own, argument.arg, _annotated(argument.annotation))
        nodes = ast.walk(scope) if attributes_only else _own_nodes(scope)
        for node in nodes:
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    self._bind(target, self.kind(node.value), attributes_only)
            elif isinstance(node, ast.AnnAssign):
                self._bind(node.target, _annotated(node.annotation), attributes_only)
            elif attributes_only and isinstance(node, ast.ClassDef):
                for line in node.body:
                    if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
                        self._note(self.kinds, line.target.id, _annotated(line.annotation))

    def _bind(self, target: ast.expr, kind: str, attributes_only: bool) -> None:
        if isinstance(target, ast.Attribute):
            self._note(self.kinds, target.attr, kind)
        elif isinstance(target, ast.Name) and not attributes_only:
            self._note(self.own, target.id, kind)

    @staticmethod
    def _note(table: dict[str, str], name: str, kind: str) -> None:
        if kind:
            table[name] = kind

    def kind(self, node: ast.expr) -> str:
        match node:
            case ast.Set() | ast.SetComp():
                return "set"
            case ast.Call(func=ast.Name(id="set" | "frozenset")):
                return "set"
            case ast.Call(func=ast.Attribute(value=owner, attr=method)):
                owner_kind = self.kind(owner)
                if owner_kind == "set" and method in _SET_METHODS:
                    return "set"
                inner = owner_kind == "container" and method in ("get", "pop", "setdefault")
                return "set" if inner else ""
            case ast.BinOp(left=left, op=ast.BitOr() | ast.BitAnd() | ast.Sub(), right=right):
                return "set" if "set" in (self.kind(left), self.kind(right)) else ""
            case ast.Subscript(value=owner):
                return "set" if self.kind(owner) == "container" else ""
            case ast.Name(id=name):
                return self.own.get(name, "")
            case ast.Attribute(attr=name):
                return self.kinds.get(name, "")
        return ""


def _annotated(annotation: ast.expr | None) -> str:
    """The kind that a type annotation promises."""
    if annotation is None:
        return ""
    text = ast.unparse(annotation).strip("'\"")
    head = re.split(r"\[", text, maxsplit=1)[0].rpartition(".")[2].split(" ")[0]
    if head in _SET_TYPES:
        return "set"
    values = re.search(r"(?:dict|defaultdict|Mapping|list)\[(?:.*, )?(\w+)\[", text)
    return "container" if values and values.group(1) in _SET_TYPES else ""
