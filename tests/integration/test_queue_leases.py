"""A lease lasts as long as its holder lives, and no longer."""

from __future__ import annotations

import os
import signal

from alphamill.ledger import JobState
from tests.deadlines import slowness, wait_for


def test_a_job_longer_than_its_lease_is_run_once(make_mill, market, finish_log):
    lease_s, latency_ms = 2.0 * slowness(), 2_500 * slowness()
    mill = make_mill(
        market(symbols=16, months=1),
        latency_ms=(latency_ms, latency_ms),
        lease_s=lease_s,
        republish_after_s=1.0,
    )
    control, *workers = mill.control(), mill.worker("fetch"), mill.worker("fetch")
    mill.wait_until_here(control, *workers)
    run = mill.submit(mill.spec())
    assert mill.wait_for_end(run.id).state == "done"
    jobs = list(mill.ledger.jobs(run.id))
    assert min(job.finished_ms - job.started_ms for job in jobs) > 1000 * lease_s
    assert {(job.state, job.attempts) for job in jobs} == {(JobState.DONE, 1)}
    assert set(finish_log.finished.values()) == {1}
    assert len(finish_log.finished) == 16


def test_a_frozen_worker_loses_its_jobs_and_cannot_finish_them_later(make_mill, market, finish_log):
    mill = make_mill(market(symbols=12, months=1), latency_ms=(400, 600), max_attempts=8)
    control, frozen = mill.control(), mill.worker("fetch", 4)
    mill.wait_until_here(control, frozen)
    run = mill.submit(mill.spec())
    wait_for(
        lambda: mill.counts(run.id)["running"] == 4,
        "four jobs at work",
        lambda: mill.seen(run.id),
        poll_s=0.01,
    )
    os.kill(frozen.pid, signal.SIGSTOP)
    held = {job.id for job in mill.ledger.jobs(run.id) if job.state is JobState.RUNNING}
    mill.worker("fetch", 4)
    assert mill.wait_for_end(run.id).state == "done"
    finished = {job_id: mill.ledger.job(run.id, job_id).worker for job_id in held}
    assert not any(worker.endswith(f":{frozen.pid}") for worker in finished.values())

    os.kill(frozen.pid, signal.SIGCONT)
    late = "finished elsewhere"
    wait_for(lambda: late in frozen.log.read_text(), "the late worker", frozen.last_words)
    assert mill.ledger.run(run.id).counts == {"fetch": {"done": 12}}
    assert {job_id: mill.ledger.job(run.id, job_id).worker for job_id in held} == finished
    assert set(finish_log.finished.values()) == {1}
    assert mill.check_lake(mill.spec()) == 12
