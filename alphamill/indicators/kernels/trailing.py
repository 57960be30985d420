"""Kaufman's adaptive mean."""

from __future__ import annotations

import numpy as np

from alphamill.frames import FloatArray
from alphamill.jit import kernel


@kernel
def adaptive_mean(x: FloatArray, w: int, fast: float, slow: float, out: FloatArray) -> None:
    """An EMA whose weight, from slow**2 to fast**2, follows the efficiency ratio of w bars.

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
