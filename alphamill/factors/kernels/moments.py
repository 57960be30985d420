"""Window variance, skewness, kurtosis and trend by block merge (Chan, Golub and LeVeque 1979;
Pébay 2008 for the third and fourth moments).

Values are taken relative to the last one before the block, so that a level of 1e9 costs no digits.
Blocks are one bar shorter than the window: so that value lies in every window of the block, and if
it is an outlier, then one of the window itself, whose spread it makes.

first: in every kernel, the absolute number of the bar in row 0, from which blocks are counted.
"""

from __future__ import annotations

import math

import numpy as np

from alphamill.factors.kernels import NOISE
from alphamill.frames import FloatArray
from alphamill.jit import inline, kernel

VAR, STD, STD0, ZSCORE = 0, 1, 2, 3
SKEW, KURT = 0, 1
SLOPE, RESID, LINE, FORECAST = 0, 1, 2, 3


@inline
def first_block(w: int, first: int) -> int:
    """The row in which the block of the first whole window starts; at least 1."""
    return w - 1 - (first + w - 1) % (w - 1)


@inline
def finish_second(m2: FloatArray, level: FloatArray, newest: FloatArray, w: int, mode: int) -> None:
    """Turn a row of centred sums of squares into the statistic; a loop a mode, so each is SIMD.

    level: the window's means; newest: the newest values less those means.
    """
    n = m2.shape[0]
    share = 1.0 / (w if mode == STD0 else w - 1)
    if mode == VAR:
        for j in range(n):
            value = m2[j] * share
            m2[j] = value if value < np.inf else np.nan
    elif mode != ZSCORE:
        for j in range(n):
            m2[j] = math.sqrt(m2[j] * share)
    else:
        for j in range(n):
            noise = NOISE * level[j]
            varies = m2[j] > w * noise * noise
            m2[j] = newest[j] / math.sqrt(m2[j] * share) if varies else np.nan


@inline
def _second_suffixes(x: FloatArray, start: int, w: int, mean: FloatArray, m2: FloatArray) -> None:
    """Means and centred sums of squares of the 1 to w - 1 bars before `start`."""
    anchor = x[start - 1]
    for k in range(1, min(w, start + 1)):
        share = 1.0 / k
        spread = (k - 1) * share
        for j in range(x.shape[1]):
            d = x[start - k, j] - anchor[j] - mean[k - 1, j]
            mean[k, j] = mean[k - 1, j] + d * share
            m2[k, j] = m2[k - 1, j] + d * d * spread


@kernel
def window_second(x: FloatArray, w: int, mode: int, first: int, out: FloatArray) -> None:
    """VAR, STD (divisor w - 1), STD0 (divisor w) or ZSCORE of the newest bar."""
    n_bars, n = x.shape
    mean, m2 = np.zeros((w + 1, n)), np.zeros((w + 1, n))
    p_mean, p_m2, w_mean, newest = np.empty(n), np.empty(n), np.empty(n), np.empty(n)
    for start in range(first_block(w, first), n_bars, w - 1):
        stop = min(start + w - 1, n_bars)
        anchor = x[start - 1]
        _second_suffixes(x, start, w, mean, m2)
        p_mean[:] = 0.0
        p_m2[:] = 0.0
        for i in range(start, stop):
            k = i - start + 1
            older = w - k
            share = 1.0 / k
            spread = (k - 1) * share
            part = older / w
            cross = part * k
            for j in range(n):
                d = x[i, j] - anchor[j] - p_mean[j]
                p_mean[j] += d * share
                p_m2[j] += d * d * spread
                d = mean[older, j] - p_mean[j]
                out[i, j] = m2[older, j] + p_m2[j] + d * d * cross
            if mode == ZSCORE:
                for j in range(n):
                    w_mean[j] = p_mean[j] + (mean[older, j] - p_mean[j]) * part
                    newest[j] = x[i, j] - anchor[j] - w_mean[j]
                    w_mean[j] += anchor[j]
            finish_second(out[i], w_mean, newest, w, mode)
    out[: w - 1] = np.nan


@inline
def shape(m2: float, m3: float, m4: float, n: float, is_kurt: bool) -> float:
    """Unbiased skewness or excess kurtosis, as in pandas."""
    if not is_kurt:
        return n * math.sqrt(n - 1) / (n - 2) * m3 / (m2 * math.sqrt(m2))
    rest = (n - 2) * (n - 3)
    return n * (n + 1) * (n - 1) / rest * (m4 / m2) / m2 - 3 * (n - 1) ** 2 / rest


@inline
def _add_one(state: FloatArray, j: int, value: float, n: float) -> None:
    """Count one more value, the n-th, into (mean, m2, m3, m4)."""
    d = value - state[0, j]
    step = d / n
    term = d * step * (n - 1)
    m2, m3 = state[1, j], state[2, j]
    state[3, j] += term * step * step * (n * n - 3 * n + 3) + 6 * step * step * m2 - 4 * step * m3
    state[2, j] = m3 + term * step * (n - 2) - 3 * step * m2
    state[1, j] = m2 + term
    state[0, j] += step


