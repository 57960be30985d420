"""Websocket kline streams of the simulated exchange, heard with clients that nobody here wrote."""

import asyncio
import json
import time
import warnings
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import replace

import aiohttp
import pytest
import requests
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from alphamill.clock import ManualClock
from alphamill.frames import Interval, Market
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

MINUTE, DAY = 60_000, 86_400_000
START = 1_672_531_200_000  # 2023-01-01
BEGUN = START + DAY + 30_000  # what the exchange's clock shows first
SPEED = 240.0  # a minute in a quarter of a second
STREAM = "btcusdt@kline_1m"


@pytest.fixture(scope="module")
def source():
    return SyntheticSource(
        SyntheticMarket(
            coins=coins_named(["BTCUSDT", "ETHUSDT"]),
            interval=Interval.M1,
            start_ms=START,
            end_ms=START + 5 * DAY,
            planted=(),
        )
    )


@contextmanager
def running(config, source, clock=None):
    with ExchangeServer(config, source, clock) as server:
        server.ws = server.url.replace("http", "ws")
        yield server


def serving(source, **changed):
    """An exchange whose clock runs fast; `changed` are rules of both kinds of market."""
    config = ExchangeConfig(
        spot_streams=replace(SPOT_STREAMS, **changed),
        futures_streams=replace(FUTURES_STREAMS, **changed),
        clock_offset_ms=BEGUN - time.time_ns() // 1_000_000,
        speed=SPEED,
    )
    return running(config, source)


@contextmanager
def held(source, *faults):
    """An exchange whose clocks stand until they are moved by hand."""
    config = ExchangeConfig(stream_faults=tuple(map(StreamFault.parse, faults)))
    clock = ManualClock(BEGUN)
    with running(config, source, clock) as server:
        server.clock = clock
        yield server


@pytest.fixture
def server(source):
    with serving(source) as server:
        yield server


def heard(socket, closed_bars):
    """Events until so many bars have closed."""
    events = []
    while sum(event["k"]["x"] for event in events) < closed_bars:
        events.append(json.loads(socket.recv(timeout=ANSWER_S)))
    return events


def row(k):
    """A stream's bar as the API prints it."""
    return [k[name] for name in "tohlcvTqnVQB"]


def test_each_bar_closes_once_as_the_api_has_it(server):
    with connect(f"{server.ws}/ws/{STREAM}", proxy=None) as socket:
        events = heard(socket, 4)
    assert {(e["e"], e["s"], e["k"]["s"], e["k"]["i"]) for e in events} == {
        ("kline", "BTCUSDT", "BTCUSDT", "1m")
    }
    finals = [event["k"] for event in events if event["k"]["x"]]
    first = finals[0]["t"]
    assert [k["t"] for k in finals] == [first + at * MINUTE for at in range(4)]
    query = {"symbol": "BTCUSDT", "interval": "1m", "startTime": first, "limit": 4}
    rows = requests.get(f"{server.url}/api/v3/klines", params=query, timeout=ANSWER_S).json()
    assert [row(k) for k in finals] == rows
    running = [event["k"] for event in events if not event["k"]["x"]]
    assert running
    final_of = {k["t"]: k for k in finals}
    for k in running:
        final = final_of.get(k["t"])
        assert final is None or float(k["v"]) < float(final["v"])
    assert all(e["E"] > e["k"]["T"] if e["k"]["x"] else e["E"] <= e["k"]["T"] for e in events)


