"""ccxt, which nobody here wrote, takes the simulated exchange for Binance."""

import time

import pytest

from alphamill.frames import Interval, Market, Wide
from alphamill.sim.exchange import ExchangeConfig, ExchangeServer, Limits
from alphamill.sim.market import DEFAULT_START_MS, SyntheticMarket, SyntheticSource
from tests.deadlines import ANSWER_S

ccxt = pytest.importorskip("ccxt")

HOUR = 3_600_000
REAL_HOSTS = ("https://api.binance.com", "https://fapi.binance.com", "https://dapi.binance.com")


@pytest.fixture(scope="module")
def source():
    return SyntheticSource(SyntheticMarket(end_ms=DEFAULT_START_MS + 2500 * HOUR))


def client_of(exchange, types):
    client = ccxt.binance(
        {
            "options": {
                "defaultType": types[0],
                "fetchMarkets": {"types": types},
                "fetchCurrencies": False,
                "fetchMargins": False,
            },
            "enableRateLimit": False,
            "timeout": int(1000 * ANSWER_S),
        }
    )
    client.session.trust_env = False
    for name, url in client.urls["api"].items():
        for host in REAL_HOSTS:
            if isinstance(url, str) and url.startswith(host):
                client.urls["api"][name] = exchange.url + url.removeprefix(host)
    return client


@pytest.fixture
def client(source):
    with ExchangeServer(source=source) as exchange:
        client = client_of(exchange, ["spot"])
        yield client
        client.session.close()


def test_markets_load_with_their_filters(client):
    markets = client.load_markets()
    assert len(markets) == 12
    assert markets["BTC/USDT"]["active"]
    assert markets["BTC/USDT"]["precision"]["price"] == 0.01
    assert markets["BTC/USDT"]["limits"]["cost"]["min"] == 5.0


def test_paging_through_bars_gives_the_market_exactly(client, source):
    fetched, since = [], DEFAULT_START_MS
    while True:
        page = client.fetch_ohlcv("BTC/USDT", "1h", since=since, limit=1000)
        if not page:
            break
        fetched += page
        since = page[-1][0] + 1
    bars = source.bars("spot", "BTCUSDT", "1h")
    columns = (bars.open_ms, bars.open, bars.high, bars.low, bars.close, bars.volume)
    assert fetched == [list(row) for row in zip(*(c.tolist() for c in columns), strict=True)]


def test_trades_are_the_markets_and_ascend(client, source):
    since = DEFAULT_START_MS + 5 * HOUR
    trades = client.fetch_trades("TRX/USDT", since=since, limit=1000)
    bar = source.bars("spot", "TRXUSDT", "1h").rows(5, 6)
    trades = [trade for trade in trades if trade["timestamp"] < since + HOUR]  # it asks for an hour
    assert (trades[0]["price"], trades[-1]["price"]) == (bar.open[0], bar.close[0])
    assert sum(trade["amount"] for trade in trades) == pytest.approx(bar.volume[0], rel=1e-12)
    times = [trade["timestamp"] for trade in trades]
    assert times == sorted(times)
    assert times[0] >= since
    assert {trade["side"] for trade in trades} == {"buy", "sell"}


@pytest.mark.parametrize("interval", ["3d", "1w", "1M"])
def test_long_bars_open_on_the_exchanges_grid(client, source, interval):
    rows = client.fetch_ohlcv("BTC/USDT", interval, since=DEFAULT_START_MS - 40 * 24 * HOUR)
    bars = source.bars("spot", "BTCUSDT", interval)
    columns = (bars.open_ms, bars.open, bars.high, bars.low, bars.close, bars.volume)
    assert rows == [list(row) for row in zip(*(c.tolist() for c in columns), strict=True)]
    opens = {"3d": "2022-12-31", "1w": "2022-12-26", "1M": "2023-01-01"}
    assert client.iso8601(rows[0][0]) == f"{opens[interval]}T00:00:00.000Z"


def test_a_ticker_is_read(client, source):
    ticker = client.fetch_ticker("ETH/USDT")
    bars = source.bars("spot", "ETHUSDT", "1h")
    assert ticker["last"] == bars.close[-1]
    assert ticker["high"] == bars.high[-24:].max()
    assert ticker["baseVolume"] == pytest.approx(bars.volume[-24:].sum())


