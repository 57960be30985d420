"""Exact moving sums and divisions without warnings, on one-dimensional float64 arrays.

Nothing is ever subtracted from a running sum: a spike that has left the window leaves no trace.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from alphamill.frames import FloatArray

_PIECE = 16_384  # values: an array of 128 kB


def delay(values: FloatArray, bars: int) -> FloatArray:
    """The value `bars` bars ago; the first `bars` are NaN."""
    result = np.full(len(values), np.nan)
    result[bars:] = values[: len(values) - bars]
    return result


def divide(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """Quotient of two series; NaN where the denominator is zero or the quotient not finite."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        result: FloatArray = np.divide(numerator, denominator)
    result[~np.isfinite(result)] = np.nan
    return result


def moving_sum(values: FloatArray, length_bars: int) -> FloatArray:
    """Sum of the last `length_bars` values; NaN until the window is full and while NaN is in it.

    Sums of 1, 2, 4, 8, ... values, each made of two of the one before, are put together to the
    window's length: a value depends on its own window alone.
    """
    return _by_pieces(values, length_bars, _window_sums)


def _window_sums(values: FloatArray, length_bars: int) -> FloatArray:
    """Sums of all whole windows, by the window's first value."""
    n = len(values)
    width, held = 1, 0
    part, total = values, np.zeros(n)
    while True:
        if length_bars & width:
            total = total[: n - held - width + 1] + part[held:] if held else part
            held += width
        if held == length_bars:
            return total
        part = part[:-width] + part[width:]
        width *= 2


def _by_pieces(
    values: FloatArray, length_bars: int, whole_windows: Callable[[FloatArray, int], FloatArray]
) -> FloatArray:
    """`whole_windows` over stretches that stay in the processor's cache, NaN before the first."""
    n = len(values)
    result = np.full(n, np.nan)
    step = max(_PIECE, 4 * length_bars)
    for start in range(0, n - length_bars + 1, step):
        end = min(start + step + length_bars - 1, n)
        result[start + length_bars - 1 : end] = whole_windows(values[start:end], length_bars)
    return result


def moving_mean(values: FloatArray, length_bars: int) -> FloatArray:
    """Mean of the last `length_bars` values; NaN as in `moving_sum`."""
    return moving_sum(values, length_bars) / length_bars


def moving_slope(values: FloatArray, length_bars: int) -> FloatArray:
    """Least-squares slope a bar of the last `length_bars` (>= 2) values; exactly 0 if all equal.

    Opposite bars are taken in pairs, so that equal ones cancel exactly.
    """
    total = np.zeros(len(values))
    half = 0.5 * (length_bars - 1)
    for age in range(length_bars // 2):
        total += (half - age) * (delay(values, age) - delay(values, length_bars - 1 - age))
    total[: length_bars - 1] = np.nan
    return total / (length_bars * (length_bars**2 - 1) / 12)


def weighted_mean(values: FloatArray, length_bars: int) -> FloatArray:
    """Mean of the last `length_bars` (>= 2) values with weights 1 (oldest) to length (newest)."""
    slope = moving_slope(values, length_bars)
    return moving_mean(values, length_bars) + slope * ((length_bars - 1) / 6)


def moving_std(values: FloatArray, length_bars: int, ddof: int = 1) -> FloatArray:
    """Standard deviation of the last `length_bars` (>= 2) values; exactly 0 if all are equal.

    NaN as in `moving_sum`. Means and squared distances of 1, 2, 4, ... values are joined to the
    window's length. Chan, Golub and LeVeque (1979).
    """
    squares = _by_pieces(values, length_bars, _window_squares)
    squares /= length_bars - ddof
    return np.sqrt(squares, out=squares)


def _window_squares(values: FloatArray, length_bars: int) -> FloatArray:
    """Squared distances from the mean of all whole windows, by the window's first value."""
    n = len(values)
    width, held = 1, 0
    mean, square = values, np.zeros(n)
    all_mean, all_square = values, square
    while True:
        if length_bars & width:
            if held:
                last = n - held - width + 1
                step = mean[held:] - all_mean[:last]
                share = width / (held + width)
                all_square = all_square[:last] + square[held:] + step * step * (held * share)
                all_mean = all_mean[:last] + step * share
            else:
                all_mean, all_square = mean, square
            held += width
        if held == length_bars:
            return all_square
        step = mean[width:] - mean[:-width]
        square = square[:-width] + square[width:] + step * step * (0.5 * width)
        mean = mean[:-width] + step * 0.5
        width *= 2


def is_flat(values: FloatArray, length_bars: int) -> NDArray[np.bool_]:
    """Whether the last `length_bars` (>= 2) values are all equal; False before it is full."""
    flat = np.zeros(len(values), dtype=np.bool_)
    changes = (values[1:] != values[:-1]).astype(np.float64)  # NaN differs from itself
    flat[1:] = moving_sum(changes, length_bars - 1) == 0
    return flat
