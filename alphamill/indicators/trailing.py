"""Levels that follow the price: trailing stops, the adaptive mean, the day's average price.

A stop's memory ends when the trend turns and an adaptive mean's when the price moves, neither after
a number of bars that could be stated. Here time is cut into blocks of `BLOCK_BARS` bars on one grid
from the epoch, and a bar has the value of the recursion that began with the block before its own,
or with the stretch if that is later. So a value depends on at most 1,023 bars before it, to the
bit, and the grid is the same wherever history starts. On a million recorded bars (1m to 4h) both
stops are bit-equal to the recursion over all history, the mean to 1e-13.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from alphamill.frames import FloatArray
from alphamill.indicators import kernels
from alphamill.indicators.bars import Bars, Series
from alphamill.indicators.registry import DAY_MS, Memory, indicator
from alphamill.indicators.rolling import divide

BLOCK_BARS = 512
_HISTORY_BARS = 2 * BLOCK_BARS - 1  # from the last bar of a block to the first of the one before


def _segments(bars: Bars) -> Iterator[tuple[int, int, int]]:
    """(origin, start, end): rows [start, end) are those of the recursion begun at `origin`."""
    n_bars = len(bars)
    first_end = 2 * BLOCK_BARS - bars.first_number % BLOCK_BARS
    yield 0, 0, min(first_end, n_bars)
    for start in range(first_end, n_bars, BLOCK_BARS):
        yield start - BLOCK_BARS, start, min(start + BLOCK_BARS, n_bars)


def _anchored(bars: Bars, key: str, recursion: Callable[[Bars, slice], FloatArray]) -> FloatArray:
    """One value a bar of a recursion that is given the stretch and the rows it runs over."""

    def make(stretch: Bars) -> Series:
        result = np.empty(len(stretch))
        for origin, start, end in _segments(stretch):
            result[start:end] = recursion(stretch, slice(origin, end))[start - origin :]
        return (result,)

    return bars.over_history(key, make)[0]


@indicator(
    "Wilder (1978); as TA-Lib SAR begun anew every 512 bars",
    Memory(first_bar=1, settle_bars=_HISTORY_BARS - 1),
    low=-1,
    acceleration_frac=0.02,
    maximum_frac=0.2,
)
def psar_gap(bars: Bars) -> FloatArray:
    """Close over the parabolic stop, minus 1; above 0 while the stop lies below the price."""
    stop = _anchored(bars, "psar", _stop)
    return divide(bars["close"], stop, 1.0, -1.0)


def _stop(bars: Bars, rows: slice) -> FloatArray:
    high, low = bars["high"][rows], bars["low"][rows]
    result = np.empty(len(high))
    kernels.recursive.parabolic_stop(high, low, 0.02, 0.2, result)
    return result


@indicator(
    "Seban; TA-Lib SUPERTREND begun anew every 512 bars",
    Memory(10, 10, _HISTORY_BARS - 10),
    ranges=3,
)
def supertrend_gap(bars: Bars) -> FloatArray:
    """1 minus SuperTrend's line over the close; its sign is the trend's.

    Over the close, since the line itself can be zero or less.
    """
    line = _anchored(bars, "supertrend", _line)
    return divide(line, bars["close"], -1.0, 1.0)


def _line(bars: Bars, rows: slice) -> FloatArray:
    import talib

    high, low, close = (prices[rows] for prices in bars.hlc)
    return talib.SUPERTREND(high, low, close, 10, 3.0)[0]


@indicator(
    "Kaufman (1995); as TA-Lib KAMA begun anew every 512 bars",
    Memory(10, 10, _HISTORY_BARS - 10),
    low=-1,
    fast_bars=2,
    slow_bars=30,
)
def kama_gap_10(bars: Bars) -> FloatArray:
    """Close over Kaufman's adaptive mean, minus 1: an EMA of 2 to 30 bars by efficiency_ratio_10.

    A window that did not move counts as efficient, as in TA-Lib.
    """
    mean = _anchored(bars, "kama", lambda b, rows: _adaptive_mean(b["close"][rows]))
    return divide(bars["close"], mean, 1.0, -1.0)


def _adaptive_mean(close: FloatArray) -> FloatArray:
    result = np.empty(len(close))
    kernels.recursive.adaptive_mean(close, 10, 2 / 3, 2 / 31, result)
    return result


@indicator(
    "definition; as TA-Lib VWAP begun at 00:00 UTC",
    inputs=("volume",),
    span_ms=DAY_MS,
    min_span_bars=2,
    low=-1,
)
def vwap_session_gap(bars: Bars) -> FloatArray:
    """Close over the mean typical price, by volume, since 00:00 UTC, minus 1.

    NaN before the day's first trade.
    """
    day_bars = bars.bars_in(DAY_MS)
    volume = bars["volume"]
    traded = _since_midnight(bars.typical * volume, bars.first_number, day_bars)
    mean = divide(traded, _since_midnight(volume, bars.first_number, day_bars))
    mean[:day_bars] = np.nan  # the first day may have begun before the stretch
    return divide(bars["close"], mean, 1.0, -1.0)


def _since_midnight(values: FloatArray, first_number: int, day_bars: int) -> FloatArray:
    """Sums from each day's first bar to this one."""
    lead = first_number % day_bars
    n_days = -(-(lead + len(values)) // day_bars)
    days = np.zeros((n_days, day_bars))
    days.ravel()[lead : lead + len(values)] = values
    return np.cumsum(days, axis=1).ravel()[lead : lead + len(values)]
