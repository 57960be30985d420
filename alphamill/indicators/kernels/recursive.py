"""Averages that never quite forget, several at once: each waits for its own last value alone."""

from __future__ import annotations

import numpy as np

from alphamill.frames import FloatArray
from alphamill.indicators.kernels import HighLowClose, Pair, Triple
from alphamill.jit import inline, kernel

_PIECE = 512  # bars whose divisions, which wait for nothing, are made together


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
    """What the i-th value counts for, i from 1: a mean of the first bars, then an average."""
    return 1.0 / i if i <= bars else settled


@kernel
def convergence(
    x: FloatArray, fast_bars: int, slow_bars: int, signal_bars: int, out: Triple
) -> None:
    """EMA fast less EMA slow, the EMA of that, and the difference of both.

    The fast one is seeded by the bars that end with the slow one's seed, as in TA-Lib.
    """
    line, signal, rest = out
    late, first = slow_bars - fast_bars, slow_bars + signal_bars - 2
    line[:first] = signal[:first] = rest[:first] = np.nan
    fast_step, slow_step = 2.0 / (fast_bars + 1), 2.0 / (slow_bars + 1)
    signal_step = 2.0 / (signal_bars + 1)
    fast = slow = mean = 0.0
    n, settled = x.shape[0], first + 1
    for i in range(min(n, settled)):
        slow += (x[i] - slow) * _share(i + 1, slow_bars, slow_step)
        if i >= late:
            fast += (x[i] - fast) * _share(i + 1 - late, fast_bars, fast_step)
        if i >= slow_bars - 1:
            gap = fast - slow
            mean += (gap - mean) * _share(i + 2 - slow_bars, signal_bars, signal_step)
            if i >= first:
                line[i] = gap
                signal[i] = mean
                rest[i] = gap - mean
    for i in range(settled, n):
        slow += (x[i] - slow) * slow_step
        fast += (x[i] - fast) * fast_step
        gap = fast - slow
        mean += (gap - mean) * signal_step
        line[i] = gap
        signal[i] = mean
        rest[i] = gap - mean


@kernel
def triple_change(x: FloatArray, bars: int, out: FloatArray) -> None:
    """Change a bar, in percent, of an EMA of an EMA of an EMA."""
    step = 2.0 / (bars + 1)
    wait = bars - 1
    out[: 3 * wait + 1] = np.nan
    a = b = c = 0.0
    n, settled = x.shape[0], 3 * bars
    for i in range(min(n, settled)):
        before = c
        a += (x[i] - a) * _share(i + 1, bars, step)
        if i >= wait:
            b += (a - b) * _share(i + 1 - wait, bars, step)
        if i >= 2 * wait:
            c += (b - c) * _share(i + 1 - 2 * wait, bars, step)
        if i > 3 * wait:
            out[i] = (c / before - 1.0) * 100.0
    for i in range(settled, n):
        before = c
        a += (x[i] - a) * step
        b += (a - b) * step
        c += (b - c) * step
        out[i] = (c / before - 1.0) * 100.0


@inline
def _strengths(gain: FloatArray, loss: FloatArray, out: FloatArray, count: int) -> None:
    for j in range(count):
        moved = gain[j] + loss[j]
        share = 100.0 * (gain[j] / moved)
        out[j] = share if moved > 0 else 50.0


