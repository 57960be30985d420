"""Ends that are not kills: SIGTERM in the middle of a job, and Redis gone for a while."""

from __future__ import annotations

import os
import signal

import pytest

from alphamill.jobs import RunKind
from alphamill.ledger import JobState
from alphamill.stack.embedded_redis import EmbeddedRedis
from tests.deadlines import end_s, slowness, wait_for


@pytest.mark.parametrize(
    ("pool", "kind", "latency_ms"),
    [("fetch", RunKind.FETCH, (150, 250)), ("features", RunKind.FEATURES, (0, 0))],
)
def test_a_worker_told_to_stop_finishes_or_hands_back_what_it_holds(
    make_mill, market, pool, kind, latency_ms
):
    mill = make_mill(market(symbols=40, months=1), latency_ms=latency_ms, lease_s=20 * slowness())
    control, fetcher = mill.control(), mill.worker("fetch")
    leaving = mill.worker(pool, 2) if pool == "features" else fetcher
    mill.wait_until_here(control, fetcher, leaving)
    run = mill.submit(mill.spec(kind=kind))
    wait_for(
        lambda: mill.counts(run.id, pool)["done"] >= 4 and mill.counts(run.id, pool)["running"],
        "the worker at work",
        lambda: mill.seen(run.id),
        poll_s=0.01,
    )
    assert leaving.terminate() == 0
    counts = mill.counts(run.id, pool)
    assert counts["running"] == 0, "it ended and left a job under its lease"
    assert 0 < counts["done"] < 40

    mill.worker(pool)
    assert mill.wait_for_end(run.id).state == "done"
    jobs = [job for job in mill.ledger.jobs(run.id) if job.stage == pool]
    assert {(job.state, job.attempts) for job in jobs} == {(JobState.DONE, 1)}


@pytest.fixture
def own_redis(tmp_path):
    """A server of its own with an append-only file, as the stack runs it."""
    server = EmbeddedRedis(tmp_path / "redis-home")
    server.start()
    yield server
    server.stop()


def kill(server, mill):
    os.kill(mill.redis.info("server")["process_id"], signal.SIGKILL)
    wait_for(lambda: not server.alive(), "the server's end", server.alive, within_s=end_s())


def wait_until_noticed(worker, times):
    """Until the worker has told of so many losses of its connection."""

    def lost():
        return worker.log.read_text().count("Connection to broker lost")

    wait_for(lambda: lost() >= times, f"{times} losses in the worker's log", lost)


@pytest.mark.slow
def test_a_run_outlives_its_redis_server(make_mill, market, own_redis):
    mill = make_mill(market(symbols=40, months=6), url=own_redis.url)
    control, worker = mill.control(), mill.worker("fetch")
    mill.wait_until_here(control, worker)
    spec = mill.spec()
    run = mill.submit(spec)
    for kills in (1, 2):
        mill.wait_for_done(run.id, 80 * kills)
        kill(own_redis, mill)
        wait_until_noticed(worker, kills)
        assert own_redis.revive()
    ended = mill.wait_for_end(run.id)
    assert ended.counts == {"fetch": {"done": 240}}
    assert mill.check_lake(spec) == 240
    assert [p.popen.poll() for p in (control, worker)] == [None, None], "a worker ended"


def test_jobs_under_way_while_redis_restarts_are_finished_by_their_worker(
    make_mill, market, own_redis
):
    latency_ms, lease_s = 2_500 * slowness(), 30 * slowness()
    mill = make_mill(
        market(symbols=8, months=1),
        latency_ms=(latency_ms, latency_ms),
        url=own_redis.url,
        lease_s=lease_s,
    )
    worker = mill.worker("fetch")
    mill.wait_until_here(worker)
    run = mill.submit(mill.spec())
    served = mill.requests_served
    wait_for(lambda: served() >= 1 + 8, "every thread to ask for its bars", served)
    kill(own_redis, mill)
    assert own_redis.revive()
    assert mill.wait_for_end(run.id).counts == {"fetch": {"done": 8}}
    assert {job.attempts for job in mill.ledger.jobs(run.id)} == {1}
    # Their acknowledgements have no connection to go to, which must not end the worker.
    wait_until_noticed(worker, 1)
    again = mill.submit(mill.spec(salt="after the restart"))
    assert mill.wait_for_end(again.id).state == "done"
    assert worker.popen.poll() is None
