"""Futures runs over a simulated exchange: funding lands through faults, kills and rivals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from alphamill.frames import Market, TimeRange
from alphamill.lake import read_klines
from alphamill.ledger import JobState
from alphamill.sim.exchange import Limits
from alphamill.stages.funding import read_funding
from tests.deadlines import wait_for

PAGE_ROWS = 1000
MINUTE_MS = 60_000
QUICK = Limits(weight=10_000_000, requests=None, window_ms=2000, tolerated=100)


def funding_is_whole(mill, spec):
    """Every symbol's settlements of the range, as the exchange has them, and known; how many."""
    rows = 0
    for symbol in spec.symbols:
        found = read_funding(mill.lake, Market.USD_M, symbol, spec.start_ms, spec.end_ms)
        known = mill.source.funding(Market.USD_M, symbol)
        inside = (known.stamp_ms >= spec.start_ms) & (known.stamp_ms < spec.end_ms)
        times = found.table["funding_time"].cast("int64").to_numpy()
        np.testing.assert_array_equal(times, known.stamp_ms[inside])
        np.testing.assert_array_equal(found.table["funding_rate"].to_numpy(), known.rate[inside])
        special = np.array(found.table["rate_type"].to_pylist()) == "Special"
        np.testing.assert_array_equal(special, known.special[inside])
        assert found.known == (TimeRange(spec.start_ms, spec.end_ms),)
        rows += len(times)
    return rows


def bars_are_whole(mill, spec):
    for symbol in spec.symbols:
        where = Market.USD_M, symbol, spec.intervals[0]
        table = read_klines(mill.lake, *where, spec.start_ms, spec.end_ms)
        bars = mill.source.bars(*where)
        np.testing.assert_array_equal(table["close"].to_numpy(), bars.close)


def pages_of(mill, symbol):
    """Pages that all of its settlements take."""
    whole, over = divmod(len(mill.source.funding(Market.USD_M, symbol)), PAGE_ROWS)
    # The last page says that it is the last, unless nothing is left for it: then two do.
    return whole + (1 if over else 2)


def results(mill, run, stage="funding"):
    return [dict(job.result) for job in mill.ledger.jobs(run.id) if job.stage == stage]


def test_two_workers_and_two_runs_through_faults(make_mill, market):
    faults = ["http_429:@12", "cut_json:/7", "reset:/11", "duplicates:/5"]
    dividends = replace(market(2, 3), special_funding=4)
    mill = make_mill(dividends, QUICK, faults=faults, max_attempts=20)
    spec, rival = (mill.spec(venue=Market.USD_M, salt=salt) for salt in ("", "rival"))
    runs = [mill.submit(spec), mill.submit(rival)]
    mill.wait_until_here(mill.control(), mill.worker("fetch", 4), mill.worker("fetch", 4))
    for run in runs:
        assert mill.wait_for_end(run.id).state == "done"
        assert mill.counts(run.id, "funding") == {"done": 2}
    rows = funding_is_whole(mill, spec)
    bars_are_whole(mill, spec)
    for symbol in spec.symbols:  # and what is settled at the very end of the last bar
        stamps = mill.source.funding(Market.USD_M, symbol).stamp_ms - spec.end_ms
        rows += np.count_nonzero((stamps >= 0) & (stamps < MINUTE_MS))
        assert mill.source.funding(Market.USD_M, symbol).special.any()
    assert {sum(one["settlements"] for one in results(mill, run)) for run in runs} == {rows}
    caused = mill.exchange.stats()["totals"]["faults"]
    assert {"http_429", "cut_json", "reset"} <= set(caused)

    before = mill.requests_served()
    third = mill.submit(mill.spec(venue=Market.USD_M, salt="third"))
    assert mill.wait_for_end(third.id).state == "done"
    assert mill.requests_served() == before
    assert all(one["skipped"] for one in results(mill, third))


@pytest.mark.slow
def test_a_killed_worker_has_paid_for_what_it_got(make_mill, market):
    threads = 4
    mill = make_mill(market(20, 12), latency_ms=(120, 120), max_attempts=20)
    pages = {symbol: pages_of(mill, symbol) for symbol in mill.source.symbols(Market.USD_M)}
    symbols = sorted(pages, key=pages.__getitem__)[-4:]
    assert min(pages[symbol] for symbol in symbols) > 2, "jobs too short to be killed half way"
    victim = mill.worker("fetch", threads)
    mill.wait_until_here(mill.control(), victim)
    spec = mill.spec(symbols, venue=Market.USD_M)
    run = mill.submit(spec)

    def at_work():
        jobs = [job for job in mill.ledger.jobs(run.id) if job.stage == "funding"]
        return any(job.state is JobState.RUNNING for job in jobs) and mill.lake.list("funding")

    wait_for(at_work, "funding half way", lambda: mill.seen(run.id), poll_s=0.01)
    victim.kill()
    mill.wait_until_here(mill.worker("fetch", threads))
    assert mill.wait_for_end(run.id).state == "done"
    funding_is_whole(mill, spec)
    needed = sum(pages[symbol] for symbol in symbols)
    # A thread that is killed loses the one page that it has not written yet.
    assert mill.exchange.stats()["totals"]["funding_requests"] <= needed + threads


def test_files_come_first_and_spot_asks_for_none(make_mill, market):
    mill = make_mill(market(2, 3))
    mill.env["ALPHAMILL_ARCHIVE_URL"] = mill.exchange.url
    mill.wait_until_here(mill.control(), mill.worker("fetch", 4))
    spec = mill.spec(venue=Market.USD_M)
    run = mill.submit(spec)
    assert mill.wait_for_end(run.id).state == "done"
    funding_is_whole(mill, spec)
    assert [one["files"] for one in results(mill, run)] == [3, 3]
    # What is left to ask for is the settlement at the end of the last bar.
    assert [one["requests"] for one in results(mill, run)] == [1, 1]

    spot = mill.submit(mill.spec())
    assert mill.wait_for_end(spot.id).state == "done"
    assert mill.exchange.stats()["totals"]["funding_requests"] == 2
    assert not results(mill, spot)
