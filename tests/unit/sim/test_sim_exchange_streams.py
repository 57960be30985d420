"""What the simulated exchange pushes, to the millisecond, without sockets and by a moved clock."""

import asyncio
import gc
import gzip
import json
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from tornado.websocket import WebSocketClosedError

from alphamill.clock import ManualClock
from alphamill.frames import Interval, Market
from alphamill.sim.exchange import FUTURES_STREAMS, SPOT_STREAMS, StreamFault, StreamRules
from alphamill.sim.exchange.connection import Upkeep
from alphamill.sim.exchange.stream_faults import StreamFaultPlan
from alphamill.sim.exchange.stream_rules import Route, carries
from alphamill.sim.exchange.streams import MarketStreams
from alphamill.sim.exchange.subscriptions import Subscriptions
from alphamill.sim.exchange.trade_ids import trade_ids
from alphamill.sim.exchange.websocket import StreamHandler
from alphamill.sim.market import Bars
from alphamill.sim.market.bars import resample
from producers.run.sim import sim

RECORDED = Path(__file__).parents[4] / "shared" / "data"
MINUTE = 60_000
START = 1_704_067_200_000  # 2024-01-01
NAMES = {
    Market.SPOT: ["BTCUSDT"],
    Market.USD_M: ["BTCUSDT", "币安USDT"],
    Market.COIN_M: ["BTCUSD_PERP"],
}


def minutes(trades, volume=None):
    """Minutes from START with so many trades each; without any, flat at the close before."""
    n = len(trades)
    counts = np.array(trades, dtype=np.int64)
    traded = counts > 0 if volume is None else np.array(volume) > 0
    close = 100 + np.cumsum(np.where(traded, 0.5, 0.0))
    opened = np.concatenate(([100.0], close[:-1]))
    volumes = np.where(traded, np.maximum(counts, 1) * 0.25, 0.0)
    return Bars(
        open_ms=START + MINUTE * np.arange(n, dtype=np.int64),
        open=opened,
        high=np.maximum(opened, close),
        low=np.minimum(opened, close),
        close=close,
        volume=volumes,
        quote_volume=volumes * close,
        trades=counts,
        taker_buy_base=volumes / 5,
        taker_buy_quote=volumes * close / 5,
    )


def recorded(name):
    """Events of a recording, without what they are wrapped in."""
    path = RECORDED / name
    text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    lines = [json.loads(line) for line in text.splitlines()]
    frames = [line.get("message", line) for line in lines]
    return [frame.get("data", frame) for frame in frames]


class Source:
    """One series of minutes under every name of every market, and the fives summed from it."""

    def __init__(self, bars, absent=()):
        kept = np.delete(np.arange(len(bars)), absent).astype(int)
        columns = {name: getattr(bars, name)[kept] for name in Bars.__dataclass_fields__}
        self._bars = Bars(**columns)

    def symbols(self, market):
        return NAMES[market]

    def intervals(self, _market, _symbol):
        return [Interval.M1, Interval.M5]

    def bars(self, market, _symbol, interval):
        bars = self._bars
        if market is Market.COIN_M:
            contracts, coins = ("volume", "taker_buy_base"), ("quote_volume", "taker_buy_quote")
            columns = {name: getattr(bars, name) for name in Bars.__dataclass_fields__}
            for of_contracts, of_coins in zip(contracts, coins, strict=True):
                columns[of_contracts] = np.rint(getattr(bars, of_coins))
                columns[of_coins] = np.round(getattr(bars, of_contracts) / 7, 8)
            bars = Bars(**columns)
        return bars if interval is Interval.M1 else resample(bars, Interval.M5)


