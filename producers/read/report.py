"""`alphamill report`: a run, a factor, or two side by side, as one HTML page without a script."""

from __future__ import annotations

import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from alphamill.errors import GiveUp, Misconfigured
from alphamill.jobs import RunKind
from producers import options

if TYPE_CHECKING:
    from alphamill.report.combined import CombinedPage
    from alphamill.report.comparison import Comparison
    from alphamill.report.factor.tear_sheet import Subject
    from alphamill.report.page import RunPage
    from alphamill.runs.published import PublishedRun

_KINDS = (RunKind.MINE, RunKind.EVALUATE, RunKind.COMBINE)


@click.command()
@click.argument("runs", nargs=-1, metavar="[RUN] [RUN]")
@click.option(
    "--factor",
    "names",
    multiple=True,
    metavar="FACTOR",
    help="Only this one, by number or hash; given twice: two side by side.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Default: RUN.html in the current folder.",
)
@click.option("--open", "show", is_flag=True, help="Show it in the browser.")
@options.json_option
@options.exits
def report(
    runs: tuple[str, ...], names: tuple[str, ...], out: Path | None, show: bool, as_json: bool
) -> None:
    """Write a finished run's report as one HTML page and say where it lies.

    Without RUN the newest. Its first ten factors are shown in full: plots, data, certificate. Two
    runs, or two factors, are set side by side on the same axes; of a run without --factor its best.
    Of a combine run: its methods beside random formulas, gates, and the weights of every refit.
    FACTOR is its number on the page, or its hash or the beginning of that.

    \b
    Example:
      alphamill report --open
      alphamill report mine-1f2e --factor 2
      alphamill report mine-1f2e mine-77aa --factor 1 --factor 9c41d2
    """
    if len(runs) > 2 or len(names) > 2:
        raise click.UsageError("at most two runs and two factors stand side by side")
    from alphamill.report.page import render  # plots, statistics, templates
    from alphamill.runs.finished import finished_run

    settings = options.settings()
    found = [finished_run(settings, run, _KINDS) for run in runs or (None,)]
    page = _page(found, names)
    path = (out or Path(f"{_name(found, names)}.html")).resolve()
    try:
        path.write_text(render(page), encoding="utf-8")
    except OSError as error:
        raise Misconfigured(
            "--out", f"cannot write {path} ({error.strerror})", "name another file"
        ) from error
    if as_json:
        options.print_json({"run_id": found[0].id, "path": str(path)})
    else:
        click.echo(str(path))
    if show and not webbrowser.open(path.as_uri()):
        click.echo("no browser could be started here; open the file by hand", err=True)


def _page(
    found: Sequence[PublishedRun], names: Sequence[str]
) -> RunPage | Comparison | CombinedPage:
    from alphamill.report.combined import combined_page
    from alphamill.report.comparison import compare
    from alphamill.report.factor.tear_sheet import chosen
    from alphamill.report.page import page_of

    combined = [run for run in found if run.kind is RunKind.COMBINE]
    if combined and (len(found) > 1 or len(names) > 1):
        raise click.UsageError(
            f"{combined[0].id} is a combine run, whose methods stand beside one another on its own "
            f"page: alphamill report {combined[0].id}"
        )
    if combined:
        return combined_page(found[0], found[0].factor(names[0]) if names else None)
    if len(found) == 1 and len(names) < 2:
        return page_of(found[0], chosen(found[0], names[0]) if names else None)
    if len(found) == 2 and len(names) == 1:
        raise click.UsageError("name a factor of each run, with --factor twice, or none")
    runs = (found[0], found[-1])
    picked = [chosen(run, name) for run, name in zip(runs, names, strict=False)]
    first, second = picked or [_best(run) for run in runs]
    return compare((runs[0], first), (runs[1], second))


def _best(run: PublishedRun) -> Subject:
    from alphamill.report.factor.tear_sheet import subjects

    there = subjects(run)
    if not there:
        raise GiveUp(f"{run.id} has no factor to set beside another")
    return there[0]


def _name(found: Sequence[PublishedRun], names: Sequence[str]) -> str:
    """Of the file: the runs, and the factors that were named."""
    factors = [name.removeprefix("#") for name in names]
    return "-".join([*(run.id for run in found), *filter(str.isalnum, factors)])
