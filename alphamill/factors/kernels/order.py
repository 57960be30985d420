"""Window ranks and quantiles; values tie that agree to a given fraction of them."""

from __future__ import annotations

import numpy as np

from alphamill.frames import FloatArray, IntArray
from alphamill.jit import inline, kernel

_MANY, _NARROW = 16, 64  # from so many symbols, up to so many bars, windows go side by side


@kernel
def window_rank(x: FloatArray, w: int, tie: float, out: FloatArray) -> None:
    """Average rank of the newest of w bars, over w; values within `tie` of each other share it."""
    n_bars, n = x.shape
    low, high, twice = np.empty(n), np.empty(n), np.empty(n)
    run = np.zeros(n)  # bars since the last NaN
    for i in range(n_bars):
        for j in range(n):
            band = tie * np.abs(x[i, j])
            low[j] = x[i, j] - band
            high[j] = x[i, j] + band
            twice[j] = 1.0
            run[j] = run[j] + 1.0 if np.isfinite(x[i, j]) else 0.0
        if i < w - 1:
            out[i] = np.nan
            continue
        for t in range(i - w + 1, i + 1):
            for j in range(n):
                twice[j] += (1.0 if x[t, j] < low[j] else 0.0) + (
                    1.0 if x[t, j] <= high[j] else 0.0
                )
        for j in range(n):
            out[i, j] = twice[j] * 0.5 / w if run[j] >= w else np.nan


