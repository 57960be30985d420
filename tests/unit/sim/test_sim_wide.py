"""The simulated exchange's metrics and computed prices: as the exchange answers, and its files."""

import json

import numpy as np
import pytest

from alphamill.frames import Interval, Market, Month, TimeRange, Wide, times_ms
from alphamill.market import KlineFile, MetricsFile
from alphamill.market.archive_zip import only_csv
from alphamill.sim.exchange import Limits
from alphamill.sim.exchange.api import ExchangeApi
from alphamill.sim.exchange.archive import SimulatedArchive
from alphamill.sim.market import SyntheticMarket, SyntheticSource, coins_named

HOUR, DAY = 3_600_000, 86_400_000
STEP = 300_000
JUNE, JULY = Month(2026, 6), Month(2026, 7)
MARKET = SyntheticMarket(
    coins=coins_named(["BTCUSDT", "ETHUSDT"]),
    interval=Interval.H1,
    planted=(),
    start_ms=JUNE.start_ms,
    end_ms=JULY.start_ms,
)
SOURCE = SyntheticSource(MARKET)
NOW = JULY.start_ms + DAY
PATHS = {
    "openInterestHist": ["symbol", "sumOpenInterest", "sumOpenInterestValue", "timestamp"],
    "topLongShortAccountRatio": [
        "symbol",
        "longShortRatio",
        "longAccount",
        "shortAccount",
        "timestamp",
    ],
    "topLongShortPositionRatio": [
        "symbol",
        "longShortRatio",
        "longPosition",
        "shortPosition",
        "timestamp",
    ],
    "globalLongShortAccountRatio": [
        "symbol",
        "longShortRatio",
        "longAccount",
        "shortAccount",
        "timestamp",
    ],
    "takerlongshortRatio": ["buySellRatio", "buyVol", "sellVol", "timestamp"],
}


def ask(path, to=None, **query):
    api = to or ExchangeApi(SOURCE, dict.fromkeys(Market, Limits()), lambda: NOW)
    pairs = [(name, str(value)) for name, value in query.items()]
    return api.reply(path, pairs, "1.2.3.4")


def rows(path, to=None, **query):
    answer = ask(path, to, **query)
    assert answer.status == 200, answer.body
    return json.loads(answer.body)


def data(endpoint, to=None, **query):
    return rows(f"/futures/data/{endpoint}", to, **{"symbol": "BTCUSDT", "period": "5m"} | query)


@pytest.mark.parametrize("endpoint", PATHS)
def test_rows_look_like_the_exchanges(endpoint):
    (row,) = data(endpoint, limit=1)
    assert list(row) == PATHS[endpoint]
    assert all(isinstance(row[name], str) for name in PATHS[endpoint][:-1])
    assert row["timestamp"] == SOURCE.metrics(Market.USD_M, "BTCUSDT").open_ms[-1]


def test_coin_margined_endpoints_are_asked_by_pair():
    (row,) = rows("/futures/data/takerBuySellVol", pair="BTCUSD", period="5m", limit=1)
    assert set(row) >= {"pair", "takerBuyVol", "takerSellVol", "timestamp"}
    assert ask("/futures/data/takerBuySellVol", symbol="BTCUSDT", period="5m").status == 404
    assert ask("/futures/data/takerlongshortRatio", pair="BTCUSD", period="5m").status == 404


def test_labels_are_ends_before_the_change_and_starts_after():
    change = JUNE.start_ms + 24 * DAY
    known = SOURCE.metrics(Market.USD_M, "BTCUSDT")
    before = data("openInterestHist", startTime=change - HOUR, limit=1, endTime=change - 1)[0]
    after = data("openInterestHist", startTime=change + HOUR, limit=1)[0]
    for row, opens in ((before, change - HOUR - STEP), (after, change + HOUR)):
        at = int(np.searchsorted(known.open_ms, opens))
        assert float(row["sumOpenInterest"]) == known.values["open_interest"][at]
    # At the change itself one label is of two rows.
    both = data("openInterestHist", startTime=change, endTime=change)
    assert [row["timestamp"] for row in both] == [change, change]


def test_what_is_older_than_thirty_days_is_refused_and_no_other_weight_counts():
    answer = ask(
        "/futures/data/openInterestHist", symbol="BTCUSDT", period="5m", startTime=NOW - 31 * DAY
    )
    assert (answer.status, json.loads(answer.body)["code"]) == (400, -1130)
    api = ExchangeApi(SOURCE, dict.fromkeys(Market, Limits(weight=10, data=3)), lambda: NOW)
    for _ in range(3):
        data("openInterestHist", api)
    refused = ask("/futures/data/openInterestHist", api, symbol="BTCUSDT", period="5m")
    assert refused.status == 429
    assert "3 requests per 5 minutes" in json.loads(refused.body)["msg"]
    totals = api.stats()["totals"]
    assert (totals["data_requests"], totals["weight"]) == (3, 0)
    rows(
        "/futures/data/openInterestHist",
        pair="BTCUSD",
        period="5m",
        to=ExchangeApi(SOURCE, dict.fromkeys(Market, Limits()), lambda: NOW),
    )
    assert ask("/fapi/v1/time", api).status == 200  # the pool itself has room


