"""The reference is written from the records: it names all of them, and says something of each."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click
import pytest
from pydantic import BaseModel

from alphamill.errors import Misconfigured
from alphamill.factors import OPERATORS
from alphamill.frames import KLINES
from alphamill.indicators import INDICATORS
from alphamill.report.prometheus import FAMILIES
from alphamill.runs import schemas
from alphamill.settings import Settings, load_settings
from producers.cli import COMMANDS, main
from reference import pages
from reference.errors import misconfigured
from reference.settings import example_comments

SCHEMAS = [schemas.MINED_TRIALS, schemas.VERDICTS, schemas.CALLS, schemas.RANKING, KLINES]


@pytest.fixture(scope="module")
def written() -> dict[str, str]:
    return pages()


def rows(page: str) -> list[list[str]]:
    """Cells of all tables but their heads, as Markdown has them."""
    lines = [line for line in page.splitlines() if line.startswith("| `")]
    return [re.split(r"(?<!\\) \| ", line[2:-2]) for line in lines]


def named(page: str) -> set[str]:
    return {name for row in rows(page) for name in re.findall(r"`([^`]+)`", row[0])}


def every_command(
    group: click.Group, above: str = "alphamill"
) -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield f"{above} {name}", command
        if isinstance(command, click.Group):
            yield from every_command(command, f"{above} {name}")


def test_every_command_has_its_section_with_every_option(written: dict[str, str]) -> None:
    page = written["commands.md"]
    for path, command in every_command(main):
        section = page.split(f"\n### {path}\n", 1)[1].split("\n### ", 1)[0]
        for param in command.params:
            if isinstance(param, click.Option) and not param.hidden:
                assert f"{param.opts[-1]}" in section, (path, param.opts)
    assert len(list(every_command(main))) > len(COMMANDS)


def test_every_setting_is_there_with_its_default(written: dict[str, str]) -> None:
    there = named(written["settings.md"])

    def check(kind: type[BaseModel]) -> None:
        for key, info in kind.model_fields.items():
            below = info.annotation
            if isinstance(below, type) and issubclass(below, BaseModel):
                check(below)
            else:
                assert key in there, key

    check(Settings)
    budget = next(row for row in rows(written["settings.md"]) if row[0] == "`run_usd`")
    assert budget[1:5] == ["number", "> 0", "`1`", "US dollars"]


def test_the_example_file_is_read_to_its_words() -> None:
    comments = example_comments()
    assert comments["binance.egress"] == "machines with one public IP share one name"
    assert comments["llm.timeout_s"] == "for the whole reply"
    assert comments["segments.entry_lag_bars"].endswith("which flatters")
    assert "segments.discovery_frac" in comments
    assert "llm.tiers.quick_scan.requests_per_minute" in comments


def test_every_operator_and_indicator_is_there(written: dict[str, str]) -> None:
    language = written["language.md"]
    for operator in OPERATORS.values():
        assert f"`{operator.example}`" in language.replace("\\|", "|"), operator.name
    assert set(INDICATORS) <= named(written["indicators.md"])


def test_every_column_is_there_and_something_is_said_of_it(written: dict[str, str]) -> None:
    page = written["tables.md"]
    there = named(page)
    assert {name for schema in SCHEMAS for name in schema.names} <= there
    silent = {row[0] for row in rows(page) if not row[-1].strip() or len(row) < 2}
    assert not silent


def test_every_metric_is_there(written: dict[str, str]) -> None:
    assert named(written["metrics.md"]) >= set(FAMILIES)


def test_every_cure_is_found_where_it_is_raised(written: dict[str, str]) -> None:
    found = {(setting, cure) for setting, _, cure in misconfigured()}
    with pytest.raises(Misconfigured) as caught:
        load_settings({"ALPHAMILL_CONFIG": "/nowhere.toml"})
    assert (caught.value.setting, caught.value.cure) in found
    assert len(found) > 30
    assert caught.value.cure in written["errors.md"]


def test_python_has_what_a_notebook_calls(written: dict[str, str]) -> None:
    page = written["python.md"]
    for name in ("am.lake", "am.factor", "am.run", "am.Panel", "am.submit.mine"):
        assert f"\n## `{name}`\n" in page
    for method in ("Lake.panel()", "Factor.evaluate()", "Run.factors()", "Score.plot()"):
        assert f"\n### `{method}`\n" in page
    assert "<" not in re.sub(r"```.*?```|`[^`]*`", "", page, flags=re.DOTALL)
