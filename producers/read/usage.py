"""`alphamill usage`: what the models were asked, and what it cost."""

from __future__ import annotations

import click
from rich.console import Console
from rich.text import Text

from alphamill.ledger import RedisLedger
from alphamill.redis_store import connect
from alphamill.report.terminal.usage import runs_table, tiers_table
from alphamill.report.values import plain
from alphamill.runs.cut_prompts import CURE, cut_prompts
from alphamill.runs.find import find_run
from alphamill.runs.under_way import calls_so_far
from alphamill.usage import RedisUsage
from producers import options


@click.command()
@click.option("--run", metavar="RUN", help="One run's id or its unique beginning; default: all.")
@options.json_option
@options.exits
def usage(run: str | None, as_json: bool) -> None:
    """Show requests, tokens, dollars, failures and latencies of model calls.

    Of all runs a line a run and day, of one run a line a tier and model. --json has the rows of
    both: {"totals": {...}, "by": [...]}. Of one run it also says which models cut their prompts.

    \b
    Example:
      alphamill usage --run mine-1f2e
    """
    settings = options.settings()
    client = connect(settings)
    run_id = find_run(RedisLedger(client, settings.ledger), run).id if run else None
    report = RedisUsage(client).report(run_id)
    if as_json:
        options.print_json(report)
    elif not report["by"]:
        click.echo(f"no model call was made {'in ' + run_id if run_id else 'yet'}")
    else:
        console = Console()
        console.print(tiers_table(report) if run_id else runs_table(report))
        for cut in cut_prompts(calls_so_far(client, run_id)) if run_id else ():
            console.print(Text(f"{plain(cut, 240)}; {CURE}", style="yellow"))
