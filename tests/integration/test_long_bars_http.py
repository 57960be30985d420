"""Bars of a day and longer over HTTP: none lost and no gap invented, wherever a range begins."""

from contextlib import closing

import numpy as np
import pytest

from alphamill.clock import SystemClock
from alphamill.flow import plan
from alphamill.frames import Interval, Market
from alphamill.jobs import FetchJob, RunKind
from alphamill.lake import Lake, manifest, read_klines
from alphamill.limits import OpenGate
from alphamill.market import Binance
from alphamill.sim.exchange import ExchangeConfig, ExchangeServer
from alphamill.sim.market import SyntheticMarket, SyntheticSource, coins_named
from alphamill.stages import fetch
from alphamill.stages.fetch import FetchDeps
from alphamill.testing import spec_of

HOUR = 3_600_000
DAY = 24 * HOUR
MONDAY = 1_711_929_600_000  # 2024-04-01, 19,814 days: modulo 3 it is 2
SYMBOLS = {Market.SPOT: "BTCUSDT", Market.USD_M: "BTCUSDT", Market.COIN_M: "BTCUSD_PERP"}


def listed_at(start_ms, days):
    """Hours of one coin from there on."""
    coins = coins_named(["BTCUSDT"])
    span = {"start_ms": start_ms, "end_ms": start_ms + days * DAY}
    return SyntheticSource(SyntheticMarket(coins=coins, interval=Interval.H1, planted=(), **span))


def run_all(folder, url, market, interval, start_ms, end_ms):
    """Every fetch job of the run, as a worker does it; the lake and what the jobs say."""
    asked = spec_of(
        SYMBOLS[market],
        kind=RunKind.FETCH,
        market=market,
        intervals=(interval,),
        start_ms=start_ms,
        end_ms=end_ms,
    )
    lake, clock = Lake(str(folder)), SystemClock()
    jobs = [FetchJob.from_message(job.message) for job in plan(asked) if job.stage == "fetch"]
    with closing(Binance(market, url, OpenGate(), clock)) as exchange:
        return lake, [fetch.run(job, FetchDeps(exchange, lake)) for job in jobs]


def check_equal(lake, source, market, interval, start_ms, end_ms):
    """The lake has each bar of the range, from the one that holds its start."""
    bars = source.bars(market, SYMBOLS[market], interval)
    first = max(0, bars.stop_at(start_ms) - 1)
    bars = bars.rows(first, bars.start_at(end_ms))
    where = market, SYMBOLS[market], interval
    table = read_klines(lake, *where, start_ms - 40 * DAY, end_ms)
    times = table["open_time"].cast("int64").to_numpy()
    np.testing.assert_array_equal(times, bars.open_ms)
    for name in ("open", "high", "low", "close", "volume", "trades"):
        np.testing.assert_array_equal(table[name].to_numpy(), getattr(bars, name))
    return manifest(lake, *where).missing(int(times[0]), end_ms)


@pytest.fixture(scope="module")
def of_half_a_year():
    source = listed_at(MONDAY - 40 * DAY + 6 * HOUR, 250)
    with ExchangeServer(ExchangeConfig(), source) as server:
        yield source, server.url


@pytest.mark.parametrize("market", list(Market))
@pytest.mark.parametrize("interval", [Interval.D1, Interval.D3, Interval.W1, Interval.MO1])
def test_a_range_may_begin_on_any_day(of_half_a_year, tmp_path, market, interval):
    """Seven days are every phase of three days and of a week; the first is within a month."""
    source, url = of_half_a_year
    end_ms = MONDAY + 200 * DAY
    for day in range(7):
        start_ms = MONDAY + (day + 3) * DAY
        span = start_ms, end_ms
        lake, facts = run_all(tmp_path / str(day), url, market, interval, *span)
        assert sum(one.gaps for one in facts) == 0
        assert check_equal(lake, source, market, interval, *span) == []


@pytest.mark.parametrize("day", range(7))
@pytest.mark.parametrize("market", list(Market))
def test_a_range_from_the_day_of_the_listing_has_the_first_bar(tmp_path, market, day):
    """Trading begins at 06:00 on each day of a week; every first bar opens before that."""
    listed_ms = MONDAY + day * DAY + 6 * HOUR
    source, end_ms = listed_at(listed_ms, 70), MONDAY + 60 * DAY
    with ExchangeServer(ExchangeConfig(), source) as server:
        for interval in (Interval.D1, Interval.D3, Interval.W1, Interval.MO1):
            where = tmp_path / interval.name, server.url, market, interval
            lake, facts = run_all(*where, listed_ms, end_ms)
            assert sum(one.gaps for one in facts) == 0
            assert check_equal(lake, source, market, interval, listed_ms, end_ms) == []
            first = source.bars(market, SYMBOLS[market], interval).open_ms[0]
            assert first <= listed_ms - 6 * HOUR


def test_a_range_from_before_the_listing_says_so(of_half_a_year, tmp_path):
    source, url = of_half_a_year
    listed_ms, end_ms = MONDAY - 40 * DAY + 6 * HOUR, MONDAY + 30 * DAY
    start_ms = listed_ms - 30 * DAY
    for interval in (Interval.D3, Interval.W1):
        lake, _ = run_all(tmp_path / interval, url, Market.SPOT, interval, start_ms, end_ms)
        assert check_equal(lake, source, Market.SPOT, interval, start_ms, end_ms) == []
        held = manifest(lake, Market.SPOT, "BTCUSDT", interval)
        [missing] = held.missing(start_ms, end_ms)
        assert (missing.why, missing.end_ms) == ("before listing", held.first_ms)
