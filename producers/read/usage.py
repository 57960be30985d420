"""`alphamill usage`: what the models were asked, and what it cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from alphamill.errors import Misconfigured, RetryLater
from alphamill.jobs import RunKind
from alphamill.lake import Lake
from alphamill.ledger import RedisLedger
from alphamill.redis_store import connect
from alphamill.report.terminal.status import day_line
from alphamill.report.terminal.usage import runs_table, tiers_table
from alphamill.report.values import plain
from alphamill.runs.cut_prompts import CURE, cut_prompts
from alphamill.runs.find import find_run, published_id
from alphamill.runs.published import PublishedRun
from alphamill.runs.under_way import CallRecord, account_of_today, calls_so_far
from alphamill.settings import Settings
from alphamill.usage import RedisUsage
from producers import options
from producers.read.named import one_run, run_argument


@click.command()
@run_argument
@options.json_option
@options.exits
def usage(word: str | None, run: str | None, as_json: bool) -> None:
    """Show requests, tokens, dollars, failures and latencies of model calls.

    Of all runs a line a run and day, and what is left of the day's budget; of one run a line a tier
    and model. --json has the rows of both: {"totals": {...}, "by": [...]}, of all runs with `day`.
    Of one run it also says which models cut their prompts; of one that has finished this needs no
    Redis.

    \b
    Example:
      alphamill usage mine-1f2e
    """
    run = one_run(word, run)
    settings = options.settings()
    if run is None:
        _show_all(settings, as_json)
        return
    run_id, report, calls = _of_run(settings, run)
    if as_json:
        options.print_json(report)
    elif not report["by"]:
        click.echo(f"no model call was made in {run_id}")
    else:
        console = Console()
        console.print(tiers_table(report))
        for cut in cut_prompts(calls):
            console.print(Text(f"{plain(cut, 240)}; {CURE}", style="yellow"))


def _show_all(settings: Settings, as_json: bool) -> None:
    client = connect(settings)
    report = RedisUsage(client).report(None)
    day, cap = account_of_today(client), round(settings.budget.day_usd * 1_000_000)
    if as_json:
        options.print_json({**report, "day": asdict(day) | {"cap_usd_micros": cap}})
        return
    console = Console()
    console.print(runs_table(report) if report["by"] else "no model call was made yet")
    console.print(day_line(day, cap), soft_wrap=True)


def _of_run(settings: Settings, run: str) -> tuple[str, Mapping[str, Any], Sequence[CallRecord]]:
    """Its id, the report and its calls: from Redis or, where that cannot be asked, from the lake.

    Raises what Redis did if the lake has no such run either.
    """
    try:
        client = connect(settings)
        run_id = find_run(RedisLedger(client, settings.ledger), run).id
        return run_id, RedisUsage(client).report(run_id), calls_so_far(client, run_id)
    except (Misconfigured, RetryLater):
        run_id_there = published_id(Lake(settings.lake_uri), run, (RunKind.MINE,))
        if run_id_there is None:
            raise
    found = PublishedRun.open(Lake(settings.lake_uri), run_id_there)
    return found.id, found.usage(), found.calls
