"""Documents are true where a machine can tell: their links lead somewhere, no file is forgotten."""

import inspect
import re
from pathlib import Path

import pytest

import rsim
from rsim.api import actor_options, options

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text()


def _prose(page: Path) -> str:
    return re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def _anchors(page: Path) -> set[str]:
    """The names that a page's headings have in links."""
    headings = re.findall(r"^#+ (.*)$", _prose(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", _prose(page)):
        if "://" in target:
            continue
        place, _, anchor = target.partition("#")
        linked = (page.parent / place).resolve() if place else page
        assert linked.exists(), f"{target}: there is no such file"
        assert not anchor or anchor in _anchors(linked), f"{target}: there is no such heading"


def test_the_index_names_every_guide() -> None:
    index = (ROOT / "docs/README.md").read_text()
    guides = {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert {guide for guide in guides if f"]({guide})" not in index} == set()


@pytest.mark.parametrize("folder", ["core", "runtime"])
def test_the_architecture_names_every_file(folder: str) -> None:
    files = {path.name for path in (ROOT / "rsim" / folder).glob("*.py")} - {"__init__.py"}
    assert files - set(re.findall(r"`(?:\w+/)*(\w+\.py)`", ARCHITECTURE)) == set()


def _settings() -> dict[str, set[str]]:
    """What users can say and get, by kind."""
    code = "".join(path.read_text() for path in (ROOT / "rsim").rglob("*.py"))
    known = {*options._CHECKS, *actor_options._CLASS_CHECKS, *actor_options._METHOD_CHECKS}
    public = {name: getattr(rsim, name) for name in rsim.__all__ if name != "__version__"}
    base = rsim.exceptions.RsimError
    types = [each for each in vars(rsim.exceptions).values() if isinstance(each, type)]
    return {
        "options": known - {"_num_objects_per_yield", "_actor_generator_backpressure_num_objects"},
        "arguments": set(inspect.signature(rsim.init).parameters),
        "variables": set(re.findall(r"\bRSIM_[A-Z_]*[A-Z]", code)),
        "errors": {each.__name__ for each in types if issubclass(each, base)},
        "calls": {name for name, each in public.items() if not isinstance(each, type)},
    }


@pytest.mark.parametrize("kind", ["options", "arguments", "variables", "errors", "calls"])
def test_the_reference_names_all(kind: str) -> None:
    page = (ROOT / "docs/reference.md").read_text()
    names = _settings()[kind]
    assert {name for name in names if not re.search(rf"`[^`]*\b{name}\b", page)} == set()


def test_decisions_are_numbered_in_order() -> None:
    numbers = [int(page.name[:4]) for page in sorted((ROOT / "docs/decisions").glob("*.md"))]
    assert numbers == list(range(1, len(numbers) + 1))
