"""What the simulated exchange answers, without sockets."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from alphamill.clock import ManualClock
from alphamill.frames import Interval, Market
from alphamill.sim.exchange import ExchangeConfig, Limits
from alphamill.sim.exchange.api import ExchangeApi
from alphamill.sim.market import Bars

HOUR = 3_600_000
START = 1_609_459_200_000  # 2021-01-01
RECORDED = Path(__file__).parents[4] / "shared" / "data" / "binance_responses"


class FewBars:
    """2,500 hourly bars without the one at index 100, of BTCUSDT everywhere."""

    def __init__(self):
        times = START + np.arange(2501, dtype=np.int64) * HOUR
        times = np.delete(times, 100)
        n = len(times)
        close = np.round(100 + np.arange(n) * 0.01, 2)
        self._bars = Bars(
            open_ms=times,
            open=close - 1,
            high=close + 2,
            low=close - 3,
            close=close,
            volume=np.full(n, 8.0),
            quote_volume=np.full(n, 800.0),
            trades=np.full(n, 12, dtype=np.int64),
            taker_buy_base=np.full(n, 4.0),
            taker_buy_quote=np.full(n, 400.0),
        )

    def symbols(self, market):
        return ["BTCUSD_PERP"] if market is Market.COIN_M else ["BTCUSDT"]

    def intervals(self, market, symbol):
        return [Interval.H1]

    def bars(self, market, symbol, interval):
        return self._bars if interval is Interval.H1 else None

    def describe(self):
        return {"kind": "test"}


@pytest.fixture
def clock():
    return ManualClock(START + 3000 * HOUR)


@pytest.fixture
def api(clock):
    return ExchangeApi(FewBars(), dict.fromkeys(Market, Limits()), clock.now_ms)


def ask(api, path, **query):
    """Status and decoded body."""
    answer = api.reply(path, [(k, str(v)) for k, v in query.items()], "1.2.3.4")
    return answer.status, json.loads(answer.body)


def opens(api, path="/api/v3/klines", symbol="BTCUSDT", **query):
    """Open times of a klines reply, in hours from the start."""
    status, rows = ask(api, path, symbol=symbol, interval="1h", **query)
    assert status == 200
    return [(row[0] - START) // HOUR for row in rows]


def test_no_times_gives_the_latest_500(api):
    assert opens(api) == list(range(2001, 2501))


def test_a_start_gives_the_oldest_from_it_inclusive(api):
    assert opens(api, startTime=START + 5 * HOUR, limit=3) == [5, 6, 7]
    assert opens(api, startTime=START + 5 * HOUR + 1, limit=3) == [6, 7, 8]
    assert opens(api, startTime=0, limit=1) == [0]


def test_an_end_gives_the_latest_up_to_it_inclusive(api):
    assert opens(api, endTime=START + 5 * HOUR, limit=3) == [3, 4, 5]
    assert opens(api, endTime=START + 5 * HOUR - 1, limit=3) == [2, 3, 4]
    assert opens(api, endTime=START - 1) == []


def test_both_ends_give_the_oldest_and_stay_inside(api):
    ends = {"startTime": START + 5 * HOUR, "endTime": START + 9 * HOUR}
    assert opens(api, **ends) == [5, 6, 7, 8, 9]
    assert opens(api, **ends, limit=2) == [5, 6]
    same = START + 5 * HOUR
    assert opens(api, startTime=same, endTime=same) == [5]


def test_a_missing_bar_stays_missing(api):
    assert opens(api, startTime=START + 99 * HOUR, limit=3) == [99, 101, 102]


def test_a_limit_above_the_maximum_is_the_maximum_on_spot_and_an_error_on_futures(api):
    assert len(opens(api, startTime=START, limit=5000)) == 1000
    for path, symbol in (("/fapi/v1/klines", "BTCUSDT"), ("/dapi/v1/klines", "BTCUSD_PERP")):
        query = {"symbol": symbol, "interval": "1h", "startTime": START}
        assert len(ask(api, path, **query, limit=1500)[1]) == 1500
        used = api.stats()["totals"]["weight"]
        status, body = ask(api, path, **query, limit=1501)
        assert (status, body["code"]) == (400, -1130)
        assert api.stats()["totals"]["weight"] - used == 10  # a 400 costs what it asked for


def test_futures_take_symbols_in_lower_case_and_spot_does_not(api):
    for path, symbol in (("/fapi/v1", "btcusdt"), ("/dapi/v1", "BtcUsd_Perp")):
        status, rows = ask(api, f"{path}/klines", symbol=symbol, interval="1h", limit=3)
        assert (status, len(rows)) == (200, 3)
        assert ask(api, f"{path}/ticker/24hr", symbol=symbol)[0] == 200
    status, body = ask(api, "/api/v3/klines", symbol="btcusdt", interval="1h")
    assert (status, body["code"]) == (400, -1100)


def test_both_futures_markets_count_in_one_pool_and_spot_in_its_own(clock):
    api = ExchangeApi(
        FewBars(), dict.fromkeys(Market, Limits(weight=10, tolerated=1)), clock.now_ms
    )

    def used(path):
        reply = api.reply(path, [], "1.2.3.4")
        return reply.status, int(reply.headers["X-MBX-USED-WEIGHT-1M"])

    paths = ["/fapi/v1/time", "/dapi/v1/time"] * 5
    assert [used(path) for path in paths] == [(200, n) for n in range(1, 11)]
    assert used("/dapi/v1/time")[0] == 429
    assert used("/fapi/v1/time")[0] == 418  # of one address
    assert used("/api/v3/time") == (200, 1)
    pools = {window["pool"]: window["weight"] for window in api.stats()["windows"]}
    assert pools == {"spot": 1, "um+cm": 10}
    assert api.stats()["totals"]["weight"] == 11


def test_the_exchanges_own_limits_are_the_defaults(clock):
    config = ExchangeConfig()
    assert (config.spot_limits.weight, config.spot_limits.requests) == (6000, 300_000)
    assert config.futures_limits.weight == 2400


def test_microseconds_are_understood_and_answered(api):
    assert opens(api, startTime=(START + 5 * HOUR) * 1000, limit=2) == [5, 6]
    query = [("symbol", "BTCUSDT"), ("interval", "1h"), ("startTime", str(START)), ("limit", "1")]
    row = json.loads(api.reply("/api/v3/klines", query, "a", micros=True).body)[0]
    assert (row[0], row[6]) == (START * 1000, (START + HOUR) * 1000 - 1)


def test_coin_margined_ranges_give_the_latest_bars(api):
    def cm(**query):
        return opens(api, "/dapi/v1/klines", "BTCUSD_PERP", **query)

    assert cm(startTime=START, endTime=START + 200 * HOUR, limit=2) == [199, 200]
    assert cm(startTime=START, limit=2) == [2499, 2500]  # all bars lie within 200 days
    later = START - 199 * 24 * HOUR
    assert cm(startTime=later, limit=1) == [24]  # 200 days after the start


def test_coin_margined_ranges_over_200_days_are_refused(api):
    span = 200 * 24 * HOUR
    query = {"symbol": "BTCUSD_PERP", "interval": "1h", "startTime": START}
    assert ask(api, "/dapi/v1/klines", **query, endTime=START + span)[0] == 200
    status, body = ask(api, "/dapi/v1/klines", **query, endTime=START + span + 1)
    assert (status, body["code"]) == (400, -1127)


def test_rows_have_the_recorded_shape(api):
    _, rows = ask(api, "/api/v3/klines", symbol="BTCUSDT", interval="1h", startTime=START, limit=1)
    assert rows == [
        [
            START,
            "99.00000000",
            "102.00000000",
            "97.00000000",
            "100.00000000",
            "8.00000000",
            START + HOUR - 1,
            "800.00000000",
            12,
            "4.00000000",
            "400.00000000",
            "0",
        ]
    ]


def test_the_running_bar_is_returned_unfinished(api, clock):
    clock.advance((START + 10 * HOUR + HOUR // 4 - 1 - clock.now_ms()) / 1000)
    _, rows = ask(api, "/api/v3/klines", symbol="BTCUSDT", interval="1h", limit=2)
    assert [(row[0] - START) // HOUR for row in rows] == [9, 10]
    running = rows[-1]
    assert running[6] == START + 11 * HOUR - 1 > clock.now_ms()
    assert float(running[5]) == 2.0  # a quarter of the bar's volume
    assert float(running[4]) == pytest.approx(99.10 + 0.25)
    assert running[8] == 3
    clock.advance(HOUR * 0.75 / 1000)
    _, rows = ask(api, "/api/v3/klines", symbol="BTCUSDT", interval="1h", limit=1)
    assert rows[0][0] == START + 10 * HOUR  # its last millisecond: still running
    clock.advance(0.001)
    _, rows = ask(api, "/api/v3/klines", symbol="BTCUSDT", interval="1h", limit=2)
    assert rows[0][:6] == [
        START + 10 * HOUR,
        "99.10000000",
        "102.10000000",
        "97.10000000",
        "100.10000000",
        "8.00000000",
    ]


def test_bars_after_now_do_not_exist_yet(api, clock):
    clock.advance((START + 10 * HOUR - 1 - clock.now_ms()) / 1000)
    assert opens(api, startTime=START + 8 * HOUR) == [8, 9]
    assert opens(api, endTime=START + 20 * HOUR, limit=2) == [8, 9]


@pytest.mark.parametrize(
    ("query", "code", "words"),
    [
        ({"interval": "1h"}, -1102, "Mandatory parameter 'symbol' was not sent"),
        ({"symbol": "BTCUSDT"}, -1102, "Mandatory parameter 'interval' was not sent"),
        ({"symbol": "BTCUSDT", "interval": "1H"}, -1120, "Invalid interval."),
        ({"symbol": "NOPEUSDT", "interval": "1h"}, -1121, "Invalid symbol."),
        ({"symbol": "", "interval": "1h"}, -1105, "Parameter 'symbol' was empty."),
        ({"symbol": "BTCUSDT", "interval": "1h", "limit": "-5"}, -1100, "'limit'"),
        ({"symbol": "BTCUSDT", "interval": "1h", "limit": "0"}, -1130, "'limit' is not valid"),
        ({"symbol": "BTCUSDT", "interval": "1h", "startTime": "9" * 20}, -1108, "overflowed"),
        ({"symbol": "BTCUSDT", "interval": "1h", "x": "1"}, -1104, "read '2' "),
        (
            {"symbol": "BTCUSDT", "interval": "1h", "startTime": "9", "endTime": "8"},
            -1128,
            "Combination",
        ),
        ({"symbol": "BTCUSDT", "interval": "1h", "timeZone": "15"}, -1130, "'timeZone'"),
    ],
)
def test_wrong_parameters_are_refused_in_the_exchanges_words(api, query, code, words):
    status, body = ask(api, "/api/v3/klines", **query)
    assert (status, body["code"]) == (400, code)
    assert words in body["msg"]


def test_repeated_and_unexpected_parameters(api):
    pairs = [("symbol", "BTCUSDT"), ("symbol", "ETHUSDT"), ("interval", "1h")]
    assert json.loads(api.reply("/api/v3/klines", pairs, "a").body)["code"] == -1101
    _, body = ask(api, "/api/v3/time", x=1)
    assert body == {"code": -1101, "msg": "Too many parameters; expected '0' and received '1'."}


def test_futures_name_a_start_after_the_end_differently_and_know_no_seconds(api):
    query = {"symbol": "BTCUSDT", "interval": "1h", "startTime": 9, "endTime": 8}
    assert ask(api, "/fapi/v1/klines", **query)[1]["code"] == -1023
    assert ask(api, "/fapi/v1/klines", symbol="BTCUSDT", interval="1s")[1]["code"] == -1120
    assert ask(api, "/api/v3/klines", symbol="BTCUSDT", interval="1s") == (200, [])


@pytest.mark.skipif(not RECORDED.exists(), reason="the recorded responses are not here")
@pytest.mark.parametrize(
    ("name", "query"),
    [
        ("error_400_1100_lowercase_symbol_2020", {"symbol": "ltcusdt", "interval": "1h"}),
        (
            "error_400_1100_endTime_None_2019",
            {"symbol": "BNBBTC", "interval": "1m", "endTime": "None"},
        ),
    ],
)
def test_errors_equal_the_recorded_ones(api, name, query):
    recorded = json.loads((RECORDED / f"{name}.json").read_text())
    assert ask(api, "/api/v3/klines", **query) == (recorded["status"], recorded["body"])


@pytest.mark.parametrize(
    ("path", "query", "weight"),
    [
        ("/api/v3/ping", {}, 1),
        ("/api/v3/exchangeInfo", {}, 20),
        ("/api/v3/klines", {"symbol": "BTCUSDT", "interval": "1h", "limit": 1}, 2),
        ("/api/v3/klines", {"symbol": "bad", "interval": "1h", "limit": 1000}, 2),
        ("/api/v3/ticker/24hr", {}, 80),
        ("/api/v3/ticker/24hr", {"symbol": "BTCUSDT"}, 2),
        ("/fapi/v1/klines", {"limit": 100}, 1),
        ("/fapi/v1/klines", {"limit": 101}, 2),
        ("/dapi/v1/klines", {"limit": 500}, 2),
        ("/dapi/v1/klines", {"limit": 501}, 5),
        ("/fapi/v1/klines", {}, 5),
        ("/fapi/v1/klines", {"limit": 1000}, 5),
        ("/fapi/v1/klines", {"limit": 1001}, 10),
    ],
)
def test_weights(api, path, query, weight):
    answer = api.reply(path, [(k, str(v)) for k, v in query.items()], "a")
    assert answer.headers["X-MBX-USED-WEIGHT-1M"] == str(weight)


def test_refusals_carry_the_documented_bodies_and_headers(clock):
    limits = dict.fromkeys(Market, Limits(weight=2, tolerated=1))
    api = ExchangeApi(FewBars(), limits, clock.now_ms)
    for path, first, then in [
        (
            "/api/v3/time",
            "Too much request weight used; current limit is 2 request weight per 1 MINUTE.",
            "Way too much request weight used; IP banned until ",
        ),
        (
            "/fapi/v1/time",
            "Too many requests; current limit of IP(a) is 2 requests per minute.",
            "Way too many requests; IP(a) banned until ",
        ),
    ]:
        answers = [api.reply(path, [], "a") for _ in range(4)]
        assert [a.status for a in answers] == [200, 200, 429, 418]
        bodies = [json.loads(a.body) for a in answers[2:]]
        assert [b["code"] for b in bodies] == [-1003, -1003]
        assert bodies[0]["msg"].startswith(first)
        assert bodies[1]["msg"].startswith(then)
        assert f"until {clock.now_ms() + 120_000}." in bodies[1]["msg"]
        assert 1 <= int(answers[2].headers["Retry-After"]) <= 60
        assert answers[3].headers["Retry-After"] == "120"


def test_exchange_info_states_the_limits_in_force(clock):
    limits = dict.fromkeys(Market, Limits(weight=77, requests=88))
    api = ExchangeApi(FewBars(), limits, clock.now_ms)
    _, body = ask(api, "/api/v3/exchangeInfo")
    stated = {(r["rateLimitType"], r["intervalNum"]): r["limit"] for r in body["rateLimits"]}
    assert stated == {("REQUEST_WEIGHT", 1): 77, ("RAW_REQUESTS", 5): 88}
    assert body["serverTime"] == clock.now_ms()
    assert body["sim"] == {"kind": "test"}
    (symbol,) = body["symbols"]
    assert (symbol["baseAsset"], symbol["quoteAsset"]) == ("BTC", "USDT")
    filters = {f["filterType"]: f for f in symbol["filters"]}
    assert filters["PRICE_FILTER"]["tickSize"] == "0.01000000"


def test_exchange_info_of_named_symbols(api):
    assert len(ask(api, "/api/v3/exchangeInfo", symbols='["BTCUSDT"]')[1]["symbols"]) == 1
    assert ask(api, "/api/v3/exchangeInfo", symbol="NOPE")[1]["code"] == -1121
    assert ask(api, "/api/v3/exchangeInfo", symbols="[1]")[1]["code"] == -1100


def test_ticker_sums_the_last_day(api):
    _, body = ask(api, "/api/v3/ticker/24hr", symbol="BTCUSDT")
    assert float(body["volume"]) == 24 * 8
    assert body["count"] == 24 * 12
    assert body["closeTime"] == START + 2501 * HOUR - 1
    assert float(body["lastPrice"]) == pytest.approx(100 + 2499 * 0.01)
    assert float(body["weightedAvgPrice"]) == 100.0
    _, many = ask(api, "/api/v3/ticker/24hr")
    assert many == [body]


def test_stats_agree_with_the_headers(api):
    ask(api, "/api/v3/klines", symbol="BTCUSDT", interval="1h")
    ask(api, "/api/v3/klines", symbol="BTCUSDT", interval="1H")
    ask(api, "/fapi/v1/klines", symbol="BTCUSDT", interval="1h", limit=1)
    stats = api.stats()
    spot, futures = stats["windows"]
    assert (spot["pool"], spot["weight"], spot["requests"], spot["limit"]) == ("spot", 4, 2, 6000)
    assert (futures["pool"], futures["weight"], futures["refused"]) == ("um+cm", 1, 0)
    assert stats["totals"]["kline_rows"] == 501
    assert stats["totals"]["bad_requests"] == 1


def test_an_unknown_path_is_not_found(api):
    assert api.reply("/api/v3/avgPrice", [], "a").status == 404
    assert api.reply("/", [], "a").status == 404
    assert api.reply("/um/api/v3/time", [], "a").status == 404


def test_one_address_leads_to_futures_and_to_their_streams(api):
    for place in ("/um/fapi/v1", "/cm/dapi/v1"):
        assert ask(api, f"{place}/time")[0] == 200


def test_numbers_have_eight_decimals_on_spot_and_those_of_tick_and_lot_on_futures(api):
    """As recorded: `um_klines_BTCUSDT_1m_limit2.json` of 2026, COIN-M rows of issue 283."""
    texts = {
        path: ask(api, path, symbol=symbol, interval="1h", startTime=START + HOUR, limit=1)[1][0]
        for path, symbol in (
            ("/api/v3/klines", "BTCUSDT"),
            ("/fapi/v1/klines", "BTCUSDT"),
            ("/dapi/v1/klines", "BTCUSD_PERP"),
        )
    }
    assert texts["/api/v3/klines"][4:6] == ["100.01000000", "8.00000000"]
    futures = texts["/fapi/v1/klines"]
    assert futures[1:6] == ["99.01", "102.01", "97.01", "100.01", "8"]
    assert (futures[7], futures[9], futures[10]) == ("800.00", "4", "400.00")
    coins = texts["/dapi/v1/klines"]
    assert (coins[5], coins[7], coins[9], coins[10]) == ("8", "800.00000000", "4", "400.00000000")


def test_a_running_bar_of_futures_stands_on_tick_and_lot(api, clock):
    clock.advance(-500 * HOUR / 1000 + 1234.567)
    query = {"symbol": "BTCUSDT", "interval": "1h", "limit": 1}
    futures = ask(api, "/fapi/v1/klines", **query)[1][0]
    assert re.fullmatch(r"\d+\.\d\d", futures[4])
    assert (futures[5], futures[9]) == ("2", "1")  # of 8 and 4, a third of the hour
