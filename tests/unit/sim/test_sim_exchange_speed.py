"""A clock that runs fast: everything that the exchange says agrees about what time it is."""

import asyncio
import csv
import io
import json
import zipfile
from dataclasses import replace

import pytest

from alphamill.clock import ManualClock
from alphamill.frames import Interval, Market
from alphamill.sim.exchange import SPOT_STREAMS, ExchangeConfig, Limits
from alphamill.sim.exchange.http import SimulatedExchange
from alphamill.sim.exchange.stream_rules import Route
from alphamill.sim.market import SyntheticMarket, SyntheticSource, coins_named

MINUTE, DAY = 60_000, 86_400_000
START = 1_672_531_200_000  # 2023-01-01
SPEED = 60
KLINES = "/fapi/v1/klines"


@pytest.fixture(scope="module")
def source():
    return SyntheticSource(
        SyntheticMarket(
            coins=coins_named(["BTCUSDT"]),
            interval=Interval.M1,
            start_ms=START,
            end_ms=START + 3 * DAY,
            planted=(),
        )
    )


class Fast:
    """An exchange at 60 times the speed of a machine's clock that stands until it is moved."""

    def __init__(self, source, **changed):
        self.clock = ManualClock(1_800_000_000_000)
        begun_ms = self.clock.now_ms()
        config = ExchangeConfig(speed=SPEED, clock_offset_ms=START - begun_ms, **changed)
        self.exchange = SimulatedExchange(config, source, self.clock)

    def ask(self, path, **query):
        return self.exchange.api.reply(path, list(query.items()), "1.2.3.4")

    def klines(self, limit=2, **query):
        asked = {"symbol": "BTCUSDT", "interval": "1m", "limit": str(limit), **query}
        return json.loads(self.ask(KLINES, **asked).body)

    @property
    def time_ms(self):
        return json.loads(self.ask("/fapi/v1/time").body)["serverTime"]

    def archived(self, day):
        path = f"/data/futures/um/daily/klines/BTCUSDT/1m/BTCUSDT-1m-{day}.zip"
        reply = asyncio.run(self.exchange.archive.reply(path))
        if reply.status == 404:
            return None
        with zipfile.ZipFile(io.BytesIO(reply.body)) as zipped:
            text = zipped.read(zipped.namelist()[0]).decode()
        return list(csv.reader(io.StringIO(text)))[1:]


class Ear:
    """A connection to the futures' klines that keeps the bars that have closed."""

    market, route = Market.USD_M, Route.MARKET

    def __init__(self, streams):
        self.names = {"btcusdt@kline_1m": None}
        self.closed = []
        streams.join(self)

    def attend(self, now_s):
        pass

    def tell(self, _name, event, *, half=False):
        if event["k"]["x"]:
            self.closed.append(event)


def test_a_day_of_minutes_takes_24_minutes_and_all_agree_about_it(source):
    fast = Fast(source)
    ear = Ear(fast.exchange.streams)
    assert fast.time_ms == START
    for _ in range(24 * 60):
        fast.clock.advance(1)
        fast.exchange.streams.push()
        assert (fast.time_ms - START) % MINUTE == 0
    assert fast.time_ms == START + DAY
    closed = [event["k"] for event in ear.closed]
    # The last minute's end comes with the next trade.
    assert [k["t"] for k in closed] == [START + at * MINUTE for at in range(24 * 60 - 1)]
    assert all(0 < e["E"] - e["k"]["T"] - 1 <= 2_007 for e in ear.closed)
    assert all(e["E"] <= fast.time_ms for e in ear.closed)
    rows = fast.klines(limit=4)
    assert [row[0] for row in rows] == [START + DAY - at * MINUTE for at in (3, 2, 1, 0)]
    assert [[k[name] for name in "tohlcv"] for k in closed[-2:]] == [row[:6] for row in rows[:2]]
    assert fast.archived("2023-01-01") is None  # nine hours after its end at the latest
    fast.clock.advance(9 * 60)
    file = fast.archived("2023-01-01")
    assert [int(row[0]) for row in file[:-1]] == [k["t"] for k in closed]
    assert [row[1:6] for row in file[:-1]] == [[k[name] for name in "ohlcv"] for k in closed]


def test_windows_of_limits_follow_its_clock_and_retry_after_the_clients(source):
    """A minute's weight every second, as often in its bars as at its usual pace."""
    fast = Fast(source, futures_limits=Limits(weight=2, requests=None))
    replies = [fast.ask("/fapi/v1/time") for _ in range(3)]
    assert [reply.status for reply in replies] == [200, 200, 429]
    assert replies[2].headers["Retry-After"] == "1"
    assert replies[2].headers["X-MBX-USED-WEIGHT-1M"] == "3"
    fast.clock.advance(1)
    assert fast.ask("/fapi/v1/time").status == 200
    fast.exchange.api.ban("/fapi/v1/time", "1.2.3.4")
    banned = fast.ask("/fapi/v1/time")
    assert (banned.status, banned.headers["Retry-After"]) == (418, "2")  # two of its minutes
    fast.clock.advance(2)
    assert fast.ask("/fapi/v1/time").status == 200


def test_a_connection_lives_a_day_of_its_clock(source):
    fast = Fast(source, spot_streams=replace(SPOT_STREAMS, life_s=3_600))
    rules = fast.exchange.streams.rules
    assert {market: rule.life_s for market, rule in rules.items()} == {
        Market.SPOT: 60.0,
        Market.USD_M: 1_440.0,
        Market.COIN_M: 1_440.0,
    }
    assert rules[Market.SPOT].ping_s == SPOT_STREAMS.ping_s
