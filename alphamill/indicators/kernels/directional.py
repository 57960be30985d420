"""Wilder's directional movement (1978), all of it in one pass."""

from __future__ import annotations

import numpy as np

from alphamill.frames import FloatArray
from alphamill.jit import inline, kernel

_PIECE = 512  # bars whose divisions, which wait for nothing, are made together


@inline
def _percents(part: FloatArray, whole: FloatArray, out: FloatArray, count: int) -> None:
    for j in range(count):
        percent = 100.0 * (part[j] / whole[j])
        out[j] = percent if whole[j] > 0 else 0.0


@inline
def _index(plus: FloatArray, minus: FloatArray, out: FloatArray, count: int) -> None:
    """DX: the two movements' difference over their sum; NaN without movement."""
    for j in range(count):
        out[j] = 100.0 * (abs(plus[j] - minus[j]) / (plus[j] + minus[j]))


@kernel
def directional(
    high: FloatArray, low: FloatArray, close: FloatArray, w: int,
    plus_di: FloatArray, minus_di: FloatArray, adx: FloatArray,
) -> None:  # fmt: skip
    """+DI and -DI from bar w, ADX from bar 2w - 1; 0 without movement.

    Seeds as TA-Lib has them: sums of the first w - 1 steps, then the mean of w DX. A bar whose DX
    is undefined leaves the ADX as it was.
    """
    n = high.shape[0]
    plus = minus = ranges = index = 0.0
    keep = 1.0 - 1.0 / w
    sums = np.empty((4, _PIECE))
    for first in range(1, n, _PIECE):
        count = min(_PIECE, n - first)
        for j in range(count):
            i = first + j
            up, down = high[i] - high[i - 1], low[i - 1] - low[i]
            step_up = up if up > 0 and up > down else 0.0
            step_down = down if down > 0 and down > up else 0.0
            step = max(high[i], close[i - 1]) - min(low[i], close[i - 1])
            fade = 1.0 if i < w else keep
            plus = plus * fade + step_up
            minus = minus * fade + step_down
            ranges = ranges * fade + step
            sums[0, j], sums[1, j], sums[2, j] = plus, minus, ranges
        _percents(sums[0], sums[2], plus_di[first:], count)
        _percents(sums[1], sums[2], minus_di[first:], count)
        _index(sums[0], sums[1], sums[3], count)
        for j in range(count):
            i, dx = first + j, sums[3, j]
            if i >= w and dx == dx:  # noqa: PLR0124  not NaN
                index = index + dx / w if i < 2 * w else index + (dx - index) / w
            adx[first + j] = index
    plus_di[:w] = minus_di[:w] = adx[: 2 * w - 1] = np.nan
