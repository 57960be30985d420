"""Compiled loops over the rows of (bars, symbols) arrays; importing this loads numba.

Everything a kernel calls is in this file, so that numba's cache sees every change.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from alphamill.frames import FloatArray
from alphamill.jit import inline, kernel

_COUNTED = 160  # up to so many symbols, counting pairs beats sorting
_CONSTANT = 1e-12  # spread relative to size below which a row says the same of every symbol


@inline
def _count(values: FloatArray, n: int, below: FloatArray, equal: FloatArray) -> None:
    """How many of n values are less than each, and how many equal it, itself among them."""
    if n <= _COUNTED:
        total = 0
        for i in range(n):
            value, less = values[i], 0
            for k in range(n):
                less += values[k] < value
            below[i], equal[i] = less, 1.0
            total += less
        if total == n * (n - 1) // 2:
            return  # no two are equal
        for i in range(n):
            value, alike = values[i], 0
            for k in range(n):
                alike += values[k] == value
            equal[i] = alike
        return
    order = np.argsort(values[:n])
    start = 0
    while start < n:
        end = start + 1
        while end < n and values[order[end]] == values[order[start]]:
            end += 1
        for place in range(start, end):
            below[order[place]] = start
            equal[order[place]] = end - start
        start = end


@kernel
def rank(values: FloatArray, average: FloatArray, below: FloatArray) -> None:
    """Into `average` ranks 1..n of each row's finite values, ties sharing; `below`: how many less.

    NaN where a value is NaN or infinite. `below` may have one row, for who does not want it.
    """
    n_rows, n_columns = values.shape
    row, less, equal = np.empty(n_columns), np.empty(n_columns), np.empty(n_columns)
    where = np.empty(n_columns, dtype=np.int64)
    for t in range(n_rows):
        n = 0
        for j in range(n_columns):
            if np.isfinite(values[t, j]):
                row[n] = values[t, j]
                where[n] = j
                n += 1
        if n < n_columns:
            average[t] = np.nan
            below[min(t, len(below) - 1)] = np.nan
        _count(row, n, less, equal)
        for i in range(n):
            average[t, where[i]] = less[i] + (equal[i] + 1.0) / 2.0
            below[min(t, len(below) - 1), where[i]] = less[i]


@inline
def _scale(side: FloatArray, n: int) -> None:
    """Divide by the largest magnitude, so that no square overflows."""
    size = 0.0
    for i in range(n):
        size = max(size, abs(side[i]))
    for i in range(n):
        side[i] = side[i] / size if size > 0 else 0.0


@inline
def _correlation(a: FloatArray, b: FloatArray, n: int) -> float:
    """Of the first n entries; NaN where one of the two does not vary. Overwrites both."""
    for side in (a, b):
        mean = 0.0
        for i in range(n):
            mean += side[i]
        mean /= n
        spread = 0.0
        for i in range(n):
            side[i] -= mean
            spread = max(spread, abs(side[i]))
        if spread <= _CONSTANT:
            return np.nan
    aa = bb = ab = 0.0
    for i in range(n):
        aa += a[i] * a[i]
        bb += b[i] * b[i]
        ab += a[i] * b[i]
    return float(min(max(ab / np.sqrt(aa * bb), -1.0), 1.0))


@kernel
def correlate(a: FloatArray, b: FloatArray, min_pairs: int, by_rank: bool, out: FloatArray) -> None:
    """Correlation of each row's pairs where both are finite; NaN below min_pairs.

    by_rank: a and b hold ranks of their own rows, which are ranked anew where one side is absent.
    """
    n_rows, n_columns = a.shape
    x, y = np.empty(n_columns), np.empty(n_columns)
    less, equal = np.empty(n_columns), np.empty(n_columns)
    for t in range(n_rows):
        n = 0
        unpaired = False
        for j in range(n_columns):
            first, second = np.isfinite(a[t, j]), np.isfinite(b[t, j])
            if first and second:
                x[n] = a[t, j]
                y[n] = b[t, j]
                n += 1
            elif first or second:
                unpaired = True
        if n < max(min_pairs, 2):
            out[t] = np.nan
            continue
        if not by_rank:
            _scale(x, n)
            _scale(y, n)
        elif unpaired:
            for side in (x, y):
                _count(side, n, less, equal)
                for i in range(n):
                    side[i] = less[i] + (equal[i] + 1.0) / 2.0
        out[t] = _correlation(x, y, n)


@kernel
def quantile_means(
    values: FloatArray, below: FloatArray, forward: FloatArray, out: FloatArray
) -> None:
    """Mean forward return of each quantile of a row's pairs; out: (rows, quantiles).

    below: of `rank`, counted anew where a value has no forward return. Labels are those of
    `quantiles.quantile_labels`.
    """
    n_rows, n_columns = values.shape
    quantiles: int = out.shape[1]
    row, earned = np.empty(n_columns), np.empty(n_columns)
    less, equal = np.empty(n_columns), np.empty(n_columns)
    members = np.empty(quantiles)
    for t in range(n_rows):
        n = 0
        unpaired = False
        for j in range(n_columns):
            if not np.isfinite(values[t, j]):
                continue
            if np.isfinite(forward[t, j]):
                row[n] = values[t, j]
                less[n] = below[t, j]
                earned[n] = forward[t, j]
                n += 1
            else:
                unpaired = True
        out[t] = np.nan
        if n < quantiles:
            continue
        if unpaired:
            _count(row, n, less, equal)
        members[:] = 0.0
        out[t] = 0.0
        for i in range(n):
            label = max(int(np.ceil(less[i] * quantiles / max(n - 1, 1))), 1) - 1
            members[label] += 1.0
            out[t, label] += earned[i]
        for q in range(quantiles):
            out[t, q] = out[t, q] / members[q] if members[q] > 0 else np.nan


@kernel
def label(below: FloatArray, quantiles: int, out: FloatArray) -> None:
    """Quantile 1.. of each value from `rank`'s below; NaN on rows with fewer values than those."""
    n_rows, n_columns = below.shape
    for t in range(n_rows):
        n = 0
        for j in range(n_columns):
            n += np.isfinite(below[t, j])
        for j in range(n_columns):
            place = below[t, j] * quantiles / max(n - 1, 1)
            out[t, j] = max(np.ceil(place), 1.0) if n >= quantiles else np.nan
            if np.isnan(below[t, j]):
                out[t, j] = np.nan


