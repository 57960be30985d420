"""Websocket kline streams without their sockets: what is pushed to whom, and when.

Source: "WebSocket Streams", "Kline/Candlestick Streams" of Spot. Where nothing was traded nothing
is pushed, also not that the bar has closed: a follower has to ask the API for it.
"""

from __future__ import annotations

import json
import re
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from alphamill.frames import Interval, Market
from alphamill.sim.exchange.print_rows import print_rows
from alphamill.sim.market import Bars, BarSource
from alphamill.sim.market.bars import close_ms, unfinished

Event = dict[str, Any]

_NAME = re.compile(r"(?P<symbol>\w{1,30})@kline_(?P<interval>\d{1,2}[smhdwM])")
_ATTEMPTS_SPAN_S = 300.0


@dataclass(frozen=True, slots=True)
class StreamRules:
    """The exchange's own figures by default, in seconds of the machine's clock.

    push_s: between pushes of a running bar, half of it for 1s. ping_s: between the server's pings;
    who has not answered one after pong_within_s is disconnected. life_s: of a connection.
    connections: attempts of one address in five minutes.
    """

    push_s: float = 2.0
    ping_s: float = 20.0
    pong_within_s: float = 60.0
    life_s: float = 86_400.0
    streams: int = 1024  # a connection
    messages_per_s: int = 5  # from one client, pings and pongs included
    connections: int = 300

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0")


class Listener(Protocol):
    """One connection."""

    market: Market

    @property
    def names(self) -> dict[str, None]:
        """Of its streams, in the order of subscription."""

    def tell(self, name: str, event: Event) -> None:
        """Send an event of stream `name`."""

    def shut(self, event: Event) -> None:
        """Send the last event and close."""


@dataclass(slots=True)
class _Feed:
    """One symbol and interval; `at` is the first bar whose end has not been told."""

    symbol: str
    interval: Interval
    bars: Bars
    at: int
    push_at_s: float = 0.0

    def due(self, now_ms: int, now_s: float, push_s: float) -> Iterator[Event]:
        """Bars that have closed since, each once and in order, and the running one in its turn."""
        while self.at < len(self.bars) and self._close_ms() < now_ms:
            yield from self._event(self.bars.rows(self.at, self.at + 1), now_ms, closed=True)
            self.at += 1
        running = self.at < len(self.bars) and int(self.bars.open_ms[self.at]) <= now_ms
        if running and now_s >= self.push_at_s:
            self.push_at_s = now_s + push_s
            bar = unfinished(self.bars.rows(self.at, self.at + 1), self.interval, now_ms)
            yield from self._event(bar, now_ms, closed=False)

    def _close_ms(self) -> int:
        return close_ms(int(self.bars.open_ms[self.at]), self.interval)

    def _event(self, bar: Bars, now_ms: int, *, closed: bool) -> Iterator[Event]:
        if bar.volume[0] == 0:
            return
        start, o, h, low, c, volume, end, quote, trades, taker, taker_quote, ignored = json.loads(
            print_rows(bar, self.interval)[0]
        )
        yield {
            "e": "kline",
            "E": now_ms,
            "s": self.symbol,
            "k": {
                "t": start,
                "T": end,
                "s": self.symbol,
                "i": self.interval.value,
                "f": -1,
                "L": -1,
                "o": o,
                "c": c,
                "h": h,
                "l": low,
                "v": volume,
                "n": trades,
                "x": closed,
                "q": quote,
                "V": taker,
                "Q": taker_quote,
                "B": ignored,
            },
        }


@dataclass(slots=True)
class KlineStreams:
    """All streams of one exchange. Not thread-safe: one event loop owns it."""

    source: BarSource
    rules: StreamRules
    now_ms: Callable[[], int]
    ended: Counter[str] = field(default_factory=Counter)  # connections closed by us, by reason
    _listeners: dict[Listener, None] = field(default_factory=dict)
    _feeds: dict[tuple[Market, str], _Feed | None] = field(default_factory=dict)
    _attempts: dict[str, deque[float]] = field(default_factory=dict)
    _counts: Counter[str] = field(default_factory=Counter)

    def admits(self, address: str, now_s: float) -> bool:
        """Count an attempt to connect; False if there were too many."""
        attempts = self._attempts.setdefault(address, deque())
        while attempts and attempts[0] <= now_s - _ATTEMPTS_SPAN_S:
            attempts.popleft()
        attempts.append(now_s)
        return len(attempts) <= self.rules.connections

    def join(self, listener: Listener) -> None:
        """Push to the listener what it subscribes to from now on."""
        self._listeners[listener] = None
        self._counts["connections"] += 1

    def leave(self, listener: Listener) -> None:
        """Push nothing to it any more."""
        self._listeners.pop(listener, None)

    def push(self, now_s: float) -> None:
        """Send what is due; `now_s` on the machine's monotonic clock."""
        wanted: dict[tuple[Market, str], list[Listener]] = {}
        for listener in self._listeners:
            for name in listener.names:
                wanted.setdefault((listener.market, name), []).append(listener)
        self._feeds = {
            key: self._feeds[key] if key in self._feeds else self._open(*key) for key in wanted
        }
        now_ms = self.now_ms()
        for (market, name), feed in self._feeds.items():
            if feed is None:
                continue
            push_s = self.rules.push_s / (2 if feed.interval is Interval.S1 else 1)
            for event in feed.due(now_ms, now_s, push_s):
                for listener in wanted[market, name]:
                    listener.tell(name, event)
                    self._counts["events"] += 1

    def shut_down(self) -> None:
        """Say goodbye to everybody."""
        for listener in list(self._listeners):
            listener.shut({"e": "serverShutdown", "E": self.now_ms()})

    def stats(self) -> dict[str, Any]:
        """Connections now and ever, events sent, and connections that we ended, by reason."""
        return {
            "open": len(self._listeners),
            "connections": self._counts["connections"],
            "events": self._counts["events"],
            "ended": dict(self.ended),
        }

    def _open(self, market: Market, name: str) -> _Feed | None:
        """None for a stream that stays silent: of no symbol, in upper case, of another kind."""
        match = _NAME.fullmatch(name)
        if match is None or match["interval"] not in tuple(Interval):
            return None
        symbol, interval = match["symbol"].upper(), Interval(match["interval"])
        if match["symbol"] != symbol.lower() or symbol not in self.source.symbols(market):
            return None
        bars = self.source.bars(market, symbol, interval)
        if bars is None:
            return None
        now_ms = self.now_ms()
        at = bars.stop_at(now_ms)
        if at and close_ms(int(bars.open_ms[at - 1]), interval) >= now_ms:
            at -= 1
        return _Feed(symbol, interval, bars, at)


def in_microseconds(event: Event) -> Event:
    """The event for a connection that asked for timeUnit=MICROSECOND."""
    changed = {**event, "E": event["E"] * 1000}
    if "k" in event:
        bar = event["k"]
        changed["k"] = {**bar, "t": bar["t"] * 1000, "T": (bar["T"] + 1) * 1000 - 1}
    return changed
