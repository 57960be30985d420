"""Websocket streams without their sockets: what is pushed to whom, and when.

Klines, and bookTicker for what the public route of USD-M carries; other names are taken and stay
silent. Source: "WebSocket Streams", "Kline/Candlestick Streams" of Spot and of USD-M.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from alphamill.frames import Interval, Market
from alphamill.sim.exchange.book_feed import BookFeed
from alphamill.sim.exchange.kline_feed import Event, KlineFeed, Push
from alphamill.sim.exchange.listing import printed_decimals, traded_decimals
from alphamill.sim.exchange.stream_faults import StreamFaultKind, StreamFaultPlan
from alphamill.sim.exchange.stream_rules import Route, StreamRules, carries
from alphamill.sim.exchange.trade_ids import trade_ids
from alphamill.sim.market import BarSource
from alphamill.sim.market.bars import EMPTY

_NAME = re.compile(r"(?P<symbol>[^@/]{1,40})@(?:bookTicker|kline_(?P<interval>\d{1,2}[smhdwM]))")
_ATTEMPTS_SPAN_S = 300.0
_BOOK_PUSH_S = 0.25
# Since 2026-06-30 the hosts of futures carry klines of both markets.
_TOGETHER = (Market.USD_M, Market.COIN_M)


@dataclass(frozen=True, slots=True)
class _Stream:
    """What a name means. market: whose symbol it is; interval: None for its bookTicker."""

    market: Market
    symbol: str
    interval: Interval | None
    name: str


class Listener(Protocol):
    """One connection."""

    market: Market
    route: Route | None

    @property
    def names(self) -> dict[str, None]:
        """Of its streams, in the order of subscription."""

    def attend(self, now_s: float) -> None:
        """Ping or end the connection if it is time; on the machine's monotonic clock."""

    def tell(self, name: str, event: Event, *, half: bool = False) -> None:
        """Send an event of stream `name`, or the half of its JSON."""

    def announce(self, event: Event) -> None:
        """Tell of the end where the market does."""

    def shut(self) -> None:
        """Close."""

    def drop(self) -> None:
        """Cut the connection without a word."""

    def break_off(self, name: str, event: Event) -> None:
        """Send half of the event's frame and cut the connection."""


