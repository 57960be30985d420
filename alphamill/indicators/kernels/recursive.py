"""Averages that never quite forget, several at once: each waits for its own last value alone."""

from __future__ import annotations

import numpy as np

from alphamill.frames import FloatArray
from alphamill.jit import inline, kernel


@kernel
def four_emas(
    x: FloatArray, a_bars: int, b_bars: int, c_bars: int, d_bars: int, out: FloatArray
) -> None:
    """Rows of `out`: EMAs of four ascending lengths, each seeded by the mean of its first bars."""
    n = x.shape[0]
    a_out, b_out, c_out, d_out = out[0], out[1], out[2], out[3]
    a_step, b_step = 2.0 / (a_bars + 1), 2.0 / (b_bars + 1)
    c_step, d_step = 2.0 / (c_bars + 1), 2.0 / (d_bars + 1)
    a = b = c = d = total = 0.0
    for i in range(min(n, d_bars)):
        total += x[i]
        a = total / (i + 1) if i < a_bars else a + (x[i] - a) * a_step
        b = total / (i + 1) if i < b_bars else b + (x[i] - b) * b_step
        c = total / (i + 1) if i < c_bars else c + (x[i] - c) * c_step
        d = total / (i + 1)
        a_out[i] = a if i >= a_bars - 1 else np.nan
        b_out[i] = b if i >= b_bars - 1 else np.nan
        c_out[i] = c if i >= c_bars - 1 else np.nan
        d_out[i] = d if i >= d_bars - 1 else np.nan
    for i in range(d_bars, n):
        a += (x[i] - a) * a_step
        b += (x[i] - b) * b_step
        c += (x[i] - c) * c_step
        d += (x[i] - d) * d_step
        a_out[i] = a
        b_out[i] = b
        c_out[i] = c
        d_out[i] = d


@inline
def _share(i: int, bars: int, settled: float) -> float:
    """What the i-th value counts for, i from 1: a mean of the first bars, then Wilder's average."""
    return 1.0 / i if i < bars else settled


@inline
def _strength(gain: float, loss: float) -> float:
    return 100.0 * (gain / (gain + loss)) if gain + loss > 0 else 50.0


@kernel
def two_rsis(x: FloatArray, a_bars: int, b_bars: int, out: FloatArray) -> None:
    """Rows of `out`: Wilder's relative strength for two lengths; 50 while x has never moved."""
    a_out, b_out = out[0], out[1]
    a_out[:a_bars] = b_out[:b_bars] = np.nan
    a_step, b_step = 1.0 / a_bars, 1.0 / b_bars
    a_gain = a_loss = b_gain = b_loss = 0.0
    for i in range(1, x.shape[0]):
        step = x[i] - x[i - 1]
        gain, loss = max(step, 0.0), max(-step, 0.0)
        a_share, b_share = _share(i, a_bars, a_step), _share(i, b_bars, b_step)
        a_gain += (gain - a_gain) * a_share
        a_loss += (loss - a_loss) * a_share
        b_gain += (gain - b_gain) * b_share
        b_loss += (loss - b_loss) * b_share
        if i >= a_bars:
            a_out[i] = _strength(a_gain, a_loss)
        if i >= b_bars:
            b_out[i] = _strength(b_gain, b_loss)


@kernel
def two_atrs(
    high: FloatArray, low: FloatArray, close: FloatArray, a_bars: int, b_bars: int, out: FloatArray
) -> None:
    """Rows of `out`: Wilder's average true range for two lengths."""
    a_out, b_out = out[0], out[1]
    a_out[:a_bars] = b_out[:b_bars] = np.nan
    a_step, b_step = 1.0 / a_bars, 1.0 / b_bars
    a = b = 0.0
    for i in range(1, high.shape[0]):
        step = max(high[i], close[i - 1]) - min(low[i], close[i - 1])
        a += (step - a) * _share(i, a_bars, a_step)
        b += (step - b) * _share(i, b_bars, b_step)
        if i >= a_bars:
            a_out[i] = a
        if i >= b_bars:
            b_out[i] = b
