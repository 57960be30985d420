"""Figures of the trades within each bar."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from alphamill.frames import FloatArray, IntArray
from alphamill.jit import inline, kernel

ByteArray = NDArray[np.uint8]

(
    TRADE_IMBALANCE,
    SIZE_MEDIAN,
    SIZE_Q90,
    SIZE_Q99,
    SIZE_MAX,
    TOP_DECILE_SHARE,
    SIZE_HHI,
    ARRIVAL_RATE,
    DURATION_CV,
    REALISED_VARIANCE,
    DOWN_VARIANCE,
    BIPOWER_VARIATION,
    ROLL_SPREAD,
    KYLE_LAMBDA,
    HASBROUCK_LAMBDA,
    AMIHUD,
    VPIN,
    SIGN_AUTOCORRELATION,
) = range(18)
N_FIGURES = 18
BUCKETS = 50
_NOISE = 1e-12  # a covariance below this share of the variance is rounding


@inline
def _quantile(ordered: FloatArray, share: float) -> float:
    """Between the two values beside it in a straight line; numpy's default."""
    at = share * (ordered.size - 1)
    below = int(np.floor(at))
    above = min(below + 1, ordered.size - 1)
    value: float = ordered[below] + (at - below) * (ordered[above] - ordered[below])
    return value


@inline
def _slope(values: FloatArray, v: int, x: FloatArray, at: int, n: int) -> float:
    """Of values[v : v + n] regressed on x[at : at + n] with an intercept; NaN where x is constant.

    Pairs are n; a regression of fewer than two is none.
    """
    mean_v, mean_x, alike = 0.0, 0.0, True
    for i in range(n):
        mean_v += values[v + i]
        mean_x += x[at + i]
        alike &= x[at + i] == x[at]
    if alike:
        return np.nan
    mean_v /= n
    mean_x /= n
    below, above = 0.0, 0.0
    for i in range(n):
        below += (x[at + i] - mean_x) ** 2
        above += (x[at + i] - mean_x) * (values[v + i] - mean_v)
    return above / below


@inline
def _serial_covariance(x: FloatArray, n: int) -> float:
    """Of each of x[:n] with the one before, about the means of either; over pairs less one."""
    pairs = n - 1
    mean_a, mean_b = 0.0, 0.0
    for i in range(pairs):
        mean_a += x[i]
        mean_b += x[i + 1]
    mean_a /= pairs
    mean_b /= pairs
    total = 0.0
    for i in range(pairs):
        total += (x[i] - mean_a) * (x[i + 1] - mean_b)
    return total / (pairs - 1)


@inline
def _bucket_imbalance(
    sizes: FloatArray, sides: ByteArray, start: int, stop: int, total: float
) -> float:
    """Sum over buckets of equal volume of |bought - sold|, over the volume."""
    bucket = total / BUCKETS
    filled, balance, sum_ = 0.0, 0.0, 0.0
    for i in range(start, stop):
        rest = sizes[i]
        sign = -1.0 if sides[i] else 1.0
        while filled + rest >= bucket:
            part = bucket - filled
            sum_ += abs(balance + sign * part)
            rest -= part
            filled, balance = 0.0, 0.0
        balance += sign * rest
        filled += rest
    return min((sum_ + abs(balance)) / total, 1.0)


@inline
def _variation(times: IntArray, m: int) -> float:
    """Standard deviation (ddof 0) over mean of the gaps between the first m, ascending."""
    mean = (times[m - 1] - times[0]) / (m - 1)
    total = 0.0
    for i in range(m - 1):
        total += (times[i + 1] - times[i] - mean) ** 2
    variation: float = np.sqrt(total / (m - 1)) / mean
    return variation


