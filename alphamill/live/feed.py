"""Where a follower's closed bars come from: streams, and REST for what they did not bring."""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from alphamill.clock import Clock
from alphamill.errors import AlphamillError
from alphamill.frames import KLINE_FIELDS, Interval, times_ms
from alphamill.grid import index_at, open_ms
from alphamill.market.exchange import Exchange
from alphamill.market.stream import Absent, Closed

# After a bar's end until streams are waited for no longer; futures tell quiet bars 2.0 s after.
PATIENCE_MS = 2_500
_PAUSES_S = (1.0, 2.0, 5.0, 10.0, 30.0)  # between two times that the same bar is asked for


@dataclass(frozen=True, slots=True)
class ClosedBar:
    """A bar that has closed. at_ms: when it was here, on the exchange's clock, UTC epoch ms.

    values: in the order of KLINE_FIELDS. source: "stream", "rest", "lake". skew_ms: this machine's
    clock less the exchange's then. event: as a stream told it.
    """

    symbol: str
    interval: Interval
    bar_ms: int
    values: tuple[float, ...]
    at_ms: int
    source: str
    skew_ms: int = 0
    event: Closed | None = None


Heard = queue.SimpleQueue[ClosedBar | Absent]  # what a follower waits for


class ExchangeTime(Protocol):
    """The exchange's clock as far as it is known here."""

    def __call__(self) -> int:
        """UTC epoch milliseconds."""


class Streams(Protocol):
    """Closed bars as they are pushed."""

    @property
    def problem(self) -> str:
        """Why some are not heard, "" if all are."""

    def learn_time(self) -> None:
        """Know the exchange's clock from now on. Raises RetryLater while nobody tells it."""

    def follow(self, wanted: Iterable[tuple[str, Interval]]) -> None:
        """From now on hear these series and no others."""

    def close(self) -> None:
        """Let go of the connections."""


class RestFiller:
    """Asks REST for bars that streams did not bring, in a thread, through the shared limiter.

    heard: where what it finds is put. A bar that the exchange does not have yet is asked for again
    after a pause that grows. What is due of a series is one question, and what nobody misses any
    more is not asked for: however long the exchange does not answer, no questions pile up.
    """

    def __init__(
        self, exchange: Exchange, clock: Clock, now_ms: ExchangeTime, heard: Heard
    ) -> None:
        self._exchange, self._clock, self._now_ms = exchange, clock, now_ms
        self._heard = heard
        self._asked: dict[tuple[str, Interval, int], tuple[int, float]] = {}
        self._due: dict[tuple[str, Interval], set[int]] = {}
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="rest-filler", daemon=True)
        self._thread.start()
        self.problem = ""

    def want(self, missing: Sequence[tuple[str, Interval, int]]) -> None:
        """Bars that are missing now; those asked for a moment ago are not asked for again."""
        now_s, missed = self._clock.monotonic_s(), set(missing)
        if len(self._asked) > len(missed):
            self._asked = {bar: one for bar, one in self._asked.items() if bar in missed}
        due: dict[tuple[str, Interval], set[int]] = {}
        for bar in missing:
            tries, again_s = self._asked.get(bar, (0, 0.0))
            if now_s >= again_s:
                pause_s = _PAUSES_S[min(tries, len(_PAUSES_S) - 1)]
                self._asked[bar] = tries + 1, now_s + pause_s
                due.setdefault(bar[:2], set()).add(bar[2])
        with self._changed:
            for series, bars in list(self._due.items()):
                bars -= {bar_ms for bar_ms in bars if (*series, bar_ms) not in missed}
                if not bars:
                    del self._due[series]
            for series, bars in due.items():
                self._due.setdefault(series, set()).update(bars)
            self._changed.notify()

    def close(self) -> None:
        """End the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(5.0)

    def _work(self) -> None:
        while (due := self._next()) is not None:
            (symbol, interval), bars = due
            try:
                for bar in bars_of(
                    self._exchange, symbol, interval, min(bars), max(bars), self._now_ms
                ):
                    self._heard.put(bar)
                self.problem = ""
            except AlphamillError as error:
                self.problem = str(error)

    def _next(self) -> tuple[tuple[str, Interval], set[int]] | None:
        """What to ask for; None when it is closed."""
        with self._changed:
            while not self._due and not self._closed:
                self._changed.wait()
            if self._closed:
                return None
            series = next(iter(self._due))
            return series, self._due.pop(series)


def bars_of(
    exchange: Exchange,
    symbol: str,
    interval: Interval,
    first_ms: int,
    last_ms: int,
    now_ms: ExchangeTime,
) -> list[ClosedBar]:
    """Closed bars that open from `first_ms` to `last_ms`, both included, as REST has them."""
    end_ms = open_ms(interval, index_at(interval, last_ms) + 1)
    table = exchange.klines(symbol, interval, first_ms, end_ms).table
    return closed_bars(table, symbol, interval, now_ms(), "rest")


def closed_bars(
    klines: pa.Table, symbol: str, interval: Interval, at_ms: int, source: str
) -> list[ClosedBar]:
    """Rows of KLINES as bars; what a row does not say is NaN."""
    columns = [klines[name].to_pylist() for name in KLINE_FIELDS]
    return [
        ClosedBar(symbol, interval, bar_ms, tuple(map(_number, values)), at_ms, source)
        for bar_ms, *values in zip(times_ms(klines).tolist(), *columns, strict=True)
    ]


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
