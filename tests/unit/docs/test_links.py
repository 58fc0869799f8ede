"""Links of the files that aren't part of the docs site, which `hack/docs.sh` checks itself; and the list of decisions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pymdownx.slugs import slugify

from tests.conftest import REPOSITORY

FILES = [*sorted(REPOSITORY.glob("*.md")), *sorted((REPOSITORY / ".github").rglob("*.md"))]
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
slug = slugify(case="lower")


def links(page: Path) -> Iterator[str]:
    return (target for target in LINK.findall(CODE.sub("", page.read_text())) if "://" not in target)


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL), re.MULTILINE)
    return {slug(heading.replace("`", ""), "-") for heading in headings}


def broken(page: Path) -> list[str]:
    """Links whose file or heading isn't there."""
    found = []
    for target in links(page):
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            found.append(target)
    return found


@pytest.mark.parametrize("page", FILES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_link_leads_somewhere(page: Path) -> None:
    assert broken(page) == []


def test_a_link_to_nowhere_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    (tmp_path / "other.md").write_text("# One `two`, three\n")
    page.write_text(
        "[a](other.md#one-two-three) [b](other.md#four) [c](gone.md) `[d](code.md)` [e](https://example.com)"
    )
    assert broken(page) == ["other.md#four", "gone.md"]


def test_every_decision_is_in_the_list_with_its_line() -> None:
    folder = REPOSITORY / "docs" / "decisions"
    listed = re.findall(r"^\| (\d+) \| \[[^]]+\]\(([^)]+)\) \| .+ \|$", (folder / "index.md").read_text(), re.MULTILINE)
    assert [name for _, name in listed] == sorted(page.name for page in folder.glob("0*.md"))
    assert all(int(number) == int(name[:4]) for number, name in listed)