def test_combined_streams_are_wrapped_and_markets_lie_apart(server):
    names = f"{STREAM}/ethusdt@kline_5m"
    with connect(f"{server.ws}/stream?streams={names}", proxy=None) as socket:
        seen = set()
        while len(seen) < 2:
            event = json.loads(socket.recv(timeout=ANSWER_S))
            assert set(event) == {"stream", "data"}
            symbol, _, interval = event["stream"].partition("@kline_")
            assert event["data"]["k"]["s"] == symbol.upper()
            assert event["data"]["k"]["i"] == interval
            seen.add(event["stream"])
    assert seen == set(names.split("/"))
    with connect(f"{server.ws}/cm/ws/btcusd_perp@kline_1m", proxy=None) as socket:
        event = heard(socket, 1)[-1]
    assert event["s"] == "BTCUSD_PERP"
    query = {"symbol": "BTCUSD_PERP", "interval": "1m", "endTime": event["k"]["t"], "limit": 1}
    rows = requests.get(f"{server.url}/dapi/v1/klines", params=query, timeout=ANSWER_S).json()
    assert row(event["k"]) == rows[0]


def test_microseconds_for_who_asks(server):
    with connect(f"{server.ws}/ws/{STREAM}?timeUnit=MICROSECOND", proxy=None) as socket:
        k = json.loads(socket.recv(timeout=ANSWER_S))["k"]
    assert (k["t"] % (MINUTE * 1000), k["T"] - k["t"]) == (0, MINUTE * 1000 - 1)
    assert k["t"] > 10**15
    unit = "timeUnit=MICROSECOND"  # which futures do not know
    with connect(f"{server.ws}/um/market/ws/{STREAM}?{unit}", proxy=None) as socket:
        assert json.loads(socket.recv(timeout=ANSWER_S))["k"]["t"] < 10**13


def ask(socket, method, params=None, ident=1):
    """The reply to a command, past the events that come before it."""
    message = {"method": method, "id": ident}
    socket.send(json.dumps(message if params is None else {**message, "params": params}))
    while True:
        said = json.loads(socket.recv(timeout=ANSWER_S))
        if "result" in said or "error" in said:
            return said


def test_subscriptions_change_while_connected(source):
    with (
        serving(source, messages_per_s=1000) as server,
        connect(f"{server.ws}/ws/0", proxy=None) as socket,  # as ccxt connects
    ):
        assert ask(socket, "SUBSCRIBE", [STREAM], "an-id") == {"result": None, "id": "an-id"}
        assert ask(socket, "LIST_SUBSCRIPTIONS", ident=-7) == {"result": ["0", STREAM], "id": -7}
        assert heard(socket, 1)
        assert ask(socket, "SET_PROPERTY", ["combined", True])["result"] is None
        assert ask(socket, "GET_PROPERTY", ["combined"])["result"] is True
        assert json.loads(socket.recv(timeout=ANSWER_S))["stream"] == STREAM
        assert ask(socket, "UNSUBSCRIBE", [STREAM, "0@"])["result"] is None
        assert ask(socket, "LIST_SUBSCRIPTIONS")["result"] == ["0"]
        # Stream names are lower-case: others are taken and stay silent.
        assert ask(socket, "SUBSCRIBE", ["BTCUSDT@kline_1m", "btcusdt@kline_7m"])["result"] is None
        assert ask(socket, "SUBSCRIBE", ["ethusdt@kline_1m"])["result"] is None
        assert {json.loads(socket.recv(timeout=ANSWER_S))["data"]["s"] for _ in range(5)} == {
            "ETHUSDT"
        }


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("nonsense", 3),
        ("[]", 2),
        ('{"id": 1}', 2),
        ('{"method": "BUY", "id": 1}', 2),
        ('{"method": "SUBSCRIBE", "params": ["btcusdt"], "id": 1}', 2),
        ('{"method": "SUBSCRIBE", "params": [1], "id": 1}', 2),
        ('{"method": "SUBSCRIBE", "params": ["a@b"], "id": 1.5}', 2),
        ('{"method": "SET_PROPERTY", "params": ["combined", 1], "id": 1}', 1),
        ('{"method": "GET_PROPERTY", "params": ["other"], "id": 1}', 0),
    ],
)
def test_what_is_not_a_command_is_answered_with_its_error(source, message, code):
    with serving(source) as server, connect(f"{server.ws}/ws", proxy=None) as socket:
        socket.send(message)
        assert json.loads(socket.recv(timeout=ANSWER_S))["error"]["code"] == code
        assert ask(socket, "LIST_SUBSCRIPTIONS") == {"result": [], "id": 1}


