"""Window sums, deviations, trends and correlations; NaN until the window is full.

Loops run over slices from 0, so that the compiler sees no negative index and takes several bars at
a time.
"""

from __future__ import annotations

import math

import numpy as np

from alphamill.frames import FloatArray
from alphamill.indicators.kernels import Pair
from alphamill.jit import inline, kernel

Moments = Pair  # means, and sums of squares of the distances from them

_PIECE = 2048  # bars worked on together: what a step leaves is still in the cache for the next


@inline
def piece(n: int, w: int) -> int:
    """How many windows to take together, of n bars."""
    return max(1, min(max(_PIECE, 4 * w), n - w + 1))


@inline
def _copy(values: FloatArray, to: FloatArray, count: int) -> None:
    for j in range(count):
        to[j] = values[j]


@inline
def _add(a: FloatArray, b: FloatArray, to: FloatArray, count: int) -> None:
    for j in range(count):
        to[j] = a[j] + b[j]


@inline
def sums(x: FloatArray, w: int, bars: int, scratch: FloatArray, to: FloatArray) -> None:
    """Sum of every w neighbours among the first `bars`; scratch (2, bars or more)."""
    part, spare, later = x, scratch[0], scratch[1]
    count = bars - w + 1
    width, held = 1, 0
    while True:
        if w & width:
            if held == 0:
                _copy(part, to, count)
            else:
                _add(to, part[held:], to, count)
            held += width
        if held == w:
            break
        _add(part, part[width:], spare, bars - 2 * width + 1)
        part, spare, later = spare, later, spare
        width *= 2


@kernel
def window_sum(x: FloatArray, w: int, divisor: float, out: FloatArray) -> None:
    """Sum of the last w bars over `divisor`."""
    n = x.shape[0]
    out[: w - 1] = np.nan
    step = piece(n, w)
    scratch = np.empty((2, step + w - 1))
    for first in range(0, n - w + 1, step):
        windows = min(step, n - w + 1 - first)
        filled = out[first + w - 1 :]
        sums(x[first:], w, windows + w - 1, scratch, filled)
        for j in range(windows):
            filled[j] /= divisor


@inline
def _higher(a: FloatArray, b: FloatArray, to: FloatArray, count: int) -> None:
    for j in range(count):
        to[j] = a[j] if a[j] > b[j] else b[j]


@inline
def _lower(a: FloatArray, b: FloatArray, to: FloatArray, count: int) -> None:
    for j in range(count):
        to[j] = a[j] if a[j] < b[j] else b[j]


@kernel
def window_extremes(
    high: FloatArray, low: FloatArray, w: int, highest: FloatArray, lowest: FloatArray
) -> None:
    """Highest high and lowest low of the last w bars."""
    n = high.shape[0]
    highest[: w - 1] = lowest[: w - 1] = np.nan
    step = piece(n, w)
    scratch = np.empty((4, step + w - 1))
    for first in range(0, n - w + 1, step):
        windows = min(step, n - w + 1 - first)
        top, bottom = high[first:], low[first:]
        new_top, new_bottom = scratch[0], scratch[1]
        spare_top, spare_bottom = scratch[2], scratch[3]
        width = 1
        while width < w:
            more = min(width, w - width)  # the two parts may share bars
            count = windows + w - width - more
            _higher(top, top[more:], new_top, count)
            _lower(bottom, bottom[more:], new_bottom, count)
            top, new_top, spare_top = new_top, spare_top, new_top
            bottom, new_bottom, spare_bottom = new_bottom, spare_bottom, new_bottom
            width += more
        _copy(top, highest[first + w - 1 :], windows)
        _copy(bottom, lowest[first + w - 1 :], windows)


@inline
def _join(old: Moments, new: Moments, a: int, b: int, to: Moments, count: int) -> None:
    """Moments of a bars and the b after them (Chan, Golub and LeVeque 1979)."""
    mean, square = old
    new_mean, new_square = new
    to_mean, to_square = to
    share = b / (a + b)
    weight = a * share
    for j in range(count):
        step = new_mean[j] - mean[j]
        to_square[j] = square[j] + new_square[j] + step * step * weight
        to_mean[j] = mean[j] + step * share


