"""Closed bars of many symbols as streams tell them, each once: the core without sockets.

It is told what came and what time it is, and says what is to be done and what has been learned:

    streams = KlineStreams(Market.USD_M, url, [("BTCUSDT", Interval.M1)], clock)
    for action in streams.actions(): ...        # Open, Send, Close
    streams.opened(1)
    for event in streams.received(1, text): ... # Closed, Notice
    for event in streams.due(): ...             # Absent, Notice: at `next_s()` at the latest

Of every bar that ends after its series is followed exactly one of two is said: Closed in time, or
Absent once `patience_ms` has passed since its end on the exchange's clock. Absent means "not by
stream": REST may have it. A bar that comes after that is Closed late, and one that is told again
with other numbers Closed and changed; what is told twice is told once. Nothing is filled in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random
from typing import Any

from alphamill import grid
from alphamill.clock import Clock
from alphamill.errors import GiveUp
from alphamill.frames import Interval, Market, is_symbol
from alphamill.market.stream.connection import Action, Close
from alphamill.market.stream.expected import ExpectedBars, Series, Standing
from alphamill.market.stream.messages import (
    Farewell,
    NotBelieved,
    Other,
    Reply,
    StreamBar,
    read_message,
    stream_name,
)
from alphamill.market.stream.plan import assign
from alphamill.market.stream.relay import Attempts, Patience, Relay
from alphamill.market.stream.skew import ClockSkew
from alphamill.market.stream.venue import STREAM_VENUES, StreamVenue, check_streams

_MOST_CONNECTIONS = 50
_LONGEST_SILENT_MS = 600_000
_QUIET_BARS = 3
_AHEAD_MS = 60_000  # further in the future than this a bar has not closed
_FOREVER_S = float("inf")


@dataclass(frozen=True, slots=True)
class Closed:
    """A final bar. received_ms: this machine's clock. skew_ms: that less the exchange's then."""

    bar: StreamBar
    standing: Standing
    received_ms: int
    skew_ms: int
    connection: int

    @property
    def lag_ms(self) -> int:
        """From the bar's end to its receipt, on the exchange's clock."""
        return self.received_ms - self.skew_ms - self.bar.end_ms


@dataclass(frozen=True, slots=True)
class Absent:
    """A bar that no stream has closed in time. at_ms: when that was said, exchange's clock."""

    symbol: str
    interval: Interval
    open_ms: int
    at_ms: int
    reason: str

    @property
    def end_ms(self) -> int:
        """Where the next bar opens."""
        return grid.next_ms(self.interval, self.open_ms)


class NoticeKind(StrEnum):
    """What a notice is about."""

    UP = "up"
    LOST = "lost"
    REFUSED = "refused"  # a command
    RENEWED = "renewed"  # a connection is being replaced before it ends
    SILENT = "silent"
    QUIET = "quiet"  # one stream of a connection that tells of others
    NOT_BELIEVED = "not believed"


@dataclass(frozen=True, slots=True)
class Notice:
    """For people: what happened to a connection, and what to do if it goes on."""

    kind: NoticeKind
    text: str
    connection: int = 0


Event = Closed | Absent | Notice


