"""Window sums, means, products and weighted means by block merge."""

from __future__ import annotations

import numpy as np

from alphamill.frames import FloatArray
from alphamill.jit import kernel


@kernel
def window_sum(x: FloatArray, w: int, out: FloatArray) -> None:
    """Sum of the last w bars."""
    n_bars, n = x.shape
    suffix = np.zeros((w + 1, n))
    prefix = np.empty(n)
    for start in range(0, n_bars, w):
        stop = min(start + w, n_bars)
        prefix[:] = 0.0
        for i in range(start, stop):
            older = w - (i - start + 1)
            for j in range(n):
                prefix[j] += x[i, j]
                out[i, j] = suffix[older, j] + prefix[j]
        if stop - start == w:
            for k in range(1, w):
                for j in range(n):
                    suffix[k, j] = suffix[k - 1, j] + x[stop - k, j]
    out[: w - 1] = np.nan


@kernel
def window_mean(x: FloatArray, w: int, out: FloatArray) -> None:
    """Mean of the last w bars; exactly c where all are c."""
    n_bars, n = x.shape
    suffix = np.zeros((w + 1, n))
    prefix = np.empty(n)
    for start in range(0, n_bars, w):
        stop = min(start + w, n_bars)
        prefix[:] = 0.0
        for i in range(start, stop):
            k = i - start + 1
            older = w - k
            share = 1.0 / k
            part = older / w
            for j in range(n):
                prefix[j] += (x[i, j] - prefix[j]) * share
                out[i, j] = prefix[j] + (suffix[older, j] - prefix[j]) * part
        if stop - start == w:
            for k in range(1, w):
                share = 1.0 / k
                for j in range(n):
                    suffix[k, j] = suffix[k - 1, j] + (x[stop - k, j] - suffix[k - 1, j]) * share
    out[: w - 1] = np.nan


@kernel
def window_product(x: FloatArray, w: int, out: FloatArray) -> None:
    """Product of the last w bars; NaN past the largest number."""
    n_bars, n = x.shape
    suffix = np.ones((w + 1, n))
    prefix = np.empty(n)
    for start in range(0, n_bars, w):
        stop = min(start + w, n_bars)
        prefix[:] = 1.0
        for i in range(start, stop):
            older = w - (i - start + 1)
            for j in range(n):
                prefix[j] *= x[i, j]
                value = suffix[older, j] * prefix[j]
                out[i, j] = value if np.abs(value) < np.inf else np.nan
        if stop - start == w:
            for k in range(1, w):
                for j in range(n):
                    suffix[k, j] = suffix[k - 1, j] * x[stop - k, j]
    out[: w - 1] = np.nan


@kernel
def linear_decay(x: FloatArray, w: int, out: FloatArray) -> None:
    """Mean with weights 1 (oldest) to w (newest).

    Beside the sums of x it keeps sums weighted by position, 1 at the oldest bar of the part; the
    newer part's positions start after the older part's, which its plain sum accounts for.
    """
    n_bars, n = x.shape
    weighted, total = np.zeros((w + 1, n)), np.empty(n)
    p_total, p_weighted = np.empty(n), np.empty(n)
    scale = 2.0 / (w * (w + 1.0))
    for start in range(0, n_bars, w):
        stop = min(start + w, n_bars)
        p_total[:] = 0.0
        p_weighted[:] = 0.0
        for i in range(start, stop):
            k = i - start + 1
            older = w - k
            for j in range(n):
                plain = p_total[j] + x[i, j]
                rise = p_weighted[j] + k * x[i, j]
                p_total[j] = plain
                p_weighted[j] = rise
                out[i, j] = (weighted[older, j] + rise + older * plain) * scale
        if stop - start == w:
            total[:] = 0.0
            for k in range(1, w):
                for j in range(n):
                    plain = total[j] + x[stop - k, j]
                    total[j] = plain
                    weighted[k, j] = weighted[k - 1, j] + plain
    out[: w - 1] = np.nan


@kernel
def exponential_decay(x: FloatArray, w: int, keep: float, out: FloatArray) -> None:
    """Mean of the last w bars with weights keep ** age."""
    n_bars, n = x.shape
    suffix = np.zeros((w + 1, n))
    prefix = np.empty(n)
    powers = keep ** np.arange(w + 1)
    scale = 1.0 / powers[:w].sum()
    for start in range(0, n_bars, w):
        stop = min(start + w, n_bars)
        prefix[:] = 0.0
        for i in range(start, stop):
            k = i - start + 1
            older = w - k
            aged = powers[k]
            for j in range(n):
                prefix[j] = prefix[j] * keep + x[i, j]
                out[i, j] = (suffix[older, j] * aged + prefix[j]) * scale
        if stop - start == w:
            for k in range(1, w):
                weight = powers[k - 1]
                for j in range(n):
                    suffix[k, j] = suffix[k - 1, j] + x[stop - k, j] * weight
    out[: w - 1] = np.nan


@kernel
def recursive_mean(x: FloatArray, w: int, alpha: float, out: FloatArray) -> None:
    """Exponential mean from the mean of w values; starts again after a NaN."""
    n_bars, n = x.shape
    level = np.zeros(n)
    count = np.zeros(n, dtype=np.int64)
    for i in range(n_bars):
        for j in range(n):
            value = x[i, j]
            if not np.isfinite(value):
                count[j] = 0
                level[j] = 0.0
                out[i, j] = np.nan
                continue
            count[j] += 1
            step = 1.0 / count[j] if count[j] <= w else alpha
            level[j] = value if step == 1.0 else level[j] + (value - level[j]) * step
            out[i, j] = level[j] if count[j] >= w else np.nan