def test_a_row_is_told_after_its_five_minutes():
    at = JUNE.start_ms + 26 * DAY
    for passed_ms, latest in ((STEP + 19_999, at - STEP), (STEP + 20_000, at)):
        api = ExchangeApi(SOURCE, dict.fromkeys(Market, Limits()), lambda ms=at + passed_ms: ms)
        assert data("openInterestHist", api, limit=1)[0]["timestamp"] == latest


def read(file):
    body = SimulatedArchive(SOURCE, lambda: NOW + 30 * DAY).body(f"/{file.path}")
    return None if body is None else file.parse(body)


@pytest.mark.parametrize(
    ("market", "symbol"), [(Market.USD_M, "BTCUSDT"), (Market.COIN_M, "BTCUSD_PERP")]
)
@pytest.mark.parametrize("day", [24, 25])
def test_files_of_both_labellings_say_the_same_of_the_same_minutes(market, symbol, day):
    file = MetricsFile(market, symbol, JUNE, day)
    known, table = SOURCE.metrics(market, symbol), read(file)
    first, stop = np.searchsorted(known.open_ms, [file.range.start_ms, file.range.end_ms])
    filed = known.filed[first:stop]
    assert 200 < filed.sum() <= 288
    np.testing.assert_array_equal(times_ms(table), known.open_ms[first:stop][filed])
    for name, values in known.values.items():
        np.testing.assert_array_equal(table[name].to_numpy(), values[first:stop][filed])


def test_the_label_of_midnight_stands_in_two_files():
    archive = SimulatedArchive(SOURCE, lambda: NOW)
    texts = []
    for day in (24, 25):
        file = MetricsFile(Market.USD_M, "ETHUSDT", JUNE, day)
        texts.append(only_csv(archive.body(f"/{file.path}"), f"{file.stem}.csv").decode())
    assert texts[0].splitlines()[-1].startswith("2026-06-25 00:00:00,ETHUSDT,")
    assert texts[1].splitlines()[1].startswith("2026-06-25 00:00:00,ETHUSDT,")


def test_whole_days_are_lost_now_and_then():
    source = SyntheticSource(SyntheticMarket(coins=MARKET.coins, interval=Interval.D1, planted=()))
    known = source.metrics(Market.USD_M, "BTCUSDT")
    lost = [not day.any() for day in np.split(known.filed, np.arange(288, len(known), 288))]
    assert 3 <= sum(lost) <= 10


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("premiumIndexKlines", Wide.PREMIUM),
        ("markPriceKlines", Wide.MARK),
        ("indexPriceKlines", Wide.INDEX),
    ],
)
def test_computed_prices_of_api_and_files_are_the_same(folder, kind):
    for market, symbol, prefix in (
        (Market.USD_M, "ETHUSDT", "fapi"),
        (Market.COIN_M, "ETHUSD_PERP", "dapi"),
    ):
        named = symbol.removesuffix("_PERP") if kind is Wide.INDEX else symbol
        bars = SOURCE.prices(market, symbol, kind, Interval.H4)
        by = {"pair" if kind is Wide.INDEX else "symbol": named}
        last = TimeRange(int(bars.open_ms[-9]), int(bars.open_ms[-1]))
        query = {"startTime": last.start_ms, "endTime": last.end_ms, "limit": 500}
        told = rows(f"/{prefix}/v1/{folder}", interval="4h", **by, **query)
        table = read(KlineFile(market, named, Interval.H4, JUNE, folder=folder))
        assert [float(row[4]) for row in told] == table["close"].to_pylist()[-9:]
        np.testing.assert_array_equal(table["close"].to_numpy(), bars.close)
        assert set(table["volume"].to_pylist()) == {0.0}
    assert ask(f"/api/v3/{folder}", symbol="ETHUSDT", interval="4h").status == 404


def test_prices_are_tied_to_the_bars_and_metrics_know_no_bar_to_come():
    bars = SOURCE.bars(Market.USD_M, "BTCUSDT", Interval.H1)
    mark = SOURCE.prices(Market.USD_M, "BTCUSDT", Wide.MARK, Interval.H1)
    premium = SOURCE.prices(Market.USD_M, "BTCUSDT", Wide.PREMIUM, Interval.H1)
    assert np.abs(mark.close / bars.close - 1).max() < 0.001
    assert premium.close.min() < 0 < premium.close.max()
    known = SOURCE.metrics(Market.USD_M, "BTCUSDT")
    price = known.values["open_interest_value"] / known.values["open_interest"]
    last = np.searchsorted(bars.open_ms, known.open_ms + STEP - HOUR, side="right") - 1
    np.testing.assert_allclose(price, bars.close[last], rtol=1e-6)
    assert (bars.open_ms[last] + HOUR <= known.open_ms + STEP).all()