def until_closed(socket):
    """The last event."""
    last = None
    while True:
        try:
            last = socket.recv(timeout=ANSWER_S)
        except ConnectionClosed:
            return last


def closing_code(socket):
    until_closed(socket)
    return socket.protocol.close_code, socket.protocol.close_reason


@pytest.mark.parametrize("place", ["", "/um/market"])
def test_a_connection_has_its_day(source, place):
    with held(source) as server, connect(f"{server.ws}{place}/ws/{STREAM}", proxy=None) as socket:
        ask(socket, "LIST_SUBSCRIPTIONS")
        server.clock.advance(86_400)
        assert closing_code(socket) == (1001, "end of life")


@asynccontextmanager
async def unanswering(server, path):
    """A connection that answers no ping by itself."""
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{server.ws}{path}", autoping=False) as socket,
    ):
        await socket.send_json({"method": "LIST_SUBSCRIPTIONS", "id": 1})
        await message_of(socket, aiohttp.WSMsgType.TEXT)  # the server knows it
        yield socket


async def message_of(socket, *kinds):
    async with asyncio.timeout(ANSWER_S):
        while True:
            message = await socket.receive()
            if message.type in kinds:
                return message


@pytest.mark.parametrize(
    ("path", "ping_s", "pong_s"),
    [("/ws", 20, 60), ("/um/market/ws", 180, 600), ("/cm/ws", 180, 600)],
)
def test_who_answers_pings_stays_and_who_does_not_is_cut_off(source, path, ping_s, pong_s):
    ping, closed = aiohttp.WSMsgType.PING, (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)

    async def listen(server, answer):
        """The closing code, None if it is still open after ten pings."""
        async with unanswering(server, path) as socket:
            for _ in range(10):
                server.clock.advance(ping_s)
                message = await message_of(socket, ping, *closed)
                if message.type in closed:
                    return socket.close_code
                await answer(socket, message.data)
            return None

    async def copied(socket, payload):
        await socket.pong(payload)
        await socket.send_json({"method": "LIST_SUBSCRIPTIONS", "id": 2})
        await message_of(socket, aiohttp.WSMsgType.TEXT)  # the pong was read before

    async def silent(_socket, _payload):
        pass

    async def unsolicited(socket, _payload):
        await socket.pong(b"")

    with held(source) as server:
        assert 3 * ping_s <= pong_s < 10 * ping_s
        assert asyncio.run(listen(server, copied)) is None
        assert asyncio.run(listen(server, silent)) == 1008
        assert asyncio.run(listen(server, unsolicited)) == 1008
        assert server.stats()["streams"]["ended"] == {"Pong timeout": 2}


@pytest.mark.parametrize(("place", "most"), [("", 5), ("/um/market", 10)])
def test_who_says_one_thing_too_many_in_a_second_is_cut_off(source, place, most):
    with held(source) as server, connect(f"{server.ws}{place}/ws", proxy=None) as socket:
        for at in range(most):
            assert ask(socket, "LIST_SUBSCRIPTIONS", ident=at)["result"] == []
        server.clock.advance(1)
        for at in range(most):
            assert ask(socket, "LIST_SUBSCRIPTIONS", ident=at)["result"] == []
        socket.send('{"method": "LIST_SUBSCRIPTIONS", "id": 1}')
        assert closing_code(socket) == (1008, "Too many requests")


