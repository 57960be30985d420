"""Window oscillators that one pass over several series makes; pieces as in `windows`."""

from __future__ import annotations

import numpy as np

from alphamill.frames import FloatArray
from alphamill.indicators.kernels import GRID, HighLowClose
from alphamill.indicators.kernels.windows import piece, sums
from alphamill.jit import inline, kernel


@inline
def _four_gaps(x: FloatArray, k: int, base: FloatArray, to: FloatArray, count: int) -> None:
    a, b, c, d = x[k:], x[k + 1 :], x[k + 2 :], x[k + 3 :]
    for j in range(count):
        z = base[j]
        to[j] += ((a[j] - z) + (b[j] - z)) + ((c[j] - z) + (d[j] - z))


@inline
def _four_distances(
    x: FloatArray, k: int, base: FloatArray, mean: FloatArray, to: FloatArray, count: int
) -> None:
    a, b, c, d = x[k:], x[k + 1 :], x[k + 2 :], x[k + 3 :]
    for j in range(count):
        z, m = base[j], mean[j]
        pair = abs((a[j] - z) - m) + abs((b[j] - z) - m)
        to[j] += pair + (abs((c[j] - z) - m) + abs((d[j] - z) - m))


@kernel
def channel_index(x: FloatArray, w: int, out: FloatArray) -> None:
    """The newest bar's distance from the mean in 0.015 mean absolute deviations; NaN if constant.

    All is taken from the newest bar, so that equal bars differ by exactly 0, and means of prices
    that are equal as decimals by rounding alone.
    """
    n = x.shape[0]
    out[: w - 1] = np.nan
    step = piece(n, w)
    mean, spread = np.empty(step), np.empty(step)
    fours = (w - 1) // 4 * 4
    for first in range(0, n - w + 1, step):
        windows = min(step, n - w + 1 - first)
        oldest, newest = x[first:], x[first + w - 1 :]
        mean[:windows] = 0.0
        for k in range(0, fours, 4):
            _four_gaps(oldest, k, newest, mean, windows)
        for k in range(fours, w - 1):
            older = oldest[k:]
            for j in range(windows):
                mean[j] += older[j] - newest[j]
        for j in range(windows):
            mean[j] /= w
            spread[j] = abs(mean[j])
        for k in range(0, fours, 4):
            _four_distances(oldest, k, newest, mean, spread, windows)
        for k in range(fours, w - 1):
            older = oldest[k:]
            for j in range(windows):
                spread[j] += abs(older[j] - newest[j] - mean[j])
        filled = out[first + w - 1 :]
        for j in range(windows):
            even = spread[j] <= GRID * w * abs(newest[j])
            filled[j] = np.nan if even else -mean[j] * w / (0.015 * spread[j])


@inline
def _later_top(
    x: FloatArray, at: FloatArray, ahead: int, to: FloatArray, to_at: FloatArray, count: int
) -> None:
    """The greater of each value and the one `ahead`, and where it was; the later one if equal."""
    later, later_at = x[ahead:], at[ahead:]
    for j in range(count):
        to_at[j] = later_at[j] if later[j] >= x[j] else at[j]
    for j in range(count):
        to[j] = later[j] if later[j] >= x[j] else x[j]


@kernel
def aroon(high: FloatArray, low: FloatArray, length: int, out: FloatArray) -> None:
    """How much newer the highest high of length + 1 bars is than the lowest low, in percent."""
    n, w = high.shape[0], length + 1
    out[: w - 1] = np.nan
    step = piece(n, w)
    scratch = np.empty((8, step + w - 1))
    scale = 100.0 / length
    for first in range(0, n - w + 1, step):
        windows = min(step, n - w + 1 - first)
        bars = windows + w - 1
        now, new = scratch[:4], scratch[4:]
        for j in range(bars):
            now[0, j] = high[first + j]
            now[1, j] = -low[first + j]
            now[2, j] = now[3, j] = j
        width = 1
        while width < w:
            more = min(width, w - width)  # the two parts may share bars
            for row in range(2):
                top, top_at = now[row], now[row + 2]
                _later_top(top, top_at, more, new[row], new[row + 2], bars - width - more + 1)
            now, new = new, now
            width += more
        filled, top_at, bottom_at = out[first + w - 1 :], now[2], now[3]
        for j in range(windows):
            filled[j] = scale * (top_at[j] - bottom_at[j])


@inline
def _pressure(
    prices: HighLowClose, first: int, count: int, buying: FloatArray, ranges: FloatArray
) -> None:
    """Close less the true low, and the true range, of the bars after `first`."""
    high, low, close = prices
    top, bottom = high[first + 1 :], low[first + 1 :]
    before, last = close[first:], close[first + 1 :]
    for j in range(count):
        floor = min(bottom[j], before[j])
        buying[j] = last[j] - floor
        ranges[j] = max(top[j], before[j]) - floor


@kernel
def ultimate(prices: HighLowClose, w: int, out: FloatArray) -> None:
    """Buying pressure over true range, of w, 2w and 4w bars weighted 4:2:1, in percent."""
    n, longest = prices[0].shape[0], 4 * w
    out[:longest] = np.nan
    step = piece(n - 1, longest)
    scratch = np.empty((8, step + longest - 1))
    for first in range(0, n - longest, step):
        windows = min(step, n - longest - first)
        bars = windows + longest - 1
        _pressure(prices, first, bars, scratch[0], scratch[1])
        for row in range(2):
            short, middle, spare = scratch[2 + row], scratch[4 + row], scratch[6:]
            sums(scratch[row], w, bars, spare, short)
            for j in range(bars - 2 * w + 1):
                middle[j] = short[j] + short[j + w]
        buying, ranges = scratch[2], scratch[3]
        buying_2, ranges_2 = scratch[4], scratch[5]
        filled = out[first + longest :]
        for j in range(windows):
            newest = buying[j + 3 * w] / ranges[j + 3 * w]
            newer = buying_2[j + 2 * w] / ranges_2[j + 2 * w]
            all_of_it = (buying_2[j] + buying_2[j + 2 * w]) / (ranges_2[j] + ranges_2[j + 2 * w])
            filled[j] = 100.0 * (4.0 * newest + 2.0 * newer + all_of_it) / 7.0
