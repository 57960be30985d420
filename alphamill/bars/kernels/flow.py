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
def _slope(values: FloatArray, x: FloatArray) -> float:
    """Of a regression of values on x with an intercept; NaN where x is constant."""
    n = values.size
    if n < 2 or x.min() == x.max():
        return np.nan
    mean_r, mean_x = values.sum() / n, x.sum() / n
    below, above = 0.0, 0.0
    for i in range(n):
        below += (x[i] - mean_x) ** 2
        above += (x[i] - mean_x) * (values[i] - mean_r)
    return above / below


@inline
def _serial_covariance(x: FloatArray) -> float:
    """Of each value with the one before, about the means of either; divided by pairs less one."""
    pairs = x.size - 1
    mean_a, mean_b = x[:-1].sum() / pairs, x[1:].sum() / pairs
    total = 0.0
    for i in range(pairs):
        total += (x[i] - mean_a) * (x[i + 1] - mean_b)
    return total / (pairs - 1)


@inline
def _bucket_imbalance(sizes: FloatArray, signs: FloatArray, total: float) -> float:
    """Sum over buckets of equal volume of |bought - sold|, over the volume."""
    bucket = total / BUCKETS
    filled, balance, sum_ = 0.0, 0.0, 0.0
    for i in range(sizes.size):
        rest = sizes[i]
        while filled + rest >= bucket:
            part = bucket - filled
            sum_ += abs(balance + signs[i] * part)
            rest -= part
            filled, balance = 0.0, 0.0
        balance += signs[i] * rest
        filled += rest
    return min((sum_ + abs(balance)) / total, 1.0)


@inline
def _variation(x: FloatArray) -> float:
    """Standard deviation (ddof 0) over mean, of values above 0."""
    mean = x.sum() / x.size
    total = 0.0
    for i in range(x.size):
        total += (x[i] - mean) ** 2
    variation: float = np.sqrt(total / x.size) / mean
    return variation


@kernel
def flow_figures(  # noqa: C901, PLR0915  all figures of a bar, while its trades are near
    stops: IntArray,
    spans_s: FloatArray,
    times: IntArray,
    prices: FloatArray,
    sizes: FloatArray,
    values: FloatArray,
    sides: ByteArray,
    fills: IntArray,
    ordered: FloatArray,
    out: FloatArray,
) -> None:
    """Figures (bars, N_FIGURES) of bars that end before the trades `stops`, each of one or more.

    sides: 1 where the taker sold. ordered: the sizes of each bar in ascending order. What is made
    of returns, flows and waiting times takes trades of one time as one, at their last price.
    """
    start = 0
    for bar in range(stops.size):
        stop = stops[bar]
        n = stop - start
        own = out[bar]
        own[:] = np.nan
        sign = np.empty(n)
        # of the trades of one time
        price, flow, root, moment = np.empty(n), np.zeros(n), np.zeros(n), np.empty(n)
        bought, counted, volume, traded, squares = 0, 0, 0.0, 0.0, 0.0
        m = 0
        for i in range(n):
            at = start + i
            sign[i] = -1.0 if sides[at] else 1.0
            counted += fills[at]
            bought += 0 if sides[at] else fills[at]
            volume += sizes[at]
            traded += values[at]
            squares += sizes[at] ** 2
            if i == 0 or times[at] != times[at - 1]:
                m += 1
            price[m - 1] = prices[at]
            flow[m - 1] += sign[i] * values[at]
            root[m - 1] += sign[i] * np.sqrt(values[at])
            moment[m - 1] = (times[at] - times[start]) / 1e6
        sorted_ = ordered[start:stop]
        own[TRADE_IMBALANCE] = (2 * bought - counted) / counted
        own[SIZE_MEDIAN] = _quantile(sorted_, 0.5)
        own[SIZE_Q90] = _quantile(sorted_, 0.9)
        own[SIZE_Q99] = _quantile(sorted_, 0.99)
        own[SIZE_MAX] = sorted_[n - 1]
        if spans_s[bar] > 0:
            own[ARRIVAL_RATE] = counted / spans_s[bar]
        if volume > 0:
            own[TOP_DECILE_SHARE] = min(sorted_[n - (n + 9) // 10 :].sum() / volume, 1.0)
            own[SIZE_HHI] = min(squares / volume**2, 1.0)
            own[AMIHUD] = abs(np.log(prices[stop - 1] / prices[start])) / traded
            if n >= BUCKETS:
                own[VPIN] = _bucket_imbalance(sizes[start:stop], sign, volume)
        returns = np.zeros(m - 1)
        own[REALISED_VARIANCE], own[DOWN_VARIANCE], own[BIPOWER_VARIATION] = 0.0, 0.0, 0.0
        for i in range(m - 1):
            returns[i] = np.log1p((price[i + 1] - price[i]) / price[i])
            own[REALISED_VARIANCE] += returns[i] ** 2
            own[DOWN_VARIANCE] += min(returns[i], 0.0) ** 2
            if i:
                own[BIPOWER_VARIATION] += abs(returns[i] * returns[i - 1]) * np.pi / 2
        if m >= 3:
            own[KYLE_LAMBDA] = _slope(returns, flow[1:m])
            own[HASBROUCK_LAMBDA] = _slope(returns, root[1:m])
            own[SIGN_AUTOCORRELATION] = _slope(np.sign(flow[1:m]), np.sign(flow[: m - 1]))
            own[DURATION_CV] = _variation(np.diff(moment[:m]))
        if m >= 4:
            covariance = _serial_covariance(returns)
            if abs(covariance) <= _NOISE * own[REALISED_VARIANCE] / (m - 1):
                covariance = 0.0
            if covariance <= 0:
                own[ROLL_SPREAD] = 2 * np.sqrt(abs(covariance))
        start = stop