class Ear:
    """A connection that writes down what it is told."""

    def __init__(self, streams, names, market=Market.USD_M, route=Route.MARKET):
        self.market, self.route = market, route
        self.names = dict.fromkeys(names)
        self.heard, self.halves, self.announced, self.end = [], [], [], None
        self._streams = streams
        streams.join(self)

    def attend(self, now_s):
        pass

    def tell(self, _name, event, *, half=False):
        (self.halves if half else self.heard).append(event)

    def announce(self, event):
        self.announced.append(event)

    def shut(self):
        self.end = "shutdown"
        self._streams.leave(self)

    def break_off(self, _name, event):
        self.halves.append(event)
        self.drop()

    def drop(self):
        self.end = "dropped"
        self._streams.leave(self)

    @property
    def closes(self):
        """Minutes and event times past the minute's end, of bars that closed."""
        bars = [(event["k"], event["E"]) for event in self.heard if event["k"]["x"]]
        return [((k["t"] - START) // MINUTE, at_ms - k["T"] - 1) for k, at_ms in bars]


class Scene:
    """Streams on a clock that is moved by hand."""

    def __init__(self, source, faults=(), seed=0, start_s=0.5, **changed):
        self.clock = ManualClock(START + round(1000 * start_s))
        rules = dict.fromkeys(Market, FUTURES_STREAMS) | {Market.SPOT: SPOT_STREAMS}
        for market, rule in changed.items():
            rules[Market(market)] = rule
        plan = StreamFaultPlan(tuple(map(StreamFault.parse, faults)), seed)
        clock = self.clock
        self.streams = MarketStreams(source, rules, clock.now_ms, clock.monotonic_s, plan)

    def ear(self, *names, market=Market.USD_M, route=Route.MARKET):
        return Ear(self.streams, names or ["btcusdt@kline_1m"], market, route)

    def spot_ear(self, *names):
        return self.ear(*names, market=Market.SPOT, route=None)

    def go(self, seconds):
        """Look whenever something may be due, as the server does."""
        end_ms = self.clock.now_ms() + round(1000 * seconds)
        while (now_ms := self.clock.now_ms()) < end_ms:
            due_ms = self.streams.push()
            assert due_ms > now_ms
            self.clock.advance((min(due_ms, end_ms) - now_ms) / 1000)


# Closes


def test_spot_tells_the_end_of_every_bar_within_milliseconds_also_of_bars_without_a_trade():
    scene = Scene(Source(minutes([30, 0, 0, 12, 9])))
    ear = scene.spot_ear()
    scene.go(4 * 60)
    assert [at for at, _ in ear.closes] == [0, 1, 2, 3]
    assert all(2 <= late_ms <= 7 for _, late_ms in ear.closes)
    empty = [e["k"] for e in ear.heard if e["k"]["x"]][1]
    assert (empty["f"], empty["L"], empty["n"], empty["v"]) == (-1, -1, 0, "0.00000000")
    assert {empty[name] for name in "ohlc"} == {"100.50000000"}
    assert not [e for e in ear.heard if not e["k"]["x"] and e["k"]["n"] == 0]


def test_spot_tells_nothing_of_bars_that_the_exchange_never_had():
    scene = Scene(Source(minutes([30, 5, 5, 12, 9]), absent=[1, 2]))
    ear = scene.spot_ear()
    scene.go(4 * 60)
    assert [at for at, _ in ear.closes] == [0, 3]


def test_a_futures_bar_ends_with_the_first_trade_of_the_next_or_two_seconds_after():
    # 300 trades a minute: the first 200 ms after the open. 6 trades: after 10 s.
    scene = Scene(Source(minutes([50, 300, 6, 30, 60, 8])))
    ear = scene.ear()
    scene.go(5 * 60 + 3)
    lags = dict(ear.closes)
    assert list(lags) == [0, 1, 2, 3, 4]
    assert 199 + 2 <= lags[0] <= 199 + 7
    assert all(2002 <= lags[at] <= 2007 for at in (1, 4))
    assert 1999 + 2 <= lags[2] <= 1999 + 7  # the trade came a millisecond before the timer
    assert 999 + 2 <= lags[3] <= 999 + 7


@pytest.mark.skipif(not (RECORDED / "ws_2021").exists(), reason="no recordings here")
def test_futures_closes_lie_where_the_recorded_ones_do():
    """The first trades of the recorded next minutes, where known, and who was told by the timer."""
    data = recorded("ws_2021/um.jsonl.gz")
    klines = [event for event in data if event["e"] == "kline"]
    closes = {e["s"]: e["E"] - e["k"]["T"] - 1 for e in klines if e["k"]["x"]}
    ends = {e["k"]["T"] + 1 for e in klines if e["k"]["x"]}
    assert len(closes) == 4
    assert len(ends) == 1
    end_ms = ends.pop()
    trades = [e for e in data if e["e"] == "aggTrade" and e["T"] >= end_ms]
    for symbol, lag_ms in closes.items():
        first_ms = min([e["T"] - end_ms for e in trades if e["s"] == symbol], default=9_999)
        count = 60_000 // (first_ms + 1)  # trades a minute that begin then
        scene = Scene(Source(minutes([50, count])))
        ear = scene.ear()
        scene.go(63)
        ((_, ours_ms),) = ear.closes
        assert abs(ours_ms - lag_ms) <= 7 + first_ms % 60  # the count is whole
        assert (ours_ms >= 2000) == (lag_ms >= 2000)


def test_the_timer_and_the_ends_of_empty_futures_bars_are_a_choice():
    bars = Source(minutes([50, 0, 6, 0, 0, 300, 8]))

    def closes(**rules):
        scene = Scene(bars, um=StreamRules(**{**vars_of(FUTURES_STREAMS), **rules}))
        ear = scene.ear()
        scene.go(6 * 60 + 10)
        return dict(ear.closes)

    assert list(closes()) == [0, 2, 5]
    told = closes(empty_closes=True)
    assert list(told) == [0, 1, 2, 3, 4, 5]
    assert 199 + 2 <= told[4] <= 199 + 7
    assert all(2002 <= told[at] <= 2007 for at in (0, 1, 2, 3, 5))
    by_trade = closes(close_timer_s=3600)
    assert 60_000 + 9_999 < by_trade[0] <= 60_000 + 9_999 + 7
    at_once = closes(close_timer_s=0)
    assert all(2 <= lag_ms <= 7 for lag_ms in at_once.values())


def vars_of(rules):
    return {name: getattr(rules, name) for name in rules.__dataclass_fields__}


def test_who_subscribes_between_the_end_and_its_telling_hears_it_and_nothing_older():
    scene = Scene(Source(minutes([50, 6, 6])))
    scene.go(60)
    late = scene.ear()
    scene.go(1)
    assert late.closes == []
    scene.go(2)
    assert [at for at, _ in late.closes] == [0]
    after = scene.ear()
    scene.go(30)
    assert after.closes == []


def test_a_clock_that_leaps_tells_every_close_once_and_in_order():
    scene = Scene(Source(minutes([7] * 30)))
    ear = scene.ear("btcusdt@kline_1m", "btcusdt@kline_5m")
    scene.go(1)
    scene.clock.advance(15 * 60 + 2)
    scene.streams.push()
    closes = [e for e in ear.heard if e["k"]["x"]]
    assert len(closes) == 15 + 3
    assert [e["E"] for e in ear.heard] == sorted(e["E"] for e in ear.heard)
    assert all(late_ms < 2010 for _, late_ms in ear.closes)


def test_the_server_is_told_when_to_look_and_sends_each_event_at_its_own_time():
    scene = Scene(Source(minutes([50, 300, 0, 6, 30, 9000])), ["close_late:@2"])
    delays = []
    ears = [scene.spot_ear(), scene.ear("btcusdt@kline_1m", "btcusdt@kline_5m")]
    for ear in ears:
        ear.tell = lambda _, event, **_half: delays.append(scene.clock.now_ms() - event["E"])
    scene.go(6 * 60)
    assert len(delays) > 300
    assert set(delays) == {0}


@pytest.mark.parametrize("step_s", [0.01, 0.9, 7, 61])
def test_closes_are_the_same_however_often_the_server_looks(step_s):
    heard = []
    for step in (0.05, step_s):
        scene = Scene(Source(minutes([50, 300, 0, 6, 30, 7] * 4)), ["drop:@20", "close_late:0.3"])
        ear = scene.ear("btcusdt@kline_1m", "btcusdt@kline_5m")
        for _ in range(round(24 * 60 / step)):
            scene.streams.push()
            scene.clock.advance(step)
        assert ear.end == "dropped"
        heard.append([event for event in ear.heard if event["k"]["x"]])
    assert heard[0] == heard[1]
    assert len(heard[0]) > 15


# Pushes of running bars


def test_running_bars_are_pushed_at_the_markets_rhythm_and_only_when_traded():
    scene = Scene(Source(minutes([600, 40, 2])))
    spot, futures = scene.spot_ear(), scene.ear()
    scene.go(60)
    gaps = np.diff([e["E"] for e in spot.heard if not e["k"]["x"]])
    assert set(gaps.tolist()) == {2000}
    futures_gaps = np.diff([e["E"] for e in futures.heard if not e["k"]["x"]])
    assert futures_gaps.min() >= 250
    assert np.median(futures_gaps) == 300  # 600 trades: one each 100 ms
    spot.heard.clear(), futures.heard.clear()
    scene.go(59)
    running = [e for e in futures.heard if not e["k"]["x"]]
    # One each 1.5 s; the first ended the bar before and has no frame of its own.
    assert [e["k"]["n"] for e in running] == list(range(2, 40))
    spot.heard.clear(), futures.heard.clear()
    scene.go(60)
    assert len([e for e in spot.heard if e["k"]["n"] == 1]) == 1
    assert [e["k"]["n"] for e in futures.heard if not e["k"]["x"]] == [1]


def test_spot_pushes_seconds_each_second():
    seconds = minutes([60] * 90)

    class Seconds(Source):
        def intervals(self, _market, _symbol):
            return [Interval.S1]

        def bars(self, _market, _symbol, _interval):
            columns = {name: getattr(seconds, name) for name in Bars.__dataclass_fields__}
            columns["open_ms"] = START + 1000 * np.arange(90)
            return Bars(**columns)

    scene = Scene(Seconds(seconds))
    spot, futures = scene.spot_ear("btcusdt@kline_1s"), scene.ear("btcusdt@kline_1s")
    scene.go(20)
    running = [e["E"] for e in spot.heard if not e["k"]["x"]]
    assert set(np.diff(running).tolist()) == {1000}
    assert len([e for e in spot.heard if e["k"]["x"]]) == 20
    assert futures.heard == []  # futures have no such interval


def test_running_bars_grow_and_stand_on_tick_and_lot():
    scene = Scene(Source(minutes([600, 40])))
    ears = [scene.spot_ear(), scene.ear(), scene.ear("btcusd_perp@kline_1m", market=Market.COIN_M)]
    scene.go(60)
    for ear, lot in zip(ears, (0.01, 0.01, 1), strict=True):
        volumes = [float(e["k"]["v"]) for e in ear.heard]
        assert volumes == sorted(volumes)
        assert all(abs(v / lot - round(v / lot)) < 1e-6 for v in volumes)
        assert all(e["k"]["l"] <= e["k"]["c"] <= e["k"]["h"] for e in ear.heard)


# Ids


def test_ids_ascend_without_a_gap_over_the_bars_of_spot_and_agree_between_intervals():
    scene = Scene(Source(minutes([30, 0, 7, 12, 9, 11, 5, 5, 5, 5, 5])))
    ear = scene.spot_ear("btcusdt@kline_1m", "btcusdt@kline_5m")
    scene.go(10 * 60 + 1)
    bars = {
        i: [e["k"] for e in ear.heard if e["k"]["x"] and e["k"]["i"] == i] for i in ("1m", "5m")
    }
    traded = [k for k in bars["1m"] if k["n"]]
    assert all(k["n"] == k["L"] - k["f"] + 1 for e in ear.heard if (k := e["k"])["n"])
    for before, after in pairwise(traded):
        assert after["f"] == before["L"] + 1
    five, ten = bars["5m"]
    assert (five["f"], five["L"]) == (traded[0]["f"], traded[3]["L"])
    assert ten["f"] == five["L"] + 1
    running = [e["k"] for e in ear.heard if not e["k"]["x"] and e["k"]["t"] == START]
    assert {k["f"] for k in running} == {five["f"]}


def test_futures_burn_ids_at_times():
    scene = Scene(Source(minutes([200] * 40)))
    ear = scene.ear()
    scene.go(39 * 60 + 1)
    bars = [e["k"] for e in ear.heard if e["k"]["x"]]
    spans = [(k["n"], k["L"] - k["f"] + 1) for k in bars]
    assert {span - n for n, span in spans} == {0, 1}
    assert all(b["f"] > a["L"] for a, b in pairwise(bars))
    burned = bars[-1]["L"] - bars[0]["f"] + 1 - sum(k["n"] for k in bars)
    assert burned == pytest.approx(0.0037 * 200 * 39, abs=1)


def test_a_recording_without_counts_is_pushed_and_has_no_ids():
    scene = Scene(Source(minutes([0, 0, 0], volume=[5, 5, 5])))
    ear = scene.ear()
    scene.go(62)
    assert [at for at, _ in ear.closes] == [0]
    assert len(ear.heard) > 30
    assert {(e["k"]["n"], e["k"]["f"], e["k"]["L"]) for e in ear.heard} == {(0, -1, -1)}


# Routes and names


def test_routes_carry_what_the_exchange_says():
    klines, marks = "btcusdt@kline_1m", "btcusdt@markPrice@1s"
    for name in (klines, marks, "btcusdt@aggTrade", "!markPrice@arr@1s", "!ticker@arr"):
        routes = [route for route in (None, *Route) if carries(Market.USD_M, route, name)]
        assert routes == [Route.MARKET]
    for name in ("btcusdt@bookTicker", "btcusdt@depth20@100ms", "btcusdt@depth", "!bookTicker"):
        routes = [route for route in (None, *Route) if carries(Market.USD_M, route, name)]
        assert routes == [None, Route.PUBLIC]
    assert carries(Market.SPOT, None, klines)
    assert carries(Market.COIN_M, None, klines)


def test_an_address_without_a_route_hears_the_book_and_no_kline():
    scene = Scene(Source(minutes([300, 300])))
    both = ("btcusdt@kline_1m", "btcusdt@bookTicker")
    bare, public, market, private = (
        scene.ear(*both, route=route) for route in (None, Route.PUBLIC, Route.MARKET, Route.PRIVATE)
    )
    scene.go(70)
    for ear in (bare, public):
        assert {e["e"] for e in ear.heard} == {"bookTicker"}
    assert {e["e"] for e in market.heard} == {"kline"}
    assert private.heard == []
    updates = [e["u"] for e in bare.heard]
    assert updates == sorted(set(updates))
    assert all(float(e["b"]) < float(e["a"]) for e in bare.heard)


def test_either_futures_host_has_the_klines_of_both():
    scene = Scene(Source(minutes([300, 300])))
    coin, usd = "btcusd_perp@kline_1m", "btcusdt@kline_1m"
    um, cm = scene.ear(coin, usd), scene.ear(coin, usd, market=Market.COIN_M, route=None)
    spot = scene.spot_ear(coin)
    scene.go(61)
    assert um.heard == cm.heard
    assert {e["s"] for e in um.heard} == {"BTCUSD_PERP", "BTCUSDT"}
    assert spot.heard == []


def test_names_are_lower_case_and_may_be_chinese():
    scene = Scene(Source(minutes([300, 300])))
    silent = scene.ear("BTCUSDT@kline_1m", "btcusdt@kline_7m", "nope@kline_1m", "btcusdt@nonsense")
    chinese = scene.ear("币安usdt@kline_1m")
    scene.go(10)
    assert silent.heard == []
    assert {e["s"] for e in chinese.heard} == {"币安USDT"}


# Formats


def shape(event):
    """Keys in order, and of each number its sign, point and decimals."""
    if isinstance(event, dict):
        return [(key, shape(value)) for key, value in event.items()]
    if isinstance(event, str) and re.fullmatch(r"[\d.]+", event):
        _, point, decimals = event.partition(".")
        return f"number{point}{len(decimals)}"
    return type(event).__name__


@pytest.mark.skipif(not RECORDED.exists(), reason="no recordings here")
def test_spot_frames_are_the_recorded_ones_key_by_key():
    scene = Scene(Source(minutes([30, 0, 0])))
    ear = scene.spot_ear("btcusdt@kline_1m", "btcusdt@bookTicker")
    scene.go(121)
    events = [e for e in recorded("ws_2021/spot.jsonl.gz") if e.get("e") != "aggTrade"]
    (empty,) = recorded("exchange_2026/closed_bar_without_a_trade.jsonl")
    shapes = [
        {str(shape(event)) for event in each if ("k" in event) == kline}
        for each in ([*events, empty], ear.heard)
        for kline in (True, False)
    ]
    assert shapes[:2] == shapes[2:]
    ours = next(e for e in ear.heard if "k" in e and e["k"]["x"] and not e["k"]["n"])
    same = [name for name in empty["k"] if name not in "tTsochl"]
    assert [ours["k"][name] for name in same] == [empty["k"][name] for name in same]


@pytest.mark.skipif(not RECORDED.exists(), reason="no recordings here")
def test_futures_frames_are_the_recorded_ones_key_by_key():
    """Numbers there have the symbol's decimals, and a quote volume those of both together."""
    everything = recorded("ws_2021/um.jsonl.gz")
    events = [event for event in everything if event["e"] == "kline"]
    events.append(recorded("exchange_2026/frames.jsonl")[0])
    scene = Scene(Source(minutes([30, 60])))
    ear, book = scene.ear(), scene.ear("btcusdt@bookTicker", route=Route.PUBLIC)
    scene.go(63)
    for event in (*events, *ear.heard):
        k = event["k"]
        assert list(event) == list(ear.heard[0])
        assert list(k) == list(ear.heard[0]["k"])
        assert [type(value) for value in k.values()] == [type(v) for v in events[0]["k"].values()]
        decimals = {name: len(k[name].partition(".")[2]) for name in "ohlcvVqQB"}
        assert len({decimals[name] for name in "ohlc"}) == 1
        assert decimals["v"] == decimals["V"]
        assert decimals["q"] == decimals["Q"] == decimals["o"] + decimals["v"]
        assert decimals["B"] == 0
    old = next(event for event in everything if event["e"] == "bookTicker")
    assert list(book.heard[0]) == [*old, "st"]  # which came with COIN-M on the same host


def test_coin_margined_volumes_are_whole_contracts_and_quotes_are_coins():
    scene = Scene(Source(minutes([30, 60])))
    ear = scene.ear("btcusd_perp@kline_1m", market=Market.COIN_M, route=None)
    scene.go(63)
    assert ear.heard
    for event in ear.heard:
        k = event["k"]
        assert re.fullmatch(r"\d+", k["v"] + k["V"])
        assert all(re.fullmatch(r"\d+\.\d{8}", k[name]) for name in "qQ")
        assert re.fullmatch(r"\d+\.\d", k["c"])


# Faults


def test_a_late_close_comes_5_to_30_s_after_and_past_frames_of_the_next_bar():
    scene = Scene(Source(minutes([300] * 6)), ["close_late:@2-3"])
    ear = scene.ear()
    scene.go(5 * 60)
    lags = dict(ear.closes)
    assert sorted(lags) == [0, 1, 2, 3, 4]
    assert all(5_000 <= lags[at] < 30_300 for at in (1, 2))
    assert all(lags[at] < 300 for at in (0, 3, 4))
    opens = [e["k"]["t"] for e in ear.heard]
    assert opens != sorted(opens)
    assert scene.streams.stats()["faults"] == {"close_late": 2}


def test_a_lost_close_never_comes_to_nobody():
    scene = Scene(Source(minutes([300] * 6)), ["close_lost:@2"])
    one, two = scene.ear(), scene.ear("btcusdt@kline_1m", market=Market.USD_M)
    scene.go(3 * 60 + 5)
    assert [at for at, _ in one.closes] == [at for at, _ in two.closes] == [0, 2]


def test_shares_follow_from_the_seed_whoever_listens_and_whenever():
    bars = Source(minutes([7] * 400))

    def lost(seed, *, begin_s):
        scene = Scene(bars, ["close_lost:0.2"], seed)
        scene.go(begin_s)
        ear = scene.ear()
        scene.go(399 * 60 - begin_s)
        told = {at for at, _ in ear.closes}
        return set(range(100, 398)) - told

    first = lost(1, begin_s=30)
    assert first == lost(1, begin_s=95 * 60)
    assert 35 <= len(first) <= 85
    assert first != lost(2, begin_s=30)


def test_a_dropped_connection_misses_the_close_and_the_next_hears_what_follows():
    scene = Scene(Source(minutes([300] * 6)), ["drop:@2"])
    ear, other = scene.ear(), scene.spot_ear("btcusdt@kline_5m")
    scene.go(2 * 60 + 1)
    assert ear.end == "dropped"
    assert other.end is None
    again = scene.ear()
    scene.go(2 * 60)
    assert [at for at, _ in ear.closes] == [0]
    assert [at for at, _ in again.closes] == [2, 3]


def test_a_silent_connection_is_open_and_hears_no_event_of_any_stream():
    scene = Scene(Source(minutes([300] * 6)), ["silent:@2"])
    ear = scene.ear("btcusdt@kline_1m", "btcusdt@kline_5m")
    scene.go(5 * 60 + 1)
    assert ear.end is None
    assert scene.streams.stats()["open"] == 1
    assert max(e["E"] for e in ear.heard) < START + 2 * MINUTE + 300
    again = scene.ear()
    scene.go(50)
    assert again.heard


def test_a_shutdown_is_told_in_place_of_the_close():
    scene = Scene(Source(minutes([300] * 6)), ["shutdown:/3"])
    ear = scene.spot_ear()
    scene.go(3 * 60 + 1)
    assert [at for at, _ in ear.closes] == [0, 1]
    assert ear.end == "shutdown"
    (told,) = ear.announced
    assert told["e"] == "serverShutdown"
    assert START + 3 * MINUTE < told["E"] < START + 3 * MINUTE + 10


def test_a_shutdown_may_be_announced_some_time_before_and_the_close_is_told_still():
    scene = Scene(Source(minutes([300] * 6)), ["shutdown=10:@2"])
    ear = scene.spot_ear("btcusdt@kline_1m", "btcusdt@kline_5m")
    scene.go(2 * 60 + 9)
    assert ear.end is None
    fresh = scene.spot_ear()
    scene.go(60)
    assert [told["E"] // MINUTE * MINUTE for told in ear.announced] == [START + 2 * MINUTE]
    assert ear.end == "shutdown"
    assert [at for at, _ in ear.closes] == [0, 1]
    assert START + 2 * MINUTE + 5_000 < ear.heard[-1]["E"] < START + 2 * MINUTE + 10_010
    assert fresh.end is None
    assert [at for at, _ in fresh.closes] == [2]


@pytest.mark.parametrize(("text", "least", "most"), [("0.2-2", 200, 2_000), ("75", 75_000, 75_000)])
def test_how_late_a_close_is_can_be_chosen(text, least, most):
    scene = Scene(Source(minutes([300] * 12)), [f"close_late={text}:/2"])
    ear = scene.spot_ear()
    scene.go(11 * 60)
    late = [lag for at, lag in ear.closes if at % 2]
    assert len(late) >= 4
    assert all(least + 2 <= lag <= most + 7 for lag in late)
    if least == most:  # past the end of the next bar: out of order
        assert [at for at, _ in ear.closes][:4] == [0, 2, 1, 4]


def test_a_close_is_told_again_as_it_was_also_to_who_has_reconnected_since():
    scene = Scene(Source(minutes([300] * 6)), ["drop:@2", "close_twice=61:@1"])
    first = scene.spot_ear()
    scene.go(2 * 60 + 0.02)
    assert (first.end, [at for at, _ in first.closes]) == ("dropped", [0])
    again = scene.spot_ear()
    scene.go(2)
    assert [e for e in again.heard if e["k"]["x"]] == [e for e in first.heard if e["k"]["x"]]
    near = Scene(Source(minutes([300] * 6)), ["close_twice:1"])
    ear = near.ear()
    near.go(4 * 60 + 5)
    assert [at for at, _ in ear.closes] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert near.streams.stats()["faults"] == {"close_twice": 4}


def test_an_older_frame_may_follow_the_close():
    scene = Scene(Source(minutes([300, 0, 300, 300])), ["stale:1"])
    ear = scene.spot_ear()
    scene.go(3 * 60 + 1)
    ends = [at for at, e in enumerate(ear.heard) if e["k"]["x"]]
    assert [at for at, _ in ear.closes] == [0, 1, 2]
    traded = [at for at in ends if ear.heard[at]["k"]["n"]]
    assert len(traded) == 2
    for at in traded:
        close, stale = ear.heard[at], ear.heard[at + 1]
        assert (stale["k"]["t"], stale["k"]["x"]) == (close["k"]["t"], False)
        assert stale["E"] < close["k"]["T"]
        assert stale["k"]["n"] < close["k"]["n"]
    assert scene.streams.stats()["faults"] == {"stale": 2}  # an empty bar never ran


def test_frames_are_cut_with_their_connection_and_without():
    bars = Source(minutes([300] * 4))
    frame, text = Scene(bars, ["cut_frame:@2"]), Scene(bars, ["cut_json:@2"])
    broken, halved = frame.spot_ear(), text.spot_ear()
    for scene in (frame, text):
        scene.go(3 * 60 + 1)
    assert (broken.end, halved.end) == ("dropped", None)
    assert [[(e["k"]["t"] - START) // MINUTE for e in ear.halves] for ear in (broken, halved)] == [
        [1],
        [1],
    ]
    assert [at for at, _ in broken.closes] == [0]
    assert [at for at, _ in halved.closes] == [0, 2]


def test_faults_of_streams_are_parsed_and_bad_ones_explained():
    bad = ("close_late", "nonsense:0.1", "drop:2", "silent:/x", "http_429:@1", "drop=3:@1")
    times = ("close_late=:1", "close_late=2-1:1", "close_late=-1:1", "shutdown=3601:1")
    for text in (*bad, *times):
        with pytest.raises(
            ValueError, match=re.escape("(close_late[=S-S], close_lost, close_twic")
        ):
            StreamFault.parse(text)
    assert StreamFault.parse("shutdown=0.5:@3").span_ms == (500, 500)


# What keeps a connection


@pytest.mark.parametrize(
    ("rules", "ping_s", "pong_s", "messages"),
    [(SPOT_STREAMS, 20, 60, 5), (FUTURES_STREAMS, 180, 600, 10)],
)
def test_pings_pongs_and_messages_have_the_markets_limits(rules, ping_s, pong_s, messages):
    upkeep = Upkeep(rules, 100.0)
    assert not upkeep.wants_ping(100 + ping_s - 0.1)
    assert upkeep.wants_ping(100 + ping_s)
    upkeep.pinged(b"one", 100 + ping_s)
    assert not upkeep.wants_ping(100 + 2 * ping_s - 0.1)
    upkeep.pinged(b"two", 100 + 2 * ping_s)
    upkeep.answered(b"")
    assert upkeep.ending(100 + ping_s + pong_s - 0.1) is None
    assert upkeep.ending(100 + ping_s + pong_s) == (1008, "Pong timeout")
    upkeep.answered(b"two")
    assert upkeep.ending(100 + 2 * ping_s + pong_s) is None
    assert upkeep.ending(100 + 86_399) is None
    assert upkeep.ending(100 + 86_400) == (1001, "end of life")
    assert [upkeep.hears(200.0) for _ in range(messages + 1)] == [True] * messages + [False]
    assert [upkeep.hears(201.0 + at / messages) for at in range(5 * messages)] == [True] * (
        5 * messages
    )


def test_300_attempts_in_five_minutes_on_spot_and_any_number_on_futures():
    scene = Scene(Source(minutes([3])))
    admitted = [scene.streams.admits(Market.SPOT, "1.2.3.4") for _ in range(301)]
    assert admitted == [True] * 300 + [False]
    assert scene.streams.admits(Market.SPOT, "1.2.3.5")
    assert all(scene.streams.admits(Market.USD_M, "1.2.3.4") for _ in range(400))
    scene.clock.advance(300)
    assert scene.streams.admits(Market.SPOT, "1.2.3.4")


def test_1024_streams_a_connection_and_code_4_for_one_more():
    wants = Subscriptions(SPOT_STREAMS.streams, combined=False)
    names = [f"a{at}@kline_1m" for at in range(1024)]
    assert wants.reply_to(json.dumps({"method": "SUBSCRIBE", "params": names, "id": 1})) == {
        "result": None,
        "id": 1,
    }
    again = {"method": "SUBSCRIBE", "params": names[:2], "id": 2}
    assert wants.reply_to(json.dumps(again))["result"] is None
    more = {"method": "SUBSCRIBE", "params": ["b@kline_1m"], "id": 3}
    refused = {"error": {"code": 4, "msg": "Too many subscriptions"}, "id": 3}
    assert wants.reply_to(json.dumps(more)) == refused


@pytest.mark.parametrize(
    "wrong",
    [
        {"push_s": 0.0},
        {"messages_per_s": 0},
        {"connections": 0},
        {"close_timer_s": float("inf")},
        {"burned_frac": 1.0},
    ],
)
def test_rules_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        StreamRules(**wrong)


def test_ids_of_longer_bars_that_begin_later_are_those_of_the_trades_in_them():
    tape = minutes([30, 0, 7, 12, 9, 11, 5, 5, 5, 5])
    fives = resample(tape, Interval.M5).rows(1, 2)
    ours, theirs = (trade_ids("um/BTCUSDT", tape, bars, 0.0037) for bars in (tape, fives))
    assert theirs.within(0, 31) == (ours.within(5, 11)[0], ours.within(9, 5)[1])
    assert trade_ids("um/ETHUSDT", tape, tape, 0.0).within(0, 1) != ours.within(0, 1)


def test_the_choices_of_the_command_reach_the_exchange(monkeypatch):
    configs = []
    monkeypatch.setattr(
        "alphamill.sim.exchange.run_exchange", lambda config, _: configs.append(config)
    )
    chosen = ["--futures-close-s", "3600", "--futures-empty-closes", "--stream-ping-s", "5"]
    faults = ["--stream-fault", "close_lost:0.1", "--stream-fault", "drop:@3", "--fault-seed", "9"]
    for arguments in ([], [*chosen, *faults]):
        CliRunner().invoke(sim, ["exchange", *arguments], catch_exceptions=False)
    usual, config = configs
    assert (usual.spot_streams, usual.futures_streams) == (SPOT_STREAMS, FUTURES_STREAMS)
    futures = config.futures_streams
    assert (futures.close_timer_s, futures.empty_closes, futures.by_trade) == (3600, True, True)
    assert (futures.ping_s, config.spot_streams.ping_s, futures.pong_within_s) == (5, 5, 15)
    assert config.spot_streams.empty_closes
    assert config.seed == 9
    assert config.stream_faults == (
        StreamFault.parse("close_lost:0.1"),
        StreamFault.parse("drop:@3"),
    )
    refused = CliRunner().invoke(sim, ["exchange", "--stream-fault", "nonsense:1"])
    assert refused.exit_code == 2
    assert "close_late" in refused.output


def test_a_client_that_dies_under_a_message_is_no_error():
    told = []

    async def refuse(_message):
        raise WebSocketClosedError

    async def write():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: told.append(context["message"]))
        handler = StreamHandler.__new__(StreamHandler)
        handler.write_message = lambda message: asyncio.ensure_future(refuse(message))
        handler._write("{}")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        gc.collect()

    asyncio.run(write())
    assert told == []
