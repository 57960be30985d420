"""Whole workers killed with SIGKILL, again and again, in the middle of their work: nothing is lost."""

from __future__ import annotations

import time

import pytest

from alphamill.jobs import RunKind
from alphamill.ledger import JobState

KILLS = 10
DEADLINE_S = 150.0


def held_by(mill, run_id, stage, pids):
    """Jobs of the stage that are running under one of these process ids."""
    return [
        job.id
        for job in mill.ledger.jobs(run_id)
        if job.stage == stage
        and job.state is JobState.RUNNING
        and int(job.worker.rpartition(":")[2]) in pids
    ]


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_ten_killed_fetch_workers_lose_no_job_and_finish_none_twice(
    make_mill, market, finish_log, wait_for
):
    mill = make_mill(market(symbols=80, months=13), max_attempts=20)
    control, workers = mill.control(), [mill.worker("fetch"), mill.worker("fetch")]
    mill.wait_until_here(control, *workers)
    spec = mill.spec()
    run = mill.submit(spec)
    jobs = 80 * 13
    orphaned = 0
    for kill in range(KILLS):
        victim = workers[kill % 2]
        mill.wait_until_here(victim)
        floor = jobs * (kill + 1) // (KILLS + 2)
        wait_for(lambda: mill.counts(run.id)["done"] >= floor, DEADLINE_S, f"{floor} jobs done")
        wait_for(
            lambda: held_by(mill, run.id, "fetch", {victim.pid}), DEADLINE_S, "the victim's work"
        )
        victim.kill()
        orphaned += bool(held_by(mill, run.id, "fetch", {victim.pid}))
        workers[kill % 2] = mill.worker("fetch")
    ended = mill.wait_for_end(run.id, DEADLINE_S)

    assert orphaned >= KILLS // 2, "the kills hit idle workers: this proves nothing"
    assert ended.state == "done"
    assert ended.counts == {"fetch": {"done": jobs}}
    assert len(finish_log.finished) == jobs
    assert set(finish_log.finished.values()) == {1}
    assert mill.check_lake(spec) == jobs
    assert any(job.attempts > 1 for job in mill.ledger.jobs(run.id))
