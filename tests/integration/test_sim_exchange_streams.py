"""Websocket kline streams of the simulated exchange, heard with clients that nobody here wrote."""

import asyncio
import json
import time
import warnings
from contextlib import ExitStack, contextmanager, suppress

import aiohttp
import pytest
import requests
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from alphamill.frames import Interval, Market
from alphamill.sim.exchange import ExchangeConfig, ExchangeServer, StreamRules
from alphamill.sim.market import SyntheticMarket, SyntheticSource, coins_named
from tests.deadlines import ANSWER_S, slowness

with warnings.catch_warnings():
    # python-binance 1.0.37 imports a name that websockets has deprecated.
    warnings.filterwarnings("ignore", "websockets", DeprecationWarning)
    python_binance = pytest.importorskip("binance")

MINUTE, DAY = 60_000, 86_400_000
START = 1_672_531_200_000  # 2023-01-01
BEGUN = START + DAY + 30_000  # what the exchange's clock shows first
FAST = StreamRules(push_s=0.1)
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
def serving(source, rules=FAST, speed=SPEED):
    offset_ms = BEGUN - time.time_ns() // 1_000_000
    config = ExchangeConfig(streams=rules, clock_offset_ms=offset_ms, speed=speed)
    with ExchangeServer(config, source) as server:
        server.ws = server.url.replace("http", "ws")
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
        serving(source, StreamRules(push_s=0.1, messages_per_s=1000)) as server,
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
        ('{"method": "SUBSCRIBE", "params": ["a@b", "c@d", "e@f"], "id": 1}', 2),
        ('{"method": "SET_PROPERTY", "params": ["combined", 1], "id": 1}', 1),
        ('{"method": "GET_PROPERTY", "params": ["other"], "id": 1}', 0),
    ],
)
def test_what_is_not_a_command_is_answered_with_its_error(source, message, code):
    with (
        serving(source, StreamRules(streams=2)) as server,
        connect(f"{server.ws}/ws", proxy=None) as socket,
    ):
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


def test_a_connection_has_its_life(source):
    with (
        serving(source, StreamRules(life_s=0.5)) as server,
        connect(f"{server.ws}/ws/{STREAM}", proxy=None) as socket,
    ):
        assert closing_code(socket) == (1001, "end of life")


def test_who_answers_pings_stays_and_who_does_not_is_cut_off(source):
    rules = StreamRules(push_s=0.1, ping_s=0.2 * slowness(), pong_within_s=0.6 * slowness())

    async def listen(url, answer):
        """Pings heard until the server closes or five were answered."""
        pings = 0
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(url, autoping=False) as socket,
        ):
            async for message in socket:
                if message.type is aiohttp.WSMsgType.PING:
                    pings += 1
                    await answer(socket, message.data)
                if pings == 5 and answer is copied:
                    return None
            return socket.close_code

    async def copied(socket, payload):
        await socket.pong(payload)

    async def silent(_socket, _payload):
        pass

    async def unsolicited(socket, _payload):
        await socket.pong(b"")

    with serving(source, rules) as server:
        url = f"{server.ws}/ws/{STREAM}"
        assert asyncio.run(listen(url, copied)) is None
        assert asyncio.run(listen(url, silent)) == 1008
        assert asyncio.run(listen(url, unsolicited)) == 1008
        assert server.stats()["streams"]["ended"] == {"Pong timeout": 2}


def test_who_talks_too_much_is_cut_off(source):
    with (
        serving(source, StreamRules(messages_per_s=3)) as server,
        connect(f"{server.ws}/ws", proxy=None) as socket,
    ):
        with suppress(ConnectionClosed):
            for _ in range(50):
                socket.send('{"method": "LIST_SUBSCRIPTIONS", "id": 1}')
        assert closing_code(socket) == (1008, "Too many requests")


def test_who_connects_too_often_is_refused(source):
    with serving(source, StreamRules(connections=3)) as server:
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
    """The market with an outage: flat bars without volume, then none."""

    def __init__(self, source, flat, absent):
        import numpy as np

        from alphamill.sim.market import Bars

        bars = source.bars(Market.SPOT, "BTCUSDT", Interval.M1)
        values = {name: getattr(bars, name).copy() for name in Bars.__dataclass_fields__}
        for name in ("volume", "quote_volume", "taker_buy_base", "taker_buy_quote", "trades"):
            values[name][flat] = 0
        kept = np.delete(np.arange(len(bars)), absent)
        self._bars = Bars(**{name: column[kept] for name, column in values.items()})
        self.symbols, self.describe = source.symbols, source.describe

    def bars(self, *_where):
        return self._bars


def test_no_trade_no_event(source):
    first = 24 * 60 + 2  # of the bars that follow the beginning
    halted = Halted(source, slice(first, first + 2), slice(first + 2, first + 5))
    with serving(halted) as server, connect(f"{server.ws}/ws/{STREAM}", proxy=None) as socket:
        opens = [e["k"]["t"] for e in heard(socket, 5) if e["k"]["x"]]
    numbers = [(t - START) // MINUTE - first for t in opens]
    assert sorted(set(numbers)) == numbers
    assert not set(numbers) & set(range(5))
    assert numbers[0] < 0 or numbers[0] >= 5


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