@kernel
def two_rsis(x: FloatArray, a_bars: int, b_bars: int, out: Pair) -> None:
    """Wilder's relative strength for two lengths; 50 while x has never moved."""
    a_out, b_out = out
    n = x.shape[0]
    a_step, b_step = 1.0 / a_bars, 1.0 / b_bars
    a_gain = a_loss = b_gain = b_loss = 0.0
    sums = np.empty((4, _PIECE))
    for first in range(1, n, _PIECE):
        count = min(_PIECE, n - first)
        for j in range(count):
            i = first + j
            step = x[i] - x[i - 1]
            gain, loss = max(step, 0.0), max(-step, 0.0)
            a_share, b_share = _share(i, a_bars, a_step), _share(i, b_bars, b_step)
            a_gain += (gain - a_gain) * a_share
            a_loss += (loss - a_loss) * a_share
            b_gain += (gain - b_gain) * b_share
            b_loss += (loss - b_loss) * b_share
            sums[0, j], sums[1, j], sums[2, j], sums[3, j] = a_gain, a_loss, b_gain, b_loss
        _strengths(sums[0], sums[1], a_out[first:], count)
        _strengths(sums[2], sums[3], b_out[first:], count)
    a_out[:a_bars] = b_out[:b_bars] = np.nan


@kernel
def two_atrs(prices: HighLowClose, a_bars: int, b_bars: int, out: Pair) -> None:
    """Wilder's average true range for two lengths."""
    high, low, close = prices
    a_out, b_out = out
    a_step, b_step = 1.0 / a_bars, 1.0 / b_bars
    a = b = 0.0
    for i in range(1, high.shape[0]):
        step = max(high[i], close[i - 1]) - min(low[i], close[i - 1])
        a += (step - a) * _share(i, a_bars, a_step)
        b += (step - b) * _share(i, b_bars, b_step)
        a_out[i], b_out[i] = a, b
    a_out[:a_bars] = b_out[:b_bars] = np.nan


@inline
def _percent(part: float, whole: float) -> float:
    return 100.0 * (part / whole) if whole > 0 else 0.0


@kernel
def directional(prices: HighLowClose, w: int, out: Triple) -> None:
    """Wilder's +DI and -DI (1978) from bar w, ADX from bar 2w - 1; 0 without movement.

    Seeds as TA-Lib has them: sums of the first w - 1 steps, then the mean of w DX. A bar whose DX
    is undefined leaves the ADX as it was.
    """
    high, low, close = prices
    plus_di, minus_di, adx = out
    plus_di[:w] = minus_di[:w] = adx[: 2 * w - 1] = np.nan
    plus = minus = ranges = index = 0.0
    keep = 1.0 - 1.0 / w
    for i in range(1, high.shape[0]):
        up, down = high[i] - high[i - 1], low[i - 1] - low[i]
        step_up = up if up > 0 and up > down else 0.0
        step_down = down if down > 0 and down > up else 0.0
        step = max(high[i], close[i - 1]) - min(low[i], close[i - 1])
        fade = 1.0 if i < w else keep
        plus = plus * fade + step_up
        minus = minus * fade + step_down
        ranges = ranges * fade + step
        if i < w:
            continue
        plus_di[i], minus_di[i] = _percent(plus, ranges), _percent(minus, ranges)
        moved = plus + minus
        if moved > 0 and ranges > 0:
            dx = 100.0 * (abs(plus - minus) / moved)
            index = index + dx / w if i < 2 * w else index + (dx - index) / w
        if i >= 2 * w - 1:
            adx[i] = index


@kernel
def adaptive_mean(x: FloatArray, w: int, fast: float, slow: float, out: FloatArray) -> None:
    """Kaufman's mean: an EMA of weight slow**2 to fast**2 by the efficiency ratio of w bars.

    From bar w, seeded by the bar before it. A window that did not move has ratio 1, as in TA-Lib,
    which takes its path from a running sum that keeps what rounding left of it.
    """
    out[:w] = np.nan
    if x.shape[0] <= w:
        return
    mean = x[w - 1]
    for i in range(w, x.shape[0]):
        window = x[i - w : i + 1]
        path = 0.0
        for j in range(w):
            path += abs(window[j + 1] - window[j])
        way = abs(window[w] - window[0])
        ratio = way / path if path > way else 1.0
        weight = ratio * (fast - slow) + slow
        mean += (x[i] - mean) * weight * weight
        out[i] = mean
