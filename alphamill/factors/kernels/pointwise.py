"""Values one by one: changes since an earlier bar, positions in a range, infinities."""

from __future__ import annotations

import numpy as np

from alphamill.frames import FloatArray
from alphamill.jit import kernel

DELTA, RELATIVE, RATIO = 0, 1, 2
LARGEST, BEYOND = 8e307, 1.7e308
LOG_BEYOND = 709.3
"""Between the logarithms of the two."""


@kernel
def change(x: FloatArray, bars: int, mode: int, out: FloatArray) -> None:
    """DELTA: x less x that many bars ago; RELATIVE: x over it, less 1; infinite results are NaN.
    RATIO: x over it where that has a logarithm and is below LARGEST, else BEYOND: numpy's log
    is slow at NaN.
    """
    n = x.shape[1]
    bars = min(bars, x.shape[0])
    out[:bars] = np.nan
    for i in range(bars, x.shape[0]):
        if mode == DELTA:
            for j in range(n):
                value = x[i, j] - x[i - bars, j]
                out[i, j] = value if np.abs(value) < np.inf else np.nan
        elif mode == RATIO:
            for j in range(n):
                value = x[i, j] / x[i - bars, j]
                out[i, j] = value if 0.0 < value < LARGEST else BEYOND
        else:
            for j in range(n):
                value = x[i, j] / x[i - bars, j] - 1.0
                out[i, j] = value if np.abs(value) < np.inf else np.nan


@kernel
def range_position(x: FloatArray, low: FloatArray, out: FloatArray) -> None:
    """(x - low) / (high - low); `out` holds high and is overwritten. Infinite results are NaN."""
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            value = (x[i, j] - low[i, j]) / (out[i, j] - low[i, j])
            out[i, j] = value if np.abs(value) < np.inf else np.nan


@kernel
def has_infinity(x: FloatArray) -> bool:
    """Whether any value is infinite; counted by rows, as a loop that ends early is not SIMD."""
    for i in range(x.shape[0]):
        found = 0
        for j in range(x.shape[1]):
            found += 1 if np.abs(x[i, j]) == np.inf else 0
        if found > 0:
            return True
    return False


@kernel
def drop_above(x: FloatArray, limit: float) -> None:
    """Make NaN, in place, of what exceeds `limit`."""
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            x[i, j] = np.nan if x[i, j] > limit else x[i, j]
