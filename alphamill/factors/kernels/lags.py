"""Changes since an earlier bar, and the place within a range."""

from __future__ import annotations

import numpy as np

from alphamill.factors.kernels.jit import kernel
from alphamill.frames import FloatArray

DELTA, RELATIVE, RATIO = 0, 1, 2


@kernel
def change(x: FloatArray, bars: int, mode: int, out: FloatArray) -> None:
    """DELTA: x less x that many bars ago; RATIO: x over it; RELATIVE: that less 1.

    Infinite results are NaN.
    """
    n = x.shape[1]
    base = 1.0 if mode == RELATIVE else 0.0
    bars = min(bars, x.shape[0])
    out[:bars] = np.nan
    for i in range(bars, x.shape[0]):
        if mode == DELTA:
            for j in range(n):
                value = x[i, j] - x[i - bars, j]
                out[i, j] = value if np.abs(value) < np.inf else np.nan
        else:
            for j in range(n):
                value = x[i, j] / x[i - bars, j] - base
                out[i, j] = value if np.abs(value) < np.inf else np.nan


@kernel
def range_place(x: FloatArray, low: FloatArray, out: FloatArray) -> None:
    """(x - low) / (high - low); `out` holds high and is overwritten. Infinite results are NaN."""
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            value = (x[i, j] - low[i, j]) / (out[i, j] - low[i, j])
            out[i, j] = value if np.abs(value) < np.inf else np.nan
