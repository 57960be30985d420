"""Exact window statistics and divisions without warnings, on one-dimensional float64 arrays.

Each gives a new array as long as its input, NaN until the window is full and while NaN is in it. A
value depends on its own window alone: nothing is subtracted from a running sum, so a spike that
has left the window leaves no trace.
"""

from __future__ import annotations

import numpy as np

from alphamill.frames import FloatArray
from alphamill.indicators import kernels


def delay(values: FloatArray, bars: int) -> FloatArray:
    """The value `bars` bars ago; the first `bars` are NaN."""
    result = np.empty(len(values))
    result[:bars] = np.nan
    result[bars:] = values[: max(0, len(values) - bars)]
    return result


def divide(
    numerator: FloatArray, denominator: FloatArray, scale: float = 1.0, shift: float = 0.0
) -> FloatArray:
    """Quotient times `scale`, plus `shift`; NaN where it is not finite."""
    result = np.empty(len(numerator))
    kernels.bars.quotient(numerator, denominator, scale, shift, result)
    return result


def position(x: FloatArray, zero: FloatArray, one: FloatArray, scale: float = 1.0) -> FloatArray:
    """Where x stands between `zero` (0) and `one` (1), times `scale`; NaN if these are equal."""
    result = np.empty(len(x))
    kernels.bars.position(x, zero, one, scale, result)
    return result


def change(values: FloatArray, bars: int, scale: float = 1.0) -> FloatArray:
    """Value over that of `bars` (>= 1) bars ago, minus 1, times `scale`; NaN in the first bars."""
    result = np.empty(len(values))
    result[:bars] = np.nan
    kernels.bars.quotient(values[bars:], values[:-bars], scale, -scale, result[bars:])
    return result


def moving_sum(values: FloatArray, length_bars: int) -> FloatArray:
    """Sum of the last `length_bars` values."""
    result = np.empty(len(values))
    kernels.windows.window_sum(values, length_bars, 1.0, result)
    return result


def moving_mean(values: FloatArray, length_bars: int) -> FloatArray:
    """Mean of the last `length_bars` values."""
    result = np.empty(len(values))
    kernels.windows.window_sum(values, length_bars, float(length_bars), result)
    return result


def moving_moments(
    values: FloatArray, length_bars: int, ddof: int = 1
) -> tuple[FloatArray, FloatArray]:
    """Mean and standard deviation of the last `length_bars` (>= 2) values; 0 if all are equal."""
    mean, std = np.empty(len(values)), np.empty(len(values))
    kernels.windows.window_moments(values, length_bars, float(length_bars - ddof), mean, std)
    return mean, std


def moving_std(values: FloatArray, length_bars: int, ddof: int = 1) -> FloatArray:
    """Standard deviation of the last `length_bars` (>= 2) values; exactly 0 if all are equal."""
    return moving_moments(values, length_bars, ddof)[1]


def moving_extremes(
    high: FloatArray, low: FloatArray, length_bars: int
) -> tuple[FloatArray, FloatArray]:
    """Highest of `high` and lowest of `low`, neither with NaN, of the last `length_bars`."""
    highest, lowest = np.empty(len(high)), np.empty(len(high))
    kernels.windows.window_extremes(high, low, length_bars, highest, lowest)
    return highest, lowest


def moving_slope(values: FloatArray, length_bars: int) -> FloatArray:
    """Least-squares slope a bar of the last `length_bars` (>= 2) values; exactly 0 if all equal."""
    result = np.empty(len(values))
    kernels.windows.window_slope(values, length_bars, result)
    return result


def moving_correlation(x: FloatArray, y: FloatArray, length_bars: int) -> FloatArray:
    """Pearson's correlation over the last `length_bars` (>= 2) bars; NaN if either is constant."""
    result = np.empty(len(x))
    kernels.windows.window_corr(x, y, length_bars, result)
    return result


def channel_index(values: FloatArray, length_bars: int) -> FloatArray:
    """Value less its mean, over 0.015 mean absolute deviations, of `length_bars` (>= 2) values.

    NaN if they are all equal.
    """
    result = np.empty(len(values))
    kernels.oscillators.channel_index(values, length_bars, result)
    return result


def weighted_mean(values: FloatArray, length_bars: int) -> FloatArray:
    """Mean of the last `length_bars` (>= 2) values with weights 1 (oldest) to length (newest)."""
    slope = moving_slope(values, length_bars)
    return moving_mean(values, length_bars) + slope * ((length_bars - 1) / 6)
