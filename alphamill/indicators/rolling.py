"""Exact moving sums and divisions without warnings, on one-dimensional float64 arrays.

Nothing is ever subtracted from a running sum: a spike that has left the window leaves no trace.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

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
    grid = _blocks(values, length_bars)
    prefix = np.cumsum(grid, axis=1).reshape(-1)
    suffix = np.cumsum(grid[:, ::-1], axis=1)[:, ::-1].reshape(-1)
    starts = suffix[: n - length_bars + 1].copy()
    starts[::length_bars] = 0.0  # a window that is exactly one block is all prefix
    result[length_bars - 1 :] = starts + prefix[length_bars - 1 : n]
    return result


def _blocks(values: FloatArray, length_bars: int) -> FloatArray:
    """Values in rows of `length_bars`; what is missing in the last row is zero."""
    rows = -(-len(values) // length_bars)
    padded = np.zeros(rows * length_bars)
    padded[: len(values)] = values
    return padded.reshape(rows, length_bars)


def moving_mean(values: FloatArray, length_bars: int) -> FloatArray:
    """Mean of the last `length_bars` values; NaN as in `moving_sum`."""
    return moving_sum(values, length_bars) / length_bars


def moving_std(values: FloatArray, length_bars: int, ddof: int = 1) -> FloatArray:
    """Standard deviation of the last `length_bars` (>= 2) values; exactly 0 if all are equal.

    NaN as in `moving_sum`. Welford's update runs forward from each block's start and backward from
    its end; Chan's formula joins the two parts of a window. Chan, Golub and LeVeque (1979).
    """
    n = len(values)
    result = np.full(n, np.nan)
    if n < length_bars:
        return result
    # One column a block, so that each step of the updates is one operation on whole rows.
    grid = np.ascontiguousarray(_blocks(values, length_bars).T)
    later_mean, later_square = _welford(grid)
    earlier_mean, earlier_square = _welford(grid[::-1])
    # The window that starts `k` bars into a block has length - k bars there and k in the next.
    later_bars = np.arange(1, length_bars)[:, None]
    weight = later_bars * (length_bars - later_bars) / length_bars
    step = later_mean[:-1, 1:] - earlier_mean[-2::-1, :-1]
    squares = np.empty((grid.shape[1], length_bars))
    squares[:, 0] = later_square[-1]  # a window that is exactly one block
    squares[-1, 1:] = np.nan  # these would end after the last block
    squares[:-1, 1:] = (later_square[:-1, 1:] + earlier_square[-2::-1, :-1] + step**2 * weight).T
    whole_windows = squares.reshape(-1)[: n - length_bars + 1]
    result[length_bars - 1 :] = np.sqrt(whole_windows / (length_bars - ddof))
    result[is_flat(values, length_bars)] = 0.0
    return result


def is_flat(values: FloatArray, length_bars: int) -> NDArray[np.bool_]:
    """Whether the last `length_bars` (>= 2) values are all equal; False before it is full."""
    flat = np.zeros(len(values), dtype=np.bool_)
    changes = (values[1:] != values[:-1]).astype(np.float64)  # NaN differs from itself
    flat[1:] = moving_sum(changes, length_bars - 1) == 0
    return flat


def _welford(grid: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean of, and squared distances from it in, each column's first 1, 2, ... values."""
    means = np.cumsum(grid, axis=0)
    means /= np.arange(1, len(grid) + 1)[:, None]
    squares = np.zeros_like(means)
    np.multiply(grid[1:] - means[:-1], grid[1:] - means[1:], out=squares[1:])
    return means, np.cumsum(squares, axis=0, out=squares)