@kernel
def window_shape(x: FloatArray, w: int, mode: int, first: int, out: FloatArray) -> None:
    """SKEW (w >= 3) or KURT (w >= 4); NaN where x is constant."""
    n_bars, n = x.shape
    suffix = np.zeros((w + 1, 4, n))
    prefix = np.zeros((4, n))
    out[: w - 1] = np.nan
    for start in range(first_block(w, first), n_bars, w - 1):
        stop = min(start + w - 1, n_bars)
        anchor = x[start - 1]
        for k in range(1, min(w, start + 1)):
            suffix[k] = suffix[k - 1]
            for j in range(n):
                _add_one(suffix[k], j, x[start - k, j] - anchor[j], k)
        prefix[:] = 0.0
        for i in range(start, stop):
            k = i - start + 1
            a, b, s = float(w - k), float(k), float(w)
            older = suffix[w - k]
            for j in range(n):
                _add_one(prefix, j, x[i, j] - anchor[j], k)
                if i < w - 1:
                    continue
                d = prefix[0, j] - older[0, j]
                a2, a3, b2, b3 = older[1, j], older[2, j], prefix[1, j], prefix[2, j]
                m2 = a2 + b2 + d * d * a * b / s
                m3 = a3 + b3 + d**3 * a * b * (a - b) / (s * s)
                m3 += 3 * d * (a * b2 - b * a2) / s
                m4 = older[3, j] + prefix[3, j]
                m4 += d**4 * a * b * (a * a - a * b + b * b) / (s * s * s)
                m4 += 6 * d * d * (a * a * b2 + b * b * a2) / (s * s)
                m4 += 4 * d * (a * b3 - b * a3) / s
                noise = NOISE * (anchor[j] + older[0, j] + d * b / s)
                varies = m2 > w * noise * noise
                out[i, j] = shape(m2, m3, m4, s, mode == KURT) if varies else np.nan


@kernel
def window_trend(x: FloatArray, w: int, mode: int, first: int, out: FloatArray) -> None:
    """Of the line through w bars: SLOPE a bar, the newest bar's RESID, the line's value at the
    newest bar (LINE) or at the next (FORECAST).

    Kept are sums of differences from the anchor, weighted by the bar's distance from the window's
    middle; in the newer part, by its place, which its plain sum then shifts.
    """
    n_bars, n = x.shape
    cov = np.zeros((w + 1, n))
    totals = np.zeros((1 if mode == SLOPE else w + 1, n))
    total, rising = np.empty(n), np.empty(n)
    share, ahead = 1.0 / w, 0.5 * (w - 1) if mode != FORECAST else 0.5 * (w + 1)
    share_of_cov, middle = 12.0 / (w * (w * w - 1.0)), 0.5 * (w + 1)
    for start in range(first_block(w, first), n_bars, w - 1):
        anchor = x[start - 1]
        total[:] = 0.0
        rising[:] = 0.0
        for k in range(1, min(w, start + 1)):
            for j in range(n):
                plain = total[j] + (x[start - k, j] - anchor[j])
                rise = rising[j] + plain
                total[j] = plain
                rising[j] = rise
                cov[k, j] = rise - middle * plain
            if mode != SLOPE:
                for j in range(n):
                    totals[k, j] = total[j]
        total[:] = 0.0
        rising[:] = 0.0
        for i in range(start, min(start + w - 1, n_bars)):
            k = i - start + 1
            older = w - k
            shift = older - middle
            for j in range(n):
                d = x[i, j] - anchor[j]
                plain = total[j] + d
                rise = rising[j] + k * d
                total[j] = plain
                rising[j] = rise
                out[i, j] = (cov[older, j] + rise + shift * plain) * share_of_cov
            if mode != SLOPE:
                for j in range(n):
                    line = (totals[older, j] + total[j]) * share + out[i, j] * ahead
                    out[i, j] = x[i, j] - anchor[j] - line if mode == RESID else anchor[j] + line
    out[: w - 1] = np.nan


@kernel
def trend_fit(x: FloatArray, slope: FloatArray, w: int, out: FloatArray) -> None:
    """R squared of x on time, given its slope; `out` holds the variances (divisor w - 1) and is
    overwritten. NaN where x is constant, up to rounding of its newest value.
    """
    n_bars, n = x.shape
    share = (w * (w + 1.0)) / 12.0
    for i in range(n_bars):
        for j in range(n):
            noise = NOISE * x[i, j]
            fit = slope[i, j] * slope[i, j] * share / out[i, j]
            fit = 1.0 if fit > 1.0 else fit
            out[i, j] = np.nan if out[i, j] <= noise * noise else fit
