"""Window operators of the newest bar alone, from the rows of its window and no others.

Each does what its column kernel does for that bar, in the same order, so that a value has the same
bits; but keeps of all suffixes only the one that the window is merged from.

x: float64 (bars of the window, symbols), the newest last. first: the absolute number of the bar in
row 0. Results go to a row of symbols; rows of `scratch` are working memory.
"""

from __future__ import annotations

import math

import numpy as np

from alphamill.factors.kernels import pointwise
from alphamill.factors.kernels.moments import finish_second, first_block
from alphamill.factors.kernels.pairs import finish_pair
from alphamill.frames import FloatArray
from alphamill.jit import inline

SCRATCH_ROWS = 12


@inline
def _clear(row: FloatArray, value: float) -> None:
    """`row[:] = value`, which takes numba longer to compile."""
    for j in range(row.shape[0]):
        row[j] = value


@inline
def newest_delay(x: FloatArray, out: FloatArray) -> None:
    """The oldest row."""
    for j in range(out.shape[0]):
        out[j] = x[0, j]


@inline
def newest_change(x: FloatArray, mode: int, out: FloatArray) -> None:
    """`pointwise.change`."""
    last, old = x[x.shape[0] - 1], x[0]
    if mode == pointwise.DELTA:
        for j in range(out.shape[0]):
            value = last[j] - old[j]
            out[j] = value if np.abs(value) < np.inf else np.nan
    else:
        for j in range(out.shape[0]):
            value = last[j] / old[j] - 1.0
            out[j] = value if np.abs(value) < np.inf else np.nan


@inline
def newest_sum(x: FloatArray, first: int, scratch: FloatArray, out: FloatArray) -> None:
    """`sums.window_sum`."""
    w = x.shape[0]
    older = w - 1 - (first + w - 1) % w
    suffix = scratch[0]
    _clear(suffix, 0.0)
    for i in range(older - 1, -1, -1):
        for j in range(out.shape[0]):
            suffix[j] += x[i, j]
    _clear(out, 0.0)
    for i in range(older, w):
        for j in range(out.shape[0]):
            out[j] += x[i, j]
    for j in range(out.shape[0]):
        out[j] = suffix[j] + out[j]


@inline
def newest_mean(x: FloatArray, first: int, scratch: FloatArray, out: FloatArray) -> None:
    """`sums.window_mean`."""
    w = x.shape[0]
    older = w - 1 - (first + w - 1) % w
    suffix = scratch[0]
    _clear(suffix, 0.0)
    for k in range(1, older + 1):
        share = 1.0 / k
        for j in range(out.shape[0]):
            suffix[j] += (x[older - k, j] - suffix[j]) * share
    _clear(out, 0.0)
    for k in range(1, w - older + 1):
        share = 1.0 / k
        for j in range(out.shape[0]):
            out[j] += (x[older + k - 1, j] - out[j]) * share
    part = older / w
    for j in range(out.shape[0]):
        out[j] = out[j] + (suffix[j] - out[j]) * part


@inline
def newest_decay(x: FloatArray, first: int, scratch: FloatArray, out: FloatArray) -> None:
    """`sums.linear_decay`."""
    w = x.shape[0]
    older = w - 1 - (first + w - 1) % w
    total, weighted, plain = scratch[0], scratch[1], scratch[2]
    _clear(total, 0.0)
    _clear(weighted, 0.0)
    for i in range(older - 1, -1, -1):
        for j in range(out.shape[0]):
            total[j] += x[i, j]
            weighted[j] += total[j]
    _clear(plain, 0.0)
    _clear(out, 0.0)
    for k in range(1, w - older + 1):
        for j in range(out.shape[0]):
            plain[j] += x[older + k - 1, j]
            out[j] += k * x[older + k - 1, j]
    scale = 2.0 / (w * (w + 1.0))
    for j in range(out.shape[0]):
        out[j] = (weighted[j] + out[j] + older * plain[j]) * scale


@inline
def _count_in(
    row: FloatArray, anchor: FloatArray, k: int, mean: FloatArray, step: FloatArray
) -> None:
    """Take the k-th value into the means; step: how far it was from them."""
    share = 1.0 / k
    for j in range(row.shape[0]):
        d = row[j] - anchor[j] - mean[j]
        step[j] = d
        mean[j] += d * share


@inline
def _spread_by(one: FloatArray, two: FloatArray, k: int, total: FloatArray) -> None:
    """Take the k-th value, by its steps, into a centred sum of products."""
    spread = (k - 1) * (1.0 / k)
    for j in range(one.shape[0]):
        total[j] += one[j] * two[j] * spread


