"""From a command's arguments to a run in the ledger."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import click
import redis

from alphamill.errors import GiveUp
from alphamill.evaluation.by_group import Grouping
from alphamill.frames import Interval
from alphamill.grid import floor_ms
from alphamill.jobs import RunKind, RunSpec
from alphamill.lake import Lake
from alphamill.ledger import JobState, Ledger, RedisLedger, RunRecord, RunState
from alphamill.ledger.presence import Presence
from alphamill.market.venues import VENUES
from alphamill.redis_store import connect
from alphamill.report.values import plain
from alphamill.runs.failures import group_failures
from alphamill.runs.fetch_rate import FetchRate
from alphamill.runs.published import PublishedRun
from alphamill.runs.segments import NO_GRID, too_short
from alphamill.runs.under_way import account_of, failing_jobs
from alphamill.runs.unfunded import shortfall_of
from alphamill.settings import Settings
from producers.options import EXIT_FAILED, BarRange, Submission, print_json
from producers.read.by_group import apart
from producers.read.differing import computed_lines, differing_lines, refused_key_lines
from producers.read.result import show_result
from producers.read.watch import wait_for_run
from producers.submit.bars_made import bars_lines
from producers.submit.endpoints import ask_models
from producers.submit.listing import check_listed
from workers import flows

_REASONS = 5  # kinds of failure that are told


def checked_range(bars: BarRange, last_ms: int | None = None) -> tuple[int, int]:
    """The range asked for, cut to bars of the market's life that have closed by now; said if so.

    last_ms: up to where there are any, of bars that have no interval.

    Raises click.UsageError for a start after the end or in the future, or a range before the market
    opened.
    """
    start_ms, end_ms = bars.start_ms, bars.end_ms
    now_ms = int(time.time() * 1000)
    if start_ms >= now_ms:
        raise click.UsageError("--start lies in the future: no bar has closed there yet")
    if end_ms is not None and end_ms <= start_ms:
        raise click.UsageError("--end must come after --start (it is excluded)")
    opened = VENUES[bars.market].opened
    if end_ms is not None and end_ms <= opened.start_ms:
        raise click.UsageError(f"no bar of that range exists: the market opened in {opened}")
    if start_ms < opened.start_ms:
        click.echo(f"the market opened in {opened}: fetching from there", err=True)
        start_ms = opened.start_ms
    if last_ms is None:
        last_ms = max(floor_ms(interval, now_ms) for interval in bars.intervals)
    end_ms = last_ms if end_ms is None else min(end_ms, last_ms)
    if end_ms <= start_ms:
        raise click.UsageError("no bar of that interval has closed since --start")
    return start_ms, end_ms


def check_segments(spec: RunSpec) -> None:
    """Raise click.UsageError for a run whose range can make no panel, however full it is."""
    for interval in spec.intervals:
        if interval is Interval.MO1:
            raise click.UsageError(NO_GRID)
        bars = -(-(spec.end_ms - spec.start_ms) // interval.ms)
        problem = spec.kind is RunKind.MINE and too_short(bars, interval, spec.segments)
        if problem:
            raise click.UsageError(f"the range from --start to --end is too short: {problem}")


def submit(
    spec: RunSpec,
    settings: Settings,
    how: Submission,
    told: Mapping[str, Any] | None = None,
    by: Grouping | None = None,
) -> None:
    """Write and publish the run; its id is the last line, or `run_id` of one JSON object.

    Whoever waits is told the id first, since Ctrl-C and `cancel` need it, and at the end what was
    found. told: what else the object says. by: how what was found is taken apart as well.
    """
    if how.again:
        spec = replace(spec, salt=uuid.uuid4().hex)
    client = connect(settings)
    Lake(spec.lake).check_writable()
    ledger = RedisLedger(client, settings.ledger)
    known = any(run.id == spec.run_id for run in ledger.runs())
    if not known and not how.unlisted and spec.universe is None:  # a rule knows the dead
        check_listed(settings, spec.market, spec.symbols, client)
    if spec.kind is RunKind.MINE and not known:
        ask_models(settings)
    run = flows.submit(spec, ledger, how.priority)
    if known and not how.as_json:
        click.echo(f"the same was asked for before: {_joined(run)}", err=True)
    if run.state.active:
        _tell(_about_workers(client, settings, run))
    if how.wait:
        run = watched(ledger, run.id, FetchRate(client, settings), client, quiet=how.as_json)
        _tell(_about_jobs(client, settings, run, ledger))
        if not how.as_json:
            show_result(run, by)
    if how.as_json:
        _print_said(spec, run, {"joined": known, **(told or {})}, by)
    else:
        click.echo(run.id)
    if how.wait and not run.whole:
        raise SystemExit(EXIT_FAILED)


def _print_said(
    spec: RunSpec, run: RunRecord, told: Mapping[str, Any], by: Grouping | None
) -> None:
    said = {"run_id": run.id, "state": run.state, **told}
    if by is not None and run.state is RunState.DONE:
        said["by"] = apart(PublishedRun.open(Lake(spec.lake), run.id), by)
    print_json(said)


def brought(spec: RunSpec, settings: Settings, how: Submission) -> None:
    """Submit a run that another one waits for, and wait; told on stderr alone.

    Raises GiveUp where it did not end whole.
    """
    client = connect(settings)
    Lake(spec.lake).check_writable()
    ledger = RedisLedger(client, settings.ledger)
    run = flows.submit(spec, ledger, how.priority)
    if run.state.active:
        _tell(_about_workers(client, settings, run))
    run = watched(ledger, run.id, FetchRate(client, settings), client, quiet=how.as_json)
    if not run.whole:
        raise GiveUp(f"not all came; try what failed again with: alphamill resume {run.id}")


def watched(
    ledger: Ledger, run_id: str, rate: FetchRate, client: redis.Redis, *, quiet: bool = False
) -> RunRecord:
    """The run when it has ended; says on stderr what did not get through and why."""
    if not quiet:
        click.echo(f"waiting for {run_id}; Ctrl-C leaves it running", err=True)
    try:
        run = wait_for_run(ledger, run_id, quiet=quiet, rate=rate)
    except KeyboardInterrupt:
        click.echo(f"the run goes on; stop it with: alphamill cancel {run_id}", err=True)
        raise
    for group in group_failures(ledger.dead(run_id))[:_REASONS]:
        if group.state is JobState.DEAD:
            where = f" ({group.about})" if group.about else ""
            click.echo(f"{group.stage} failed: {group.reason}{where}", err=True)
    short = shortfall_of(run, ledger, account_of(client, run.id)) if run.unfunded else None
    if short is not None:
        ended = "is done, stopped by money" if run.state is RunState.DONE else run.state
        click.echo(f"the run {ended}: {short.sentence}", err=True)
    elif run.state is not RunState.DONE:
        click.echo(f"the run {run.state}; go on with: alphamill resume {run_id}", err=True)
    elif not run.whole:
        click.echo("the run is done, without what failed", err=True)
    return run


def _about_workers(client: redis.Redis, settings: Settings, run: RunRecord) -> list[str]:
    """That there are none, or in what they differ from this shell."""
    if not Presence(client).here():
        return ["no worker is up, so the run waits; start some: alphamill up"]
    return differing_lines(client, settings, run)


def _about_jobs(
    client: redis.Redis, settings: Settings, run: RunRecord, ledger: Ledger
) -> list[str]:
    """Whose key was refused, and that different code worked on it where no board will say so."""
    lines = bars_lines(run, ledger)
    lines += refused_key_lines(client, settings, failing_jobs(run, ledger))
    has_board = (
        run.kind in (RunKind.MINE, RunKind.EVALUATE, RunKind.COMBINE) and run.state is RunState.DONE
    )
    return lines if has_board else lines + computed_lines(client, run)


def _tell(lines: Iterable[str]) -> None:
    for line in lines:
        click.echo(plain(line), err=True)


def _joined(run: RunRecord) -> str:
    if run.state is RunState.RUNNING:
        return "joining that run"
    if run.unfunded and not run.state.active:
        return f"a budget stopped it; see how to go on with: alphamill status {run.id}"
    if run.state is RunState.DONE:
        return "it is done (--again makes a new run)"
    return f"it {run.state}; go on with: alphamill resume {run.id}"
