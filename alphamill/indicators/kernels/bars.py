"""Arithmetic on two or three series in one pass; what is not finite becomes NaN."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from alphamill.frames import FloatArray, IntArray
from alphamill.indicators.kernels import GRID, HighLowClose
from alphamill.jit import inline, kernel

_ROUNDING = 1e-9  # how far a value may exceed its range, and a part its whole, relative to it


@inline
def _known(value: float) -> float:
    return value if np.abs(value) < np.inf else np.nan


@kernel
def quotient(a: FloatArray, b: FloatArray, scale: float, shift: float, out: FloatArray) -> None:
    """The quotient times `scale`, plus `shift`."""
    for i in range(a.shape[0]):
        out[i] = _known(a[i] / b[i]) * scale + shift


@kernel
def position(
    x: FloatArray, zero: FloatArray, one: FloatArray, scale: float, out: FloatArray
) -> None:
    """Where x stands on the way from `zero` to `one`, times `scale`."""
    for i in range(x.shape[0]):
        out[i] = _known((x[i] - zero[i]) / (one[i] - zero[i])) * scale


@kernel
def step_range(times: IntArray) -> tuple[int, int]:
    """Shortest and longest step; without any, the longest there could be and 0."""
    shortest, longest = np.iinfo(np.int64).max, 0
    for i in range(times.shape[0] - 1):
        step = times[i + 1] - times[i]
        shortest, longest = min(shortest, step), max(longest, step)
    return shortest, longest


@kernel
def usable_prices(first: FloatArray, prices: HighLowClose, out: NDArray[np.bool_]) -> None:
    """Finite, positive, and low <= first, close <= high; comparisons with NaN are False."""
    high, low, close = prices
    for i in range(first.shape[0]):
        bounded = low[i] > 0 and high[i] < np.inf
        out[i] = (
            bounded
            and low[i] <= first[i]
            and low[i] <= close[i]
            and first[i] <= high[i]
            and close[i] <= high[i]
        )


@kernel
def usable_amounts(values: FloatArray, wholes: FloatArray, out: NDArray[np.bool_]) -> None:
    """Finite, not negative, and a part not larger than its whole, which may be itself."""
    for i in range(values.shape[0]):
        known = values[i] >= 0 and values[i] < np.inf
        out[i] = known and values[i] <= wholes[i] * (1.0 + _ROUNDING)


@inline
def _end(value: float, low: float, high: float) -> float:
    """The end of the range, for a value that only rounding took past it."""
    if value < low and value >= low - _ROUNDING * max(1.0, abs(low)):
        return low
    if value > high and value <= high + _ROUNDING * max(1.0, abs(high)):
        return high
    return _known(value)


@kernel
def keep_in_range(values: FloatArray, low: float, high: float) -> None:
    """In place: inf becomes NaN, and what rounding alone took past an end is put on it."""
    sound = True
    for i in range(values.shape[0]):
        sound &= not (values[i] < low or values[i] > high or np.abs(values[i]) == np.inf)
    if not sound:
        for i in range(values.shape[0]):
            values[i] = _end(values[i], low, high)


@kernel
def keep_rows_in_range(
    matrix: FloatArray, rows: IntArray, start: int, end: int, lows: FloatArray, highs: FloatArray
) -> None:
    """`keep_in_range` of some rows from `start` to `end`."""
    for row in rows:
        keep_in_range(matrix[row, start:end], lows[row], highs[row])


@kernel
def power_balance(first: FloatArray, prices: HighLowClose, out: FloatArray) -> None:
    """The bar's body over its span, -1 to 1; 0 if high = low."""
    high, low, close = prices
    for i in range(first.shape[0]):
        share = (close[i] - first[i]) / (high[i] - low[i])
        out[i] = share if high[i] > low[i] else 0.0


@kernel
def money_flow(
    typical: FloatArray, volume: FloatArray, gained: FloatArray, moved: FloatArray
) -> None:
    """Typical price times volume of bars that rose, and of bars that did not stay; first NaN.

    A typical price stays where it is the same decimal, whatever double its sum came to.
    """
    gained[:1] = moved[:1] = np.nan
    before, price, amount = typical[:-1], typical[1:], volume[1:]
    rose, changed = gained[1:], moved[1:]
    for i in range(price.shape[0]):
        flow = price[i] * amount[i]
        step, same = price[i] - before[i], GRID * price[i]
        rose[i] = flow if step > same else 0.0
        changed[i] = flow if abs(step) > same else 0.0


@kernel
def accumulation(prices: HighLowClose, volume: FloatArray, out: FloatArray) -> None:
    """Volume times the close's position in its bar, -1 low to 1 high; 0 if high = low."""
    high, low, close = prices
    for i in range(high.shape[0]):
        span = high[i] - low[i]
        position_in_bar = ((close[i] - low[i]) - (high[i] - close[i])) / span
        out[i] = position_in_bar * volume[i] if span > 0 else 0.0
