"""The follower's websockets against the simulated exchange over loopback, beside another client."""

import asyncio
import time
import warnings
from dataclasses import replace

import pytest

from alphamill.clock import FastClock, SystemClock
from alphamill.errors import Misconfigured
from alphamill.frames import Interval, Market
from alphamill.market.stream import (
    Absent,
    Closed,
    KlineStreams,
    Notice,
    NoticeKind,
    Patience,
    Standing,
)
from alphamill.market.stream.client import StreamClient
from alphamill.sim.exchange import (
    FUTURES_STREAMS,
    SPOT_STREAMS,
    ExchangeConfig,
    ExchangeServer,
    StreamFault,
)
from alphamill.sim.market import SyntheticMarket, SyntheticSource, coins_named
from tests.deadlines import ANSWER_S

with warnings.catch_warnings():
    # python-binance 1.0.37 imports a name that websockets has deprecated.
    warnings.filterwarnings("ignore", "websockets", DeprecationWarning)
    python_binance = pytest.importorskip("binance")

ccxt_pro = pytest.importorskip("ccxt.pro")

MINUTE, DAY = 60_000, 86_400_000
START = 1_672_531_200_000  # 2023-01-01
SPEED = 300.0  # a minute in 0.2 s
SERIES = [(symbol, Interval.M1) for symbol in ("BTCUSDT", "ETHUSDT", "SOLUSDT")]
BARS = 16
FAULTS = (
    "drop:@3", "close_twice=5-65:@4", "cut_frame:@5", "cut_json:@6", "shutdown:@8", "stale:@9",
    "silent:@10", "close_late=40-70:@14", "close_lost:@15",
)  # fmt: skip


@pytest.fixture(scope="module")
def source():
    return SyntheticSource(
        SyntheticMarket(
            coins=coins_named([symbol for symbol, _ in SERIES]),
            interval=Interval.M1,
            start_ms=START,
            end_ms=START + 2 * DAY,
            planted=(),
        )
    )


class Follower:
    """A client of the server's streams; `events` in the order in which they were told."""

    def __init__(self, server, market, enough):
        self.events, self._enough = [], enough
        clock = FastClock(SystemClock(), SPEED, server.ahead_ms())
        path = {Market.SPOT: "", Market.USD_M: "/um"}[market]
        self.streams = KlineStreams(
            market,
            server.url.replace("http", "ws") + path,
            SERIES,
            clock,
            patience_ms=30_000,
            silent_ms=60_000,
            streams=2,
            speed=SPEED,
            waits=Patience(first_s=0.02, longest_s=0.1),
            seed=5,
        )
        self.stop = asyncio.Event()

    def heard(self, event):
        self.events.append(event)
        if self._enough(self.events):
            self.stop.set()

    async def run(self):
        async with asyncio.timeout(ANSWER_S):
            await StreamClient(self.streams, self.heard).run(self.stop)

    def of(self, kind):
        return [event for event in self.events if isinstance(event, kind)]


class Server(ExchangeServer):
    def __init__(self, source, *faults, **rules):
        self._begun_ms = time.time_ns() // 1_000_000
        self._offset_ms = START + DAY - self._begun_ms
        super().__init__(
            ExchangeConfig(
                clock_offset_ms=self._offset_ms,
                speed=SPEED,
                spot_streams=replace(SPOT_STREAMS, **rules),
                futures_streams=replace(FUTURES_STREAMS, **rules),
                stream_faults=tuple(map(StreamFault.parse, faults)),
            ),
            source,
        )

    def ahead_ms(self):
        """How far its clock is ahead of this machine's now."""
        return self._exchange.now_ms() - time.time_ns() // 1_000_000


def bar_said(events):
    """Every series has been told of BARS bars, closed or absent."""
    said = dict.fromkeys(SERIES, 0)
    for event in events:
        if isinstance(event, Absent):
            said[event.symbol, event.interval] += 1
        elif isinstance(event, Closed) and event.standing is Standing.IN_TIME:
            said[event.bar.symbol, event.bar.interval] += 1
    return min(said.values()) >= BARS


@pytest.mark.parametrize("market", [Market.SPOT, Market.USD_M])
def test_every_bar_closes_or_is_absent_once_whatever_the_exchange_does(source, market):
    async def follow(server):
        follower = Follower(server, market, bar_said)
        await follower.run()
        return follower

    with Server(source, *FAULTS) as server:
        follower = asyncio.run(follow(server))
        faults = server.stats()["streams"]["faults"]
    assert len(faults) >= 2  # which of them found somebody connected is a matter of time
    closed = follower.of(Closed)
    assert Standing.IN_TIME in {one.standing for one in closed}
    for symbol, interval in SERIES:
        said = [one.open_ms for one in follower.of(Absent) if one.symbol == symbol]
        said += [
            one.bar.open_ms
            for one in closed
            if one.bar.symbol == symbol and one.standing is Standing.IN_TIME
        ]
        first = min(said)
        assert sorted(said) == [first + MINUTE * at for at in range(len(said))]
        known = source.bars(market, symbol, interval)
        for one in closed:
            if one.bar.symbol == symbol:
                at = known.start_at(one.bar.open_ms)
                theirs = (known.open[at], known.high[at], known.low[at], known.close[at])
                assert one.bar.values[:5] == (*theirs, known.volume[at])
    late = [(one.bar.symbol, one.bar.open_ms) for one in closed if one.standing is Standing.LATE]
    assert set(late) <= {(one.symbol, one.open_ms) for one in follower.of(Absent)}
    assert len(set(late)) == len(late)