@kernel
def flow_figures(  # noqa: C901, PLR0912, PLR0915  all figures of a bar, while its trades are near
    stops: IntArray,
    spans_s: FloatArray,
    times: IntArray,
    prices: FloatArray,
    sizes: FloatArray,
    values: FloatArray,
    sides: ByteArray,
    fills: IntArray,
    ordered: FloatArray,
    room: FloatArray,
    moments: IntArray,
    out: FloatArray,
) -> None:
    """Figures (bars, N_FIGURES) of bars that end before the trades `stops`, each of one or more.

    sides: 1 where the taker sold. ordered: the sizes of each bar in ascending order. room: (5,
    trades of the longest bar), and moments, of as many: to be written over. What is made of
    returns, flows and waiting times takes trades of one time as one, at their last price.
    """
    # Of the trades of one time.
    price, flow, root, side, returns = room[0], room[1], room[2], room[3], room[4]
    start = 0
    for bar in range(stops.size):
        stop = stops[bar]
        n = stop - start
        own = out[bar]
        for k in range(N_FIGURES):
            own[k] = np.nan
        bought, counted, volume, traded, squares = 0, 0, 0.0, 0.0, 0.0
        m = 0
        for i in range(n):
            at = start + i
            sign = -1.0 if sides[at] else 1.0
            counted += fills[at]
            bought += 0 if sides[at] else fills[at]
            volume += sizes[at]
            traded += values[at]
            squares += sizes[at] ** 2
            if i == 0 or times[at] != times[at - 1]:
                flow[m], root[m] = 0.0, 0.0
                m += 1
            price[m - 1] = prices[at]
            flow[m - 1] += sign * values[at]
            root[m - 1] += sign * np.sqrt(values[at])
            moments[m - 1] = times[at]
        sorted_ = ordered[start:stop]
        own[TRADE_IMBALANCE] = (2 * bought - counted) / counted
        own[SIZE_MEDIAN] = _quantile(sorted_, 0.5)
        own[SIZE_Q90] = _quantile(sorted_, 0.9)
        own[SIZE_Q99] = _quantile(sorted_, 0.99)
        own[SIZE_MAX] = sorted_[n - 1]
        if spans_s[bar] > 0:
            own[ARRIVAL_RATE] = counted / spans_s[bar]
        if volume > 0:
            largest = 0.0
            for i in range(n - (n + 9) // 10, n):
                largest += sorted_[i]
            own[TOP_DECILE_SHARE] = min(largest / volume, 1.0)
            own[SIZE_HHI] = min(squares / volume**2, 1.0)
            if traded > 0:
                own[AMIHUD] = abs(np.log(prices[stop - 1] / prices[start])) / traded
            if n >= BUCKETS:
                own[VPIN] = _bucket_imbalance(sizes, sides, start, stop, volume)
        for i in range(m):
            side[i] = 1.0 if flow[i] > 0 else -1.0 if flow[i] < 0 else 0.0
        own[REALISED_VARIANCE], own[DOWN_VARIANCE], own[BIPOWER_VARIATION] = 0.0, 0.0, 0.0
        for i in range(m - 1):
            returns[i] = np.log1p((price[i + 1] - price[i]) / price[i])
            own[REALISED_VARIANCE] += returns[i] ** 2
            own[DOWN_VARIANCE] += min(returns[i], 0.0) ** 2
            if i:
                own[BIPOWER_VARIATION] += abs(returns[i] * returns[i - 1]) * np.pi / 2
        if m >= 3:
            own[KYLE_LAMBDA] = _slope(returns, 0, flow, 1, m - 1)
            own[HASBROUCK_LAMBDA] = _slope(returns, 0, root, 1, m - 1)
            own[SIGN_AUTOCORRELATION] = _slope(side, 1, side, 0, m - 1)
            if moments[m - 1] > moments[0]:
                own[DURATION_CV] = _variation(moments, m)
        if m >= 4:
            covariance = _serial_covariance(returns, m - 1)
            if abs(covariance) <= _NOISE * own[REALISED_VARIANCE] / (m - 1):
                covariance = 0.0
            if covariance <= 0:
                own[ROLL_SPREAD] = 2 * np.sqrt(abs(covariance))
        start = stop
