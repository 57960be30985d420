"""What a demo prints at its end: verdicts, costs, failures, files, and what came back."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from alphamill import controls
from alphamill.lake import Lake
from alphamill.ledger import RedisLedger, RunRecord, RunState
from alphamill.redis_store import connect
from alphamill.report.terminal.control_arms import recovered_table
from alphamill.report.terminal.leaderboard import run_board
from alphamill.report.terminal.status import failures_table
from alphamill.report.terminal.usage import tiers_table
from alphamill.report.values import elapsed
from alphamill.runs.failures import group_failures
from alphamill.runs.published import OFFLINE_NOTICE, PublishedRun, asks_offline
from alphamill.settings import Settings
from alphamill.usage import RedisUsage


def show_results(settings: Settings, run: RunRecord, console: Console) -> None:
    """Print what came of a mining run that has ended: verdicts, costs, failures, files."""
    client = connect(settings)
    ledger = RedisLedger(client, settings.ledger)
    took = f" in {elapsed((run.finished_ms - run.created_ms) / 1000)}" if run.finished_ms else ""
    console.print(Text(f"Run {run.id}: {run.state}{took}", style="bold"))
    if asks_offline(run.spec):
        console.print(Text(OFFLINE_NOTICE, style="yellow"))
    if run.state is RunState.DONE:
        console.print(Padding(run_board(_published(run)), (1, 0)))
    console.print(tiers_table(RedisUsage(client).report(run.id)))
    console.print()
    failures = group_failures(ledger.dead(run.id))
    if failures:
        console.print(Text("Missing, and why", style="bold"))
        console.print(Padding(failures_table(failures), (0, 0, 1, 0)))
    if run.state is RunState.DONE:
        _show_files(run.spec["lake"], run.id, console)


def _published(run: RunRecord) -> PublishedRun:
    return PublishedRun.open(Lake(run.spec["lake"]), run.id)


def _show_files(lake: str, run_id: str, console: Console) -> None:
    """Where the parquet lies and how to open it; lines to copy are never wrapped."""
    folder = f"runs/run={run_id}"
    lines = [
        f"{folder}/{{trials,factors,calls}}.parquet, klines/ and features/ (one file a symbol and "
        "month)",
        f"pandas:  pd.read_parquet({f'{lake}/{folder}/factors.parquet'!r})",
        f"duckdb:  FROM '{lake}/klines/**/*.parquet' LIMIT 10",
    ]
    console.print(Text(f"Files in {lake}", style="bold"), soft_wrap=True)
    for line in lines:
        console.print(Text(f"  {line}"), soft_wrap=True)


def show_planted(run: RunRecord, planted: Sequence[str], console: Console) -> int:
    """Print which of the factors planted in a synthetic market came back; how many did.

    Found: an admitted factor orders the symbols as the planted one does, with an
    absolute rank correlation of at least recovered.FOUND_CORRELATION on the discovery panel.
    """
    if run.state is not RunState.DONE:
        console.print(Text("The run did not finish: what was planted cannot be looked for."))
        return 0
    matches = controls.search_planted(_published(run), planted)
    found = sum(match.found for match in matches)
    console.print(Text(f"\nPlanted factors found: {found} of {len(matches)}", style="bold"))
    console.print(
        Text(
            "This market is synthetic: returns were made to lean on the expressions below. The "
            "proposer was not told; found means an admitted factor and correlates.",
            style="dim",
        )
    )
    console.print(recovered_table(matches))
    return found