@dataclass(slots=True)
class KlineStreams:
    """The closed bars of `series` on one market. Not thread-safe.

    base: the market's host, "wss://stream.binance.com:9443". clock: this machine's; it may be off,
    but must go at the pace of the exchange's: in a replay a `FastClock`, with its `speed`, which
    shortens what is waited for in the machine's seconds. skew: measured by what is heard; better
    still by asking the exchange for its time as well (`ClockSkew.asked`). patience_ms: after the
    end of a bar until it is absent; futures tell quiet bars 2.0 s after. silent_ms: after the end
    of a bar until a connection that has told nothing since then is replaced; twice as long from one
    such connection to the next, to ten minutes. streams: a connection, at most the venue's.
    life_s: as StreamVenue.
    Raises GiveUp for an interval without streams, a name that is no symbol, or too many streams.
    """

    market: Market
    base: str
    series: Collection[Series]
    clock: Clock
    patience_ms: int = 2_500
    silent_ms: int = 10_000
    streams: int | None = None
    life_s: float | None = None
    speed: float = 1.0
    waits: Patience = field(default_factory=Patience)
    seed: int | None = None
    counts: Counter[str] = field(default_factory=Counter)  # messages, by what they were
    skew: ClockSkew = field(default_factory=ClockSkew)
    _venue: StreamVenue = field(init=False)
    _expected: ExpectedBars = field(init=False)
    _attempts: Attempts = field(init=False)
    _random: Random = field(init=False)
    _relays: list[Relay] = field(default_factory=list)
    _relay_of: dict[str, Relay] = field(default_factory=dict)  # by stream
    _heard_ms: dict[int, int] = field(default_factory=dict)  # by connection, this machine's clock
    _intervals: dict[int, set[Interval]] = field(default_factory=dict)  # by id of a relay
    _notices: list[Notice] = field(default_factory=list)
    _awaited: dict[Series, int] = field(default_factory=dict)  # since when, this machine's clock

    def __post_init__(self) -> None:
        self._venue = STREAM_VENUES[self.market]
        self._expected = ExpectedBars(self.patience_ms)
        # Half of what an address may: another follower may stand by behind the same one.
        self._attempts = Attempts(self._venue.attempts // 2)
        self._random = Random(self.seed)  # noqa: S311 - spreads connections in time
        self.follow(self.series)

    def follow(self, series: Iterable[Series]) -> None:
        """Follow exactly these from now on; those that stay keep their connection."""
        wanted = dict.fromkeys(series)
        self._check(wanted)
        for gone in self.series:
            if gone not in wanted:
                self._awaited.pop(gone, None)
                self._expected.leave(gone)
        now_ms = self.clock.now_ms()
        self._awaited |= {one: now_ms for one in wanted if one not in self._awaited}
        self._expect(now_ms)
        self.series = tuple(wanted)
        names = [stream_name(*one) for one in wanted]
        held = assign(names, self._most, [relay.names for relay in self._relays])
        for relay, its in zip(self._relays, held, strict=False):
            if relay.names != its:
                relay.change(its)
        for its in held[len(self._relays) :]:
            relay = Relay(self.base, self._venue, its, self._attempts, self._random, self.waits)
            relay.life_s = self.life_s or self._venue.life_s
            self._relays.append(relay)
        self._relay_of = {name: relay for relay in self._relays for name in relay.names}
        self._intervals = {
            id(relay): {Interval(name.rpartition("@kline_")[2]) for name in relay.names}
            for relay in self._relays
        }

    def exchange_ms(self) -> int:
        """The exchange's clock as far as it is known; before anything is heard, this machine's."""
        return self.skew.exchange_ms(self.clock.now_ms())

    def actions(self) -> list[Action]:
        """What is to be done with the connections now."""
        now_s = self.clock.monotonic_s()
        actions = [action for relay in self._relays for action in relay.poll(now_s)]
        for action in actions:
            if isinstance(action, Close):
                self._heard_ms.pop(action.connection, None)
                if action.fault:
                    self._say(NoticeKind.LOST, f"given up: {action.fault}", action.connection)
        return actions

    def next_s(self) -> float:
        """Seconds until `actions` or `due` have something at the latest; inf if never."""
        now_s, now_ms = self.clock.monotonic_s(), self.exchange_ms()
        waits = [relay.next_s() - now_s for relay in self._relays]
        if self._expected.due_ms is not None:
            waits.append((self._expected.due_ms - now_ms) / 1000 / self.speed)
        if self._relays:
            waits.append(self.silent_ms / 2000 / self.speed)
        return max(0.0, min(waits, default=_FOREVER_S))

    def opened(self, connection: int) -> None:
        """The handshake of a connection is done."""
        if relay := self._relay(connection):
            now_s = self.clock.monotonic_s()
            (relay.of(connection) or relay.connections[0]).opened(now_s)
            self._heard_ms[connection] = self.clock.now_ms()
            self._say(NoticeKind.UP, f"connected for {len(relay.names)} streams", connection)

    def lost(self, connection: int, why: str, wait_s: float = 0.0) -> None:
        """A connection has ended or did not come about. wait_s: as the server asked for."""
        self._heard_ms.pop(connection, None)
        if relay := self._relay(connection):
            relay.lost(connection, self.clock.monotonic_s(), wait_s)
            self._say(NoticeKind.LOST, f"connection lost: {why}", connection)

    def received(self, connection: int, text: str | bytes) -> Iterator[Event]:
        """A message has come: the bar that it closes, and what there is to notice."""
        message, received_ms = read_message(text), self.clock.now_ms()
        relay = self._relay(connection)
        if isinstance(message, StreamBar):
            yield from self._bar(message, received_ms, connection)
        elif isinstance(message, Reply):
            self._reply(message, relay, connection)
        elif isinstance(message, Farewell):
            self.counts["shutdowns"] += 1
            if relay is not None:
                relay.replace("the server shuts down")
                self._say(NoticeKind.RENEWED, "the server shuts down; connecting anew", connection)
        elif isinstance(message, Other):
            self.counts[f"other: {message.kind[:40]}"] += 1
        else:
            self._disbelieve(message, connection)
        if relay is not None and isinstance(message, StreamBar | Other):
            relay.heard(connection, self.clock.monotonic_s())
            self._heard_ms[connection] = received_ms
        yield from self._told()

    def due(self) -> Iterator[Event]:
        """Bars that are absent by now, and what there is to notice."""
        self._expect(self.clock.now_ms())
        now_ms = self.exchange_ms()
        for series, open_ms in self._expected.absent(now_ms):
            self.counts["absent"] += 1
            yield Absent(*series, open_ms, now_ms, self._reason(series, open_ms))
        self._find_silent(now_ms)
        yield from self._told()

    def stats(self) -> dict[str, Any]:
        """Connections that are up, streams, messages by kind, closed bars that were ignored."""
        return {
            "connections": sum(len(relay.connections) for relay in self._relays),
            "up": sum(relay.up for relay in self._relays),
            "streams": len(self._relay_of),
            "messages": dict(self.counts),
            "ignored": dict(self._expected.ignored),
            "skew_ms": self.skew.at(self.clock.now_ms()),
        }

    @property
    def _most(self) -> int:
        return min(self.streams or self._venue.streams, self._venue.streams)

    def _check(self, series: Collection[Series]) -> None:
        check_streams(self.market, {interval for _, interval in series})
        for symbol, _ in series:
            if not is_symbol(symbol):
                raise GiveUp(f"{symbol!r} is no symbol: the exchange spells it as BTCUSDT")
        if len(series) > _MOST_CONNECTIONS * self._most:
            raise GiveUp(
                f"{len(series)} streams are more than {_MOST_CONNECTIONS} connections of "
                f"{self._most} carry; follow fewer symbols or intervals"
            )

    def _bar(self, bar: StreamBar, received_ms: int, connection: int) -> Iterator[Closed]:
        self.skew.heard(bar.event_ms, received_ms)
        self._expect(received_ms)
        if bar.closed and bar.close_ms > self.skew.exchange_ms(received_ms) + _AHEAD_MS:
            reason = f"{bar.symbol} {bar.interval} {bar.open_ms}: closed in the future"
            self._disbelieve(NotBelieved(reason), connection)
            return
        self.counts["closed bars" if bar.closed else "running bars"] += 1
        standing = self._expected.take(bar) if bar.closed else None
        if standing is not None:
            skew_ms = self.skew.at(received_ms) or 0
            yield Closed(bar, standing, received_ms, skew_ms, connection)

    def _reply(self, reply: Reply, relay: Relay | None, connection: int) -> None:
        self.counts["replies"] += 1
        if relay is None:
            return
        if reply.error is None:
            relay.replied(connection, reply, self.clock.monotonic_s())
            return
        code, words = reply.error
        self._say(
            NoticeKind.REFUSED,
            f"the exchange refuses a subscription ({code} {words[:200]}); connecting anew",
            connection,
        )
        relay.replace("a subscription was refused")

    def _disbelieve(self, message: NotBelieved, connection: int) -> None:
        self.counts["not believed"] += 1
        self._say(NoticeKind.NOT_BELIEVED, f"not believed: {message.reason[:300]}", connection)

    def _expect(self, local_ms: int) -> None:
        """Expect the bars of what is followed from when that was, once the time then is known."""
        if not self._awaited:
            return
        waited_ms = local_ms - min(self._awaited.values())
        if self.skew.at(local_ms) is not None or (
            waited_ms >= self.silent_ms and not self.skew.doubts
        ):
            for series, since_ms in self._awaited.items():
                self._expected.follow(series, self.skew.exchange_ms(since_ms))
            self._awaited.clear()

    def _relay(self, connection: int) -> Relay | None:
        return next((one for one in self._relays if one.of(connection)), None)

    def _reason(self, series: Series, open_ms: int) -> str:
        """Why a bar is absent, as far as it is known."""
        relay = self._relay_of[stream_name(*series)]
        connection = relay.current
        if connection is None or not relay.up:
            return "not connected"
        heard_ms = self.skew.exchange_ms(self._heard_ms.get(connection.number, 0))
        if heard_ms < grid.next_ms(series[1], open_ms):
            return "nothing was told since its end"
        if self._expected.missed(series) == _QUIET_BARS:
            self._say(
                NoticeKind.QUIET,
                f"{series[0]} {series[1]}: {_QUIET_BARS} bars in a row were not closed while "
                "others were; it may be halted, delisted or misspelt",
                connection.number,
            )
        return "its close was not told"

    def _find_silent(self, now_ms: int) -> None:
        """Replace connections that have told nothing since a bar of theirs has ended."""
        for relay in self._relays:
            connection = relay.current
            if (
                connection is None
                or relay.why
                or not relay.names
                or connection.number not in self._heard_ms
            ):
                continue
            longest_ms = max(_LONGEST_SILENT_MS, self.silent_ms)
            patience_ms = min(self.silent_ms << min(relay.silences, 20), longest_ms)
            ended_ms = max(
                grid.floor_ms(one, now_ms - patience_ms) for one in self._intervals[id(relay)]
            )
            if self.skew.exchange_ms(self._heard_ms[connection.number]) >= ended_ms:
                continue
            relay.silences += 1
            relay.replace("it tells nothing")
            self.counts["silent connections"] += 1
            self._say(
                NoticeKind.SILENT,
                f"nothing was told for {patience_ms / 1000:g} s after a bar's end; connecting anew"
                + self._doubt(relay),
                connection.number,
            )

    def _doubt(self, relay: Relay) -> str:
        """What to look at when one connection after the other is silent."""
        if relay.silences < 2:
            return ""
        return (
            f" ({relay.silences} such in a row: see that {self._venue.variable} is a stream host "
            f"of {self.market}, and that the symbols trade)"
        )

    def _say(self, kind: NoticeKind, text: str, connection: int) -> None:
        self.counts[f"notice: {kind}"] += 1
        self._notices.append(Notice(kind, text, connection))

    def _told(self) -> Iterator[Notice]:
        notices, self._notices = self._notices, []
        yield from notices
