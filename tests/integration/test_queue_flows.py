"""Runs as their users see them: failing symbols, cancelling, asking again, priorities."""

from __future__ import annotations

import pytest

from alphamill.fleet.identity import build
from alphamill.ledger import JobState

SYMBOLS, MONTHS = 16, 6
JOBS = SYMBOLS * MONTHS


@pytest.fixture(scope="module")
def mill(make_shared_mill, market):
    made = make_shared_mill(market(SYMBOLS, MONTHS), latency_ms=(20, 40), window=16)
    made.wait_until_here(made.control(), made.worker("fetch"))
    return made


def redis_now_ms(mill):
    seconds, micros = mill.redis.time()
    return seconds * 1000 + micros // 1000


def test_an_unknown_symbol_fails_its_own_jobs_and_no_other(mill):
    symbols = (*mill.spec().symbols[:3], "NOSUCHUSDT")
    run = mill.submit(mill.spec(symbols))
    ended = mill.wait_for_end(run.id)
    assert ended.state == "done"
    assert ended.counts == {"fetch": {"done": 3 * MONTHS, "dead": MONTHS}}
    dead = list(mill.ledger.dead(run.id))
    assert {job.message["symbol"] for job in dead} == {"NOSUCHUSDT"}
    assert all("NOSUCHUSDT" in job.error for job in dead)
    assert {job.attempts for job in dead} == {1}


def test_a_run_of_unknown_symbols_alone_fails(mill):
    run = mill.submit(mill.spec(["NOSUCHUSDT"]))
    assert mill.wait_for_end(run.id).state == "failed"


def test_a_cancelled_run_starts_nothing_more_and_a_resumed_one_completes(mill):
    spec = mill.spec(salt="cancelled")
    run = mill.submit(spec)
    mill.wait_for_done(run.id, MONTHS)
    assert mill.ledger.cancel(run.id).state == "cancelled"
    cancelled_ms = redis_now_ms(mill)
    done = mill.counts(run.id)["done"]
    assert done < JOBS

    # Messages of the cancelled run lie before those of this one in the queue.
    later = mill.submit(mill.spec(mill.spec().symbols[:1], salt="later"))
    assert mill.wait_for_end(later.id).state == "done"
    mill.wait_until_read("fetch")
    assert mill.counts(run.id) == {"done": done, "cancelled": JOBS - done}
    started = [job.started_ms for job in mill.ledger.jobs(run.id) if job.started_ms]
    assert max(started) <= cancelled_ms

    assert mill.resume(run.id).state == "running"
    assert mill.wait_for_end(run.id).counts == {"fetch": {"done": JOBS}}
    assert mill.check_lake(spec) == JOBS


def test_a_run_asked_for_again_joins_and_costs_nothing(mill):
    spec = mill.spec(salt="twice")
    first = mill.submit(spec)
    again = mill.submit(spec)
    assert again.id == first.id
    ended = mill.wait_for_end(first.id)
    assert ended.counts == {"fetch": {"done": JOBS}}

    before = [(job.id, job.attempts, job.finished_ms) for job in mill.ledger.jobs(first.id)]
    served = mill.requests_served()
    assert mill.submit(spec) == ended
    mill.wait_until_read("fetch")
    after = [(job.id, job.attempts, job.finished_ms) for job in mill.ledger.jobs(first.id)]
    assert sorted(after) == sorted(before)
    assert {attempts for _, attempts, _ in after} == {1}
    assert mill.requests_served() == served


def test_another_run_over_the_same_bars_asks_the_exchange_for_none(mill):
    mill.wait_for_end(mill.submit(mill.spec(salt="fills the lake")).id)
    served = mill.exchange.stats()["totals"]
    run = mill.submit(mill.spec(salt="finds the lake full"))
    assert mill.wait_for_end(run.id).counts == {"fetch": {"done": JOBS}}
    totals = mill.exchange.stats()["totals"]
    assert (totals["requests"], totals["kline_rows"]) == (served["requests"], served["kline_rows"])
    assert mill.ledger.run(run.id).builds == {build().label: JOBS}
    results = [job.result for job in mill.ledger.jobs(run.id)]
    assert all(result["skipped"] and result["requests"] == 0 for result in results)
    assert sum(result["rows"] for result in results) == SYMBOLS * 181  # days to the end of June


def test_the_higher_priority_goes_first(make_shared_mill, market, redis_server):
    own_database = redis_server.removesuffix("/0") + "/1"  # the others' workers do not read it
    busy = make_shared_mill(market(symbols=6, months=2), url=own_database)
    runs = {
        priority: busy.submit(busy.spec(salt=str(priority)), priority) for priority in (0, 9, 4)
    }
    busy.wait_until_here(busy.worker("fetch", 1))
    for run in runs.values():
        assert busy.wait_for_end(run.id).state == "done"
    order = sorted(
        (job.started_ms, job.finished_ms, priority)
        for priority, run in runs.items()
        for job in busy.ledger.jobs(run.id)
        if job.state is JobState.DONE
    )
    assert [priority for *_, priority in order] == [9] * 12 + [4] * 12 + [0] * 12