@kernel
def newcomers(labels: FloatArray, lag: int, out: FloatArray) -> None:
    """Share of each quantile's members that were not in it `lag` rows before; labels 1, 2, ..."""
    n_rows, n_columns = labels.shape
    quantiles: int = out.shape[1]
    size, before, fresh = np.empty(quantiles), np.empty(quantiles), np.empty(quantiles)
    out[:lag] = np.nan
    for t in range(lag, n_rows):
        size[:], before[:], fresh[:] = 0.0, 0.0, 0.0
        for j in range(n_columns):
            now, then = labels[t, j], labels[t - lag, j]
            if np.isfinite(then):
                before[int(then) - 1] += 1.0
            if np.isfinite(now):
                size[int(now) - 1] += 1.0
                fresh[int(now) - 1] += 0.0 if now == then else 1.0
        for q in range(quantiles):
            known = size[q] > 0 and before[q] > 0
            out[t, q] = fresh[q] / size[q] if known else np.nan


@kernel
def trade(
    book: FloatArray,
    returns: FloatArray,
    tradable: NDArray[np.bool_],
    funding: FloatArray,
    volume: FloatArray,
    cost: float,
    band: float,
    out: FloatArray,
) -> None:
    """A book bar by bar; out: (5, rows) of gross, net, funding, traded and room.

    Weights are of the equity before the trade. Between trades a position drifts with its price and
    the equity with all of them; what is traded is the difference. returns and funding may have one
    row of zeros, volume one row of NaN, where there is none. room: the capital of which a trade is
    all of its symbol's volume; infinite without a trade.

    band: above 0, `book` holds targets and becomes what is held: a position is traded where it is
    further than band x the mean size of the row's targets from its own, and then to that distance.
    A target of 0 is met in full. Where nothing can be traded the position is what it drifted to.
    """
    n_rows, n_columns = book.shape
    held = np.zeros(n_columns)
    for t in range(n_rows):
        if band > 0:
            size, wanted = 0.0, 0
            for j in range(n_columns):
                size += abs(book[t, j])
                wanted += abs(book[t, j]) > _CONSTANT
            width = band * size / max(wanted, 1)
            for j in range(n_columns):
                target = book[t, j]
                leaves = abs(target) <= _CONSTANT
                if not tradable[t, j] or (not leaves and abs(target - held[j]) <= width):
                    book[t, j] = held[j]
                elif not leaves:
                    book[t, j] -= width if target > held[j] else -width
        earned = paid = traded = 0.0
        room = np.inf
        f, v = min(t, len(funding) - 1), min(t, len(volume) - 1)
        for j in range(n_columns):
            weight = book[t, j]
            change = abs(weight - held[j]) if tradable[t, j] else 0.0
            traded += change
            earned += weight * returns[t, j]
            paid += weight * funding[f, j]
            if change > _CONSTANT:
                room = min(room, volume[v, j] / change)
        net = earned - paid - cost * traded
        out[0, t], out[1, t], out[2, t], out[3, t], out[4, t] = earned, net, -paid, traded, room
        for j in range(n_columns):
            grown = book[t, j] * (1.0 + returns[t, j])
            held[j] = grown / (1.0 + net) if net > -1.0 else 0.0
