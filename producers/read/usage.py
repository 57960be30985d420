"""`alphamill usage`: what the models were asked, and what it cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from alphamill.errors import Misconfigured, RetryLater
from alphamill.jobs import RunKind
from alphamill.ledger import BudgetRaise, RedisLedger
from alphamill.ledger.raises import asked_usd_micros
from alphamill.redis_store import connect
from alphamill.report.terminal.status import day_line
from alphamill.report.terminal.usage import runs_table, tiers_table
from alphamill.report.values import plain
from alphamill.runs.cut_prompts import CURE, cut_prompts
from alphamill.runs.find import find_run
from alphamill.runs.under_way import CallRecord, account_of, account_of_today, calls_so_far
from alphamill.runs.unfunded import Shortfall, raises_line, shortfall_of
from alphamill.settings import Settings
from alphamill.usage import MemoryUsage, RedisUsage
from producers import options
from producers.read.named import one_run, run_argument


@click.command()
@run_argument
@options.json_option
@options.exits
def usage(word: str | None, run: str | None, as_json: bool) -> None:
    """Show requests, tokens, dollars, failures and latencies of model calls.

    Of all runs a line a run and day, and what is left of the day's budget; of one run a line a tier
    and model, and its budget. --json has the rows of both: {"totals": {...}, "by": [...]}, of all
    runs with `day`, of one with `budget`. Of one run it also says which models cut their prompts.
    Where Redis cannot be asked, finished runs are read from the lake.

    \b
    Example:
      alphamill usage mine-1f2e
    """
    run = one_run(word, run)
    settings = options.settings()
    if run is None:
        _show_all(settings, as_json)
        return
    found = _of_run(settings, run)
    if as_json:
        options.print_json({**found.report, "budget": found.budget()})
        return
    console = Console()
    if found.report["by"]:
        console.print(tiers_table(found.report))
    else:
        click.echo(f"no model call was made in {found.id}")
    if raised := raises_line(found.asked_usd_micros, found.raises):
        console.print(Text(raised), soft_wrap=True)
    if found.short is not None:
        console.print(Text(found.short.sentence, style="yellow"), soft_wrap=True)
    for cut in cut_prompts(found.calls):
        console.print(Text(f"{plain(cut, 240)}; {CURE}", style="yellow"))


def _show_all(settings: Settings, as_json: bool) -> None:
    try:
        client = connect(settings)
    except Misconfigured as away:
        report = _of_the_lake(settings)
        if report is None:
            raise
        click.echo(f"{away.problem}: the finished runs in {settings.lake_uri} alone", err=True)
        if as_json:
            options.print_json({**report, "day": None})
        else:
            Console().print(runs_table(report))
        return
    report = RedisUsage(client).report(None)
    day, cap = account_of_today(client), round(settings.budget.day_usd * 1_000_000)
    if as_json:
        options.print_json({**report, "day": asdict(day) | {"cap_usd_micros": cap}})
        return
    console = Console()
    console.print(runs_table(report) if report["by"] else "no model call was made yet")
    console.print(day_line(day, cap), soft_wrap=True)


def _of_the_lake(settings: Settings) -> Mapping[str, Any] | None:
    """Of all finished runs; None if there is none."""
    from alphamill.lake import Lake  # parquet is read where Redis has nothing to say
    from alphamill.runs.finished import published_runs
    from alphamill.runs.published import PublishedRun

    lake = Lake(settings.lake_uri)
    runs = published_runs(lake, kinds=(RunKind.MINE,))
    counters = MemoryUsage()
    for run_id in runs:
        PublishedRun.open(lake, run_id).count_usage(counters)
    return counters.report(None) if runs else None


@dataclass(frozen=True, slots=True)
class _RunUsage:
    """What one run asked and paid, wherever that was read."""

    id: str
    report: Mapping[str, Any]
    calls: Sequence[CallRecord]
    asked_usd_micros: int
    raises: Sequence[BudgetRaise]
    short: Shortfall | None

    def budget(self) -> dict[str, Any]:
        """In micro-dollars; unfunded: calls that it, or the day's, kept from being made."""
        return {
            "asked_usd_micros": self.asked_usd_micros,
            "usd_micros": self.raises[-1].usd_micros if self.raises else self.asked_usd_micros,
            "raises": [asdict(one) for one in self.raises],
            "unfunded": self.short.calls if self.short else 0,
            "go_on": self.short.command if self.short else None,
        }


def _of_run(settings: Settings, run: str) -> _RunUsage:
    """From Redis or, where that cannot be asked, from the lake.

    Raises what Redis did if the lake has no such run either.
    """
    try:
        client = connect(settings)
        ledger = RedisLedger(client, settings.ledger)
        record = find_run(ledger, run)
        short = None
        if record.unfunded and not record.state.active:
            short = shortfall_of(record, ledger, account_of(client, record.id))
        return _RunUsage(
            record.id,
            RedisUsage(client).report(record.id),
            calls_so_far(client, record.id),
            asked_usd_micros(record.spec),
            record.raises,
            short,
        )
    except (Misconfigured, RetryLater):
        from alphamill.lake import Lake  # parquet is read where Redis has nothing to say
        from alphamill.runs.finished import published_run

        found = published_run(Lake(settings.lake_uri), run, (RunKind.MINE,))
        if found is None:
            raise
    return _RunUsage(
        found.id,
        found.usage(),
        found.calls,
        asked_usd_micros(found.plain_spec),
        found.budget_raises,
        found.shortfall,
    )
