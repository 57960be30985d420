"""Runs, workers, what failed and what was spent, as tables."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from alphamill.ledger import JobState, RunRecord, RunState
from alphamill.ledger.presence import Worker
from alphamill.report.terminal.tables import empty_grid, empty_table
from alphamill.report.values import elapsed, plain, usd, whole
from alphamill.runs.failures import FailureGroup
from alphamill.runs.under_way import Account, job_totals

_STATE_STYLES = {
    RunState.DONE: "green",
    RunState.FAILED: "bold red",
    RunState.CANCELLED: "yellow",
    RunState.RUNNING: "cyan",
}
_WORDS = {JobState.DEAD: "failed", JobState.DELAYED: "waits, tried before"}


def state_text(run: RunRecord) -> Text:
    """The run's state in its colour; one that a budget stopped is not as done as others."""
    if run.unfunded and not run.state.active:
        return Text(f"{run.state}, out of budget", style="yellow")
    return Text(run.state, style=_STATE_STYLES.get(run.state, ""))


def elapsed_s(run: RunRecord, now_ms: int) -> float:
    """How long it took, or has taken so far."""
    return max(0, (run.finished_ms or now_ms) - run.created_ms) / 1000


def runs_table(runs: Sequence[RunRecord], now_ms: int) -> Table:
    """A line a run."""
    table = empty_table("run", "state", ">done", ">failed", ">age", ">took", ">prio")
    for run in runs:
        jobs = job_totals(run.counts)
        table.add(
            plain(run.id, 40),
            state_text(run),
            f"{jobs.done:,}/{jobs.total:,}",
            Text(whole(jobs.failed), style="bold red" if jobs.failed else "dim"),
            _age((now_ms - run.created_ms) / 1000),
            elapsed(elapsed_s(run, now_ms)),
            str(run.priority),
        )
    return table


def _age(seconds: float) -> str:
    for unit, length_s in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length_s:
            return f"{seconds // length_s:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def workers_table(workers: Sequence[Worker], pools: Collection[str]) -> RenderableType:
    """A line a worker, and which of the pools have none."""
    if not workers:
        return Text("no worker is here; start them with: alphamill up", style="yellow")
    idle = [pool for pool in pools if all(worker.pool != pool for worker in workers)]
    table = empty_table("pool", ">slots", ">pid", "worker")
    table.columns[-1].no_wrap, table.columns[-1].overflow = False, "fold"
    for worker in workers:
        pool = plain(worker.pool or "own queues", 20)
        table.add(pool, str(worker.concurrency), str(worker.pid), plain(worker.name, 80))
    if idle:
        return Group(table, Text(f"no worker for: {', '.join(idle)}", style="yellow"))
    return table


def failures_table(failures: Sequence[FailureGroup], most: int = 12) -> Table:
    """A line a group: how many jobs of which stage, about what, and why."""
    table = empty_grid(">", "", "", gap=2)
    for group in failures[:most]:
        reason = Text(plain(group.reason or "no reason given"))
        if group.about:
            reason.append(f"  ({plain(group.about, 160)})", style="dim")
        style = "red" if group.state is JobState.DEAD else "yellow"
        state = _WORDS.get(group.state, group.state)
        table.add(whole(group.jobs), Text(f"{plain(group.stage, 28)} {state}", style), reason)
    if len(failures) > most:
        table.add("", "", f"and {len(failures) - most} more kinds: --json")
    return table


def day_line(account: Account, cap_usd_micros: int) -> Text:
    """What is left of the day's budget, which all runs share."""
    left = max(0, cap_usd_micros - account.committed_usd_micros)
    words = f"of the day's {usd(cap_usd_micros)} (all runs, since midnight UTC)"
    return Text(f"left today: {usd(left)} {words}")


def budget_line(account: Account, cap_usd_micros: int) -> Text:
    """What was spent of a run's budget, and what may still be."""
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
