"""Runs, workers and budgets as tables: what is wrong stands out, foreign text stays text."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from alphamill.ledger import RunRecord, RunState
from alphamill.ledger.presence import Worker
from alphamill.report.terminal.status import budget_line, elapsed_s, runs_table, workers_table
from alphamill.runs.under_way import Account, job_totals

HOUR_MS = 3_600_000
RUN = RunRecord(
    "mine-0123456789abcdef",
    "mine",
    {},
    RunState.RUNNING,
    priority=3,
    created_ms=0,
    counts={"fetch": {"done": 4, "dead": 1, "running": 2}, "publish": {"skipped": 1}},
)


def shown(renderable, width=80):
    console = Console(file=io.StringIO(), width=width, force_terminal=False, color_system=None)
    console.print(renderable)
    return console.file.getvalue()


def test_a_run_has_its_jobs_its_age_and_how_long_it_took():
    assert elapsed_s(RUN, 3 * HOUR_MS) == 3 * 3600
    line = shown(runs_table([RUN], 3 * HOUR_MS)).splitlines()[-1].split()
    assert line == [RUN.id, "running", "4/8", "2", "3", "h", "3:00", "h", "3"]


def test_totals_are_of_the_stages_asked_for():
    assert (job_totals(RUN.counts).settled, job_totals(RUN.counts).total) == (6, 8)
    fetch = job_totals(RUN.counts, ["fetch", "funding"])
    assert (fetch.total, fetch.settled, fetch.done, fetch.failed) == (7, 5, 4, 1)


def test_pools_without_a_worker_are_named():
    here = [Worker("fetch-1@[red]host", "fetch", ("fetch",), 8, 4711)]
    text = shown(workers_table(here, ["fetch", "llm", "control"]))
    assert "fetch-1@[red]host" in text
    assert "no worker for: llm, control" in text
    assert "no worker for" not in shown(workers_table(here, ["fetch"]))
    assert "alphamill up" in shown(workers_table([], ["fetch"]))


@pytest.mark.parametrize(
    ("account", "said"),
    [
        (Account(spent_usd_micros=642), "budget: $0.000642 spent of $1.000000"),
        (Account(reserved_usd_micros=5), "$0.000005 set aside for calls under way"),
        (Account(unknown_usd_micros=7, unknown_calls=2), "for 2 calls with unknown outcome"),
    ],
)
def test_a_budget_says_what_is_spent_held_and_not_known(account, said):
    assert said in budget_line(account, 1_000_000).plain
