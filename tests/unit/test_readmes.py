"""What the READMEs tell to type can be typed, and what they link to is there."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path

import click
import pytest

from alphamill.llm.prompts.sanitise import safe_prose
from producers.cli import main

REPOSITORY = Path(__file__).resolve().parents[2]
README = REPOSITORY / "README.md"
READMES = [README, *sorted(REPOSITORY.glob("README.*.md"))]
MAKEFILE = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)[1].split())

each = pytest.mark.parametrize("readme", READMES, ids=lambda path: path.name)


def blocks(readme: Path) -> list[str]:
    """Lines of its blocks, without comments; one that goes on behind a backslash is one."""
    fenced = re.findall(r"^```\w*\n(.*?)^```", readme.read_text(encoding="utf-8"), re.S | re.M)
    lines = "".join(fenced).replace("\\\n", " ").splitlines()
    return [" ".join(re.sub(r"(^|\s)#.*", "", line).split()) for line in lines]


def commands(readme: Path) -> list[str]:
    """All that begins with `alphamill`, in its blocks and in its sentences."""
    prose = re.sub(r"^```.*?^```", "", readme.read_text(encoding="utf-8"), flags=re.S | re.M)
    told = [*blocks(readme), *re.findall(r"`([^`\n]+)`", prose)]
    return [line for line in told if re.match(r"alphamill\b(?!/)", line)]


def parse(command: click.Command, words: list[str], parent: click.Context | None = None) -> None:
    """As the command line itself reads them, down to the command that would run; UsageError."""
    with command.make_context(command.name, list(words), parent=parent) as context:
        if isinstance(command, click.Group) and (rest := [*context._protected_args, *context.args]):
            name, chosen, after = command.resolve_command(context, rest)
            assert chosen is not None, name
            parse(chosen, after, context)


@each
def test_every_command_can_be_typed(readme: Path, tmp_path: Path) -> None:
    told = commands(readme)
    assert len(told) >= 9
    for line in told:
        words = shlex.split(line.replace("FOLDER", str(tmp_path)))
        try:
            parse(main, words[1:])
        except click.exceptions.Exit:  # --help has been shown
            assert words[-1] == "--help"
        except click.UsageError as error:
            pytest.fail(f"{readme.name}: {line}: {error.format_message()}")


@each
def test_every_target_and_module_is_there(readme: Path) -> None:
    text = readme.read_text(encoding="utf-8")
    targets = set(
        re.findall(
            r"\bmake ([a-z-]+)(?=[`\s])",
            "\n".join([*blocks(readme), *re.findall(r"`[^`\n]+`", text)]),
        )
    )
    assert {"demo", "test"} <= targets <= TARGETS
    for module in re.findall(r"python -m (\S+)", text):
        assert importlib.util.find_spec(module.strip("`")), module


@each
def test_every_link_and_picture_is_there(readme: Path) -> None:
    text = readme.read_text(encoding="utf-8")
    named = re.findall(r"\]\(([^)\s]+)\)|(?:src|srcset)=\"([^\"]+)\"", text)
    local = [one or other for one, other in named if "://" not in one + other]
    assert len(local) >= 8
    for target in local:
        assert (REPOSITORY / target.partition("#")[0]).exists(), target


def test_the_languages_tell_the_same_commands() -> None:
    """Each in its own words; only the wish given to the models is of the language."""
    ours = set(blocks(README))
    for readme in READMES[1:]:
        others = [line for line in blocks(readme) if line not in ours]
        (wish,) = others
        words = shlex.split(wish)
        strategy = words[words.index("--strategy") + 1]
        assert safe_prose(strategy, 400) == strategy, "told to the models as it is written"
        assert not strategy.isascii()
        for line in ("make demo", "alphamill up", "alphamill report --open"):
            assert line in blocks(readme), readme.name


def test_it_can_be_read_in_ten_minutes() -> None:
    assert len(README.read_text(encoding="utf-8").split()) < 1200
