"""`alphamill factors`: the leaderboard of a run that has finished, or one factor of it in full."""

from __future__ import annotations

import click
from rich.console import Console
from rich.text import Text

from alphamill.ledger import RunRecord
from alphamill.report.caveats import unmeasured_lines
from alphamill.report.terminal.factor import chosen, factor_view, run_settings, with_origin
from alphamill.report.terminal.leaderboard import run_board
from alphamill.runs.find import finished_run
from alphamill.runs.published import OFFLINE_NOTICE, offline, run_rows
from producers import options


@click.command()
@click.argument("factor", required=False)
@click.option(
    "--run", metavar="RUN", help="An id or its unique beginning; default: the newest with results."
)
@options.json_option
@options.exits
def factors(factor: str | None, run: str | None, as_json: bool) -> None:
    """Show what a mining run found: figures, verdicts and reasons; or all there is of one FACTOR.

    FACTOR is a hash of factors.parquet or its unique beginning: every gate, the figures on all
    segments, the folds of discovery, what it cost. Of an `evaluate` run the given expressions are
    shown. --json has every column, the settings, and in `unmeasured` why an interval has no figure.

    \b
    Example:
      alphamill factors --run mine-1f2e
      alphamill factors 9c41d2 --run mine-1f2e
    """
    kinds = ("mine",) if factor else ("mine", "evaluate")
    record = finished_run(options.settings(), run, kinds)
    if as_json:
        options.print_json(_as_json(record, factor))
        return
    console = Console()
    console.print(Text(record.id))
    if offline(record):
        console.print(Text(OFFLINE_NOTICE, style="yellow"))
    if factor:
        row = chosen(run_rows(record, "factors"), factor, record.id)
        console.print(factor_view(with_origin(record, [row])[0]))
    else:
        console.print(run_board(record))


def _as_json(run: RunRecord, factor: str | None) -> dict[str, object]:
    said = {
        "run_id": run.id,
        "offline_proposer": offline(run),
        "settings": run_settings(run),
        "unmeasured": unmeasured_lines(run_rows(run, "trials")),
    }
    if run.kind != "mine":
        return said | {"trials": run_rows(run, "trials")}
    rows = run_rows(run, "factors")
    rows = [chosen(rows, factor, run.id)] if factor else rows
    return said | {"factors": with_origin(run, rows)}
