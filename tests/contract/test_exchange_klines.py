"""One suite over every `Exchange`: the fake, and Binance's client on each of its three markets.

The client talks to a transport that answers from the same bars by the documented rules of each
market: page limits, weights, inclusive windows, the running bar, COIN-M's latest-first windows.
"""

import json
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from requests.adapters import BaseAdapter

from alphamill import grid
from alphamill.clock import ManualClock
from alphamill.errors import GiveUp
from alphamill.frames import KLINES, Interval, Market, TimeRange, rows_within, times_ms
from alphamill.market import Binance, FakeExchange
from alphamill.testing import klines_at

START = 1_617_235_200_000  # 2021-04-01 00:00 UTC
DAY = 86_400_000
FUTURES_DAYS = 200


class Gate:
    """Remembers what passed."""

    def __init__(self):
        self.weight, self.limits, self.observed, self.slots = 0, [], [], 0

    def reserve(self, weight):
        self.weight += weight
        self.slots += 1
        return self.slots

    def observe(self, slot, used_weight, server_time_ms):
        self.observed.append((slot, used_weight, server_time_ms))

    def pause(self, for_s, reason):
        raise AssertionError(f"paused for {for_s} s: {reason}")

    def configure(self, weight_limit):
        self.limits.append(weight_limit)


class Transport(BaseAdapter):
    """Binance's documented answers, from tables."""

    def __init__(self, market, clock, tables):
        super().__init__()
        self.market, self.clock, self.tables = market, clock, tables
        self.weight, self.queries = 0, []

    def send(self, request, **_):
        url = urlsplit(request.url)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        status, body = getattr(self, url.path.rsplit("/", 1)[1])(query)
        response = requests.Response()
        response.status_code, response._content = status, json.dumps(body).encode()
        response.headers["x-mbx-used-weight-1m"] = str(self.weight)
        response.url, response.request = request.url, request
        return response

    def close(self):
        pass

    def time(self, _):
        self.weight += 1
        return 200, {"serverTime": self.clock.now_ms()}

    def exchangeInfo(self, _):  # noqa: N802 (the path's own spelling)
        self.weight += 20 if self.market is Market.SPOT else 1
        status = "contractStatus" if self.market is Market.COIN_M else "status"
        names = sorted({symbol for symbol, _ in self.tables})
        return 200, {
            "rateLimits": [
                {
                    "rateLimitType": "RAW_REQUESTS",
                    "interval": "MINUTE",
                    "intervalNum": 5,
                    "limit": 61000,
                },
                {
                    "rateLimitType": "REQUEST_WEIGHT",
                    "interval": "MINUTE",
                    "intervalNum": 1,
                    "limit": 6000,
                },
            ],
            "symbols": [
                {"symbol": s, status: "TRADING", "baseAsset": s[:-4], "quoteAsset": s[-4:]}
                for s in names
            ],
        }

    def klines(self, query):
        self.queries.append(query)
        limit = int(query["limit"])
        self.weight += self._weight(limit)
        interval, symbol = Interval(query["interval"]), query["symbol"]
        if (symbol, interval) not in self.tables:
            return 400, {"code": -1121, "msg": "Invalid symbol."}
        start, end = int(query["startTime"]), int(query["endTime"])
        if self.market is Market.COIN_M:
            assert end - start <= FUTURES_DAYS * DAY, "window too long"
        assert 1 <= limit <= (1000 if self.market is Market.SPOT else 1500)
        asked = TimeRange(start, max(start, min(end, self.clock.now_ms()) + 1))
        visible = rows_within(self.tables[symbol, interval], asked)
        many = max(0, visible.num_rows - limit)
        page = visible.slice(many) if self.market is Market.COIN_M else visible.slice(0, limit)
        return 200, [_row(bar) for bar in page.to_pylist()]

    def _weight(self, limit):
        if self.market is Market.SPOT:
            return 2
        return 1 if limit <= 100 else 2 if limit <= 500 else 5 if limit <= 1000 else 10


def _row(bar):
    opens, ends = (round(bar[n].timestamp() * 1000) for n in ("open_time", "close_time"))
    prices = [repr(bar[name]) for name in ("open", "high", "low", "close", "volume")]
    taken = [repr(bar[name]) for name in ("taker_buy_base", "taker_buy_quote")]
    return [opens, *prices, ends, repr(bar["quote_volume"]), bar["trades"], *taken, "0"]


@pytest.fixture(params=["fake", "spot", "um", "cm"])
def make(request):
    def build(tables, now_ms):
        clock = ManualClock(now_ms)
        if request.param == "fake":
            fake = FakeExchange(clock)
            for (symbol, interval), table in tables.items():
                fake.add(symbol, interval, table)
            return fake
        market = Market(request.param)
        session = requests.Session()
        transport = Transport(market, clock, tables)
        session.mount("http://", transport)
        client = Binance(market, "http://binance.test", Gate(), clock, 1.0, session)
        client.transport = transport
        return client

    return build


def test_long_ranges_come_whole(make):
    bars = klines_at([START + i * 60_000 for i in range(3333)], Interval.M1)
    exchange = make({("BTCUSDT", Interval.M1): bars}, START + DAY * 30)
    for first, last in [(0, 3333), (1, 1001), (17, 18), (3000, 4000), (0, 499), (0, 500), (5, 5)]:
        start, end = START + first * 60_000, START + last * 60_000
        got = exchange.klines("BTCUSDT", Interval.M1, start, end)
        assert got.table.schema.equals(KLINES)
        wanted = rows_within(bars, TimeRange(start, end)).combine_chunks()
        assert got.table.equals(wanted), (first, last)
        assert got.source == "rest"
        assert got.server_time_ms <= exchange.server_time_ms()