@pytest.mark.parametrize("place", ["", "/um/market", "/cm"])
def test_one_stream_above_1024_ends_them_all(source, place):
    names = [f"a{at}usdt@kline_1m" for at in range(1023)]
    with held(source) as server, connect(f"{server.ws}{place}/ws", proxy=None) as socket:
        for at in range(0, len(names), 150):
            assert ask(socket, "SUBSCRIBE", names[at : at + 150])["result"] is None
            server.clock.advance(1)
        assert ask(socket, "SUBSCRIBE", [STREAM])["result"] is None
        assert ask(socket, "SUBSCRIBE", ["ethusdt@kline_1m"])["error"]["code"] == 4
        assert closing_code(socket)[0] == 1008
        assert server.stats()["streams"]["open"] == 0


def test_a_message_of_more_bytes_than_the_exchange_reads_is_never_answered(source):
    names = [f"coin{at}usdt@kline_1m" for at in range(300)]
    with held(source) as server, connect(f"{server.ws}/ws", proxy=None) as socket:
        socket.send(json.dumps({"method": "SUBSCRIBE", "params": names, "id": 1}))
        assert ask(socket, "LIST_SUBSCRIPTIONS", ident=2) == {"result": [], "id": 2}
        assert ask(socket, "SUBSCRIBE", names[:100], 3)["result"] is None


def test_a_command_in_a_binary_frame_ends_the_connection(source):
    message = json.dumps({"method": "SUBSCRIBE", "params": [STREAM], "id": 1}).encode()
    with held(source) as server, connect(f"{server.ws}/um/market/ws", proxy=None) as socket:
        socket.send(message)
        assert closing_code(socket)[0] == 1008


def test_without_its_route_a_kline_of_usd_m_is_acknowledged_and_silent(source):
    """While the book, which is public, is delivered; upper case is as silent on any route."""
    book = "btcusdt@bookTicker"
    names = [STREAM, book, "BTCUSDT@kline_1m", "btcusdt@nothing"]
    seen = {}
    with held(source) as server, ExitStack() as stack:
        sockets = {
            place: stack.enter_context(connect(f"{server.ws}{place}/stream", proxy=None))
            for place in ("/um/market", "/um", "/um/public", "/um/private")
        }
        for socket in sockets.values():
            assert ask(socket, "SUBSCRIBE", names) == {"result": None, "id": 1}
        server.clock.advance(65)
        # All is sent at once: when the bar has closed for one, the others have heard what they may.
        closed = False
        while not closed:
            event = json.loads(sockets["/um/market"].recv(timeout=ANSWER_S))
            seen.setdefault("/um/market", set()).add(event["stream"])
            closed = event["data"]["k"]["x"]
        for place, socket in sockets.items():
            socket.send('{"method": "LIST_SUBSCRIPTIONS", "id": 2}')
            while "result" not in (said := json.loads(socket.recv(timeout=ANSWER_S))):
                seen.setdefault(place, set()).add(said["stream"])
            assert said["result"] == names
        assert server.stats()["streams"]["ended"] == {}
    assert seen == {"/um/market": {STREAM}, "/um": {book}, "/um/public": {book}}


def test_the_ends_of_bars_are_told_to_the_millisecond_on_both_kinds_of_market(source):
    """Also where the clock of a test stands still: the event time is when it was due."""
    with held(source) as server:
        lags = {}
        for place in ("", "/um/market", "/cm"):
            name = "btcusd_perp@kline_1m" if place == "/cm" else STREAM
            with connect(f"{server.ws}{place}/ws/{name}", proxy=None) as socket:
                ask(socket, "LIST_SUBSCRIPTIONS")
                server.clock.advance(60)
                event = heard(socket, 1)[-1]
            lags[place] = event["E"] - event["k"]["T"] - 1
    assert 2 <= lags[""] <= 7
    assert all(2 <= lags[place] <= 2007 for place in ("/um/market", "/cm"))


def test_either_futures_host_has_the_klines_of_both(server):
    coin = "btcusd_perp@kline_1m"
    with connect(f"{server.ws}/um/market/stream?streams={coin}", proxy=None) as socket:
        event = json.loads(socket.recv(timeout=ANSWER_S))
    assert (event["stream"], event["data"]["s"]) == (coin, "BTCUSD_PERP")
    with connect(f"{server.ws}/cm/ws/{STREAM}", proxy=None) as socket:
        assert heard(socket, 1)[-1]["s"] == "BTCUSDT"