@inline
def newest_second(
    x: FloatArray, mode: int, is_zscore: bool, first: int, scratch: FloatArray, out: FloatArray
) -> None:
    """`moments.window_second`."""
    w, n = x.shape
    start = first_block(w, first)
    anchor, newest = x[start - 1], x[w - 1]
    mean, m2, p_mean, p_m2, step = scratch[0], scratch[1], scratch[2], scratch[3], scratch[4]
    for row in range(4):
        _clear(scratch[row], 0.0)
    for k in range(1, start + 1):
        _count_in(x[start - k], anchor, k, mean, step)
        _spread_by(step, step, k, m2)
    for k in range(1, w - start + 1):
        _count_in(x[start + k - 1], anchor, k, p_mean, step)
        _spread_by(step, step, k, p_m2)
    part = start / w
    cross = part * (w - start)
    for j in range(n):
        d = mean[j] - p_mean[j]
        out[j] = m2[j] + p_m2[j] + d * d * cross
    if is_zscore:
        for j in range(n):
            level = p_mean[j] + (mean[j] - p_mean[j]) * part
            step[j] = newest[j] - anchor[j] - level
            mean[j] = level + anchor[j]
    finish_second(out, mean, step, w, mode)


@inline
def newest_pair(
    x: FloatArray, y: FloatArray, mode: int, first: int, scratch: FloatArray, out: FloatArray
) -> None:
    """`pairs.window_pair`."""
    w, n = x.shape
    start = first_block(w, first)
    x_anchor, y_anchor, x_newest, y_newest = x[start - 1], y[start - 1], x[w - 1], y[w - 1]
    dx, dy = scratch[10], scratch[11]
    for row in range(10):
        _clear(scratch[row], 0.0)
    for newer in range(2):
        own = scratch[5 * newer : 5 * newer + 5]
        for k in range(1, (w - start if newer else start) + 1):
            i = start + k - 1 if newer else start - k
            _count_in(x[i], x_anchor, k, own[0], dx)
            _count_in(y[i], y_anchor, k, own[1], dy)
            _spread_by(dx, dx, k, own[2])
            _spread_by(dy, dy, k, own[3])
            _spread_by(dx, dy, k, own[4])
    older, prefix = scratch[:5], scratch[5:10]
    part = start / w
    cross = part * (w - start)
    for j in range(n):
        step_x, step_y = older[0, j] - prefix[0, j], older[1, j] - prefix[1, j]
        x_shift, y_shift = prefix[0, j] + step_x * part, prefix[1, j] + step_y * part
        out[j] = finish_pair(
            older[2, j] + prefix[2, j] + step_x * step_x * cross,
            older[3, j] + prefix[3, j] + step_y * step_y * cross,
            older[4, j] + prefix[4, j] + step_x * step_y * cross,
            x_anchor[j] + prefix[0, j] + step_x * part,
            y_anchor[j] + prefix[1, j] + step_y * part,
            x_newest[j] - x_anchor[j] - x_shift,
            y_newest[j] - y_anchor[j] - y_shift,
            w,
            mode,
        )


@inline
def newest_extreme(x: FloatArray, sign: float, out: FloatArray) -> None:
    """`extremes.window_extreme`."""
    _clear(out, -np.inf)
    for i in range(x.shape[0]):
        for j in range(out.shape[0]):
            value = sign * x[i, j]
            out[j] = out[j] if out[j] > value or math.isnan(out[j]) else value
    for j in range(out.shape[0]):
        out[j] = sign * out[j]


@inline
def newest_extreme_age(x: FloatArray, sign: float, scratch: FloatArray, out: FloatArray) -> None:
    """`extremes.window_extreme_age`."""
    best = scratch[0]
    _clear(best, -np.inf)
    _clear(out, 0.0)
    for i in range(x.shape[0]):
        for j in range(out.shape[0]):
            value = sign * x[i, j]
            stays = best[j] > value or math.isnan(best[j])
            best[j] = best[j] if stays else value
            out[j] = out[j] if stays else i
    for j in range(out.shape[0]):
        out[j] = np.nan if math.isnan(best[j]) else x.shape[0] - 1 - out[j]


@inline
def newest_rank(x: FloatArray, tie: float, scratch: FloatArray, out: FloatArray) -> None:
    """`order.window_rank`."""
    w, n = x.shape
    low, high, known = scratch[0], scratch[1], scratch[2]
    newest = x[w - 1]
    for j in range(n):
        band = tie * np.abs(newest[j])
        low[j] = newest[j] - band
        high[j] = newest[j] + band
    _clear(out, 1.0)
    _clear(known, 0.0)
    for i in range(w):
        for j in range(n):
            out[j] += (1.0 if x[i, j] < low[j] else 0.0) + (1.0 if x[i, j] <= high[j] else 0.0)
        for j in range(n):
            known[j] += 1.0 if np.isfinite(x[i, j]) else 0.0
    for j in range(n):
        out[j] = out[j] * 0.5 / w if known[j] >= w else np.nan