@pytest.mark.parametrize(
    "interval", [i for i in Interval if i is not Interval.S1], ids=lambda i: i.name
)
def test_every_interval(make, interval):
    times = [grid.ceil_ms(interval, START)]
    for _ in range(650 if interval not in {Interval.W1, Interval.MO1} else 120):
        times.append(grid.next_ms(interval, times[-1]))
    exchange = make({("BTCUSDT", interval): klines_at(times, interval)}, times[-1] + 365 * DAY)
    got = exchange.klines("BTCUSDT", interval, START, times[-1] + 1)
    assert times_ms(got.table).tolist() == times


def test_bars_that_are_not_there_are_absent_and_nothing_loops(make):
    """A listing after the range's start, an outage longer than a page, an end without bars."""
    minutes = [*range(5000, 5100), *range(9000, 9002), *range(11_000, 12_500)]
    bars = klines_at([START + i * 60_000 for i in minutes], Interval.M1)
    exchange = make({("NEWUSDT", Interval.M1): bars}, START + 30 * DAY)
    got = exchange.klines("NEWUSDT", Interval.M1, START, START + 15 * DAY)
    assert got.table.equals(bars)
    assert got.requests < 60
    nothing = exchange.klines("NEWUSDT", Interval.M1, START, START + DAY)
    assert nothing.table.num_rows == 0


def test_the_running_bar_is_dropped_by_the_clock(make):
    bars = klines_at([START + i * 3_600_000 for i in range(48)], Interval.H1)
    now = START + 10 * 3_600_000
    for wait_ms, closed in [(0, 10), (1, 10), (3_599_999, 10), (3_600_000, 11)]:
        exchange = make({("BTCUSDT", Interval.H1): bars}, now + wait_ms)
        got = exchange.klines("BTCUSDT", Interval.H1, START, START + 2 * DAY)
        assert got.table.num_rows == closed
        assert got.server_time_ms == now + wait_ms


def test_a_range_in_the_future_is_empty(make):
    exchange = make({("BTCUSDT", Interval.H1): klines_at([START], Interval.H1)}, START)
    got = exchange.klines("BTCUSDT", Interval.H1, START + DAY, START + 2 * DAY)
    assert got.table.equals(KLINES.empty_table())


def test_an_unknown_symbol_names_the_nearest(make):
    exchange = make({("BTCUSDT", Interval.H1): klines_at([START], Interval.H1)}, START + DAY)
    with pytest.raises(GiveUp, match=r"no symbol 'BTCUSD'; did you mean BTCUSDT\?"):
        exchange.klines("BTCUSD", Interval.H1, START, START + DAY)


def test_what_an_exchange_states_of_itself(make):
    exchange = make({("BTCUSDT", Interval.H1): klines_at([START], Interval.H1)}, START + 77)
    assert exchange.server_time_ms() == START + 77
    assert exchange.weight_limit() == 6000
    info = exchange.symbols()["BTCUSDT"]
    assert (info.status, info.base, info.quote) == ("TRADING", "BTC", "USDT")


@pytest.mark.parametrize(
    ("make", "pages", "weight"),
    [("spot", 11, 22), ("um", 21, 41), ("cm", 21, 41)],
    indirect=["make"],
)
def test_a_week_of_minutes_costs_what_it_must(make, pages, weight):
    """10,080 bars: 11 pages of 1,000 on spot; on futures 20 of 500 at 2 and one of 80 at 1.

    11 of 1,000 would cost 51 there, 7 of 1,500 70: 500 bars are the most a weight.
    """
    bars = klines_at([START + i * 60_000 for i in range(10_080)], Interval.M1)
    exchange = make({("BTCUSDT", Interval.M1): bars}, START + 60 * DAY)
    exchange.klines("BTCUSDT", Interval.M1, START, START + 60_000)  # reads exchangeInfo and time
    before = exchange.transport.weight
    got = exchange.klines("BTCUSDT", Interval.M1, START, START + 7 * DAY)
    assert got.table.num_rows == 10_080
    assert (got.requests, exchange.transport.weight - before) == (pages, weight)


@pytest.mark.parametrize("make", ["spot", "um", "cm"], indirect=True)
def test_the_gate_is_asked_for_every_request_and_told_every_reply(make):
    bars = klines_at([START + i * 60_000 for i in range(2500)], Interval.M1)
    exchange = make({("BTCUSDT", Interval.M1): bars}, START + DAY * 2)
    exchange.klines("BTCUSDT", Interval.M1, START, START + DAY * 2)
    gate, transport = exchange._gate, exchange.transport
    assert gate.weight == transport.weight == gate.observed[-1][1]
    assert [slot for slot, *_ in gate.observed] == list(range(1, gate.slots + 1))
    assert [time for *_, time in gate.observed if time] == [START + DAY * 2]
    assert gate.limits == [6000]


@pytest.mark.parametrize("make", ["spot"], indirect=True)
def test_history_needs_the_clock_once(make):
    bars = klines_at([START + i * 3_600_000 for i in range(48)], Interval.H1)
    exchange = make({("BTCUSDT", Interval.H1): bars}, START + 30 * DAY)
    for _ in range(5):
        exchange.klines("BTCUSDT", Interval.H1, START, START + DAY)
    assert exchange.transport.weight == 20 + 1 + 5 * 2


@pytest.mark.parametrize("make", ["um", "cm"], indirect=True)
def test_futures_have_no_seconds(make):
    with pytest.raises(GiveUp, match="no 1s klines"):
        make({}, START).klines("BTCUSDT", Interval.S1, START, START + DAY)