@kernel
def window_moments(
    x: FloatArray, w: int, divisor: float, mean_out: FloatArray, std_out: FloatArray
) -> None:
    """Mean of the last w bars and root of their centred squares over `divisor`; 0 if all equal."""
    n = x.shape[0]
    mean_out[: w - 1] = std_out[: w - 1] = np.nan
    step = piece(n, w)
    scratch = np.empty((4, step + w - 1))
    for first in range(0, n - w + 1, step):
        windows = min(step, n - w + 1 - first)
        bars = windows + w - 1
        part, spare = (scratch[0], scratch[1]), (scratch[2], scratch[3])
        total = (mean_out[first + w - 1 :], std_out[first + w - 1 :])
        _copy(x[first:], part[0], bars)
        part[1][:bars] = 0.0
        width, held = 1, 0
        while True:
            if w & width:
                if held == 0:
                    _copy(part[0], total[0], windows)
                    _copy(part[1], total[1], windows)
                else:
                    _join(total, (part[0][held:], part[1][held:]), held, width, total, windows)
                held += width
            if held == w:
                break
            later = (part[0][width:], part[1][width:])
            _join(part, later, width, width, spare, bars - 2 * width + 1)
            part, spare = spare, part
            width *= 2
        square = total[1]
        for j in range(windows):
            square[j] = math.sqrt(square[j] / divisor)


@kernel
def window_slope(x: FloatArray, w: int, out: FloatArray) -> None:
    """Least-squares slope a bar; opposite bars are paired, so that equal ones cancel exactly."""
    n = x.shape[0]
    out[: w - 1] = np.nan
    half = 0.5 * (w - 1)
    scale = w * (w * w - 1.0) / 12.0
    total = np.empty(max(1, min(_PIECE, n)))
    for first in range(0, n - w + 1, _PIECE):
        windows = min(_PIECE, n - w + 1 - first)
        middle = x[first + w // 2 :]
        for j in range(windows):
            total[j] = 0.0 * middle[j]  # it weighs nothing, but if it is NaN so is the slope
        for age in range(w // 2):
            weight = half - age
            new, old = x[first + w - 1 - age :], x[first + age :]
            for j in range(windows):
                total[j] += weight * (new[j] - old[j])
        filled = out[first + w - 1 :]
        for j in range(windows):
            filled[j] = total[j] / scale


@inline
def _join_products(
    old: FloatArray, new: FloatArray, at: int, a: int, b: int, to: FloatArray, count: int
) -> None:
    """Centred products of two series from the means of both; rows as in `_join_pairs`."""
    x, y, xy = old[0], old[1], old[4]
    new_x, new_y, new_xy = new[0, at:], new[1, at:], new[4, at:]
    to_xy = to[4]
    weight = a * b / (a + b)
    for j in range(count):
        to_xy[j] = xy[j] + new_xy[j] + (new_x[j] - x[j]) * (new_y[j] - y[j]) * weight


@inline
def _join_pairs(
    old: FloatArray, new: FloatArray, at: int, a: int, b: int, to: FloatArray, count: int
) -> None:
    """As `_join`, for two series: rows are means of x and y, centred xx, yy and xy."""
    _join_products(old, new, at, a, b, to, count)
    for mean in range(2):
        square = mean + 2
        later = (new[mean, at:], new[square, at:])
        _join((old[mean], old[square]), later, a, b, (to[mean], to[square]), count)


@inline
def _correlation(xx: float, yy: float, xy: float) -> float:
    scale = math.sqrt(xx) * math.sqrt(yy)
    value = xy / scale if scale > 0 else np.nan
    return 1.0 if value > 1 else -1.0 if value < -1 else value


@kernel
def window_corr(x: FloatArray, y: FloatArray, w: int, out: FloatArray) -> None:
    """Pearson's correlation, in -1 to 1; NaN if either series is constant."""
    n = x.shape[0]
    out[: w - 1] = np.nan
    step = piece(n, w)
    scratch = np.empty((3, 5, step + w - 1))  # means of x and y, centred xx, yy and xy
    for first in range(0, n - w + 1, step):
        windows = min(step, n - w + 1 - first)
        bars = windows + w - 1
        part, spare, total = scratch[0], scratch[1], scratch[2]
        _copy(x[first:], part[0], bars)
        _copy(y[first:], part[1], bars)
        for row in range(2, 5):
            part[row, :bars] = 0.0
        width, held = 1, 0
        while True:
            if w & width:
                if held == 0:
                    for row in range(5):
                        _copy(part[row], total[row], windows)
                else:
                    _join_pairs(total, part, held, held, width, total, windows)
                held += width
            if held == w:
                break
            _join_pairs(part, part, width, width, width, spare, bars - 2 * width + 1)
            part, spare = spare, part
            width *= 2
        filled = out[first + w - 1 :]
        xx, yy, xy = total[2], total[3], total[4]
        for j in range(windows):
            filled[j] = _correlation(xx[j], yy[j], xy[j])
