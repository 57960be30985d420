"""Every page of the documentation is in the site's navigation, and every link in it leads there."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
DOCS = REPOSITORY / "docs"
SITE = tomllib.loads((REPOSITORY / "zensical.toml").read_text(encoding="utf-8"))["project"]
PAGES = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))
FENCED = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
CODE = re.compile(r"`[^`\n]*`")


def named(entry: object) -> list[str]:
    """The pages of an entry of the navigation and of all below it."""
    if isinstance(entry, str):
        return [entry]
    inside = entry.values() if isinstance(entry, dict) else entry
    return [page for one in inside for page in named(one)]


def prose(text: str) -> str:
    return CODE.sub("", FENCED.sub("", text))


def anchors(text: str) -> set[str]:
    """As Python-Markdown's toc names headings: words of letters, digits and _, joined by -."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", FENCED.sub("", text), re.MULTILINE):
        words = re.sub(r"[^\w\s-]", "", heading.replace("`", "")).strip().lower()
        slug = re.sub(r"[-\s]+", "-", words)
        while slug in found:
            stem, _, number = slug.rpartition("_")
            slug = f"{stem}_{int(number) + 1}" if number.isdigit() and stem else f"{slug}_1"
        found.add(slug)
    return found


def test_the_navigation_names_every_page_once() -> None:
    assert sorted(named(SITE["nav"])) == PAGES


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(text)):
        if target.startswith(("https://", "http://")):
            continue
        path, _, anchor = target.partition("#")
        there = (DOCS / page).parent.joinpath(path).resolve() if path else DOCS / page
        assert there.is_relative_to(DOCS), f"{target} is not part of the site"
        assert there.is_file(), target
        if anchor:
            assert anchor in anchors(there.read_text(encoding="utf-8")), target


def test_nothing_of_the_site_comes_from_another_host() -> None:
    assert SITE["theme"]["font"] is False
    assert not any("://" in text for text in map(str, SITE.get("extra", {}).values()))
