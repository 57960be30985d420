"""Statistics over the symbols of one bar, within groups; NaN symbols are left out."""

from __future__ import annotations

import numpy as np

from alphamill.factors.kernels import NOISE
from alphamill.factors.kernels.moments import shape
from alphamill.factors.kernels.ordering import order_of
from alphamill.frames import FloatArray, IntArray
from alphamill.jit import inline, kernel

RANK, ZSCORE, DEMEAN, SCALE, WINSORIZE, QUANTILE = 0, 1, 2, 3, 4, 5
MEAN, MEDIAN, STD, SKEW, KURT, MIN, MAX = 6, 7, 8, 9, 10, 11, 12
_COUNTED = 96  # up to so many symbols, counting pairs beats sorting


@inline
def _count_below(values: FloatArray, n: int, bound: FloatArray, below: FloatArray) -> None:
    """How many values are below each bound; four at a time, to touch the counts less."""
    for i in range(n):
        below[i] = 0.0
    for k in range(0, n - 3, 4):
        a, b, c, d = values[k], values[k + 1], values[k + 2], values[k + 3]
        for i in range(n):
            pair = (1.0 if a < bound[i] else 0.0) + (1.0 if b < bound[i] else 0.0)
            below[i] += pair + ((1.0 if c < bound[i] else 0.0) + (1.0 if d < bound[i] else 0.0))
    for k in range(n - n % 4, n):
        for i in range(n):
            below[i] += 1.0 if values[k] < bound[i] else 0.0


@inline
def _count_ranks(
    values: FloatArray, n: int, tie: float, scratch: FloatArray, twice: FloatArray
) -> None:
    """As `_twice_ranks`, by counting the smaller ones, and those that tie only where some do."""
    bound, below = scratch[0], scratch[1]
    for i in range(n):
        bound[i] = values[i] - tie * np.abs(values[i])
    _count_below(values, n, bound, below)
    total = 0.0
    for i in range(n):
        twice[i] = 2.0 * below[i] + 2.0
        total += below[i]
    if total == 0.5 * n * (n - 1):  # each pair is in order: nothing ties
        return
    for i in range(n):
        bound[i] = values[i] + tie * np.abs(values[i])
        twice[i] = below[i] + 1.0
    for k in range(n):
        for i in range(n):
            twice[i] += 1.0 if values[k] <= bound[i] else 0.0


@inline
def _twice_ranks(
    values: FloatArray, n: int, tie: float, scratch: FloatArray, twice: FloatArray
) -> None:
    """Doubled average ranks from 1; values within the fraction `tie` of each other share theirs."""
    if n <= _COUNTED:
        _count_ranks(values, n, tie, scratch, twice)
        return
    order, ordered = order_of(values, n), scratch[0]
    for i in range(n):
        ordered[i] = values[order[i]]
    below = upto = 0
    for i in range(n):
        band = tie * np.abs(ordered[i])
        while below < n and ordered[below] < ordered[i] - band:
            below += 1
        while upto < n and ordered[upto] <= ordered[i] + band:
            upto += 1
        twice[order[i]] = below + upto + 1.0


@inline
def _sort(values: FloatArray, n: int, scratch: FloatArray) -> FloatArray:
    """The values in order; few by counting."""
    ordered: FloatArray = scratch[0]
    if n > _COUNTED:
        order = order_of(values, n)
        for i in range(n):
            ordered[i] = values[order[i]]
        return ordered
    below = scratch[1]
    _count_below(values, n, values, below)
    ordered[:n] = -np.inf
    for i in range(n):
        ordered[int(below[i])] = values[i]
    for i in range(1, n):  # of those that tie only the first was put in place
        ordered[i] = max(ordered[i], ordered[i - 1])
    return ordered


