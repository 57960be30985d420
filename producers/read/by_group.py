"""`--by`: a factor by hour of the decision, phase, weekday, year, regime or coin."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console, RenderableType
from rich.text import Text

from alphamill.evaluation.by_group import GROUPINGS, Grouping
from alphamill.jobs import RunKind
from producers import options

if TYPE_CHECKING:
    from alphamill.runs.published import PublishedRun

by_option = click.option(
    "--by",
    type=click.Choice(GROUPINGS),
    help="RankIC in groups of bars or of coins; choosing one is as many trials as there are.",
)


def show_by(run: PublishedRun, text: str, by: Grouping, as_json: bool) -> None:
    """Print one factor of the run taken apart. Raises GiveUp where it cannot be."""
    from alphamill.report.factor.taken_apart import taken_apart
    from alphamill.report.factor.tear_sheet import chosen
    from alphamill.report.terminal.by_group import groups_board

    if run.kind is RunKind.COMBINE:
        raise click.UsageError("--by takes factors apart; a combined signal has no bars of its own")
    subject = chosen(run, text)
    groups = taken_apart(run, subject, by)
    if as_json:
        said = {"run_id": run.id, "factor": subject.hash, "expression": subject.traded, "by": by}
        options.print_json(said | {"groups": [one.to_dict() for one in groups]})
        return
    console = Console()
    console.print(Text(f"{run.id}  {subject.name}  {subject.at}"))
    console.print(groups_board(by, subject.traded, groups))


def boards_by(run: PublishedRun, by: Grouping) -> Iterator[RenderableType]:
    """Of every measured factor of a run."""
    from alphamill.report.factor.taken_apart import taken_apart
    from alphamill.report.factor.tear_sheet import subjects
    from alphamill.report.terminal.by_group import groups_board

    for subject in subjects(run):
        name = f"{subject.name}  {subject.at}  {subject.traded}"
        yield groups_board(by, name, taken_apart(run, subject, by))


def apart(run: PublishedRun, by: Grouping) -> list[dict[str, Any]]:
    """As JSON values: of every measured factor of a run."""
    from alphamill.report.factor.taken_apart import taken_apart
    from alphamill.report.factor.tear_sheet import subjects

    return [
        {
            "factor": subject.hash,
            "expression": subject.traded,
            "horizon_bars": subject.horizon_bars,
            "by": by,
            "groups": [one.to_dict() for one in taken_apart(run, subject, by)],
        }
        for subject in subjects(run)
    ]