async def heard_by_another(server, bars):
    """Closed bars as python-binance hears them."""
    client = python_binance.AsyncClient()
    manager = python_binance.BinanceSocketManager(client)
    manager.STREAM_URL = server.url.replace("http", "ws") + "/"
    manager.ws_kwargs = {"proxy": None}
    try:
        async with manager.kline_socket("BTCUSDT", "1m") as one:
            while len(bars) < 5:
                k = (await one.recv())["k"]
                if k["x"]:
                    bars[k["t"]] = [float(k[name]) for name in "ohlcv"]
    finally:
        await client.close_connection()


async def heard_by_ccxt(server, bars):
    """Closed bars as ccxt's own websocket client watches them: all but the one that runs."""
    client = ccxt_pro.binance(
        {
            "urls": {
                "api": {
                    "public": f"{server.url}/api/v3",
                    "ws": {"spot": f"{server.url.replace('http', 'ws')}/ws"},
                }
            },
            "options": {"fetchMarkets": {"types": ["spot"]}, "fetchCurrencies": False},
            "newUpdates": False,
        }
    )
    try:
        while len(bars) < 5:
            for open_ms, *values in (await client.watch_ohlcv("BTC/USDT", "1m"))[:-1]:
                bars[open_ms] = values
    finally:
        await client.close()


def test_other_clients_hear_the_same_bars(source):
    by_python_binance, by_ccxt = {}, {}

    async def follow(server):
        follower = Follower(server, Market.SPOT, bar_said)
        await asyncio.gather(
            heard_by_another(server, by_python_binance),
            heard_by_ccxt(server, by_ccxt),
            follower.run(),
        )
        return follower

    with Server(source) as server, warnings.catch_warnings():
        # The client of python-binance 1.0.37 uses the old API of websockets.
        warnings.filterwarnings("ignore", "websockets", DeprecationWarning)
        follower = asyncio.run(follow(server))
    closed = [one.bar for one in follower.of(Closed) if one.bar.symbol == "BTCUSDT"]
    ours = {bar.open_ms: list(bar.values[:5]) for bar in closed}
    for bars in (by_python_binance, by_ccxt):
        both = ours.keys() & bars.keys()
        assert both
        assert all(ours[open_ms] == bars[open_ms] for open_ms in both)


def test_a_refused_handshake_is_told_and_tried_again(source):
    def refused(events):
        return any("429" in one.text for one in events if isinstance(one, Notice))

    async def follow(server):
        follower = Follower(server, Market.SPOT, refused)
        await follower.run()
        return follower

    with Server(source, connections=1) as server:
        follower = asyncio.run(follow(server))
    lost = [one for one in follower.of(Notice) if one.kind is NoticeKind.LOST]
    assert lost[0].text == "connection lost: refused with HTTP 429"


@pytest.mark.parametrize("base", ["https://example.com", "ws://127.0.0.1:70000", "nonsense"])
def test_what_is_no_address_of_a_websocket_is_named(base):
    streams = KlineStreams(Market.SPOT, base, SERIES, SystemClock())
    with pytest.raises(Misconfigured, match="ALPHAMILL_STREAM_URL"):
        asyncio.run(StreamClient(streams, print).run(asyncio.Event()))


def test_what_the_listener_raises_ends_the_client(source):
    class Full(Exception):
        pass

    def full(_event):
        raise Full

    with Server(source) as server:
        base = server.url.replace("http", "ws")
        streams = KlineStreams(Market.SPOT, base, SERIES, SystemClock())
        with pytest.raises(Full):
            asyncio.run(StreamClient(streams, full).run(asyncio.Event()))


def test_nobody_listens_there_and_it_goes_on_trying(source):
    with Server(source) as server:
        base = server.url.replace("http", "ws")
    streams = KlineStreams(Market.SPOT, base, SERIES, SystemClock())
    stop, notices = asyncio.Event(), []

    def heard(event):
        notices.append(event)
        if len(notices) == 2:
            stop.set()

    asyncio.run(StreamClient(streams, heard).run(stop))
    assert {one.kind for one in notices} == {NoticeKind.LOST}
    assert "refused" in notices[0].text
