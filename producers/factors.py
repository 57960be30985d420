"""`alphamill factors`: the leaderboard of a run that has finished."""

from __future__ import annotations

import click
from rich.console import Console
from rich.text import Text

from producers import options
from producers.leaderboard import run_board
from producers.results import OFFLINE_NOTICE, finished_run, offline, run_rows


@click.command()
@click.option(
    "--run", metavar="RUN", help="An id or its unique beginning; default: the newest with results."
)
@options.json_option
@options.exits
def factors(run: str | None, as_json: bool) -> None:
    """Show what a mining run found: figures, verdicts and reasons.

    Of an `evaluate` run it shows the given expressions. --json has every column.

    \b
    Example:
      alphamill factors --run mine-1f2e
    """
    record = finished_run(options.settings(), run, ("mine", "evaluate"))
    name = "factors" if record.kind == "mine" else "trials"
    if as_json:
        rows = run_rows(record, name)
        options.print_json({"run_id": record.id, "offline_proposer": offline(record), name: rows})
        return
    console = Console()
    console.print(Text(record.id))
    if offline(record):
        console.print(Text(OFFLINE_NOTICE, style="yellow"))
    console.print(run_board(record))
