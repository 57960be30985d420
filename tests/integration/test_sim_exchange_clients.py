"""python-binance and binance-sdk-spot, which nobody here wrote, take the simulated exchange for
Binance. ccxt has a file of its own."""

import asyncio
import warnings

import pytest

from alphamill.frames import Interval, Market, Wide
from alphamill.sim.exchange import ExchangeConfig, ExchangeServer, Fault, Limits
from alphamill.sim.market import DEFAULT_START_MS, SyntheticMarket, SyntheticSource, coins_named
from tests.deadlines import ANSWER_S

HOUR = 3_600_000

with warnings.catch_warnings():
    # python-binance 1.0.37 imports a name that websockets has deprecated.
    warnings.filterwarnings("ignore", "websockets", DeprecationWarning)
    python_binance = pytest.importorskip("binance.client")
    from binance.exceptions import BinanceAPIException

sdk = pytest.importorskip("binance_sdk_spot")
configuration = pytest.importorskip("binance_common.configuration")


@pytest.fixture(scope="module")
def source():
    coins = coins_named(["BTCUSDT", "ETHUSDT"])
    end_ms = DEFAULT_START_MS + 2500 * HOUR
    return SyntheticSource(SyntheticMarket(coins=coins, end_ms=end_ms, planted=()))


@pytest.fixture(autouse=True)
def loop():
    """python-binance leaves open the event loop that it makes where there is none."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    asyncio.set_event_loop(None)
    loop.close()


@pytest.fixture
def exchange(source):
    with ExchangeServer(source=source) as exchange:
        yield exchange


def python_binance_of(url):
    client = python_binance.Client(requests_params={"timeout": ANSWER_S}, ping=False)
    client.session.trust_env = False
    client.API_URL, client.FUTURES_URL = f"{url}/api", f"{url}/fapi"
    client.FUTURES_COIN_URL = f"{url}/dapi"
    client.FUTURES_DATA_URL = client.FUTURES_COIN_DATA_URL = f"{url}/futures/data"
    return client


@pytest.fixture
def old(exchange):
    client = python_binance_of(exchange.url)
    yield client
    client.close_connection()


def sdk_of(url):
    return sdk.Spot(sdk_config(url)).rest_api


def sdk_config(url, **options):
    patience = {"retries": 0, "timeout": int(1000 * ANSWER_S)}
    return configuration.ConfigurationRestAPI(base_path=url, **patience, **options)


@pytest.fixture
def official(exchange):
    return sdk_of(exchange.url)


def as_columns(rows):
    """Open times and the five prices."""
    return [[row[0], *map(float, row[1:6])] for row in rows]


def market_columns(source, market, symbol, start=0, stop=None):
    bars = source.bars(Market(market), symbol, Interval.H1).rows(start, stop or 2500)
    columns = (bars.open_ms, bars.open, bars.high, bars.low, bars.close, bars.volume)
    return [list(row) for row in zip(*(c.tolist() for c in columns), strict=True)]


def test_python_binance_downloads_the_market_exactly(old, source):
    rows = old.get_historical_klines("BTCUSDT", "1h", DEFAULT_START_MS)
    assert as_columns(rows) == market_columns(source, "spot", "BTCUSDT")


def test_python_binance_reads_the_listing_the_time_and_the_ticker(old, source):
    info = old.get_exchange_info()
    assert [item["symbol"] for item in info["symbols"]] == ["BTCUSDT", "ETHUSDT"]
    assert old.get_symbol_info("ETHUSDT")["baseAsset"] == "ETH"
    assert abs(old.get_server_time()["serverTime"] - info["serverTime"]) < 60_000
    last = source.bars("spot", "ETHUSDT", "1h").close[-1]
    assert float(old.get_ticker(symbol="ETHUSDT")["lastPrice"]) == last
    assert len(old.get_ticker()) == 2


def test_python_binance_reads_both_futures_markets(old, source):
    usd = old.futures_klines(symbol="ETHUSDT", interval="1h", startTime=DEFAULT_START_MS, limit=9)
    assert as_columns(usd) == market_columns(source, "um", "ETHUSDT", 0, 9)
    assert old.futures_klines(symbol="ethusdt", interval="1h", limit=9) == old.futures_klines(
        symbol="ETHUSDT", interval="1h", limit=9
    )
    used = [int(old.response.headers["X-MBX-USED-WEIGHT-1M"])]
    coin = old.futures_coin_klines(symbol="BTCUSD_PERP", interval="1h", limit=9)
    used.append(int(old.response.headers["X-MBX-USED-WEIGHT-1M"]))
    assert used == [3, 4]  # one count of both markets
    assert as_columns(coin) == market_columns(source, "cm", "BTCUSD_PERP", 2491)
    assert len(old.futures_exchange_info()["symbols"]) == 2
    assert len(old.futures_coin_exchange_info()["symbols"]) == 2
    assert old.futures_ticker(symbol="BTCUSDT")["symbol"] == "BTCUSDT"
    assert old.futures_coin_ticker(symbol="BTCUSD_PERP")[0]["symbol"] == "BTCUSD_PERP"
    assert old.futures_time()["serverTime"] > 0


def test_python_binance_reads_what_futures_have_beside_bars(old, source):
    known = source.metrics(Market.USD_M, "ETHUSDT")
    rows = old.futures_open_interest_hist(symbol="ETHUSDT", period="5m", limit=9)
    assert [float(row["sumOpenInterest"]) for row in rows] == known.values["open_interest"][
        -9:
    ].tolist()
    (taken,) = old.futures_taker_longshort_ratio(symbol="ETHUSDT", period="5m", limit=1)
    assert float(taken["buySellRatio"]) == round(known.values["taker_long_short_ratio"][-1], 4)
    coin = old.futures_coin_open_interest_hist(
        pair="BTCUSD", contractType="PERPETUAL", period="5m", limit=1
    )
    contracts = source.metrics(Market.COIN_M, "BTCUSD_PERP").values["open_interest"][-1]
    assert float(coin[0]["sumOpenInterest"]) == contracts
    marks = old.futures_mark_price_klines(symbol="ETHUSDT", interval="1h", limit=3)
    assert [float(row[4]) for row in marks] == source.prices(
        Market.USD_M, "ETHUSDT", Wide.MARK, Interval.H1
    ).close[-3:].tolist()


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"symbol": "NOPE", "interval": "1h"}, -1121),
        ({"symbol": "btcusdt", "interval": "1h"}, -1100),
        ({"symbol": "BTCUSDT", "interval": "7h"}, -1120),
        ({"symbol": "BTCUSDT"}, -1102),
        ({"symbol": "BTCUSDT", "interval": "1h", "endTime": "None"}, -1100),
    ],
)
def test_errors_are_python_binances_own(old, query, code):
    with pytest.raises(BinanceAPIException) as error:
        old.get_klines(**query)
    assert (error.value.status_code, error.value.code) == (400, code)
    assert error.value.message


REFUSALS = ("http_429:@1", "http_418:@2", "waf:@3", "http_451:@4", "http_500:@5")


@pytest.fixture
def refusing(source):
    config = ExchangeConfig(
        faults=tuple(map(Fault.parse, REFUSALS)), spot_limits=Limits(tolerated=1)
    )
    with ExchangeServer(config, source) as exchange:
        yield exchange


def test_refusals_are_python_binances_own(refusing):
    client, seen = python_binance_of(refusing.url), []
    for _ in REFUSALS:
        with pytest.raises(BinanceAPIException) as error:
            client.get_klines(symbol="BTCUSDT", interval="1h")
        seen.append((error.value.status_code, error.value.code))
        if error.value.status_code in (418, 429):
            assert int(error.value.response.headers["Retry-After"]) >= 1
    client.close_connection()
    # The firewall's page is no JSON, and so has no code.
    assert seen == [(429, -1003), (418, -1003), (403, 0), (451, 0), (500, -1000)]


def test_the_official_sdk_reads_klines_and_the_weight_used(official, source):
    reply = official.klines("BTCUSDT", "1h", start_time=DEFAULT_START_MS, limit=1000)
    assert as_columns(reply.data()) == market_columns(source, "spot", "BTCUSDT", 0, 1000)
    (limit,) = reply.rate_limits
    assert (limit.rateLimitType, limit.count) == ("REQUEST_WEIGHT", 2)


def test_the_official_sdk_reads_the_listing_the_time_and_the_ticker(official, source):
    info = official.exchange_info().data()
    assert [item.symbol for item in info.symbols] == ["BTCUSDT", "ETHUSDT"]
    assert {rule.rate_limit_type for rule in info.rate_limits} == {"REQUEST_WEIGHT", "RAW_REQUESTS"}
    assert abs(official.time().data().server_time - info.server_time) < 60_000
    ticker = official.ticker24hr(symbol="ETHUSDT").data().actual_instance
    assert float(ticker.last_price) == source.bars("spot", "ETHUSDT", "1h").close[-1]


@pytest.mark.parametrize(
    ("symbol", "interval", "code"),
    [("NOPE", "1h", -1121), ("btcusdt", "1h", -1100), ("BTCUSDT", "7h", -1120)],
)
def test_errors_are_the_official_sdks_own(official, symbol, interval, code):
    with pytest.raises(sdk.BadRequestError) as error:
        official.klines(symbol, interval)
    assert error.value.status_code == code  # as the SDK calls it


def test_refusals_are_the_official_sdks_own(refusing):
    client = sdk_of(refusing.url)
    with pytest.raises(sdk.TooManyRequestsError) as refused:
        client.ping()
    assert 1 <= refused.value.retry_after <= 60
    with pytest.raises(sdk.RateLimitBanError) as banned:
        client.ping()
    assert banned.value.retry_after == 120
    for kind in (sdk.ForbiddenError, sdk.ClientError, sdk.ServerError):
        with pytest.raises(kind):
            client.ping()


def test_the_official_sdk_in_microseconds(exchange, source):
    config = sdk_config(exchange.url, time_unit="MICROSECOND")
    rows = sdk.Spot(config).rest_api.klines("BTCUSDT", "1h", start_time=DEFAULT_START_MS, limit=2)
    assert [row[0] for row in rows.data()] == [
        (DEFAULT_START_MS + at * HOUR) * 1000 for at in range(2)
    ]


@pytest.fixture(scope="module")
def wide():
    coins = coins_named(["BTCUSDT"])
    end_ms = DEFAULT_START_MS + 200 * HOUR
    market = SyntheticMarket(coins=coins, end_ms=end_ms, planted=(), wide=True)
    return SyntheticSource(market)


@pytest.mark.parametrize("symbol", ["币安人生USDT", "XAUUSDT", "BTCUSDT_230331"])
def test_python_binance_reads_contracts_of_every_kind(wide, symbol):
    with ExchangeServer(source=wide) as exchange:
        client = python_binance_of(exchange.url)
        listed = {item["symbol"]: item for item in client.futures_exchange_info()["symbols"]}
        rows = client.futures_klines(symbol=symbol, interval="1h", limit=9)
        client.close_connection()
    types = {"XAUUSDT": "TRADIFI_PERPETUAL", "BTCUSDT_230331": "CURRENT_QUARTER"}
    assert listed[symbol]["contractType"] == types.get(symbol, "PERPETUAL")
    assert as_columns(rows) == market_columns(wide, "um", symbol, 191, 200)


def test_the_official_sdk_reads_a_name_of_another_script(wide):
    with ExchangeServer(source=wide) as exchange:
        client = sdk_of(exchange.url)
        info = client.exchange_info(symbol="币安人生USDT").data()
        rows = client.klines("币安人生USDT", "1h", limit=9).data()
    assert [item.base_asset for item in info.symbols] == ["币安人生"]
    assert as_columns(rows) == market_columns(wide, "spot", "币安人生USDT", 191, 200)


def test_python_binance_pages_through_aggregates_by_its_own_rules(old, source):
    start_ms = DEFAULT_START_MS + HOUR
    found = old.get_aggregate_trades(symbol="ETHUSDT", startTime=start_ms, limit=1000)
    found += old.get_aggregate_trades(symbol="ETHUSDT", fromId=found[-1]["a"] + 1, limit=1000)
    assert [row["a"] for row in found] == [*range(found[0]["a"], found[0]["a"] + 2000)]
    bar = source.bars(Market.SPOT, "ETHUSDT", Interval.H1).rows(1, 2)
    assert float(found[0]["p"]) == bar.open[0]
    assert found[0]["T"] >= start_ms
    assert len(old.get_historical_trades(symbol="ETHUSDT", fromId=found[0]["f"], limit=7)) == 7
    assert len(old.futures_recent_trades(symbol="ETHUSDT", limit=3)) == 3
