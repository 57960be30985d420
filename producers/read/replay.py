"""`alphamill replay`: a mining run, or one verdict of it, computed again and compared."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path

import click

from alphamill import replay as again
from alphamill.jobs import RunKind
from alphamill.lake import Lake
from alphamill.report.caveats import terms_line
from alphamill.report.values import plain
from alphamill.runs.finished import finished_run
from alphamill.runs.schemas import RunDeps
from alphamill.runs.unfunded import raises_line
from producers import options
from producers.read.named import run_and_factor, run_option

_SHOWN = 10


@click.command()
@click.argument("words", nargs=-1, metavar="[RUN] [FACTOR]")
@run_option
@click.option(
    "--keep",
    type=click.Path(path_type=Path, file_okay=False),
    help="A folder for what is computed; default: a temporary one.",
)
@options.json_option
@options.exits
def replay(words: tuple[str, ...], run: str | None, keep: Path | None, as_json: bool) -> None:
    """Compute a finished mining run, or one factor's verdict, again at no cost and compare.

    From the run's snapshot of the market and the models' replies, as they lie in the lake: no
    exchange, no model and no Redis is asked. Exits with 1 if a trial or a verdict differs, and says
    so if the run was computed by a version with other values, and by how much. Without RUN the
    newest. A factor is named by its number on the board, or its hash or the beginning of
    that.

    \b
    Example:
      alphamill replay
      alphamill replay mine-1f2e
      alphamill replay mine-1f2e 1
      alphamill replay 9c41d2
    """
    run, factor = run_and_factor(words, run)
    if factor is not None:
        _replay_factor(factor, run, as_json)
        return
    found = finished_run(options.settings(), run, (RunKind.MINE,))
    with tempfile.TemporaryDirectory(prefix="alphamill-replay-") as folder:
        scratch = Lake(str((keep or Path(folder)).resolve()))
        done = again.replay(found, scratch)
    if as_json:
        budget = {
            "budget_asked_usd_micros": found.spec.budget_usd_micros,
            "budget_raises": [asdict(one) for one in found.budget_raises],
        }
        options.print_json({"run_id": found.id, "equal": done.equal, **asdict(done), **budget})
    else:
        click.echo(terms_line(found.spec))
        _say(found.id, done)
        if raised := raises_line(found.spec.budget_usd_micros, found.budget_raises):
            click.echo(raised)
    if not done.equal:
        raise SystemExit(options.EXIT_FAILED)


def _say(run_id: str, done: again.Replayed) -> None:
    for failure in done.failed[:_SHOWN]:
        click.echo(f"not done: {plain(failure, 200)}", err=True)
    for one in done.differences[:_SHOWN]:
        where = f"{one.table}: {plain(one.row, 80)}"
        click.echo(f"{where}: {', '.join(one.columns[:5])} differ", err=True)
    if not done.equal and (why := done.code.explain(done.farthest)):
        click.echo(why, err=True)
    verdict = "equal" if done.equal else f"{len(done.differences)} rows differ"
    click.echo(f"{run_id}: {done.trials} trials, {done.verdicts} verdicts, $0 spent: {verdict}")


def _replay_factor(text: str, run: str | None, as_json: bool) -> None:
    found = finished_run(options.settings(), run, (RunKind.MINE,))
    done = again.recheck(found.factor(text), RunDeps(found.lake, found.id, found.spec))
    if as_json:
        options.print_json({"run_id": found.id, "equal": done.equal, **asdict(done)})
    else:
        click.echo(terms_line(found.spec))
        _say_factor(found.id, done)
    if not done.equal:
        raise SystemExit(options.EXIT_FAILED)


def _say_factor(run_id: str, done: again.Recheck) -> None:
    for one in done.differences[:_SHOWN]:
        was, now = plain(one.stored, 80), plain(one.computed, 80)
        click.echo(f"{one.column}: stored {was}, computed {now}", err=True)
    if not done.equal and (why := done.code.explain(done.farthest)):
        click.echo(why, err=True)
    verdict = "equal" if done.equal else f"{len(done.differences)} differ"
    click.echo(f"{done.hash} of {run_id}: {plain(done.expression, 200)}")
    click.echo(f"{done.verdict}; {done.columns} columns computed again: {verdict}")
