"""Whole workers killed with SIGKILL, again and again, in the middle of their work.

A kill takes the worker's process group at once: main process and children, claims and messages.
"""

from __future__ import annotations

import psutil
import pytest

from alphamill.frames import Interval, Market, Month
from alphamill.jobs import RunKind
from alphamill.lake import Series
from alphamill.ledger import JobState
from tests.deadlines import wait_for

DAYS_OF_JANUARY = 31


def held_by(mill, run_id, stage, pids):
    """Jobs of the stage that are running under one of these process ids."""
    return [
        job.id
        for job in mill.ledger.jobs(run_id)
        if job.stage == stage
        and job.state is JobState.RUNNING
        and int(job.worker.rpartition(":")[2]) in pids
    ]


def kill_at_work(mill, run_id, stage, victim, done):
    """Kill the worker once so many jobs are done and it holds one; how many it left behind."""
    mill.wait_until_here(victim)
    mill.wait_for_done(run_id, done, stage)
    pids = {victim.pid, *(child.pid for child in psutil.Process(victim.pid).children())}
    what = "the victim at work"
    wait_for(lambda: held_by(mill, run_id, stage, pids), what, lambda: mill.seen(run_id))
    victim.kill()
    return len(held_by(mill, run_id, stage, pids))


def assert_each_done_once(mill, run_id, stage, jobs, finish_log):
    assert mill.counts(run_id, stage) == {"done": jobs}
    finished = {job.id for job in mill.ledger.jobs(run_id) if job.stage == stage}
    assert len(finished) == jobs
    assert {finish_log.finished[job_id] for job_id in finished} == {1}


@pytest.mark.slow
def test_ten_killed_fetch_workers_lose_no_job_and_finish_none_twice(make_mill, market, finish_log):
    symbols, months, kills = 80, 13, 10
    mill = make_mill(market(symbols, months), max_attempts=20)
    control, workers = mill.control(), [mill.worker("fetch"), mill.worker("fetch")]
    mill.wait_until_here(control, *workers)
    spec = mill.spec()
    run = mill.submit(spec)
    jobs, left_behind = symbols * months, []
    for kill in range(kills):
        at = jobs * (kill + 1) // (kills + 2)
        victim = workers[kill % 2]
        left_behind.append(kill_at_work(mill, run.id, "fetch", victim, at))
        workers[kill % 2] = mill.worker("fetch")
    ended = mill.wait_for_end(run.id)

    assert sum(map(bool, left_behind)) > kills // 2, f"kills of idle workers: {left_behind}"
    assert ended.state == "done"
    assert_each_done_once(mill, run.id, "fetch", jobs, finish_log)
    assert mill.check_lake(spec) == jobs


@pytest.mark.slow
def test_three_killed_feature_workers_with_their_children_lose_no_job(
    make_mill, market, finish_log
):
    symbols, kills = 60, 3
    mill = make_mill(market(symbols, months=1), max_attempts=20)
    control, fetcher, worker = mill.control(), mill.worker("fetch"), mill.worker("features", 2)
    mill.wait_until_here(control, fetcher, worker)
    run = mill.submit(mill.spec(kind=RunKind.FEATURES))
    left_behind = []
    for kill in range(kills):
        at = symbols * (kill + 1) // (kills + 2)
        left_behind.append(kill_at_work(mill, run.id, "features", worker, at))
        worker = mill.worker("features", 2)
    ended = mill.wait_for_end(run.id)

    assert any(left_behind), "kills of idle workers"
    assert ended.state == "done"
    assert_each_done_once(mill, run.id, "features", symbols, finish_log)
    assert_each_done_once(mill, run.id, "fetch", symbols, finish_log)
    features = [job for job in mill.ledger.jobs(run.id) if job.stage == "features"]
    assert {job.result["rows"] for job in features} == {DAYS_OF_JANUARY}
    for symbol in mill.spec().symbols:
        table, _ = mill.lake.load(
            Series(Market.SPOT, symbol, Interval.D1).key("features", Month(2023, 1))
        )
        assert table.num_rows == DAYS_OF_JANUARY