@inline
def _centre(values: FloatArray, n: int, result: FloatArray) -> float:
    """Values less their mean, by way of differences from the first; returns the mean.

    Here and below, n values are known, and the others are equal to the first that is.
    """
    total = 0.0
    for i in range(values.shape[0]):
        result[i] = values[i] - values[0]
        total += result[i]
    shift = total / n
    for i in range(values.shape[0]):
        result[i] -= shift
    return float(values[0] + shift)


@inline
def _standardise(values: FloatArray, known: FloatArray, n: int, result: FloatArray) -> None:
    mean = _centre(values, n, result)
    m2 = 0.0
    for i in range(values.shape[0]):
        m2 += result[i] * result[i] * known[i]
    varies = n > 1 and m2 > n * (NOISE * mean) ** 2
    std = np.sqrt(m2 / (n - 1)) if varies else np.nan
    for i in range(values.shape[0]):
        result[i] /= std


@inline
def _scale(values: FloatArray, known: FloatArray, total: float, result: FloatArray) -> None:
    size = 0.0
    for i in range(values.shape[0]):
        size += np.abs(values[i]) * known[i]
    size = size if size > 0 else np.nan
    for i in range(values.shape[0]):
        result[i] = values[i] / size * total


@inline
def _moment(values: FloatArray, known: FloatArray, n: int, mode: int, centred: FloatArray) -> float:
    """STD, SKEW or KURT of n values; NaN where there are too few or all are equal."""
    mean = _centre(values, n, centred)
    m2 = m3 = m4 = 0.0
    for i in range(values.shape[0]):
        square = centred[i] * centred[i] * known[i]
        m2 += square
        m3 += square * centred[i]
        m4 += square * square
    if mode == STD:
        return float(np.sqrt(m2 / (n - 1))) if n > 1 else np.nan
    if n < (3 if mode == SKEW else 4) or m2 <= n * (NOISE * mean) ** 2:
        return np.nan
    return shape(m2, m3, m4, float(n), mode == KURT)


@inline
def _sum_up(
    values: FloatArray, known: FloatArray, n: int, mode: int, amount: float, result: FloatArray
) -> None:
    """A statistic that does without the values' order; known: 1, or 0 for a value that is not."""
    if mode == ZSCORE:
        _standardise(values, known, n, result)
    elif mode == DEMEAN:
        _centre(values, n, result)
    elif mode == SCALE:
        _scale(values, known, amount, result)
    elif mode == MEAN:
        result[:] = _centre(values, n, result)
    elif mode == MIN:
        result[:] = np.min(values)
    elif mode == MAX:
        result[:] = np.max(values)
    else:
        result[:] = _moment(values, known, n, mode, result)


@inline
def _winsorize(
    values: FloatArray, n: int, tail: float, scratch: FloatArray, result: FloatArray
) -> None:
    ordered = _sort(values, n, scratch)
    position = tail * (n - 1)
    below = int(np.floor(position))
    above = min(below + 1, n - 1)
    part = position - below
    low = ordered[below] * (1.0 - part) + ordered[above] * part
    high = ordered[n - 1 - below] * (1.0 - part) + ordered[n - 1 - above] * part
    for i in range(n):
        result[i] = min(max(values[i], low), high)