@inline
def _sorted_windows(n: int, w: int) -> FloatArray:
    """(2, n, places): room for each symbol's sorted window, at this bar and at the one before.

    The window begins at place 1 and ends in infinities, as a NaN counts; the places are so many
    that whole vectors cover them, and a -inf and an inf enclose them.
    """
    ordered = np.full((2, n, (w + 15) // 16 * 16 + 2), np.inf)
    ordered[:, :, 0] = -np.inf
    return ordered


@inline
def _replace(ordered: FloatArray, old: float, new: float, result: FloatArray) -> None:
    """The sorted places with `new` for `old`: every place anew, eight of them an instruction."""
    size = ordered.shape[0] - 2
    here, there = ordered[1 : size + 1], result[1 : size + 1]
    if new >= old:
        after = ordered[2 : size + 2]
        for k in range(size):
            value = after[k] if after[k] < new else new
            value = value if value > here[k] else here[k]
            there[k] = here[k] if here[k] < old else value
    else:
        before = ordered[0:size]
        for k in range(size):
            value = before[k] if before[k] > new else new
            value = value if value < here[k] else here[k]
            there[k] = here[k] if here[k] > old else value


@inline
def _slide(x: FloatArray, i: int, w: int, run: FloatArray, ordered: FloatArray) -> FloatArray:
    """Take bar i into all sorted windows and count the bars since a NaN; returns the windows.

    All symbols in turn, so that a window is not read while it is still being written.
    """
    last = ordered[(i + 1) % 2]
    now: FloatArray = ordered[i % 2]
    for j in range(x.shape[1]):
        known = np.isfinite(x[i, j])
        run[j] = run[j] + 1.0 if known else 0.0
        old = x[i - w, j] if i >= w and np.isfinite(x[i - w, j]) else np.inf
        _replace(last[j], old, x[i, j] if known else np.inf, now[j])
    return now


@inline
def _slide_abreast(
    x: FloatArray, i: int, w: int, run: FloatArray, ordered: FloatArray, scratch: FloatArray
) -> None:
    """As `_slide`, in place, for windows side by side: ordered holds a row of symbols a place.

    At each place is what remains there without the old value, unless the new one goes there or
    before, which moves the one before up. Two places a turn; the last rows stay infinite.
    """
    n = x.shape[1]
    old, new, before = scratch[0], scratch[1], scratch[2]
    for j in range(n):
        known = np.isfinite(x[i, j])
        run[j] = run[j] + 1.0 if known else 0.0
        new[j] = x[i, j] if known else np.inf
        gone = x[i - w, j] if i >= w else np.inf
        old[j] = gone if np.isfinite(gone) else np.inf
        before[j] = -np.inf
    for k in range(0, w, 2):
        for j in range(n):
            a, b, c = ordered[k, j], ordered[k + 1, j], ordered[k + 2, j]
            a = a if a < old[j] else b
            b = b if b < old[j] else c
            value = a if a < new[j] else new[j]
            ordered[k, j] = value if value > before[j] else before[j]
            value = b if b < new[j] else new[j]
            ordered[k + 1, j] = value if value > a else a
            before[j] = b


@kernel
def window_quantile(x: FloatArray, w: int, q: float, out: FloatArray) -> None:
    """The q-quantile of the last w bars, linear between order statistics.

    A zero has no sign: which of 0 and -0 a sorted window keeps is a matter of its past.
    """
    n_bars, n = x.shape
    run, scratch = np.zeros(n), np.empty((3, n))
    is_abreast = n >= _MANY and w <= _NARROW
    ordered = _sorted_windows(n, 1 if is_abreast else w)
    abreast = np.full((w + 2 if is_abreast else 1, n), np.inf)
    position = q * (w - 1)
    below = int(np.floor(position))
    above = min(below + 1, w - 1)
    part = position - below
    for i in range(n_bars):
        if is_abreast:
            _slide_abreast(x, i, w, run, abreast, scratch)
            for j in range(n):
                value = abreast[below, j] * (1.0 - part) + abreast[above, j] * part
                out[i, j] = value + 0.0 if run[j] >= w else np.nan
        else:
            windows = _slide(x, i, w, run, ordered)
            for j in range(n):
                low, high = windows[j, below + 1], windows[j, above + 1]
                value = low * (1.0 - part) + high * part + 0.0
                out[i, j] = value if run[j] >= w else np.nan


@inline
def _middle_distance(ordered: FloatArray, w: int) -> float:
    """Median distance of w sorted values from their median: the two ends of a shrinking span."""
    median = 0.5 * (ordered[(w - 1) // 2] + ordered[w // 2])
    left, right = 0, w - 1
    larger = smaller = 0.0
    for _ in range(w // 2 + 1):  # the largest half of the distances, down to the middle one
        larger = smaller
        low, high = median - ordered[left], ordered[right] - median
        if low > high:
            smaller = low
            left += 1
        else:
            smaller = high
            right -= 1
    return smaller + 0.0 if w % 2 == 1 else 0.5 * (larger + smaller) + 0.0  # of no sign


@kernel
def window_medad(x: FloatArray, w: int, out: FloatArray) -> None:
    """Median absolute deviation of the last w bars from their median."""
    n_bars, n = x.shape
    ordered, run = _sorted_windows(n, w), np.zeros(n)
    for i in range(n_bars):
        windows = _slide(x, i, w, run, ordered)
        for j in range(n):
            out[i, j] = _middle_distance(windows[j, 1:], w) if run[j] >= w else np.nan


@inline
def _above(a: float, b: float, tie: float) -> int:
    """2 if a is above b, 1 if they tie, 0 if below or NaN."""
    if np.abs(a - b) <= tie * max(np.abs(a), np.abs(b)):
        return 1
    return 2 if a > b else 0


@inline
def _reseat(values: FloatArray, twice: IntArray, at: int, new: float, tie: float) -> None:
    """Replace values[at] and bring the doubled ranks of all others up to date."""
    old, own = values[at], 0
    for t in range(values.shape[0]):
        if t != at:
            twice[t] += _above(values[t], new, tie) - _above(values[t], old, tie)
            own += _above(new, values[t], tie)
    values[at] = new
    twice[at] = own + 2


@kernel
def window_rank_corr(
    x: FloatArray, y: FloatArray, w: int, x_tie: float, y_tie: float, out: FloatArray
) -> None:
    """Spearman correlation of the last w bars; the ranks are kept as exact integers."""
    n_bars, n = x.shape
    xs, ys = np.empty(w), np.empty(w)
    x_twice, y_twice = np.empty(w, dtype=np.int64), np.empty(w, dtype=np.int64)
    for j in range(n):
        xs[:] = np.nan
        ys[:] = np.nan
        x_twice[:] = 2
        y_twice[:] = 2
        run = 0
        for i in range(n_bars):
            known = np.isfinite(x[i, j]) and np.isfinite(y[i, j])
            run = run + 1 if known else 0
            _reseat(xs, x_twice, i % w, x[i, j], x_tie)
            _reseat(ys, y_twice, i % w, y[i, j], y_tie)
            out[i, j] = np.nan
            if run >= w:
                xx = yy = xy = 0
                for t in range(w):
                    dx, dy = x_twice[t] - (w + 1), y_twice[t] - (w + 1)
                    xx += dx * dx
                    yy += dy * dy
                    xy += dx * dy
                if xx > 0 and yy > 0:
                    out[i, j] = xy / np.sqrt(float(xx)) / np.sqrt(float(yy))


@kernel
def window_mad(x: FloatArray, mean: FloatArray, w: int, out: FloatArray) -> None:
    """Mean absolute deviation from the window's mean."""
    n_bars, n = x.shape
    total = np.empty(n)
    out[: w - 1] = np.nan
    for i in range(w - 1, n_bars):
        total[:] = 0.0
        for t in range(i - w + 1, i + 1):
            for j in range(n):
                total[j] += np.abs(x[t, j] - mean[i, j])
        for j in range(n):
            out[i, j] = total[j] / w