@dataclass(slots=True)
class MarketStreams:
    """All streams of one exchange. Not thread-safe: one event loop owns it.

    now_ms: the exchange's clock. now_s: the machine's, monotonic.
    """

    source: BarSource
    rules: Mapping[Market, StreamRules]
    now_ms: Callable[[], int]
    now_s: Callable[[], float]
    plan: StreamFaultPlan = field(default_factory=StreamFaultPlan)
    ended: Counter[str] = field(default_factory=Counter)  # connections closed by us, by reason
    _begun_ms: int = field(init=False)
    _listeners: dict[Listener, None] = field(default_factory=dict)
    _mute: set[Listener] = field(default_factory=set)
    _ending_ms: dict[Listener, int] = field(default_factory=dict)  # of those that were told so
    _wanted: dict[_Stream, dict[Listener, str]] = field(default_factory=dict)  # by what name
    _outdated: bool = False
    _found: dict[tuple[Market, str], _Stream | None] = field(default_factory=dict)  # by host, name
    _feeds: dict[_Stream, KlineFeed | BookFeed] = field(default_factory=dict)
    _attempts: dict[tuple[Market, str], deque[float]] = field(default_factory=dict)
    _counts: Counter[str] = field(default_factory=Counter)
    _caused: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._begun_ms = self.now_ms()

    def admits(self, market: Market, address: str) -> bool:
        """Count an attempt to connect; False if there were too many."""
        most, now_s = self.rules[market].connections, self.now_s()
        attempts = self._attempts.setdefault((market, address), deque())
        while attempts and attempts[0] <= now_s - _ATTEMPTS_SPAN_S:
            attempts.popleft()
        attempts.append(now_s)
        return most is None or len(attempts) <= most

    def join(self, listener: Listener) -> None:
        """Push to the listener what it subscribes to from now on."""
        self._listeners[listener] = None
        self._counts["connections"] += 1
        self.resubscribe()

    def resubscribe(self) -> None:
        """The names of a listener have changed: what is due from now on is theirs."""
        self._wanted = {}
        for listener in self._listeners:
            for name in listener.names:
                stream = self._stream(listener.market, name)
                if stream is not None and carries(listener.market, listener.route, name):
                    self._wanted.setdefault(stream, {})[listener] = name
        now_ms = self.now_ms()
        self._feeds = {
            stream: self._feeds.get(stream) or self._open(stream, now_ms) for stream in self._wanted
        }
        self._outdated = False

    def leave(self, listener: Listener) -> None:
        """Push nothing to it any more."""
        self._listeners.pop(listener, None)
        self._mute.discard(listener)
        self._ending_ms.pop(listener, None)
        self._outdated = True

    def push(self) -> int:
        """Keep connections up and send what is due; the exchange's time when more may be due."""
        now_s = self.now_s()
        for listener in list(self._listeners):
            listener.attend(now_s)
        now_ms = self.now_ms()
        for listener, end_ms in list(self._ending_ms.items()):
            if end_ms <= now_ms:
                listener.shut()
        if self._outdated:
            self.resubscribe()
        pushes = [
            (push, stream)
            for stream, feed in self._feeds.items()
            if feed.next_ms <= now_ms
            for push in feed.due(now_ms)
        ]
        for push, stream in sorted(pushes, key=lambda due: due[0]):
            self._send(push, self._wanted[stream])
        due_ms = [feed.next_ms for feed in self._feeds.values()]
        return min([*due_ms, *self._ending_ms.values()], default=now_ms + 60_000)

    def shut_down(self) -> None:
        """Say goodbye to everybody."""
        for listener in list(self._listeners):
            listener.announce(_farewell(self.now_ms()))
            listener.shut()

    def stats(self) -> dict[str, Any]:
        """Connections now and ever, events sent, faults caused (closes that came to nobody are not
        counted), and connections that we ended, by reason.
        """
        return {
            "open": len(self._listeners),
            "connections": self._counts["connections"],
            "events": self._counts["events"],
            "faults": dict(self._caused),
            "ended": dict(self.ended),
        }

    def _send(self, push: Push, listeners: Mapping[Listener, str]) -> None:
        if push.fault is not None:
            self._caused[push.fault] += 1
        for listener, name in listeners.items():
            if listener not in self._listeners:
                continue
            if push.fault is StreamFaultKind.DROP:
                listener.drop()
            elif push.fault is StreamFaultKind.SHUTDOWN:
                self._send_off(listener, push)
            elif push.fault is StreamFaultKind.SILENT:
                self._mute.add(listener)
            elif push.fault is StreamFaultKind.CUT_FRAME:
                listener.break_off(name, push.event)
            if listener in self._listeners and listener not in self._mute:
                listener.tell(name, push.event, half=push.fault is StreamFaultKind.CUT_JSON)
                self._counts["events"] += 1

    def _send_off(self, listener: Listener, push: Push) -> None:
        """Announce the end once; without time until then it is at once."""
        if listener not in self._ending_ms:
            listener.announce(_farewell(push.at_ms))
            self._ending_ms[listener] = push.at_ms + push.lead_ms
        if not push.lead_ms:
            listener.shut()

    def _stream(self, host: Market, name: str) -> _Stream | None:
        if (host, name) not in self._found:
            self._found[host, name] = self._find(host, name)
        return self._found[host, name]

    def _find(self, host: Market, name: str) -> _Stream | None:
        """None for a stream that stays silent: of no symbol, in upper case, of another kind."""
        match = _NAME.fullmatch(name)
        if match is None or match["symbol"] != match["symbol"].lower():
            return None
        symbol, interval = match["symbol"].upper(), match["interval"]
        homes = [host]
        if host in _TOGETHER and interval is not None:
            homes += [other for other in _TOGETHER if other is not host]
        for home in homes:
            if symbol not in self.source.symbols(home):
                continue
            served = self.source.intervals(home, symbol)
            if interval is None and served:
                return _Stream(home, symbol, None, name)
            if interval in served and (home is Market.SPOT or interval != Interval.S1):
                return _Stream(home, symbol, Interval(interval), name)
        return None

    def _open(self, stream: _Stream, now_ms: int) -> KlineFeed | BookFeed:
        market, symbol, interval = stream.market, stream.symbol, stream.interval
        shortest = self.source.intervals(market, symbol)[0]
        tape = self.source.bars(market, symbol, shortest) or EMPTY
        bars = self.source.bars(market, symbol, interval or shortest) or EMPTY
        rules, plan = self.rules[market], self.plan
        if interval is None:
            rules, plan = replace(rules, by_trade=True, push_s=_BOOK_PUSH_S), StreamFaultPlan()
        feed = KlineFeed(
            name=f"{market}/{stream.name}",
            symbol=symbol,
            interval=interval or shortest,
            bars=bars,
            ids=trade_ids(f"{market}/{symbol}", tape, bars, rules.burned_frac),
            printed=printed_decimals(self.source, market, symbol),
            traded=traded_decimals(self.source, market, symbol),
            rules=rules,
            plan=plan,
            begun_ms=self._begun_ms,
            since_ms=now_ms,
        )
        return BookFeed(market, feed) if interval is None else feed


def _farewell(at_ms: int) -> Event:
    return {"e": "serverShutdown", "E": at_ms}


def in_microseconds(event: Event) -> Event:
    """The event for a spot connection that asked for timeUnit=MICROSECOND."""
    changed = {**event, "E": event["E"] * 1000} if "E" in event else dict(event)
    if "k" in event:
        bar = event["k"]
        changed["k"] = {**bar, "t": bar["t"] * 1000, "T": (bar["T"] + 1) * 1000 - 1}
    return changed