def test_a_dropped_connection_has_no_closing_frame(source):
    with (
        held(source, "drop:@2") as server,
        connect(f"{server.ws}/ws/{STREAM}", proxy=None) as socket,
    ):
        ask(socket, "LIST_SUBSCRIPTIONS")
        server.clock.advance(60)
        assert heard(socket, 1)
        server.clock.advance(60)
        assert closing_code(socket)[0] == 1006  # which stands for none
        totals = server.stats()["streams"]
    assert (totals["faults"], totals["ended"], totals["open"]) == ({"drop": 1}, {"dropped": 1}, 0)


def test_a_frame_is_cut_with_its_connection_or_its_json_alone(source):
    with (
        held(source, "cut_json:@1", "cut_frame:@2") as server,
        connect(f"{server.ws}/stream?streams={STREAM}", proxy=None) as socket,
    ):
        ask(socket, "LIST_SUBSCRIPTIONS")
        server.clock.advance(31)
        texts = []
        while not texts or texts[-1].endswith("}}"):
            texts.append(socket.recv(timeout=ANSWER_S))
        with pytest.raises(json.JSONDecodeError):
            json.loads(texts[-1])
        assert texts[-1].startswith('{"stream":"btcusdt@kline_1m","data":{"e":"kline"')
        server.clock.advance(60)
        last = until_closed(socket)
        assert last is None or json.loads(last)["data"]["k"]["x"] is False
        assert socket.protocol.close_code == 1006
        assert server.stats()["streams"]["ended"] == {"broken off": 1}


def test_a_silent_connection_goes_on_being_pinged(source):
    async def listen(server):
        seen = []
        async with unanswering(server, f"/ws/{STREAM}") as socket:
            for _ in range(12):
                server.clock.advance(20)
                message = await message_of(socket, aiohttp.WSMsgType.PING)
                await socket.pong(message.data)
                await socket.send_json({"method": "LIST_SUBSCRIPTIONS", "id": 1})
                told = json.loads((await message_of(socket, aiohttp.WSMsgType.TEXT)).data)
                while "result" not in told:
                    seen.append(told["k"])
                    told = json.loads((await message_of(socket, aiohttp.WSMsgType.TEXT)).data)
        return seen

    with held(source, "silent:@2") as server:
        bars = asyncio.run(listen(server))
    assert [k["t"] for k in bars if k["x"]] == [START + DAY]
    assert {k["t"] for k in bars} <= {START + DAY, START + DAY + MINUTE}


def test_a_shutdown_is_a_fault_too(source):
    with (
        held(source, "shutdown:@1") as server,
        connect(f"{server.ws}/ws/{STREAM}", proxy=None) as socket,
        connect(f"{server.ws}/um/market/ws/{STREAM}", proxy=None) as futures,
    ):
        ask(socket, "LIST_SUBSCRIPTIONS"), ask(futures, "LIST_SUBSCRIPTIONS")
        server.clock.advance(63)
        assert json.loads(until_closed(socket))["e"] == "serverShutdown"
        last = until_closed(futures)
        assert last is None or json.loads(last)["e"] == "kline"
        assert server.stats()["streams"]["ended"] == {"shutdown": 2}


def test_who_connects_too_often_is_refused(source):
    with serving(source, connections=3) as server:
        for _ in range(3):
            with connect(f"{server.ws}/ws", proxy=None):
                pass
        with pytest.raises(InvalidStatus) as refused, connect(f"{server.ws}/ws", proxy=None):
            pass
    assert refused.value.response.status_code == 429


def test_a_shutdown_is_announced(source):
    with ExitStack() as stack:
        with serving(source) as server:
            url = f"{server.ws}/stream?streams=ethusdt@kline_1m"
            socket = stack.enter_context(connect(url, proxy=None))
            socket.recv(timeout=ANSWER_S)
        last = json.loads(until_closed(socket))
    assert last["stream"] == "!serverShutdown"
    assert last["data"]["e"] == "serverShutdown"


