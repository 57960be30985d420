"""Exact moving sums and divisions without warnings, on one-dimensional float64 arrays.

Nothing is ever subtracted from a running sum: a spike that has left the window leaves no trace.
"""

from __future__ import annotations

import numpy as np

from alphamill.frames import FloatArray


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

    Time is cut into blocks of the window's length; a window is a suffix of one block plus a prefix
    of the next, so three additions a bar suffice and a value depends on its own window alone.
    """
    n = len(values)
    result = np.full(n, np.nan)
    if n < length_bars:
        return result
    blocks = -(-n // length_bars)
    padded = np.zeros(blocks * length_bars)
    padded[:n] = values
    grid = padded.reshape(blocks, length_bars)
    prefix = np.cumsum(grid, axis=1).reshape(-1)
    suffix = np.cumsum(grid[:, ::-1], axis=1)[:, ::-1].reshape(-1)
    ends = prefix[length_bars - 1 : n].copy()
    starts = suffix[: n - length_bars + 1].copy()
    starts[::length_bars] = 0.0  # a window that is exactly one block is all prefix
    result[length_bars - 1 :] = starts + ends
    return result


def moving_mean(values: FloatArray, length_bars: int) -> FloatArray:
    """Mean of the last `length_bars` values; NaN as in `moving_sum`."""
    return moving_sum(values, length_bars) / length_bars
