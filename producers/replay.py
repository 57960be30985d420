"""`alphamill replay`: a mining run computed again from what it paid for, and compared."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path

import click

from alphamill.jobs import RunSpec
from alphamill.lake import Lake
from alphamill.report.values import plain
from alphamill.stages.replay import Replayed
from alphamill.stages.replay import replay as rerun
from producers import options
from producers.results import finished_run
from workers.flows import plan

_SHOWN = 10


@click.command()
@click.argument("run")
@click.option("--keep", type=click.Path(path_type=Path, file_okay=False),
              help="A folder for what is computed; default: a temporary one.")  # fmt: skip
@options.json_option
@options.exits
def replay(run: str, keep: Path | None, as_json: bool) -> None:
    """Compute a finished mining run again at no cost and say whether it comes out the same.

    From the run's snapshot of the market and the models' replies, as they lie in the lake: no
    exchange, no model and no Redis is asked. Exits with 1 if a trial or a verdict differs.

    \b
    Example:
      alphamill replay mine-1f2e
    """
    record = finished_run(options.settings(), run, ("mine",))
    jobs = [(job.stage, job.message) for job in plan(RunSpec.from_message(record.spec))]
    with tempfile.TemporaryDirectory(prefix="alphamill-replay-") as folder:
        scratch = Lake(str((keep or Path(folder)).resolve()))
        done = rerun(record.id, jobs, Lake(record.spec["lake"]), scratch)
    if as_json:
        options.print_json({"run_id": record.id, "equal": done.equal, **asdict(done)})
    else:
        _say(record.id, done)
    if not done.equal:
        raise SystemExit(options.EXIT_FAILED)


def _say(run_id: str, done: Replayed) -> None:
    for failure in done.failed[:_SHOWN]:
        click.echo(f"not done: {plain(failure, 200)}", err=True)
    for one in done.differences[:_SHOWN]:
        where = f"{one.table}: {plain(one.row, 80)}"
        click.echo(f"{where}: {', '.join(one.columns[:5])} differ", err=True)
    verdict = "equal" if done.equal else f"{len(done.differences)} rows differ"
    click.echo(f"{run_id}: {done.trials} trials, {done.verdicts} verdicts, $0 spent: {verdict}")
