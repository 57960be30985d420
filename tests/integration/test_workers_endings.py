"""Ends that are not kills: SIGTERM in the middle of a job, and Redis gone for a while."""

from __future__ import annotations

import os
import signal

import pytest

from alphamill.jobs import RunKind
from alphamill.ledger import JobState
from alphamill.stack.embedded_redis import EmbeddedRedis


@pytest.mark.parametrize(
    ("pool", "kind", "latency_ms"),
    [("fetch", RunKind.FETCH, (150, 250)), ("features", RunKind.FEATURES, (0, 0))],
)
def test_a_worker_told_to_stop_finishes_or_hands_back_what_it_holds(
    make_mill, market, wait_for, pool, kind, latency_ms
):
    mill = make_mill(market(symbols=40, months=1), latency_ms=latency_ms, lease_s=20)
    control, fetcher = mill.control(), mill.worker("fetch")
    leaving = mill.worker(pool, 2) if pool == "features" else fetcher
    mill.wait_until_here(control, fetcher, leaving)
    run = mill.submit(mill.spec(kind=kind))
    wait_for(
        lambda: mill.counts(run.id, pool)["done"] >= 4 and mill.counts(run.id, pool)["running"],
        what="work",
    )
    assert leaving.terminate() == 0
    counts = mill.counts(run.id, pool)
    assert counts["running"] == 0, "it ended and left a job under its lease"
    assert 0 < counts["done"] < 40

    mill.worker(pool)
    assert mill.wait_for_end(run.id).state == "done"
    jobs = [job for job in mill.ledger.jobs(run.id) if job.stage == pool]
    assert {(job.state, job.attempts) for job in jobs} == {(JobState.DONE, 1)}


@pytest.mark.slow
def test_a_run_outlives_its_redis_server(make_mill, market, tmp_path, wait_for):
    server = EmbeddedRedis(tmp_path / "redis-home")
    try:
        mill = make_mill(market(symbols=40, months=10), url=server.start())
        control, worker = mill.control(), mill.worker("fetch")
        mill.wait_until_here(control, worker)
        spec = mill.spec()
        run = mill.submit(spec)
        for kill in (1, 2, 3):
            wait_for(lambda at=100 * kill: mill.counts(run.id)["done"] >= at, 60, "work")
            os.kill(mill.redis.info("server")["process_id"], signal.SIGKILL)
            wait_for(
                lambda lost=kill: worker.log.read_text().count("broker lost") >= lost,
                what="the worker to notice",
            )
            assert server.revive()
        ended = mill.wait_for_end(run.id, 90)
        assert ended.counts == {"fetch": {"done": 400}}
        assert mill.check_lake(spec) == 400
        assert [p.popen.poll() for p in (control, worker)] == [None, None], "a worker ended"
    finally:
        server.stop()
