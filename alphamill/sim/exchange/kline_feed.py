"""One kline stream: what is pushed, and when, as a function of the bars and of nothing else.

A bar's trades are spread evenly over it. Recorded closes: spot 2 and 6 ms after the bar's end;
USD-M 4 and 6 ms after the first trade of the next bar, or 2003 and 2004 ms after the end where none
came. A trade that ends a bar so has no frame of its own: the next is due with a later trade.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Any

from alphamill.frames import Interval
from alphamill.sim.exchange.print_rows import NUMBERS, Decimals, number_text, on_grid
from alphamill.sim.exchange.stream_faults import StreamFaultKind, StreamFaultPlan, draw
from alphamill.sim.exchange.stream_rules import StreamRules
from alphamill.sim.exchange.trade_ids import TradeIds
from alphamill.sim.market import Bars
from alphamill.sim.market.bars import close_ms, reached

Event = dict[str, Any]

_LAG_MS = (2, 7)  # from what causes a frame to its event time
_PACE = 60  # trades a bar, for the rhythm alone, where a recording has volume without counts
_FOREVER_MS = 2**62


@dataclass(frozen=True, slots=True, order=True)
class Push:
    """An event, when it is sent, and what goes wrong with it or in its place.

    lead_ms: how long before its end a connection is told of a shutdown.
    """

    at_ms: int
    running: bool  # the end of a bar goes before what is pushed at the same time
    event: Event = field(compare=False)
    fault: StreamFaultKind | None = field(default=None, compare=False)
    lead_ms: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True, order=True)
class _Ending:
    """The end of bar `at`, to be told at `at_ms` with an event time of its own, if it has one."""

    at_ms: int
    at: int
    fault: StreamFaultKind | None = field(default=None, compare=False)
    lead_ms: int = field(default=0, compare=False)
    event_ms: int | None = field(default=None, compare=False)


@dataclass(slots=True)
class KlineFeed:
    """The bars of one symbol and interval as they are told from `since_ms` on.

    begun_ms: when the exchange started; faults count the bars that end from then on.
    """

    name: str  # of market and stream
    symbol: str
    interval: Interval
    bars: Bars
    ids: TradeIds
    printed: Decimals
    traded: Decimals
    rules: StreamRules
    plan: StreamFaultPlan
    begun_ms: int
    since_ms: int
    next_ms: int = 0  # nothing is due before
    _at: int = 0  # the first bar whose end has not come
    _ended: list[_Ending] = field(default_factory=list)
    _ran_ms: int = 0  # of the last push of a running bar

    def __post_init__(self) -> None:
        self._ran_ms = self.since_ms
        self._at = self.bars.stop_at(self.since_ms)
        longest_ms = self.plan.longest_ms + _LAG_MS[1] + round(1000 * self.rules.close_timer_s)
        while self._at and self._end_ms(self._at - 1) + longest_ms >= self.since_ms:
            self._at -= 1

    def due(self, now_ms: int) -> Iterator[Push]:
        """Ends of bars since, each once, and the newest push of the running bar; not in order."""
        if now_ms < self.next_ms:
            return
        while self._at < len(self.bars) and self._end_ms(self._at) <= now_ms:
            self._end(self._at)
            self._at += 1
        while self._ended and self._ended[0].at_ms <= now_ms:
            yield self._closing(heappop(self._ended))
        running = self._running(now_ms)
        if running is not None:
            yield running
        self.next_ms = min(
            self._ended[0].at_ms if self._ended else _FOREVER_MS,
            self._end_ms(self._at) if self._at < len(self.bars) else _FOREVER_MS,
            self._next_run_ms(now_ms),
        )

    def _end(self, at: int) -> None:
        """Plan when, and whether, the end of a bar that has ended is told."""
        told_ms = self._told_ms(at)
        if told_ms is None:
            return
        open_ms, first = int(self.bars.open_ms[at]), self.bars.stop_at(self.begun_ms)
        first -= bool(first and self._end_ms(first - 1) > self.begun_ms)
        fault = self.plan.at_close(self.name, open_ms, at - first + 1)
        kind = fault.kind if fault else None
        if kind is StreamFaultKind.CLOSE_LOST:
            return
        span_ms = self.plan.span_ms(fault, self.name, open_ms) if fault else 0
        if kind is StreamFaultKind.CLOSE_LATE:
            told = [_Ending(told_ms + span_ms, at, kind)]
        elif kind is StreamFaultKind.CLOSE_TWICE:
            told = [_Ending(told_ms, at), _Ending(told_ms + span_ms, at, kind, 0, told_ms)]
        elif kind is StreamFaultKind.STALE and self._pace(at):
            told = [_Ending(told_ms, at), _Ending(told_ms + 1, at, kind, 0, self._half_ms(at))]
        elif kind is StreamFaultKind.STALE:  # an empty bar never ran
            told = [_Ending(told_ms, at)]
        else:
            told = [_Ending(told_ms, at, kind, span_ms)]
        for ending in told:
            if ending.at_ms > self.since_ms:
                heappush(self._ended, ending)

    def _closing(self, ending: _Ending) -> Push:
        """What is sent for the end of a bar."""
        at_ms = ending.at_ms if ending.event_ms is None else ending.event_ms
        seen_ms = at_ms if ending.fault is StreamFaultKind.STALE else None
        event = self._event(ending.at, at_ms, seen_ms)
        return Push(ending.at_ms, False, event, ending.fault, ending.lead_ms)

    def _half_ms(self, at: int) -> int:
        """When half of a bar's trades have happened."""
        return self._trade_ms(at, -(-self._pace(at) // 2))

    def _told_ms(self, at: int) -> int | None:
        """When the exchange tells the end of a bar if nothing goes wrong."""
        if not self._pace(at) and not self.rules.empty_closes:
            return None
        told_ms = self._end_ms(at)
        if self.rules.by_trade:
            trade_ms = self._first_trade_ms(at + 1)
            told_ms = min(told_ms + round(1000 * self.rules.close_timer_s), trade_ms)
        return told_ms + self._lag_ms(at + 1)

    def _first_trade_ms(self, at: int) -> int:
        """Of the bars from `at` on, as far as the timer reaches."""
        until_ms = self._end_ms(at - 1) + round(1000 * self.rules.close_timer_s)
        while at < len(self.bars) and int(self.bars.open_ms[at]) <= until_ms:
            if self._pace(at):
                return self._trade_ms(at, 1)
            at += 1
        return _FOREVER_MS

    def _running(self, now_ms: int) -> Push | None:
        """The newest push of the running bar, if it has not been told."""
        at = self._at
        if at == len(self.bars) or not self._pace(at):
            return None
        lag_ms = self._lag_ms(at) if self.rules.by_trade else 0
        seen_ms = self._seen_ms(at, now_ms - lag_ms)
        at_ms = seen_ms + lag_ms
        if not self._ran_ms < at_ms < self._end_ms(at):
            return None
        self._ran_ms = at_ms
        return Push(at_ms, True, self._event(at, at_ms, seen_ms))

    def _seen_ms(self, at: int, now_ms: int) -> int:
        """The moment that the newest push of bar `at` shows; -1 if there has been none."""
        if self.rules.by_trade:
            first, done = self._first_pushed(at), self._trades(at, now_ms)
            step = self._step(at)
            return -1 if done < first else self._trade_ms(at, first + (done - first) // step * step)
        # At every beat of the clock that finds a trade since the one before.
        done = self._trades(at, self._beat_ms(now_ms))
        if not done:
            return -1
        beat_ms = self._beat_ms(self._trade_ms(at, done) + self._push_ms - 1)
        after_ms = int(self.bars.open_ms[at]) + 2 * _LAG_MS[1]  # the end of the bar before
        return beat_ms if beat_ms >= after_ms else -1

    def _next_run_ms(self, now_ms: int) -> int:
        """No push of the running bar, or of the one that is awaited, is due before."""
        if self._at == len(self.bars):
            return _FOREVER_MS
        at, open_ms = self._at, int(self.bars.open_ms[self._at])
        if now_ms < open_ms:
            return open_ms
        if not self.rules.by_trade:
            return self._beat_ms(now_ms) + self._push_ms
        if not self._pace(at):
            return _FOREVER_MS
        lag_ms, step = self._lag_ms(at), self._step(at)
        first, done = self._first_pushed(at), self._trades(at, now_ms - lag_ms)
        number = first if done < first else first + ((done - first) // step + 1) * step
        return self._trade_ms(at, number) + lag_ms

    def _beat_ms(self, now_ms: int) -> int:
        """The last beat of the clock that pushes, at a phase of the stream's own."""
        return now_ms - (now_ms - int(self._push_ms * draw(0, self.name))) % self._push_ms

    def _step(self, at: int) -> int:
        """Trades from one push to the next."""
        return -(-self._push_ms * self._pace(at) // self._span_ms(at))

    def _first_pushed(self, at: int) -> int:
        """Number of the first trade that has a frame: the first, unless it told a bar's end."""
        told = at > 0 and (self.rules.empty_closes or self._pace(at - 1) > 0)
        if not told:
            return 1
        told_by = self._trade_ms(at, 1) - self._end_ms(at - 1) <= 1000 * self.rules.close_timer_s
        return 1 + self._step(at) if told_by else 1

    @property
    def _push_ms(self) -> int:
        second = self.interval is Interval.S1
        return max(1, round(self.rules.push_s * (500 if second else 1000)))

    def _pace(self, at: int) -> int:
        """Trades in a bar; 0 for one in which nothing was traded."""
        return int(self.bars.trades[at]) or (_PACE if self.bars.volume[at] > 0 else 0)

    def _trades(self, at: int, by_ms: int) -> int:
        """Of bar `at` until the end of millisecond `by_ms`, which may lie before it."""
        passed_ms = by_ms + 1 - int(self.bars.open_ms[at])
        return max(0, passed_ms) * self._pace(at) // self._span_ms(at)

    def _trade_ms(self, at: int, number: int) -> int:
        """When the `number`th trade of a bar happens, counted from 1."""
        return int(self.bars.open_ms[at]) - (-number * self._span_ms(at) // self._pace(at)) - 1

    def _lag_ms(self, at: int) -> int:
        least, most = _LAG_MS
        return least + int((most + 1 - least) * draw(0, self.name, at))

    def _span_ms(self, at: int) -> int:
        return self._end_ms(at) - int(self.bars.open_ms[at])

    def _end_ms(self, at: int) -> int:
        return close_ms(int(self.bars.open_ms[at]), self.interval) + 1

    def _event(self, at: int, at_ms: int, seen_ms: int | None) -> Event:
        """Bar `at` as at `seen_ms`, or whole if that is None."""
        open_ms, span_ms = int(self.bars.open_ms[at]), self._span_ms(at)
        passed_ms = span_ms if seen_ms is None else seen_ms + 1 - open_ms
        trades = int(self.bars.trades[at]) * passed_ms // span_ms
        values = {name: float(getattr(self.bars, name)[at]) for name in NUMBERS}
        if seen_ms is not None:
            opened, frac = values["open"], passed_ms / span_ms
            values = {
                name: on_grid(name, reached(name, value, opened, frac), self.traded)
                for name, value in values.items()
            }
        text = {name: number_text(value, self.printed.of(name)) for name, value in values.items()}
        first_id, last_id = self.ids.within(at, trades)
        return {
            "e": "kline",
            "E": at_ms,
            "s": self.symbol,
            "k": {
                "t": open_ms,
                "T": open_ms + span_ms - 1,
                "s": self.symbol,
                "i": self.interval.value,
                "f": first_id,
                "L": last_id,
                "o": text["open"],
                "c": text["close"],
                "h": text["high"],
                "l": text["low"],
                "v": text["volume"],
                "n": trades,
                "x": seen_ms is None,
                "q": text["quote_volume"],
                "V": text["taker_buy_base"],
                "Q": text["taker_buy_quote"],
                "B": "0",
            },
        }