class Halted:
    """The market with an outage: flat bars without a trade, then none."""

    def __init__(self, source, flat, absent):
        import numpy as np

        from alphamill.sim.market import Bars

        bars = source.bars(Market.SPOT, "BTCUSDT", Interval.M1)
        values = {name: getattr(bars, name).copy() for name in Bars.__dataclass_fields__}
        for name in ("volume", "quote_volume", "taker_buy_base", "taker_buy_quote", "trades"):
            values[name][flat] = 0
        for name in ("open", "high", "low", "close"):
            values[name][flat] = values["close"][flat.start - 1]
        kept = np.delete(np.arange(len(bars)), absent)
        self._bars = Bars(**{name: column[kept] for name, column in values.items()})
        self.symbols, self.describe = source.symbols, source.describe
        self.intervals = source.intervals

    def bars(self, *_where):
        return self._bars


def test_spot_closes_bars_without_a_trade_and_says_nothing_of_bars_that_never_were(source):
    first = 24 * 60 + 2  # of the bars that follow the beginning
    halted = Halted(source, slice(first, first + 2), slice(first + 2, first + 5))
    with held(halted) as server, connect(f"{server.ws}/ws/{STREAM}", proxy=None) as socket:
        ask(socket, "LIST_SUBSCRIPTIONS")
        server.clock.advance(8 * 60)
        closed = [event["k"] for event in heard(socket, 5) if event["k"]["x"]]
        query = {"symbol": "BTCUSDT", "interval": "1m", "startTime": closed[0]["t"], "limit": 5}
        rows = requests.get(f"{server.url}/api/v3/klines", params=query, timeout=ANSWER_S).json()
    assert [row(k) for k in closed] == rows
    assert [(k["t"] - START) // MINUTE - first for k in closed] == [-2, -1, 0, 1, 5]
    for k in closed[2:4]:
        assert (k["f"], k["L"], k["n"], k["v"]) == (-1, -1, 0, "0.00000000")
        assert {k[name] for name in "ohlc"} == {closed[1]["c"]}
    assert closed[4]["f"] == closed[1]["L"] + 1


def test_python_binance_hears_the_streams(server):
    async def listen():
        client = python_binance.AsyncClient()
        manager = python_binance.BinanceSocketManager(client)
        manager.STREAM_URL = f"{server.ws}/"
        manager.ws_kwargs = {"proxy": None}
        try:
            async with manager.kline_socket("BTCUSDT", "1m") as one:
                while not (alone := await one.recv())["k"]["x"]:
                    pass
            async with manager.multiplex_socket([STREAM, "ethusdt@kline_1m"]) as many:
                heard = {(await many.recv())["data"]["s"] for _ in range(20)}
        finally:
            await client.close_connection()
        return alone, heard

    with warnings.catch_warnings():
        # The client of python-binance 1.0.37 uses the old API of websockets.
        warnings.filterwarnings("ignore", "websockets", DeprecationWarning)
        alone, both = asyncio.run(listen())
    assert (alone["e"], alone["s"]) == ("kline", "BTCUSDT")
    assert both == {"BTCUSDT", "ETHUSDT"}


def listening(listen):
    with warnings.catch_warnings():
        # The client of python-binance 1.0.37 uses the old API of websockets.
        warnings.filterwarnings("ignore", "websockets", DeprecationWarning)
        return asyncio.run(listen())


def test_python_binance_hears_futures_by_their_routes(server):
    """It knows the routes; without one its klines would be silent."""

    async def listen():
        client = python_binance.AsyncClient()
        manager = python_binance.BinanceSocketManager(client)
        manager.FSTREAM_URL, manager.DSTREAM_URL = f"{server.ws}/um/", f"{server.ws}/cm/"
        manager.ws_kwargs = {"proxy": None}
        coin = python_binance.enums.FuturesType.COIN_M
        try:
            async with manager.futures_multiplex_socket([STREAM]) as usd_m:
                usd = await usd_m.recv()
            names = ["btcusd_perp@kline_1m"]
            async with manager.futures_multiplex_socket(names, futures_type=coin) as coin_m:
                coins = await coin_m.recv()
            async with manager.symbol_ticker_futures_socket("BTCUSDT") as tickers:
                book = await tickers.recv()
        finally:
            await client.close_connection()
        return usd, coins, book

    usd, coins, book = listening(listen)
    assert (usd["stream"], usd["data"]["s"]) == (STREAM, "BTCUSDT")
    assert coins["data"]["s"] == "BTCUSD_PERP"
    assert book["data"]["e"] == "bookTicker"


@pytest.mark.parametrize(
    ("kind", "symbol", "place"),
    [
        ("spot", "BTC/USDT", "spot"),
        ("swap", "BTC/USDT:USDT", "linear"),
        ("swap", "BTC/USD:BTC", "inverse"),
    ],
)
def test_ccxt_pro_hears_bars_of_every_market(server, source, kind, symbol, place):
    pro = pytest.importorskip("ccxt.pro")
    types = {"spot": "spot", "linear": "linear", "inverse": "inverse"}

    async def listen():
        client = pro.binance(
            {
                "options": {
                    "defaultType": kind,
                    "fetchMarkets": {"types": [types[place]]},
                    "fetchCurrencies": False,
                    "fetchMargins": False,
                    "tradesLimit": 10,
                },
                "newUpdates": True,
                "timeout": int(1000 * ANSWER_S),
            }
        )
        hosts = {"api": "", "fapi": "", "dapi": ""}
        for name, url in client.urls["api"].items():
            for host in hosts:
                if isinstance(url, str) and url.startswith(f"https://{host}.binance.com"):
                    path = url.removeprefix(f"https://{host}.binance.com")
                    client.urls["api"][name] = server.url + path
        folders = {"spot": "", "linear": "/um", "inverse": "/cm"}
        for name, folder in folders.items():
            client.urls["api"]["ws"][name] = f"{server.ws}{folder}/ws"
        try:
            bars = []
            while len({bar[0] for bar in bars}) < 3:
                bars += await asyncio.wait_for(client.watch_ohlcv(symbol, "1m"), ANSWER_S)
        finally:
            await client.close()
        return bars

    bars = asyncio.run(listen())
    last_of = {bar[0]: bar for bar in bars}
    market = {"spot": Market.SPOT, "linear": Market.USD_M, "inverse": Market.COIN_M}[place]
    name = "BTCUSD_PERP" if place == "inverse" else "BTCUSDT"
    known = source.bars(market, name, Interval.M1)
    for at_ms in sorted(last_of)[1:2]:  # one that was heard from its start to its end
        at = known.start_at(at_ms)
        assert last_of[at_ms][4:] == [known.close[at], known.volume[at]]


def test_the_official_sdk_hears_the_streams(server):
    sdk = pytest.importorskip("binance_sdk_spot")
    configuration = pytest.importorskip("binance_common.configuration")

    async def listen():
        config = configuration.ConfigurationWebSocketStreams(stream_url=server.ws)
        client = sdk.Spot(config_ws_streams=config)
        connection = await client.websocket_streams.create_connection()
        heard = asyncio.Queue()
        try:
            stream = await connection.kline(symbol="btcusdt", interval="1m")
            stream.on("message", heard.put_nowait)
            async with asyncio.timeout(ANSWER_S):
                while not (event := await heard.get()).k.x:
                    pass
            return event
        finally:
            await connection.close_connection(close_session=True)

    event = asyncio.run(listen())
    assert (event.s, event.k.i, event.k.n) == ("BTCUSDT", "1m", event.k.L - event.k.f + 1)
