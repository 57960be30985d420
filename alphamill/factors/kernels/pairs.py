"""Window covariance, correlation and regression slope of two series by block merge."""

from __future__ import annotations

import numpy as np

from alphamill.factors.kernels import NOISE
from alphamill.factors.kernels.moments import first_block
from alphamill.frames import FloatArray
from alphamill.jit import inline, kernel

COV, CORR, BETA, RESID = 0, 1, 2, 3
_ZERO = 1e-14  # a correlation below this is rounding: its covariance is 0


@inline
def finish_pair(
    xx: float, yy: float, xy: float, x: float, y: float, dx: float, dy: float, w: int, mode: int
) -> float:
    """The statistic, from centred sums, the two means and the newest values less those."""
    x_noise, y_noise = NOISE * x, NOISE * y
    x_flat = xx <= w * x_noise * x_noise
    y_flat = yy <= w * y_noise * y_noise
    scale = np.sqrt(xx) * np.sqrt(yy)
    if np.abs(xy) <= _ZERO * scale:
        xy = 0.0
    if np.abs(xy) > scale:
        xy = scale if xy > 0 else -scale  # rounding must not take a correlation past 1
    if mode == CORR:
        return np.nan if x_flat or y_flat else xy / scale
    if mode == COV:
        value = xy / (w - 1)
    elif y_flat:
        return np.nan
    else:
        value = xy / yy if mode == BETA else dx - xy / yy * dy
    return value if np.abs(value) < np.inf else np.nan


@kernel
def window_pair(
    x: FloatArray, y: FloatArray, w: int, mode: int, first: int, out: FloatArray
) -> None:
    """COV (divisor w - 1), CORR (NaN if either is constant), BETA (slope of x on y) or the newest
    bar's RESID of x regressed on y. Blocks and anchors as in `moments`.
    """
    n_bars, n = x.shape
    suffix = np.zeros((w + 1, 5, n))  # mean x, mean y, centred sums xx, yy, xy
    prefix = np.empty((5, n))
    out[: w - 1] = np.nan
    for start in range(first_block(w, first), n_bars, w - 1):
        stop = min(start + w - 1, n_bars)
        x_anchor, y_anchor = x[start - 1], y[start - 1]
        for k in range(1, min(w, start + 1)):
            share = 1.0 / k
            spread = (k - 1) * share
            last, here = suffix[k - 1], suffix[k]
            for j in range(n):
                dx = x[start - k, j] - x_anchor[j] - last[0, j]
                dy = y[start - k, j] - y_anchor[j] - last[1, j]
                here[0, j] = last[0, j] + dx * share
                here[1, j] = last[1, j] + dy * share
                here[2, j] = last[2, j] + dx * dx * spread
                here[3, j] = last[3, j] + dy * dy * spread
                here[4, j] = last[4, j] + dx * dy * spread
        prefix[:] = 0.0
        for i in range(start, stop):
            k = i - start + 1
            share = 1.0 / k
            spread = (k - 1) * share
            for j in range(n):
                dx = x[i, j] - x_anchor[j] - prefix[0, j]
                dy = y[i, j] - y_anchor[j] - prefix[1, j]
                prefix[0, j] += dx * share
                prefix[1, j] += dy * share
                prefix[2, j] += dx * dx * spread
                prefix[3, j] += dy * dy * spread
                prefix[4, j] += dx * dy * spread
            if i < w - 1:
                continue
            older = suffix[w - k]
            part = (w - k) / w
            cross = part * k
            for j in range(n):
                dx = older[0, j] - prefix[0, j]
                dy = older[1, j] - prefix[1, j]
                out[i, j] = finish_pair(
                    older[2, j] + prefix[2, j] + dx * dx * cross,
                    older[3, j] + prefix[3, j] + dy * dy * cross,
                    older[4, j] + prefix[4, j] + dx * dy * cross,
                    x_anchor[j] + prefix[0, j] + dx * part,
                    y_anchor[j] + prefix[1, j] + dy * part,
                    x[i, j] - x_anchor[j] - (prefix[0, j] + dx * part),
                    y[i, j] - y_anchor[j] - (prefix[1, j] + dy * part),
                    w,
                    mode,
                )