@inline
def _rank(
    values: FloatArray,
    n: int,
    mode: int,
    amount: float,
    tie: float,
    scratch: FloatArray,
    result: FloatArray,
) -> None:
    """A statistic of the order of the n values."""
    if mode == MEDIAN:
        ordered = _sort(values, n, scratch)
        result[:n] = 0.5 * (ordered[(n - 1) // 2] + ordered[n // 2])
    elif mode == WINSORIZE:
        _winsorize(values, n, amount, scratch, result)
    else:
        _twice_ranks(values, n, tie, scratch, result)
        for i in range(n):
            part = result[i] * 0.5 / n
            result[i] = part if mode == RANK else np.ceil(result[i] * amount / (2.0 * n))


@inline
def _apply(
    values: FloatArray,
    known: FloatArray,
    n: int,
    mode: int,
    amount: float,
    tie: float,
    scratch: FloatArray,
    result: FloatArray,
) -> None:
    if mode in (RANK, QUANTILE, WINSORIZE, MEDIAN):
        _rank(values, n, mode, amount, tie, scratch, result)
    else:
        _sum_up(values, known, n, mode, amount, result)


@inline
def _count_known(row: FloatArray) -> int:
    known = 0
    for j in range(row.shape[0]):
        known += 1 if np.isfinite(row[j]) else 0
    return known


@inline
def _fill(row: FloatArray, values: FloatArray, known: FloatArray) -> int:
    """Copy a row, its first finite value in the place of what is not; returns how many are.

    known: 1 for a finite value, else 0.
    """
    n = row.shape[0]
    first, size = 0, 0
    while first < n - 1 and not np.isfinite(row[first]):
        first += 1
    stand_in = row[first]
    for j in range(n):
        value = row[j]
        is_known = np.isfinite(value)
        values[j] = value if is_known else stand_in
        known[j] = 1.0 if is_known else 0.0
        size += 1 if is_known else 0
    return size


@inline
def _pick(
    row: FloatArray, groups: IntArray, group: int, values: FloatArray, where: IntArray
) -> int:
    """Put the finite values of a group side by side; returns how many."""
    size = 0
    for j in range(row.shape[0]):  # no branch to mispredict: what is left out is written over
        values[size] = row[j]
        where[size] = j
        size += (groups[j] == group) & np.isfinite(row[j])
    return size


@kernel
def across(
    x: FloatArray,
    groups: IntArray,
    n_groups: int,
    mode: int,
    amount: float,
    tie: float,
    out: FloatArray,
) -> None:
    """`mode` within each group of symbols; groups: 0 to n_groups - 1 a symbol, -1 for none."""
    n_bars, n = x.shape
    values, result, scratch = np.empty(n), np.empty(n), np.empty((2, n))
    known, all_known, where = np.empty(n), np.ones(n), np.empty(n, dtype=np.int64)
    one_group = n_groups == 1 and np.all(groups == 0)
    any_order = one_group and mode not in (RANK, QUANTILE, WINSORIZE, MEDIAN)
    for i in range(n_bars):
        row, line = x[i], out[i]
        if one_group and _count_known(row) == n:
            _apply(row, all_known, n, mode, amount, tie, scratch, line)
            continue
        if any_order:
            size = _fill(row, values, known)
            if size > 0:
                _apply(values, known, size, mode, amount, tie, scratch, line)
            for j in range(n):
                line[j] = line[j] if known[j] > 0.0 else np.nan
            continue
        for j in range(n):
            line[j] = np.nan
        for g in range(n_groups):
            size = _pick(row, groups, g, values, where)
            if size > 0:
                _apply(values[:size], all_known, size, mode, amount, tie, scratch, result[:size])
            for s in range(size):
                line[where[s]] = result[s]


@kernel
def regress_out(x: FloatArray, y: FloatArray, out: FloatArray) -> None:
    """Subtract from x its least squares fit on y, with intercept, over the symbols with both."""
    n_bars, n = x.shape
    xs, ys, where = np.empty(n), np.empty(n), np.empty(n, dtype=np.int64)
    for i in range(n_bars):
        size = 0
        for j in range(n):
            out[i, j] = np.nan
            if np.isfinite(x[i, j]) and np.isfinite(y[i, j]):
                xs[size] = x[i, j]
                ys[size] = y[i, j]
                where[size] = j
                size += 1
        if size < 3:
            continue
        dx, dy = np.empty(size), np.empty(size)
        _centre(xs[:size], size, dx)
        y_mean = _centre(ys[:size], size, dy)
        yy = xy = 0.0
        for s in range(size):
            yy += dy[s] * dy[s]
            xy += dy[s] * dx[s]
        slope = xy / yy if yy > size * (NOISE * y_mean) ** 2 else 0.0
        for s in range(size):
            out[i, where[s]] = dx[s] - slope * dy[s]
