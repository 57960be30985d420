"""Window minimum and maximum, and how long ago, by block merge."""

from __future__ import annotations

import numpy as np

from alphamill.frames import FloatArray
from alphamill.jit import kernel


@kernel
def window_extreme(x: FloatArray, w: int, sign: float, out: FloatArray) -> None:
    """Largest of sign * x over the last w bars, times sign: 1 for the maximum, -1 the minimum.

    The most recent wins a tie, which 0 and -0 have.
    """
    n_bars, n = x.shape
    suffix = np.full((w + 1, n), -np.inf)
    prefix = np.empty(n)
    out[: w - 1] = np.nan
    for start in range(0, n_bars, w):
        stop = min(start + w, n_bars)
        prefix[:] = -np.inf
        for i in range(start, stop):
            older = w - (i - start + 1)
            for j in range(n):
                value = sign * x[i, j]
                prefix[j] = prefix[j] if prefix[j] > value or np.isnan(prefix[j]) else value
            if i >= w - 1:
                for j in range(n):
                    best, now = suffix[older, j], prefix[j]
                    out[i, j] = sign * (best if best > now or np.isnan(best) else now)
        if stop - start == w:
            for k in range(1, w):
                for j in range(n):
                    value, best = sign * x[stop - k, j], suffix[k - 1, j]
                    suffix[k, j] = best if best >= value or np.isnan(best) else value


@kernel
def window_extreme_age(x: FloatArray, w: int, sign: float, out: FloatArray) -> None:
    """Bars since the largest of sign * x; the most recent wins a tie."""
    n_bars, n = x.shape
    suffix = np.full((w + 1, n), -np.inf)
    suffix_at = np.zeros((w + 1, n))
    prefix, prefix_at = np.empty(n), np.empty(n)
    out[: w - 1] = np.nan
    for start in range(0, n_bars, w):
        stop = min(start + w, n_bars)
        prefix[:] = -np.inf
        prefix_at[:] = start
        for i in range(start, stop):
            older = w - (i - start + 1)
            for j in range(n):
                value = sign * x[i, j]
                stays = prefix[j] > value or np.isnan(prefix[j])
                prefix[j] = prefix[j] if stays else value
                prefix_at[j] = prefix_at[j] if stays else i
            if i >= w - 1:
                for j in range(n):
                    best, now = suffix[older, j], prefix[j]
                    at = suffix_at[older, j] if best > now else prefix_at[j]
                    out[i, j] = np.nan if np.isnan(best) or np.isnan(now) else i - at
        if stop - start == w:
            for k in range(1, w):
                at = stop - k
                for j in range(n):
                    value, best = sign * x[at, j], suffix[k - 1, j]
                    stays = best >= value or np.isnan(best)
                    suffix[k, j] = best if stays else value
                    suffix_at[k, j] = suffix_at[k - 1, j] if stays else at
