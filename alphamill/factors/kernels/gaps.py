"""Values that are none: infinities on the way in, results out of range on the way out."""

from __future__ import annotations

import numpy as np

from alphamill.factors.kernels.jit import kernel
from alphamill.frames import FloatArray


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
