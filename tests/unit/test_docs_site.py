"""Every page of the documentation is in the site's navigation, and every link in it leads there."""

from __future__ import annotations

import posixpath
import re
import tomllib
from pathlib import Path

import pytest

from reference import pages

REPOSITORY = Path(__file__).resolve().parents[2]
DOCS = REPOSITORY / "docs"
SITE = tomllib.loads((REPOSITORY / "zensical.toml").read_text(encoding="utf-8"))["project"]
WRITTEN = sorted(
    path.relative_to(DOCS).as_posix()
    for path in DOCS.rglob("*.md")
    if not path.is_relative_to(DOCS / "reference")  # left by `make docs`
)
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


@pytest.fixture(scope="module")
def site() -> dict[str, str]:
    """Every page's text: those that people wrote, and the reference as it would be written now."""
    people = {page: (DOCS / page).read_text(encoding="utf-8") for page in WRITTEN}
    return people | {f"reference/{name}": text for name, text in pages().items()}


def test_the_navigation_names_every_page_once(site: dict[str, str]) -> None:
    assert sorted(named(SITE["nav"])) == sorted(site)


def test_every_link_leads_somewhere(site: dict[str, str]) -> None:
    for page, text in site.items():
        for target in re.findall(r"\]\(([^)\s]+)\)", prose(text)):
            if target.startswith(("https://", "http://")):
                continue
            path, _, anchor = target.partition("#")
            there = posixpath.normpath(posixpath.join(posixpath.dirname(page), path))
            there = there if path else page
            assert there in site or (DOCS / there).is_file(), f"{page}: {target}"
            assert not there.startswith(".."), f"{page}: {target} is not part of the site"
            if anchor:
                assert anchor in anchors(site[there]), f"{page}: {target}"


def test_nothing_of_the_site_comes_from_another_host() -> None:
    assert SITE["theme"]["font"] is False
    assert not any("://" in text for text in map(str, SITE.get("extra", {}).values()))
