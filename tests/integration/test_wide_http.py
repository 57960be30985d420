"""Clients of metrics and computed prices against the simulated exchange over HTTP."""

from __future__ import annotations

import numpy as np
import pytest

from alphamill.clock import ManualClock
from alphamill.errors import GiveUp, RetryLater
from alphamill.frames import Interval, Market, Month, TimeRange, Wide, times_ms
from alphamill.jobs import WideJob
from alphamill.lake import Lake, MetricsSeries, load_partition
from alphamill.market import Archive, Binance, BinanceMetrics, BinancePrices
from alphamill.market.klines.of import PRICES_OF
from alphamill.sim.exchange import ExchangeConfig, ExchangeServer, Fault, Limits
from alphamill.sim.market import SyntheticMarket, SyntheticSource, coins_named
from alphamill.stages import wide
from alphamill.stages.wide import WideDeps
from tests.integration.test_funding_http import Gate

HOUR, DAY, STEP = 3_600_000, 86_400_000, 300_000
JUNE = Month(2026, 6)
NOW = JUNE.end_ms + 5 * DAY
SOURCE = SyntheticSource(
    SyntheticMarket(
        coins=coins_named(["BTCUSDT", "ETHUSDT"]),
        interval=Interval.H1,
        planted=(),
        start_ms=Month(2026, 5).start_ms,
        end_ms=JUNE.end_ms,
    )
)


@pytest.fixture
def served():
    """`served(fault, ...)` -> the market's client, its gate, the server."""
    servers = []

    def serve(*faults, market=Market.USD_M, limits=None):
        config = ExchangeConfig(
            futures_limits=limits or Limits(weight=2400, requests=None),
            faults=tuple(map(Fault.parse, faults)),
        )
        servers.append(ExchangeServer(config, SOURCE, ManualClock(NOW)))
        server = servers[-1].__enter__()
        shared = Gate()
        return Binance(market, server.url, shared, ManualClock(NOW), 2.0), shared, server

    yield serve
    for server in servers:
        server.__exit__()


@pytest.mark.parametrize(
    ("market", "symbol", "weight"),
    [(Market.USD_M, "ETHUSDT", 0), (Market.COIN_M, "ETHUSD_PERP", 1)],
)
def test_a_page_is_five_requests_through_their_own_gate(served, market, symbol, weight):
    api, shared, server = served(market=market)
    own = Gate()
    start_ms = JUNE.start_ms + 20 * DAY
    table = BinanceMetrics(api, market, own).page(symbol, start_ms, start_ms + 499 * STEP)
    assert own.weights == [weight] * 5
    assert shared.weights == [1]  # exchangeInfo
    assert server.stats()["totals"]["data_requests"] == 5
    known = SOURCE.metrics(market, symbol)
    first = int(np.searchsorted(known.open_ms, start_ms))
    np.testing.assert_array_equal(times_ms(table), known.open_ms[first : first + 499])
    for name, values in known.values.items():
        rounded = 0.00006 if name.endswith("_ratio") else 0
        np.testing.assert_allclose(
            table[name].to_numpy(), values[first : first + 499], rtol=0, atol=rounded
        )


def test_over_the_change_of_labels_no_row_is_early(served):
    api, _, _ = served()
    change = JUNE.start_ms + 24 * DAY
    page = BinanceMetrics(api, Market.USD_M, Gate()).page("BTCUSDT", change - HOUR, change + HOUR)
    known = SOURCE.metrics(Market.USD_M, "BTCUSDT")
    at = np.searchsorted(known.open_ms, times_ms(page))
    told = page["open_interest"].to_numpy()
    assert set(np.diff(times_ms(page)).tolist()) <= {STEP, 2 * STEP}
    np.testing.assert_array_equal(told, known.values["open_interest"][at])


def test_an_unknown_symbol_a_broken_page_and_a_limit(served):
    api, _, _ = served()
    metrics = BinanceMetrics(api, Market.USD_M, Gate())
    where = JUNE.end_ms - DAY, JUNE.end_ms
    with pytest.raises(GiveUp, match="no symbol 'XUSDT'"):
        metrics.page("XUSDT", *where)
    with pytest.raises(GiveUp, match="startTime"):
        metrics.page("BTCUSDT", NOW - 31 * DAY, NOW - 30 * DAY)
    api, _, _ = served("cut_json:@2-")
    with pytest.raises(RetryLater, match="malformed openInterestHist"):
        BinanceMetrics(api, Market.USD_M, Gate()).page("BTCUSDT", *where)
    api, _, _ = served(limits=Limits(weight=2400, requests=None, data=2))
    own = Gate()
    with pytest.raises(RetryLater, match="2 requests per 5 minutes"):
        BinanceMetrics(api, Market.USD_M, own).page("BTCUSDT", *where)
    assert len(own.pauses) == 1


@pytest.mark.parametrize("kind", list(PRICES_OF))
def test_computed_prices_are_paged_as_bars_are(served, kind):
    for market, symbol in ((Market.USD_M, "BTCUSDT"), (Market.COIN_M, "BTCUSD_PERP")):
        api, shared, _ = served(market=market)
        source = BinancePrices(api, PRICES_OF[kind])
        found = source.klines(symbol, Interval.H1, JUNE.start_ms, JUNE.end_ms)
        bars = SOURCE.prices(market, symbol, kind, Interval.H1)
        own = bars.open_ms >= JUNE.start_ms
        np.testing.assert_array_equal(times_ms(found.table), bars.open_ms[own])
        for name in ("open", "high", "low", "close"):
            np.testing.assert_array_equal(found.table[name].to_numpy(), getattr(bars, name)[own])
        assert shared.weights[-2:] == [2, 2]  # 720 bars are two pages of 500


def test_a_month_over_the_change_lands_as_it_was_from_files_and_api(served, tmp_path):
    lake = Lake(str(tmp_path))
    api, _, server = served()
    clock = ManualClock(NOW)
    archive = Archive(server.url, clock)
    metrics = BinanceMetrics(api, Market.USD_M, Gate())
    deps = WideDeps(
        lake, lambda kind: BinancePrices(api, PRICES_OF[kind]), metrics, archive, archive, clock
    )
    job = WideJob(Wide.METRICS, Market.USD_M, "BTCUSDT", None, JUNE.start_ms, JUNE.end_ms)
    facts = wide.run(job, deps)
    archive.close()
    _, table = load_partition(lake, MetricsSeries(Market.USD_M, "BTCUSDT"), JUNE)
    known = SOURCE.metrics(Market.USD_M, "BTCUSDT")
    at = np.searchsorted(known.open_ms, times_ms(table))
    np.testing.assert_array_equal(known.open_ms[at], times_ms(table))
    np.testing.assert_array_equal(
        known.values["open_interest"][at], table["open_interest"].to_numpy()
    )
    # Holes of the files that the API still reaches are filled from it, older ones stay.
    reach_ms = NOW - 30 * DAY + HOUR
    inside = (known.open_ms >= JUNE.start_ms) & (known.open_ms < JUNE.end_ms)
    expected = inside & (known.filed | (known.open_ms >= reach_ms))
    np.testing.assert_array_equal(times_ms(table), known.open_ms[expected])
    assert facts.source == "archive-daily+rest"
    assert wide.run(job, deps).skipped
    assert (
        TimeRange(JUNE.start_ms, JUNE.end_ms)
        == load_partition(lake, MetricsSeries(Market.USD_M, "BTCUSDT"), JUNE)[0].facts.asked
    )