def test_unknown_symbols_and_intervals_are_ccxts_own_errors(client):
    client.load_markets()
    with pytest.raises(ccxt.BadSymbol):
        client.publicGetKlines({"symbol": "NOPEUSDT", "interval": "1h"})
    with pytest.raises(ccxt.BadRequest):
        client.publicGetKlines({"symbol": "BTCUSDT", "interval": "7h"})
    assert client.fetch_time() == pytest.approx(time.time() * 1000, abs=1000 * ANSWER_S)


def test_refusals_are_ddos_protection(source):
    limits = Limits(weight=30, tolerated=1)
    with ExchangeServer(ExchangeConfig(spot_limits=limits), source) as exchange:
        client = client_of(exchange, ["spot"])
        client.load_markets()
        seen = []
        while len(seen) < 2 and exchange.stats()["totals"]["requests"] < 60:
            try:
                client.fetch_ohlcv("BTC/USDT", "1h", limit=1)
            except ccxt.DDoSProtection as error:
                seen.append(str(error))
        client.session.close()
    assert "429" in seen[0]
    assert "418" in seen[1]


def test_futures_markets_and_bars(source):
    with ExchangeServer(source=source) as exchange:
        client = client_of(exchange, ["linear", "inverse"])
        client.load_markets()
        linear = client.fetch_ohlcv("ETH/USDT:USDT", "1h", since=DEFAULT_START_MS, limit=3)
        inverse = client.fetch_ohlcv("BTC/USD:BTC", "1h", since=DEFAULT_START_MS, limit=3)
        with pytest.raises(ccxt.BadRequest, match="-1130"):
            client.fapiPublicGetKlines({"symbol": "ETHUSDT", "interval": "1h", "limit": 1501})
        client.session.close()
    assert [row[0] for row in linear] == [DEFAULT_START_MS + i * HOUR for i in range(3)]
    assert [row[0] for row in inverse] == [DEFAULT_START_MS + i * HOUR for i in range(3)]


def test_contracts_of_every_kind_and_a_name_of_another_script():
    market = SyntheticMarket(end_ms=DEFAULT_START_MS + 2500 * HOUR, wide=True)
    with ExchangeServer(source=SyntheticSource(market)) as exchange:
        client = client_of(exchange, ["spot", "linear"])
        client.load_markets()
        names = ["币安人生/USDT", "币安人生/USDT:USDT", "XAU/USDT:USDT", "BTC/USDT:USDT-230630"]
        kinds = {name: client.market(name)["type"] for name in names}
        bars = {name: client.fetch_ohlcv(name, "1h", limit=3) for name in names}
        client.session.close()
    assert kinds == dict(zip(names, ("spot", "swap", "swap", "future"), strict=True))
    last = DEFAULT_START_MS + 2499 * HOUR
    assert {name: rows[-1][0] for name, rows in bars.items()} == dict.fromkeys(names, last)


def test_open_interest_and_prices_beside_bars():
    market = SyntheticMarket(end_ms=DEFAULT_START_MS + 300 * HOUR, planted=())
    source = SyntheticSource(market)
    with ExchangeServer(source=source) as exchange:
        client = client_of(exchange, ["linear"])
        rows = client.fetch_open_interest_history("ETH/USDT:USDT", "5m", limit=9)
        known = source.metrics(Market.USD_M, "ETHUSDT")
        assert [row["openInterestAmount"] for row in rows] == known.values["open_interest"][
            -9:
        ].tolist()
        ratios = client.fetch_long_short_ratio_history("ETH/USDT:USDT", "5m", limit=3)
        told = known.values["long_short_account_ratio"][-3:]
        assert [row["longShortRatio"] for row in ratios] == [round(x, 4) for x in told.tolist()]
        marks = client.fetch_mark_ohlcv("ETH/USDT:USDT", "1h", limit=3)
        assert [row[4] for row in marks] == source.prices(
            Market.USD_M, "ETHUSDT", Wide.MARK, Interval.H1
        ).close[-3:].tolist()
        premium = client.fetch_premium_index_ohlcv("ETH/USDT:USDT", "1h", limit=3)
        assert [row[4] for row in premium] == source.prices(
            Market.USD_M, "ETHUSDT", Wide.PREMIUM, Interval.H1
        ).close[-3:].tolist()
        client.session.close()
