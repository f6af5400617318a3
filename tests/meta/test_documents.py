"""Documents are true where a machine can tell: their links lead somewhere, no file is forgotten."""

import re
from pathlib import Path

import pytest

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


def test_decisions_are_numbered_in_order() -> None:
    numbers = [int(page.name[:4]) for page in sorted((ROOT / "docs/decisions").glob("*.md"))]
    assert numbers == list(range(1, len(numbers) + 1))
