"""Wilder's directional movement (1978), all of it in one pass."""

from __future__ import annotations

import numpy as np

from alphamill.frames import FloatArray
from alphamill.jit import inline, kernel


@inline
def _percent(part: float, whole: float) -> float:
    return 100.0 * (part / whole) if whole > 0 else 0.0


@kernel
def directional(
    high: FloatArray, low: FloatArray, close: FloatArray, w: int,
    plus_di: FloatArray, minus_di: FloatArray, adx: FloatArray,
) -> None:  # fmt: skip
    """+DI and -DI from bar w, ADX from bar 2w - 1; 0 without movement.

    Seeds as TA-Lib has them: sums of the first w - 1 steps, then the mean of w DX. A bar whose DX
    is undefined leaves the ADX as it was.
    """
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
