"""Every page of the documentation is in the site's navigation, and every link in it leads there."""

from __future__ import annotations

import posixpath
import re
import shlex
import tomllib
from pathlib import Path

import click
import pytest

from producers.cli import main
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
UNFINISHED = re.compile(
    r"^Missing|requires an argument"
)  # a sentence names a command, or an option


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
    """No fonts, and the tool's own stand-in for workers is not fetched: ours has its name."""
    assert SITE["theme"]["font"] is False
    ours = SITE["extra"]["polyfills"] + SITE["extra_css"]
    assert any("iframe-worker" in name for name in ours)
    for name in ours:
        assert (DOCS / name).is_file(), name
        assert "://" not in (DOCS / name).read_text(encoding="utf-8").replace("file://", "")


def typed(text: str) -> list[str]:
    """What a page tells to type: lines of its blocks, and sentences' code, that begin so."""
    blocks = "".join(re.findall(r"^ *```\w*\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE))
    lines = blocks.replace("\\\n", " ").splitlines() + CODE.findall(FENCED.sub("", text))
    bare = (re.sub(r"\s#\s.*|\s&$", "", line.strip(" `").removeprefix("$ ")) for line in lines)
    return [line for line in bare if re.match(r"alphamill [a-z]", line)]


def parse(command: click.Command, words: list[str], parent: click.Context | None = None) -> None:
    """As the command line reads them, down to the command that would run. Raises UsageError."""
    with command.make_context(command.name, list(words), parent=parent) as context:
        if isinstance(command, click.Group) and (rest := [*context._protected_args, *context.args]):
            _, chosen, after = command.resolve_command(context, rest)
            assert chosen is not None
            parse(chosen, after, context)


def test_every_command_can_be_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "FOLDER").mkdir()
    for file in ("FILE", "universe.txt"):
        (tmp_path / file).write_text("BTCUSDT\n")
    guides = [page for page in WRITTEN if page == "tutorial.md" or page.startswith("how-to/")]
    told = [(page, line) for page in guides for line in typed((DOCS / page).read_text("utf-8"))]
    assert len(told) > 60
    for page, line in told:
        try:
            parse(main, shlex.split(line.replace("POOL", "fetch"))[1:])
        except click.exceptions.Exit:
            assert line.endswith("--help")
        except click.UsageError as error:
            if not UNFINISHED.search(error.format_message()):
                pytest.fail(f"{page}: {line}: {error.format_message()}")
