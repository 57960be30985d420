"""The simulated exchange's streams and a follower's core, joined without a socket on one clock."""

import json
from dataclasses import replace
from itertools import count

import numpy as np

from alphamill.clock import ManualClock
from alphamill.frames import Interval, Market
from alphamill.market.stream import (
    Absent,
    ClockSkew,
    Close,
    Closed,
    KlineStreams,
    Notice,
    Open,
    Patience,
)
from alphamill.sim.exchange import FUTURES_STREAMS, SPOT_STREAMS, StreamFault
from alphamill.sim.exchange.stream_faults import StreamFaultPlan
from alphamill.sim.exchange.stream_rules import Route
from alphamill.sim.exchange.streams import MarketStreams
from alphamill.sim.exchange.subscriptions import Subscriptions
from alphamill.sim.market import Bars
from alphamill.sim.market.bars import resample

MINUTE = 60_000
START = 1_704_067_200_000  # 2024-01-01, a Monday
HOST = "wss://stream.example.com"


def minutes(n, seed=0, quiet=0.0):
    """Minutes from START, of which a share has no trade and is flat."""
    random = np.random.default_rng(seed)
    counts = np.where(random.random(n) < quiet, 0, random.integers(5, 400, n))
    close = np.round(100 + np.cumsum(np.where(counts > 0, random.integers(-3, 4, n) / 4, 0)), 2)
    close = np.maximum(close, 10)
    opened = np.concatenate((close[:1], close[:-1]))
    volume = counts * 0.25
    return Bars(
        open_ms=START + MINUTE * np.arange(n, dtype=np.int64),
        open=opened,
        high=np.maximum(opened, close),
        low=np.minimum(opened, close),
        close=close,
        volume=volume,
        quote_volume=volume * close,
        trades=counts.astype(np.int64),
        taker_buy_base=volume / 5,
        taker_buy_quote=volume * close / 5,
    )


class Source:
    """Minutes of each symbol on every market, and the fives summed from them."""

    def __init__(self, of):
        self._of = of

    def symbols(self, _market):
        return list(self._of)

    def intervals(self, _market, _symbol):
        return [Interval.M1, Interval.M5]

    def bars(self, _market, symbol, interval):
        bars = self._of[symbol]
        return bars if interval is Interval.M1 else resample(bars, Interval.M5)


class Line:
    """One connection: what the exchange tells goes to the core at once, as text."""

    def __init__(self, scene, number, url):
        self.number, self._scene = number, scene
        self.market = scene.market
        route = "market" if "/market/" in url else None
        self.route = Route(route) if route else None
        self._wants = Subscriptions(scene.rules[self.market].streams, combined=True)
        self._born_s = scene.clock.monotonic_s()
        query = url.partition("?streams=")[2]
        self._wants.add([name for name in query.split("/") if name])

    @property
    def names(self):
        return self._wants.names

    def attend(self, now_s):
        if now_s - self._born_s >= self._scene.rules[self.market].life_s:
            self._end("end of life")

    def tell(self, name, event, *, half=False):
        text = json.dumps({"stream": name, "data": event}, separators=(",", ":"))
        self._scene.told(self.number, text[: len(text) // 2] if half else text)

    def announce(self, event):
        self.tell("!serverShutdown", event)

    def shut(self):
        self._end("closed by the server")

    def drop(self):
        self._end("cut")

    def break_off(self, _name, _event):
        self._end("cut in a frame")

    def hears(self, text):
        reply = self._wants.reply_to(text)
        self._scene.exchange.resubscribe()
        self._scene.told(self.number, json.dumps(reply))

    def _end(self, why):
        self._scene.exchange.leave(self)
        self._scene.lines.pop(self.number, None)
        self._scene.streams.lost(self.number, why)


class Scene:
    """A market's exchange and a follower of `series`; time is moved by `go`.

    clock_off_ms: how far the follower's clock is off; asked: whether it has asked for the time.
    refuses: of each attempt to connect, by its
    number, whether nothing comes of it.
    """

    def __init__(
        self,
        series,
        bars=None,
        market=Market.SPOT,
        faults=(),
        seed=0,
        start_s=30,
        refuses=lambda _: False,
        clock_off_ms=0,
        asked=False,
        rules=None,
        **changed,
    ):
        self.market, self.refuses = market, refuses
        self.clock = ManualClock(START + round(1000 * start_s))
        usual = SPOT_STREAMS if market is Market.SPOT else FUTURES_STREAMS
        self.rules = {market: rules or replace(usual, push_s=10)}
        symbols = dict.fromkeys(symbol for symbol, _ in series)
        source = Source(bars or {one: minutes(400, at) for at, one in enumerate(symbols)})
        plan = StreamFaultPlan(tuple(map(StreamFault.parse, faults)), seed)
        self.exchange = MarketStreams(
            source, self.rules, self.clock.now_ms, self.clock.monotonic_s, plan
        )
        own = ManualClock(self.clock.now_ms() + clock_off_ms)
        self.own_clock = own
        waits = Patience(renew_s=changed.pop("renew_s", 600.0))
        skew = ClockSkew()
        if asked:
            now_ms = self.clock.now_ms()
            skew.asked(now_ms, now_ms + clock_off_ms - 5, now_ms + clock_off_ms + 5)
        self.streams = KlineStreams(
            market, HOST, series, own, seed=1, waits=waits, skew=skew, **changed
        )
        self.steps = 0
        self.lines, self.opened, self.sent = {}, [], []
        self.closed, self.absent, self.notices = [], [], []
        self._attempts = count(1)

    def told(self, number, text):
        self._hear(self.streams.received(number, text))

    def _hear(self, events):
        kept = {Closed: self.closed, Absent: self.absent, Notice: self.notices}
        for event in events:
            kept[type(event)].append(event)

    def act(self):
        for action in self.streams.actions():
            if isinstance(action, Open):
                self.opened.append((self.clock.now_ms(), action.url))
                if self.refuses(next(self._attempts)):
                    self.streams.lost(action.connection, "refused")
                    continue
                line = Line(self, action.connection, action.url)
                self.lines[action.connection] = line
                self.exchange.join(line)
                self.streams.opened(action.connection)
            elif isinstance(action, Close):
                if line := self.lines.pop(action.connection, None):
                    self.exchange.leave(line)
            else:
                self.sent.append((self.clock.now_ms(), action.connection, action.text))
                self.lines[action.connection].hears(action.text)

    def go(self, seconds):
        """Both look whenever something may be due."""
        end_ms = self.clock.now_ms() + round(1000 * seconds)
        while True:
            self.steps += 1
            due_ms = self.exchange.push()
            self.act()
            self._hear(self.streams.due())
            now_ms = self.clock.now_ms()
            if now_ms >= end_ms:
                return
            wait_ms = min(due_ms - now_ms, 1000 * self.streams.next_s(), end_ms - now_ms)
            step_s = max(1, np.ceil(wait_ms)) / 1000
            self.clock.advance(step_s)
            self.own_clock.advance(step_s)

    def said(self, symbol, interval=Interval.M1):
        """Number of each bar of a series that was said to have closed in time, and absent ones."""
        closed = [
            (one.bar.open_ms - START) // interval.ms
            for one in self.closed
            if (one.bar.symbol, one.bar.interval) == (symbol, interval)
            and one.standing == "in time"
        ]
        absent = [
            (one.open_ms - START) // interval.ms
            for one in self.absent
            if (one.symbol, one.interval) == (symbol, interval)
        ]
        return closed, absent

    def kinds(self):
        return [one.kind for one in self.notices]
