"""What the simulated exchange serves: bars of a market, and where they come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from alphamill.frames import KLINE_FIELDS, FloatArray, IntArray, Interval, Market, Month, Wide

if TYPE_CHECKING:
    from alphamill.sim.market.beside import Metrics

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Settlements:
    """Funding of one perpetual contract; arrays of one length, ascending in `stamp_ms`.

    hours: since the settlement before. mark: the price that positions were valued at. special:
    whether a row is of rateType Special; a Regular one of the same time may stand before it.
    """

    stamp_ms: IntArray
    rate: FloatArray
    hours: IntArray
    mark: FloatArray
    special: BoolArray

    def rows(self, first: int, stop: int) -> Settlements:
        """Settlements `first` to `stop` (excluded), as views."""
        return Settlements(*(getattr(self, field.name)[first:stop] for field in fields(self)))

    def __len__(self) -> int:
        return len(self.stamp_ms)


@dataclass(frozen=True, slots=True)
class Bars:
    """One symbol and interval; arrays of one length, ascending and unique in `open_ms`.

    volume and taker_buy_base are base units (contracts on COIN-M), quote_volume and taker_buy_quote
    quote units (base units on COIN-M). A bar that the exchange never published is absent.
    """

    open_ms: IntArray
    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    volume: FloatArray
    quote_volume: FloatArray
    trades: IntArray
    taker_buy_base: FloatArray
    taker_buy_quote: FloatArray

    def __post_init__(self) -> None:
        lengths = {len(getattr(self, field.name)) for field in fields(self)}
        if len(lengths) > 1:
            raise ValueError(f"columns of {sorted(lengths)} rows")
        if np.any(np.diff(self.open_ms) <= 0):
            raise ValueError("open times must ascend without repeats")

    def __len__(self) -> int:
        return len(self.open_ms)

    def rows(self, first: int, stop: int) -> Bars:
        """Bars `first` to `stop` (excluded), as views."""
        return Bars(*(getattr(self, field.name)[first:stop] for field in fields(self)))

    def stop_at(self, time_ms: int) -> int:
        """How many bars open at or before `time_ms`."""
        return int(np.searchsorted(self.open_ms, time_ms, side="right"))

    def start_at(self, time_ms: int) -> int:
        """Index of the first bar that opens at or after `time_ms`."""
        return int(np.searchsorted(self.open_ms, time_ms, side="left"))


_NO_COUNTS: IntArray = np.zeros(0, dtype=np.int64)
_NO: FloatArray = np.zeros(0)
EMPTY = Bars(_NO_COUNTS, _NO, _NO, _NO, _NO, _NO, _NO, _NO_COUNTS, _NO, _NO)


class BarSource(Protocol):
    """A market held in memory."""

    def symbols(self, market: Market) -> Sequence[str]:
        """What trades there, in a fixed order."""

    def bars(self, market: Market, symbol: str, interval: Interval) -> Bars | None:
        """All bars, also those after the simulated now; None where there are none."""

    def intervals(self, market: Market, symbol: str) -> Sequence[Interval]:
        """The intervals that `bars` answers, shortest first."""

    def funding(self, market: Market, symbol: str) -> Settlements | None:
        """All settlements, also those after the simulated now; None where there are none."""

    def metrics(self, market: Market, symbol: str) -> Metrics | None:
        """Of a futures contract, also those after the simulated now; None where there are none."""

    def prices(self, market: Market, symbol: str, kind: Wide, interval: Interval) -> Bars | None:
        """As `bars`, of a price that is computed: mark, index, premium index."""

    def describe(self) -> Mapping[str, Any]:
        """What this market is, for people: `kind` and what else matters."""


def close_ms(open_ms: int, interval: Interval) -> int:
    """Last millisecond of the bar that opens at `open_ms`."""
    if interval is Interval.MO1:
        return Month.of_ms(open_ms).end_ms - 1
    return open_ms + interval.ms - 1


def reached(field: str, whole: float, opened: float, frac: float) -> float:
    """One number of a bar, of which `frac` has passed, whose end is `whole` and open `opened`.

    The path is a straight line from the open and volume arrives evenly, so a client that takes a
    running bar for a final one stores wrong numbers and can be found out.
    """
    from_open = opened if field in ("open", "high", "low", "close") else 0.0
    return round(from_open + frac * (whole - from_open), 8)


def unfinished(bar: Bars, interval: Interval, now_ms: int) -> Bars:
    """The one bar of `bar` as it looks at `now_ms`, before its close."""
    open_ms, opened = int(bar.open_ms[0]), float(bar.open[0])
    passed_ms, span_ms = now_ms + 1 - open_ms, close_ms(open_ms, interval) + 1 - open_ms
    values = {
        name: np.array([reached(name, float(getattr(bar, name)[0]), opened, passed_ms / span_ms)])
        for name in KLINE_FIELDS
        if name not in ("open", "trades")
    }
    return replace(bar, **values, trades=bar.trades * passed_ms // span_ms)


_DAY_MS = 86_400_000
# Three days open on the day after the epoch and every third from there, weeks on Mondays.
_ANCHORS_MS = {Interval.D3: _DAY_MS, Interval.W1: 4 * _DAY_MS}


def opens_ms(times_ms: IntArray, interval: Interval) -> IntArray:
    """Where the bars open that hold these times, on the exchange's grid."""
    if interval is Interval.MO1:
        months = times_ms.astype("datetime64[ms]").astype("datetime64[M]")
        first: IntArray = months.astype("datetime64[ms]").astype(np.int64)
        return first
    anchor_ms = _ANCHORS_MS.get(interval, 0)
    return (times_ms - anchor_ms) // interval.ms * interval.ms + anchor_ms


def resample(bars: Bars, interval: Interval) -> Bars:
    """Longer bars from shorter. The last one may lack its end, and the first its beginning.

    As on the exchange, the first bar opens on the grid, before the first trade.
    """
    groups = opens_ms(bars.open_ms, interval)
    first = np.flatnonzero(np.diff(groups, prepend=groups[:1] - 1))
    last = np.append(first[1:], len(bars)) - 1

    def total(values: FloatArray) -> FloatArray:
        return np.asarray(np.round(np.add.reduceat(values, first), 8), dtype=np.float64)

    return Bars(
        open_ms=groups[first],
        open=bars.open[first],
        high=np.maximum.reduceat(bars.high, first),
        low=np.minimum.reduceat(bars.low, first),
        close=bars.close[last],
        volume=total(bars.volume),
        quote_volume=total(bars.quote_volume),
        trades=np.add.reduceat(bars.trades, first),
        taker_buy_base=total(bars.taker_buy_base),
        taker_buy_quote=total(bars.taker_buy_quote),
    )
