"""Window sums, means, products and weighted means by block merge.

first: in every kernel, the absolute number of the bar in row 0, from which blocks are counted.
"""

from __future__ import annotations

import numpy as np

from alphamill.frames import FloatArray
from alphamill.jit import kernel


@kernel
def window_sum(x: FloatArray, w: int, first: int, out: FloatArray) -> None:
    """Sum of the last w bars."""
    n_bars, n = x.shape
    suffix = np.zeros((w + 1, n))
    prefix = np.empty(n)
    for start in range(-(first % w), n_bars, w):
        stop = min(start + w, n_bars)
        prefix[:] = 0.0
        for i in range(max(start, 0), stop):
            older = w - (i - start + 1)
            for j in range(n):
                prefix[j] += x[i, j]
                out[i, j] = suffix[older, j] + prefix[j]
        if stop - start == w:
            for k in range(1, min(w, stop + 1)):
                for j in range(n):
                    suffix[k, j] = suffix[k - 1, j] + x[stop - k, j]
    out[: w - 1] = np.nan


@kernel
def window_mean(x: FloatArray, w: int, first: int, out: FloatArray) -> None:
    """Mean of the last w bars; exactly c where all are c."""
    n_bars, n = x.shape
    suffix = np.zeros((w + 1, n))
    prefix = np.empty(n)
    for start in range(-(first % w), n_bars, w):
        stop = min(start + w, n_bars)
        prefix[:] = 0.0
        for i in range(max(start, 0), stop):
            k = i - start + 1
            older = w - k
            share = 1.0 / k
            part = older / w
            for j in range(n):
                prefix[j] += (x[i, j] - prefix[j]) * share
                out[i, j] = prefix[j] + (suffix[older, j] - prefix[j]) * part
        if stop - start == w:
            for k in range(1, min(w, stop + 1)):
                share = 1.0 / k
                for j in range(n):
                    suffix[k, j] = suffix[k - 1, j] + (x[stop - k, j] - suffix[k - 1, j]) * share
    out[: w - 1] = np.nan


@kernel
def window_product(x: FloatArray, w: int, first: int, out: FloatArray) -> None:
    """Product of the last w bars; NaN past the largest number."""
    n_bars, n = x.shape
    suffix = np.ones((w + 1, n))
    prefix = np.empty(n)
    for start in range(-(first % w), n_bars, w):
        stop = min(start + w, n_bars)
        prefix[:] = 1.0
        for i in range(max(start, 0), stop):
            older = w - (i - start + 1)
            for j in range(n):
                prefix[j] *= x[i, j]
                value = suffix[older, j] * prefix[j]
                out[i, j] = value if np.abs(value) < np.inf else np.nan
        if stop - start == w:
            for k in range(1, min(w, stop + 1)):
                for j in range(n):
                    suffix[k, j] = suffix[k - 1, j] * x[stop - k, j]
    out[: w - 1] = np.nan


@kernel
def linear_decay(x: FloatArray, w: int, first: int, out: FloatArray) -> None:
    """Mean with weights 1 (oldest) to w (newest).

    Beside the sums of x it keeps sums weighted by position, 1 at the oldest bar of the part; the
    newer part's positions start after the older part's, which its plain sum accounts for.
    """
    n_bars, n = x.shape
    weighted, total = np.zeros((w + 1, n)), np.empty(n)
    p_total, p_weighted = np.empty(n), np.empty(n)
    scale = 2.0 / (w * (w + 1.0))
    for start in range(-(first % w), n_bars, w):
        stop = min(start + w, n_bars)
        p_total[:] = 0.0
        p_weighted[:] = 0.0
        for i in range(max(start, 0), stop):
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
            for k in range(1, min(w, stop + 1)):
                for j in range(n):
                    plain = total[j] + x[stop - k, j]
                    total[j] = plain
                    weighted[k, j] = weighted[k - 1, j] + plain
    out[: w - 1] = np.nan


@kernel
def exponential_decay(x: FloatArray, w: int, keep: float, first: int, out: FloatArray) -> None:
    """Mean of the last w bars with weights keep ** age."""
    n_bars, n = x.shape
    suffix = np.zeros((w + 1, n))
    prefix = np.empty(n)
    powers = keep ** np.arange(w + 1)
    scale = 1.0 / powers[:w].sum()
    for start in range(-(first % w), n_bars, w):
        stop = min(start + w, n_bars)
        prefix[:] = 0.0
        for i in range(max(start, 0), stop):
            k = i - start + 1
            older = w - k
            aged = powers[k]
            for j in range(n):
                prefix[j] = prefix[j] * keep + x[i, j]
                out[i, j] = (suffix[older, j] * aged + prefix[j]) * scale
        if stop - start == w:
            for k in range(1, min(w, stop + 1)):
                weight = powers[k - 1]
                for j in range(n):
                    suffix[k, j] = suffix[k - 1, j] + x[stop - k, j] * weight
    out[: w - 1] = np.nan


@kernel
def exponential_mean(
    x: FloatArray, w: int, span: int, alpha: float, first: int, out: FloatArray
) -> None:
    """Mean of the last `span` >= w bars, or of those since a NaN, with weights (1 - alpha) ** age.

    NaN while there are fewer than w of them; exactly c where all are c. Of each part are kept its
    mean, weight and bars: a suffix ends before the last NaN, and a NaN in the newer part makes all
    of the older one count for nothing.
    """
    n_bars, n = x.shape
    keep = 1.0 - alpha
    powers = keep ** np.arange(span + 1)
    mean, weight = np.zeros((span + 1, n)), np.zeros((span + 1, n))
    bars = np.zeros((span + 1, n))
    p_mean, p_weight, p_bars, unbroken = np.empty(n), np.empty(n), np.empty(n), np.empty(n)
    for start in range(-(first % span), n_bars, span):
        stop = min(start + span, n_bars)
        p_mean[:] = 0.0
        p_weight[:] = 0.0
        p_bars[:] = 0.0
        unbroken[:] = 1.0
        for i in range(max(start, 0), stop):
            older = span - (i - start + 1)
            aged = powers[i - start + 1]
            for j in range(n):
                known = np.isfinite(x[i, j])
                value = x[i, j] if known else 0.0
                newer = p_weight[j] * keep + 1.0
                level = p_mean[j] + (value - p_mean[j]) / newer
                count = p_bars[j] + 1.0
                newer = newer if known else 0.0
                level = level if known else 0.0
                count = count if known else 0.0
                whole = unbroken[j] if known else 0.0
                p_weight[j], p_mean[j], p_bars[j], unbroken[j] = newer, level, count, whole
                part = weight[older, j] * aged * whole
                level += (mean[older, j] - level) * (part / (newer + part))
                out[i, j] = level if count + bars[older, j] * whole >= w else np.nan
        if stop - start == span:
            for k in range(1, min(span, stop + 1)):
                own = powers[k - 1]
                for j in range(n):
                    known = (bars[k - 1, j] == k - 1) & np.isfinite(x[stop - k, j])
                    value = x[stop - k, j] if known else 0.0
                    total = weight[k - 1, j] + (own if known else 0.0)
                    step = own / total if known else 0.0
                    mean[k, j] = mean[k - 1, j] + (value - mean[k - 1, j]) * step
                    weight[k, j] = total
                    bars[k, j] = bars[k - 1, j] + (1.0 if known else 0.0)
    out[: w - 1] = np.nan
