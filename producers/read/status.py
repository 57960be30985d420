"""`alphamill status`: the runs and workers, or one run's stages, failures and budget."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import click
import redis
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from alphamill.ledger import JobRecord, JobState, Ledger, RedisLedger, RunRecord, RunState
from alphamill.ledger.presence import Presence, Worker
from alphamill.llm.journal.budget import Account, utc_day
from alphamill.llm.journal.redis import RedisJournal
from alphamill.redis_store import connect
from alphamill.report.terminal.failures import failures_table
from alphamill.report.terminal.progress import bars_line, progress_table
from alphamill.report.terminal.tables import listing
from alphamill.report.values import elapsed, plain, usd, whole
from alphamill.runs.failures import group_failures
from alphamill.runs.find import find_run, progress
from alphamill.settings import Settings
from producers import options
from producers.submit.fetch_rate import FetchRate
from producers.submit.watch import wait_for_run
from workers.pools import POOLS

_RUNS_SHOWN = 20
_STATE_STYLES = {"done": "green", "failed": "bold red", "cancelled": "yellow", "running": "cyan"}


@click.command()
@click.argument("run", required=False)
@click.option("--wait", is_flag=True, help="Follow the run (default: the newest) to its end.")
@options.json_option
@options.exits
def status(run: str | None, wait: bool, as_json: bool) -> None:
    """Show runs and workers; with RUN, how far it is and what failed.

    RUN is a run's id or its unique beginning. With --wait the exit code is 1 if the run fails.

    \b
    Example:
      alphamill status mine-1f2e --wait
    """
    settings = options.settings()
    client = connect(settings)
    ledger = RedisLedger(client, settings.ledger)
    if run is None and not wait:
        _show_all(ledger.runs(), Presence(client).here(), as_json)
        return
    record = find_run(ledger, run)
    if wait:
        record = wait_for_run(ledger, record.id, quiet=as_json, footer=FetchRate(client, settings))
    _show_run(record, ledger, client, settings, as_json)
    if wait and record.state is not RunState.DONE:
        raise SystemExit(options.EXIT_FAILED)


def _show_all(runs: Sequence[RunRecord], workers: Sequence[Worker], as_json: bool) -> None:
    if as_json:
        options.print_json(
            {
                "runs": [_head(run) for run in runs],
                "workers": [asdict(worker) for worker in workers],
            }
        )
        return
    console = Console()
    console.print(_runs_table(runs[:_RUNS_SHOWN]) if runs else Text("no run yet", style="dim"))
    if len(runs) > _RUNS_SHOWN:
        console.print(Text(f"and {len(runs) - _RUNS_SHOWN} older ones: --json", style="dim"))
    console.print()
    console.print(_workers_table(workers))


def _head(run: RunRecord) -> dict[str, Any]:
    """A run in short, as --json has it."""
    settled, failed, total = progress(run.counts)
    return {
        "id": run.id,
        "kind": run.kind,
        "state": run.state.value,
        "priority": run.priority,
        "created_ms": run.created_ms,
        "finished_ms": run.finished_ms,
        "elapsed_s": _elapsed_s(run),
        "settled": settled,
        "done": sum(stage.get("done", 0) for stage in run.counts.values()),
        "failed": failed,
        "total": total,
    }


def _elapsed_s(run: RunRecord) -> float:
    end_ms = run.finished_ms or int(time.time() * 1000)
    return max(0, end_ms - run.created_ms) / 1000


def _runs_table(runs: Sequence[RunRecord]) -> Table:
    table = listing("run", "state", ">done", ">failed", ">age", ">took", ">prio")
    now_ms = int(time.time() * 1000)
    for run in runs:
        head = _head(run)
        table.add_row(
            Text(plain(run.id, 40)),
            Text(run.state.value, style=_STATE_STYLES.get(run.state.value, "")),
            Text(f"{head['done']:,}/{head['total']:,}"),
            Text(whole(head["failed"]), style="bold red" if head["failed"] else "dim"),
            Text(_age((now_ms - run.created_ms) / 1000)),
            Text(elapsed(head["elapsed_s"])),
            Text(str(run.priority)),
        )
    return table


def _age(seconds: float) -> str:
    for unit, length_s in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length_s:
            return f"{seconds // length_s:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def _workers_table(workers: Sequence[Worker]) -> RenderableType:
    idle = [pool for pool in POOLS if all(worker.pool != pool for worker in workers)]
    if not workers:
        return Text("no worker is here; start them with: alphamill up", style="yellow")
    table = listing("pool", ">slots", ">pid", "worker")
    table.columns[-1].no_wrap, table.columns[-1].overflow = False, "fold"
    for worker in workers:
        table.add_row(Text(plain(worker.pool or "own queues", 20)), Text(str(worker.concurrency)),
                      Text(str(worker.pid)), Text(plain(worker.name, 80)))  # fmt: skip
    if idle:
        return Group(table, Text(f"no worker for: {', '.join(idle)}", style="yellow"))
    return table


def _show_run(
    run: RunRecord, ledger: Ledger, client: redis.Redis, settings: Settings, as_json: bool
) -> None:
    jobs = _unwell(run, ledger)
    bars = FetchRate(client, settings).facts(run)
    account = None
    if run.kind == "mine":
        account = RedisJournal(client).state(run.id, utc_day(int(time.time() * 1000))).run
    if as_json:
        options.print_json(
            {
                **_head(run),
                "stages": run.counts,
                "jobs": [_job(job) for job in jobs],
                "budget": asdict(account) if account else None,
                "budget_usd_micros": run.spec.get("budget_usd_micros", 0),
                "bars": bars,
            }
        )
        return
    console = Console()
    state = Text(run.state.value, style=_STATE_STYLES.get(run.state.value, ""))
    console.print(Text(f"{run.id}  ").append(state).append(f"  priority {run.priority}"))
    console.print(progress_table(run.counts, _elapsed_s(run)))
    if bars is not None:
        console.print(bars_line(bars))
    if account is not None:
        console.print(_budget_line(account, run.spec.get("budget_usd_micros", 0)))
    if jobs:
        console.print(Text("\nWhat did not get through, and why", style="bold"))
        console.print(failures_table(group_failures(jobs)))
    if run.state in (RunState.FAILED, RunState.CANCELLED):
        console.print(Text(f"\ngo on with: alphamill resume {run.id}"))


def _unwell(run: RunRecord, ledger: Ledger) -> list[JobRecord]:
    """Jobs that failed, and open ones whose last attempt did; by id."""
    # A healthy run of a million jobs is not read job by job to say that nothing is wrong.
    states = {state for stage in run.counts.values() for state in stage}
    if not run.state.active and not states & {"dead", "skipped"}:
        return []
    return sorted(
        (
            job
            for job in ledger.jobs(run.id)
            if job.state in (JobState.DEAD, JobState.SKIPPED)
            or (job.error and not job.state.settled)
        ),
        key=lambda job: job.id,
    )


def _job(job: JobRecord) -> dict[str, Any]:
    return {
        "id": job.id,
        "stage": job.stage,
        "state": job.state.value,
        "attempts": job.attempts,
        "error": job.error,
        "message": job.message,
    }


def _budget_line(account: Account, cap_usd_micros: int) -> Text:
    line = Text(f"budget: {usd(account.spent_usd_micros)} spent of {usd(cap_usd_micros)}")
    if account.reserved_usd_micros:
        line.append(f", {usd(account.reserved_usd_micros)} set aside for calls under way")
    if account.unknown_usd_micros:
        line.append(
            f", {usd(account.unknown_usd_micros)} counted as spent for {account.unknown_calls} "
            "calls with unknown outcome",
            style="yellow",
        )
    return line
