"""`alphamill status`: the runs and workers, or one run's stages, failures and budget."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import click
import redis
from rich.console import Console
from rich.text import Text

from alphamill.errors import Misconfigured
from alphamill.jobs import RunKind
from alphamill.ledger import Ledger, RedisLedger, RunRecord, RunState
from alphamill.ledger.presence import Presence, Worker
from alphamill.ledger.raises import asked_usd_micros
from alphamill.live.condition import Condition
from alphamill.live.followers import Followers
from alphamill.redis_store import connect
from alphamill.report.terminal.followers import followed_table, problem_lines
from alphamill.report.terminal.progress import bars_line, progress_table
from alphamill.report.terminal.status import (
    budget_line,
    elapsed_s,
    failures_table,
    runs_table,
    state_text,
    workers_table,
)
from alphamill.report.values import plain
from alphamill.runs.failures import group_failures
from alphamill.runs.fetch_rate import FetchRate
from alphamill.runs.find import find_run
from alphamill.runs.under_way import account_of, failing_jobs, job_totals
from alphamill.runs.unfunded import raises_line, shortfall_of
from alphamill.settings import Settings
from alphamill.stack.pools import POOLS
from producers import options
from producers.read.differing import computed_lines, differing_lines, refused_key_lines
from producers.read.watch import wait_for_run

# As --json has them.
OF_A_RUN = ("id", "kind", "state", "priority", "created_ms", "finished_ms")
OF_A_JOB = ("id", "stage", "state", "attempts", "error", "message")
_RUNS_SHOWN = 20


@click.command()
@click.argument("run", required=False)
@click.option("--wait", is_flag=True, help="Follow the run (default: the newest) to its end.")
@options.json_option
@options.exits
def status(run: str | None, wait: bool, as_json: bool) -> None:
    """Show runs and workers; with RUN, how far it is and what failed.

    RUN is a run's id or its unique beginning; one that has finished is shown from the lake where
    Redis cannot be asked. With --wait the exit code is 1 if the run, or a job of it, fails, or a
    budget stops it.

    \b
    Example:
      alphamill status mine-1f2e --wait
    """
    settings = options.settings()
    try:
        client = connect(settings)
    except Misconfigured as away:
        from alphamill.lake import Lake  # parquet is read where Redis has nothing to say
        from alphamill.runs.finished import published_run, published_runs
        from producers.read.status_published import show_published

        found = published_run(Lake(settings.lake_uri), run) if run and not wait else None
        if found is None:
            if done := published_runs(Lake(settings.lake_uri)):
                click.echo(f"finished runs need no Redis: alphamill status {done[0]}", err=True)
            raise
        click.echo(f"{away.problem}: as the run was published in {found.lake.uri}", err=True)
        show_published(found, as_json)
        return
    ledger = RedisLedger(client, settings.ledger)
    if run is None and not wait:
        _show_all(ledger.runs(), Presence(client).here(), Followers(client).told(), as_json)
        return
    record = find_run(ledger, run)
    if wait:
        rate = FetchRate(client, settings)
        record = wait_for_run(ledger, record.id, quiet=as_json, rate=rate)
    _show_run(record, ledger, client, settings, as_json)
    if wait and not record.whole:
        raise SystemExit(options.EXIT_FAILED)


def _show_all(
    runs: Sequence[RunRecord],
    workers: Sequence[Worker],
    followers: Sequence[Condition],
    as_json: bool,
) -> None:
    if as_json:
        options.print_json(
            {
                "runs": [_head(run) for run in runs],
                "workers": [asdict(worker) for worker in workers],
                "followers": [asdict(follower) for follower in followers],
            }
        )
        return
    console = Console()
    shown = runs[:_RUNS_SHOWN]
    console.print(runs_table(shown, _now_ms()) if shown else Text("no run yet", style="dim"))
    if len(runs) > _RUNS_SHOWN:
        console.print(Text(f"and {len(runs) - _RUNS_SHOWN} older ones: --json", style="dim"))
    console.print()
    console.print(workers_table(workers, POOLS))
    if any(follower.lives for follower in followers):
        console.print()
        console.print(followed_table(followers))
    for line in problem_lines(followers):
        console.print(Text(plain(line), style="yellow"), soft_wrap=True)


def _head(run: RunRecord) -> dict[str, Any]:
    """A run in short, as --json has it."""
    of_run = {name: getattr(run, name) for name in OF_A_RUN}
    return (
        of_run
        | {"elapsed_s": elapsed_s(run, _now_ms()), "unfunded": dict(run.unfunded)}
        | asdict(job_totals(run.counts))
    )


def _show_run(
    run: RunRecord, ledger: Ledger, client: redis.Redis, settings: Settings, as_json: bool
) -> None:
    jobs = failing_jobs(run, ledger)
    bars = FetchRate(client, settings).progress(run)
    notes = refused_key_lines(client, settings, jobs) + computed_lines(client, run)
    if run.state.active:
        notes += differing_lines(client, settings, run)
    account = account_of(client, run.id) if run.kind == RunKind.MINE else None
    short = shortfall_of(run, ledger, account) if account else None
    if as_json:
        options.print_json(
            {
                **_head(run),
                "stages": run.counts,
                "jobs": [{name: getattr(job, name) for name in OF_A_JOB} for job in jobs],
                "budget": asdict(account) if account else None,
                "budget_usd_micros": run.budget_usd_micros,
                "budget_asked_usd_micros": asked_usd_micros(run.spec),
                "budget_raises": [asdict(one) for one in run.raises],
                "go_on": short.command if short and not run.state.active else None,
                "bars": bars.to_dict() if bars else None,
                "builds": run.builds,
                "notes": list(dict.fromkeys(notes)),
            }
        )
        return
    console = Console()
    console.print(Text(f"{run.id}  ").append(state_text(run)).append(f"  priority {run.priority}"))
    console.print(progress_table(run.counts, elapsed_s(run, _now_ms())))
    if bars is not None:
        console.print(bars_line(bars))
    if account is not None:
        console.print(budget_line(account, run.budget_usd_micros))
        if raised := raises_line(asked_usd_micros(run.spec), run.raises):
            console.print(Text(raised), soft_wrap=True)
    if jobs:
        console.print(Text("\nWhat did not get through, and why", style="bold"))
        console.print(failures_table(group_failures(jobs)))
    for note in dict.fromkeys(notes):
        console.print(Text(plain(note), style="yellow"))
    if short is not None:
        ended = "" if run.state.active else f"; {short.advice}"
        console.print(Text(f"\n{short.what}{ended}", style="yellow"), soft_wrap=True)
    elif run.state in (RunState.FAILED, RunState.CANCELLED):
        console.print(Text(f"\ngo on with: alphamill resume {run.id}"))


def _now_ms() -> int:
    return int(time.time() * 1000)
