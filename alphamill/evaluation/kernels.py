"""Compiled loops over the rows of (bars, symbols) arrays; importing this loads numba.

Everything a kernel calls is in this file, so that numba's cache sees every change.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from alphamill.frames import FloatArray
from alphamill.jit import inline, kernel

_CONSTANT = 1e-12  # spread relative to size below which a row says the same of every symbol
_TINY = 1e-140  # squares between it and its inverse have products that do not overflow


@inline
def _place(  # noqa: C901  in half of the digits, and in all
    row: FloatArray, n: int, narrow: Any, less: Any, twice: Any
) -> None:
    """Of n values how many are less than each, and twice its average rank 1..n, exactly.

    narrow, less: buffers of float32 and int32, up to 32 entries longer than row.
    """
    # In half of the digits, which keep the order of what they tell apart, eight counts at a time:
    # no count waits for another, and whole instructions are filled.
    width = (n + 31) // 32 * 32
    for i in range(n):
        narrow[i] = np.float32(row[i])
    for i in range(n, width):
        narrow[i] = np.float32(np.inf)
    for i in range(width):
        less[i] = 0
    for k in range(0, n - n % 8, 8):
        a, b, c, d = narrow[k], narrow[k + 1], narrow[k + 2], narrow[k + 3]
        e, f, g, h = narrow[k + 4], narrow[k + 5], narrow[k + 6], narrow[k + 7]
        for i in range(width):
            x = narrow[i]
            less[i] += (a < x) + (b < x) + (c < x) + (d < x) + (e < x) + (f < x) + (g < x) + (h < x)
    for k in range(n - n % 8, n):
        a = narrow[k]
        for i in range(width):
            less[i] += a < narrow[i]
    total = 0
    for i in range(n):
        total += less[i]
        twice[i] = 2 * (less[i] + 1)
    if total == n * (n - 1) // 2:
        return  # no two are equal
    for i in range(n):
        value, smaller, most = row[i], 0, 0
        for k in range(n):
            smaller += row[k] < value
            most += row[k] <= value
        less[i] = smaller
        twice[i] = smaller + most + 1


@kernel
def rank(values: FloatArray, average: FloatArray, below: FloatArray) -> None:
    """Into `average` ranks 1..n of each row's finite values, ties sharing; `below`: how many less.

    NaN where a value is NaN or infinite. `below` may have one row, for who does not want it.
    """
    n_rows, n_columns = values.shape
    row, where = np.empty(n_columns), np.empty(n_columns, dtype=np.int64)
    narrow = np.empty(n_columns + 32, dtype=np.float32)
    less, twice = np.empty(n_columns + 32, dtype=np.int32), np.empty(n_columns, dtype=np.int64)
    for t in range(n_rows):
        n = 0
        for j in range(n_columns):
            if np.isfinite(values[t, j]):
                row[n] = values[t, j]
                where[n] = j
                n += 1
        at = min(t, len(below) - 1)
        for j in range(n_columns):
            average[t, j] = below[at, j] = np.nan
        _place(row, n, narrow, less, twice)
        for i in range(n):
            average[t, where[i]] = twice[i] / 2.0
            below[at, where[i]] = less[i]


@inline
def _rank_correlation(  # noqa: C901, PLR0912  whole rows, and what is left of others
    a: Any,
    n_a: int,
    squares_a: int,
    b: Any,
    n_b: int,
    squares_b: int,
    min_pairs: int,
    x: Any,
    y: Any,
) -> float:
    """Spearman's of two rows of twice their ranks, 0 where there is none; NaN where it has none.

    All sums are of whole numbers and therefore exact in any order. squares: of the ranks less their
    mean, times 4. x, y: buffers.
    """
    if min(n_a, n_b) < min_pairs:
        return np.nan
    width, n = len(a), 0
    products: Any = 0
    for j in range(width):
        product = np.int64(a[j]) * np.int64(b[j])
        products += product
        n += product != 0
    if n != n_a or n != n_b:  # what is left of each side is ranked anew
        for j in range(width):
            x[j], y[j] = a[j], b[j]
        for gone in range(width):
            if a[gone] != 0 and b[gone] == 0:
                for j in range(width):
                    x[j] -= 2 * (a[gone] < a[j]) + (a[gone] == a[j])
            elif a[gone] == 0 and b[gone] != 0:
                for j in range(width):
                    y[j] -= 2 * (b[gone] < b[j]) + (b[gone] == b[j])
        products = squares_a = squares_b = -n * (n + 1) ** 2
        for j in range(width):
            if a[j] != 0 and b[j] != 0:
                products += x[j] * y[j]
                squares_a += x[j] * x[j]
                squares_b += y[j] * y[j]
    else:
        products -= n * (n + 1) ** 2
    if n < min_pairs or squares_a == 0 or squares_b == 0:
        return np.nan
    size = np.sqrt(np.float64(squares_a) * np.float64(squares_b))
    return float(min(max(products / size, -1.0), 1.0))


@inline
def _correlation(  # noqa: C901  with what it takes where squares overflow
    a: FloatArray, b: FloatArray, n: int
) -> float:
    """Pearson's of the first n entries; NaN where one of the two does not vary.

    Overwrites both, which have room for four entries more. Each sum is added up in four parts,
    since an addition that waits for the last one takes as long as four that do not.
    """
    for i in range(n, n + 4):
        a[i] = b[i] = 0.0
    s0 = s1 = s2 = s3 = u0 = u1 = u2 = u3 = 0.0
    for i in range(0, n, 4):
        s0, s1, s2, s3 = s0 + a[i], s1 + a[i + 1], s2 + a[i + 2], s3 + a[i + 3]
        u0, u1, u2, u3 = u0 + b[i], u1 + b[i + 1], u2 + b[i + 2], u3 + b[i + 3]
    mean_a, mean_b = ((s0 + s1) + (s2 + s3)) / n, ((u0 + u1) + (u2 + u3)) / n
    for i in range(n, n + 4):
        a[i], b[i] = mean_a, mean_b
    s0 = s1 = s2 = s3 = u0 = u1 = u2 = u3 = p0 = p1 = p2 = p3 = 0.0
    for i in range(0, n, 4):
        x0, x1, x2, x3 = a[i] - mean_a, a[i + 1] - mean_a, a[i + 2] - mean_a, a[i + 3] - mean_a
        y0, y1, y2, y3 = b[i] - mean_b, b[i + 1] - mean_b, b[i + 2] - mean_b, b[i + 3] - mean_b
        s0, s1, s2, s3 = s0 + x0 * x0, s1 + x1 * x1, s2 + x2 * x2, s3 + x3 * x3
        u0, u1, u2, u3 = u0 + y0 * y0, u1 + y1 * y1, u2 + y2 * y2, u3 + y3 * y3
        p0, p1, p2, p3 = p0 + x0 * y0, p1 + x1 * y1, p2 + x2 * y2, p3 + x3 * y3
    aa, bb, ab = (s0 + s1) + (s2 + s3), (u0 + u1) + (u2 + u3), (p0 + p1) + (p2 + p3)
    least_a = n * (_CONSTANT * (abs(mean_a) + np.sqrt(aa))) ** 2
    least_b = n * (_CONSTANT * (abs(mean_b) + np.sqrt(bb))) ** 2
    if max(_TINY, least_a) < aa < 1.0 / _TINY and max(_TINY, least_b) < bb < 1.0 / _TINY:
        return float(min(max(ab / np.sqrt(aa * bb), -1.0), 1.0))
    # Constant, or nearly, or so large or small that squares overflow.
    aa = bb = ab = 0.0
    for side in (a, b):
        size = spread = mean = 0.0
        for i in range(n):
            size = max(size, abs(side[i]))
        for i in range(n):
            side[i] = side[i] / size if size > 0 else 0.0
            mean += side[i]
        mean /= n
        for i in range(n):
            side[i] -= mean
            spread = max(spread, abs(side[i]))
        if spread <= _CONSTANT:
            return np.nan
    for i in range(n):
        aa += a[i] * a[i]
        bb += b[i] * b[i]
        ab += a[i] * b[i]
    return float(min(max(ab / np.sqrt(aa * bb), -1.0), 1.0))


@kernel
def measure(  # noqa: C901, PLR0912, PLR0915  one pass over a row while it is in the cache
    values: FloatArray,
    labels: Any,
    label_counts: Any,
    label_squares: Any,
    forward: FloatArray,
    min_pairs: int,
    rank_ic: FloatArray,
    pearson: FloatArray,
    quantiles: FloatArray,
    persistence: FloatArray,
    weights: FloatArray,
) -> None:
    """Each row of values against all labels while it is in the cache; an output may be empty.

    labels: (labels, rows, width) twice the ranks of `rank`, 0 for none, with how many there are and
    the sum of their squared distance to the mean rank, times 4. forward: (rows, columns).
    rank_ic: (labels, rows). pearson: (rows,) with forward. quantiles: (rows, quantiles) of mean
    forward, cut as `quantiles.quantile_labels` are. persistence: (rows - 1,), rank correlation with
    the row before. weights: (rows, columns), of unit gross by centred rank.
    """
    n_rows, n_columns = values.shape
    width: int = labels.shape[2]
    n_quantiles: int = quantiles.shape[1]
    row, where = np.empty(n_columns), np.empty(n_columns, dtype=np.int64)
    narrow = np.empty(n_columns + 32, dtype=np.float32)
    less, twice = np.empty(n_columns + 32, dtype=np.int32), np.empty(n_columns, dtype=np.int64)
    ranks, before = np.zeros(width, dtype=labels.dtype), np.zeros(width, dtype=labels.dtype)
    x, y = np.empty(width, dtype=np.int64), np.empty(width, dtype=np.int64)
    first, second = np.empty(n_columns + 4), np.empty(n_columns + 4)
    members, earned = np.empty(n_quantiles), np.empty(n_quantiles)
    slots = np.empty(n_columns + 1, dtype=np.int64)
    cut_for, n_before, squares_before = 0, 0, 0
    for t in range(n_rows):
        n = 0
        for j in range(n_columns):
            if np.isfinite(values[t, j]):
                row[n] = values[t, j]
                where[n] = j
                n += 1
        _place(row, n, narrow, less, twice)
        for j in range(n_columns):
            ranks[j] = 0
        squares = -n * (n + 1) ** 2
        for i in range(n):
            ranks[where[i]] = twice[i]
            squares += twice[i] * twice[i]
        with_before = int(t > 0 and len(persistence) > 0)
        for h in range(-with_before, len(labels)):
            other, n_other, squares_other = before, n_before, squares_before
            if h >= 0:
                other = labels[h, t]
                n_other, squares_other = label_counts[h, t], label_squares[h, t]
            found = _rank_correlation(
                ranks, n, squares, other, n_other, squares_other, min_pairs, x, y
            )
            if h >= 0:
                rank_ic[h, t] = found
            else:
                persistence[t - 1] = found
        for j in range(n_columns):
            before[j] = ranks[j]
        n_before, squares_before = n, squares
        if len(weights):
            for j in range(n_columns):
                weights[t, j] = 0.0
            gross = 0
            for i in range(n):
                gross += abs(twice[i] - (n + 1))
            if n >= min_pairs and gross > 0:
                for i in range(n):
                    weights[t, where[i]] = (twice[i] - (n + 1)) / gross
        if not len(pearson) and not n_quantiles:
            continue
        pairs = 0
        for i in range(n):
            if np.isfinite(forward[t, where[i]]):
                first[pairs] = row[i]
                second[pairs] = forward[t, where[i]]
                less[pairs] = less[i]
                pairs += 1
        if n_quantiles:
            for i in range(pairs if pairs < n else 0):  # the place among those that are left
                smaller = 0
                for k in range(pairs):
                    smaller += first[k] < first[i]
                less[i] = smaller
            if cut_for != pairs:
                cut_for = pairs
                for k in range(pairs):
                    cut = np.ceil(k * np.float64(n_quantiles) / max(pairs - 1, 1))
                    slots[k] = max(int(cut), 1) - 1
            for q in range(n_quantiles):
                members[q] = earned[q] = 0.0
            for i in range(pairs):
                slot = slots[less[i]]
                members[slot] += 1.0
                earned[slot] += second[i]
            for q in range(n_quantiles):
                known = pairs >= n_quantiles and members[q] > 0
                quantiles[t, q] = earned[q] / members[q] if known else np.nan
        if len(pearson):
            pearson[t] = _correlation(first, second, pairs) if pairs >= min_pairs else np.nan


@kernel
def newcomers(labels: FloatArray, lag: int, out: FloatArray) -> None:
    """Share of each quantile's members that were not in it `lag` rows before; labels 1, 2, ..."""
    n_rows, n_columns = labels.shape
    quantiles: int = out.shape[1]
    size, before, fresh = np.empty(quantiles), np.empty(quantiles), np.empty(quantiles)
    for t in range(n_rows):
        for q in range(quantiles):
            size[q] = before[q] = fresh[q] = 0.0
            out[t, q] = np.nan
        if t < lag:
            continue
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
def trade(  # noqa: C901, PLR0912  one pass, bar by bar
    targets: FloatArray,
    direction: int,
    tranches: int,
    returns: FloatArray,
    tradable: NDArray[np.bool_],
    listed: NDArray[np.bool_],
    funding: FloatArray,
    volume: FloatArray,
    cost: float,
    band: float,
    out: FloatArray,
    earned: FloatArray,
) -> int:
    """A book bar by bar; out: (5, rows) of gross, net, funding, traded and room.

    What is wanted at a row is direction x the mean of the last `tranches` rows of targets, of which
    there may be more than rows; the one before where nothing can be traded, and cash where nothing
    is listed. Returns the first row that wants anything, which is where the book begins.

    Weights are of the equity before the trade. Between trades a position drifts with its price and
    the equity with all of them; what is traded is the difference. returns and funding may have one
    row of zeros, volume one row of NaN, where there is none. room: the capital of which a trade is
    all of its symbol's volume; infinite without a trade. earned: (columns,) gross, by symbol.

    band: above 0, a position is traded where it is further than band x the mean size of the row's
    targets from its own, and then to that distance. A target of 0 is met in full. Where nothing can
    be traded the position is what it drifted to.
    """
    n_rows, n_columns = returns.shape
    started: int = n_rows
    held, wanted, book = np.zeros(n_columns), np.zeros(n_columns), np.zeros(n_columns)
    mean = np.empty(n_columns)
    for j in range(n_columns):
        earned[j] = 0.0
    for t in range(n_rows):
        for j in range(n_columns):
            mean[j] = targets[t, j]
        for age in range(1, min(tranches, t + 1)):
            for j in range(n_columns):
                mean[j] += targets[t - age, j]
        anything = False
        for j in range(n_columns):
            if tradable[t, j]:
                wanted[j] = direction * mean[j] / tranches
            book[j] = wanted[j] if listed[t, j] else 0.0
            anything |= book[j] != 0.0
        if started == n_rows and anything:
            started = t
        if band > 0:
            size, positions = 0.0, 0
            for j in range(n_columns):
                size += abs(book[j])
                positions += abs(book[j]) > _CONSTANT
            width = band * size / max(positions, 1)
            for j in range(n_columns):
                target = book[j]
                leaves = abs(target) <= _CONSTANT
                stays = listed[t, j] and not tradable[t, j]  # the end of a listing is paid
                if stays or (not leaves and abs(target - held[j]) <= width):
                    book[j] = held[j]
                elif not leaves:
                    book[j] -= width if target > held[j] else -width
        gross = paid = traded = 0.0
        room = np.inf
        f, v = min(t, len(funding) - 1), min(t, len(volume) - 1)
        for j in range(n_columns):
            weight = book[j]
            moves = tradable[t, j] or not listed[t, j]
            change = abs(weight - held[j]) if moves else 0.0
            traded += change
            gross += weight * returns[t, j]
            paid += weight * funding[f, j]
            if change > _CONSTANT:
                room = min(room, volume[v, j] / change)
        net = gross - paid - cost * traded
        out[0, t], out[1, t], out[2, t], out[3, t], out[4, t] = gross, net, -paid, traded, room
        for j in range(n_columns):
            earned[j] += book[j] * returns[t, j]
            grown = book[j] * (1.0 + returns[t, j])
            held[j] = grown / (1.0 + net) if net > -1.0 else 0.0
    return started
