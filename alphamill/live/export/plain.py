"""Every operator written plainly over numpy: what an exported file is made of.

An exported file carries the source of the functions that its expression uses, as it stands here, so
this module uses numpy and pandas and nothing of the project. An operator's function has its name,
with "_" behind it where Python has the name already. Series are float64 arrays (bars, symbols),
finite or NaN; a plain number stands for a literal. Meanings, windows, ties and what is NaN are
those of `alphamill operators`; sums are taken in another order than the compiled kernels take
them, so that values agree to rounding and not to the bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

NOISE = 4 * 2.0**-52  # a spread below this fraction of the level is rounding, not a spread
WINDOW_VALUES = 4_000_000  # that are held at a time
Values = Any  # np.ndarray of float64, (bars, symbols), or a number


def finite(x: Values) -> Values:
    """Infinities to NaN."""
    return np.where(np.isfinite(x), x, np.nan)


def wide(frame: Any, names: tuple[str, ...]) -> tuple[dict[str, Values], Any, Any]:
    """Arrays of the named columns, with the index (open times) and the columns (symbols).

    frame: one row a bar and symbol, with the columns symbol and open_time; or a mapping from
    column to a frame (open times x symbols). Bars and symbols are put in ascending order.
    """
    if isinstance(frame, pd.DataFrame):
        absent = [one for one in ("symbol", "open_time", *names) if one not in frame.columns]
        if absent:
            raise ValueError(f"the frame has no column {', '.join(absent)}")
        if frame.duplicated(["open_time", "symbol"]).any():
            raise ValueError("the frame has a bar of a symbol twice")
        tables = {
            name: frame.pivot(index="open_time", columns="symbol", values=name) for name in names
        }
    else:
        absent = [name for name in names if name not in frame]
        if absent:
            raise ValueError(f"there is no frame of {', '.join(absent)}")
        tables = {name: frame[name] for name in names}
    first = tables[names[0]].sort_index().sort_index(axis=1)
    times, symbols = first.index, first.columns
    if not times.is_unique or not symbols.is_unique:
        raise ValueError("the frame has a bar or a symbol twice")
    whole = every_bar(times)
    arrays = {}
    for name in names:
        table = tables[name].sort_index().sort_index(axis=1)
        if not (table.index.equals(times) and table.columns.equals(symbols)):
            raise ValueError(f"{name} has other bars or symbols than {names[0]}")
        arrays[name] = finite(table.reindex(whole).to_numpy(dtype=np.float64))
    return arrays, whole, symbols


def every_bar(times: Any) -> Any:
    """The open times with those that are missing between them; months are left as they are."""
    if len(times) < 3:
        return times
    steps = times[1:] - times[:-1]
    step = steps.min()
    if step >= (pd.Timedelta(days=28) if isinstance(step, pd.Timedelta) else 28 * 86_400_000):
        return times
    if ((steps % step) != 0 * step).any():
        raise ValueError("the open times are not on one grid")
    bars = (times[-1] - times[0]) // step + 1
    return pd.Index([times[0] + n * step for n in range(int(bars))], name=times.name)


def labels_of(groups: Mapping[str, Mapping[str, object]] | None, name: str, symbols: Any) -> Any:
    """Group numbers of the symbols from {group table: {symbol: label}}; -1 for no group."""
    if groups is None or name not in groups:
        raise ValueError(f"the factor needs a group table: groups={{{name!r}: {{symbol: label}}}}")
    labels = [groups[name].get(symbol) for symbol in symbols]
    numbers: dict[object, int] = {}
    return np.array(
        [-1 if label is None else numbers.setdefault(label, len(numbers)) for label in labels]
    )


def rolling(statistic: Callable[..., Values], bars: int, *series: Values) -> Values:
    """The statistic of every window of `bars` bars; NaN until it is full and with a NaN in it.

    statistic: takes one array (rows, symbols, bars) a series, oldest bar first, and gives
    (rows, symbols). Rows come in batches, so that the windows fit into memory.
    """
    n_bars, n = series[0].shape
    out = np.full((n_bars, n), np.nan)
    step = max(1, WINDOW_VALUES // max(1, n * bars))
    for first in range(bars - 1, n_bars, step):
        last = min(first + step, n_bars)
        windows = [
            np.lib.stride_tricks.sliding_window_view(x[first - bars + 1 : last], bars, axis=0)
            for x in series
        ]
        known = np.logical_and.reduce([np.isfinite(window).all(axis=-1) for window in windows])
        out[first:last] = np.where(known, statistic(*windows), np.nan)
    return out


def centred(window: Values) -> tuple[Values, Values]:
    """(values less their mean, the mean), exact where all are equal; of a window's last axis."""
    offset = window - window[..., :1]
    shift = offset.mean(axis=-1)
    return offset - shift[..., None], window[..., 0] + shift


def truth(holds: Values, *inputs: Values) -> Values:
    """1 or 0, NaN where an input is."""
    unknown = np.logical_or.reduce(np.broadcast_arrays(*(np.isnan(x) for x in inputs)))
    return np.where(unknown, np.nan, np.asarray(holds, dtype=np.float64))


# One bar of one symbol.


def add(x: Values, y: Values) -> Values:
    """Sum."""
    return finite(np.add(x, y))


def sub(x: Values, y: Values) -> Values:
    """Difference."""
    return finite(np.subtract(x, y))


def mul(x: Values, y: Values) -> Values:
    """Product."""
    return finite(np.multiply(x, y))


def div(x: Values, y: Values) -> Values:
    """Quotient; NaN when y is 0."""
    return finite(np.divide(x, y))


def pow_(x: Values, y: Values) -> Values:
    """X to the power y; NaN where that is not real."""
    return np.where(np.isnan(x) | np.isnan(y), np.nan, finite(np.power(x, y)))


def neg(x: Values) -> Values:
    """Minus x."""
    return np.negative(x)


def lt(x: Values, y: Values) -> Values:
    """1 if x < y, else 0; NaN if either is NaN."""
    return truth(np.less(x, y), x, y)


def le(x: Values, y: Values) -> Values:
    """1 if x <= y, else 0."""
    return truth(np.less_equal(x, y), x, y)


def gt(x: Values, y: Values) -> Values:
    """1 if x > y, else 0."""
    return truth(np.greater(x, y), x, y)


def ge(x: Values, y: Values) -> Values:
    """1 if x >= y, else 0."""
    return truth(np.greater_equal(x, y), x, y)


def eq(x: Values, y: Values) -> Values:
    """1 if x equals y exactly, else 0."""
    return truth(np.equal(x, y), x, y)


def ne(x: Values, y: Values) -> Values:
    """1 if x differs from y, else 0."""
    return truth(np.not_equal(x, y), x, y)


def and_(x: Values, y: Values) -> Values:
    """1 if both are nonzero, else 0."""
    return truth(np.not_equal(x, 0) & np.not_equal(y, 0), x, y)


def or_(x: Values, y: Values) -> Values:
    """1 if one of them is nonzero, else 0."""
    return truth(np.not_equal(x, 0) | np.not_equal(y, 0), x, y)


def not_(x: Values) -> Values:
    """1 if x is 0, else 0."""
    return truth(np.equal(x, 0), x)


def where(cond: Values, x: Values, y: Values) -> Values:
    """X where cond is nonzero, else y; NaN where cond is NaN. Also `cond ? x : y`."""
    return np.where(np.isnan(cond), np.nan, np.where(np.not_equal(cond, 0), x, y))


def mask(x: Values, cond: Values) -> Values:
    """X where cond is nonzero, else NaN."""
    return np.where(np.equal(cond, 0) | np.isnan(cond), np.nan, x)


def abs_(x: Values) -> Values:
    """Absolute value."""
    return np.abs(x)


def sign(x: Values) -> Values:
    """-1, 0 or 1."""
    return np.sign(x)


def log(x: Values) -> Values:
    """Natural logarithm; NaN for x <= 0."""
    return finite(np.log(x))


def log1p_abs(x: Values) -> Values:
    """sign(x) * log(1 + |x|)."""
    return np.sign(x) * np.log1p(np.abs(x))


def exp(x: Values) -> Values:
    """E to the power x, x held within -700 and 700."""
    return np.exp(np.clip(x, -700.0, 700.0))


def sqrt(x: Values) -> Values:
    """Square root; NaN for x < 0."""
    return np.sqrt(x)


def square(x: Values) -> Values:
    """X squared."""
    return finite(np.square(x))


def signed_power(x: Values, y: Values) -> Values:
    """sign(x) * |x| ^ y."""
    return np.sign(x) * pow_(np.abs(x), y)


def inv(x: Values) -> Values:
    """1 / x; NaN when x is 0."""
    return finite(np.divide(1.0, x))


def tanh(x: Values) -> Values:
    """Hyperbolic tangent."""
    return np.tanh(x)


def sigmoid(x: Values) -> Values:
    """1 / (1 + exp(-x))."""
    return 0.5 * (1.0 + np.tanh(0.5 * np.asarray(x)))


def clip(x: Values, low: float, high: float) -> Values:
    """X held within low and high."""
    return np.clip(x, low, high)


def floor(x: Values) -> Values:
    """Largest whole number not above x."""
    return np.floor(x)


def min_(x: Values, y: Values) -> Values:
    """The smaller of two series; not a window (see ts_min)."""
    return np.minimum(x, y)


def max_(x: Values, y: Values) -> Values:
    """The larger of two series; not a window (see ts_max)."""
    return np.maximum(x, y)


def is_nan(x: Values) -> Values:
    """1 where x is NaN, else 0."""
    return np.isnan(x).astype(np.float64)


def fill(x: Values, value: float) -> Values:
    """x, with NaN replaced by a number."""
    return np.where(np.isnan(x), value, x)


def vwap(fields: Mapping[str, Values]) -> Values:
    """quote_volume / volume; the typical price of a bar without a trade."""
    exact = fields["quote_volume"] / fields["volume"]
    typical = (fields["high"] + fields["low"] + fields["close"]) / 3.0
    return np.where(np.isfinite(exact), exact, typical)


# A window of one symbol, ending at this bar.


def delay(x: Values, bars: int) -> Values:
    """X that many bars ago."""
    out = np.full_like(x, np.nan)
    if bars < len(x):
        out[bars:] = x[: len(x) - bars]
    return out


def delta(x: Values, bars: int) -> Values:
    """X minus x that many bars ago."""
    return finite(x - delay(x, bars))


def pct_change(x: Values, bars: int) -> Values:
    """X / delay(x, bars) - 1."""
    return finite(x / delay(x, bars) - 1.0)


def log_return(x: Values, bars: int) -> Values:
    """log(x / delay(x, bars)); NaN unless both have one sign."""
    ratio = x / delay(x, bars)
    return np.log(np.where((ratio > 0) & (ratio < 8e307), ratio, np.nan))


def ts_sum(x: Values, bars: int) -> Values:
    """Sum."""
    return rolling(lambda window: window.sum(axis=-1), bars, x)


def ts_mean(x: Values, bars: int) -> Values:
    """Arithmetic mean."""
    return rolling(lambda window: centred(window)[1], bars, x)


def second_moment(window: Values) -> Values:
    """Sum of squared distances from the mean."""
    return np.square(centred(window)[0]).sum(axis=-1)


def ts_var(x: Values, bars: int) -> Values:
    """Variance, divisor bars - 1."""
    return finite(rolling(lambda window: second_moment(window) / (bars - 1), bars, x))


def ts_std(x: Values, bars: int) -> Values:
    """Standard deviation, divisor bars - 1."""
    return rolling(lambda window: np.sqrt(second_moment(window) / (bars - 1)), bars, x)


def ts_std0(x: Values, bars: int) -> Values:
    """Standard deviation, divisor bars."""
    return rolling(lambda window: np.sqrt(second_moment(window) / bars), bars, x)


def ts_zscore(x: Values, bars: int) -> Values:
    """(x - mean) / std; NaN where std is 0."""

    def score(window: Values) -> Values:
        d, mean = centred(window)
        m2 = np.square(d).sum(axis=-1)
        varies = m2 > bars * np.square(NOISE * mean)
        return np.where(varies, d[..., -1] / np.sqrt(m2 / (bars - 1)), np.nan)

    return rolling(score, bars, x)


def skewness(m2: Values, m3: Values, n: Values) -> Values:
    """Unbiased, from centred sums of n values."""
    return n * np.sqrt(n - 1) / (n - 2) * m3 / (m2 * np.sqrt(m2))


def kurtosis(m2: Values, m4: Values, n: Values) -> Values:
    """Unbiased excess kurtosis, from centred sums of n values."""
    rest = (n - 2) * (n - 3)
    return n * (n + 1) * (n - 1) / rest * (m4 / m2) / m2 - 3 * (n - 1) ** 2 / rest


def ts_skew(x: Values, bars: int) -> Values:
    """Sample skewness, unbiased as in pandas."""

    def shape(window: Values) -> Values:
        d, mean = centred(window)
        m2, m3 = (d**2).sum(axis=-1), (d**3).sum(axis=-1)
        varies = m2 > bars * np.square(NOISE * mean)
        return np.where(varies, skewness(m2, m3, float(bars)), np.nan)

    return rolling(shape, bars, x)


def ts_kurt(x: Values, bars: int) -> Values:
    """Sample excess kurtosis, unbiased as in pandas."""

    def shape(window: Values) -> Values:
        d, mean = centred(window)
        m2, m4 = (d**2).sum(axis=-1), (d**4).sum(axis=-1)
        varies = m2 > bars * np.square(NOISE * mean)
        return np.where(varies, kurtosis(m2, m4, float(bars)), np.nan)

    return rolling(shape, bars, x)


def ts_min(x: Values, bars: int) -> Values:
    """Smallest value."""
    return rolling(lambda window: window.min(axis=-1), bars, x)


def ts_max(x: Values, bars: int) -> Values:
    """Largest value."""
    return rolling(lambda window: window.max(axis=-1), bars, x)


def ts_argmin(x: Values, bars: int) -> Values:
    """Bars since the smallest value, 0 if it is this bar; the most recent wins a tie."""
    return rolling(lambda window: window[..., ::-1].argmin(axis=-1), bars, x)


def ts_argmax(x: Values, bars: int) -> Values:
    """Bars since the largest value, 0 if it is this bar; the most recent wins a tie."""
    return rolling(lambda window: window[..., ::-1].argmax(axis=-1), bars, x)


def ts_quantile(x: Values, bars: int, q: float) -> Values:
    """The q-quantile, interpolated linearly."""
    position = q * (bars - 1)
    below = math.floor(position)
    above, part = min(below + 1, bars - 1), position - below

    def interpolated(window: Values) -> Values:
        ordered = np.sort(window, axis=-1)
        return ordered[..., below] * (1.0 - part) + ordered[..., above] * part

    return rolling(interpolated, bars, x)


def ts_median(x: Values, bars: int) -> Values:
    """Median; the mean of the middle two if bars is even."""
    return ts_quantile(x, bars, 0.5)


def ts_mad(x: Values, bars: int) -> Values:
    """Mean absolute deviation from the mean."""
    return rolling(lambda window: np.abs(centred(window)[0]).mean(axis=-1), bars, x)


def ts_medad(x: Values, bars: int) -> Values:
    """Median absolute deviation from the median."""

    def deviation(window: Values) -> Values:
        return np.median(np.abs(window - np.median(window, axis=-1)[..., None]), axis=-1)

    return rolling(deviation, bars, x)


def ts_rank(x: Values, bars: int, tie: float) -> Values:
    """tie: values that agree with the newest to this fraction share its rank."""

    def rank_of_newest(window: Values) -> Values:
        newest = window[..., -1:]
        band = tie * np.abs(newest)
        below = (window < newest - band).sum(axis=-1)
        upto = (window <= newest + band).sum(axis=-1)
        return (below + upto + 1) * 0.5 / bars

    return rolling(rank_of_newest, bars, x)


def ts_scale(x: Values, bars: int) -> Values:
    """(x - min) / (max - min); NaN on a flat window."""
    low, high = ts_min(x, bars), ts_max(x, bars)
    return finite((x - low) / (high - low))


def ts_product(x: Values, bars: int) -> Values:
    """Product."""
    return finite(rolling(lambda window: window.prod(axis=-1), bars, x))


def ts_count(cond: Values, bars: int) -> Values:
    """Bars on which cond is nonzero."""
    return ts_sum(truth(np.not_equal(cond, 0), cond), bars)


def ts_sum_if(x: Values, cond: Values, bars: int) -> Values:
    """Sum of x over the bars on which cond is nonzero."""
    kept = np.where(np.equal(cond, 0), 0.0, x)
    return ts_sum(np.where(np.isnan(x) | np.isnan(cond), np.nan, kept), bars)


def decay_linear(x: Values, bars: int) -> Values:
    """Mean with weights bars (newest), ..., 2, 1 (oldest)."""
    weights = np.arange(1.0, bars + 1)
    share = 2.0 / (bars * (bars + 1.0))
    return rolling(lambda window: (window * weights).sum(axis=-1) * share, bars, x)


def wma(x: Values, bars: int) -> Values:
    """The same as decay_linear."""
    return decay_linear(x, bars)


def decay_exp(x: Values, bars: int) -> Values:
    """Mean with weights (1 - a)^age, a = 2 / (bars + 1), over exactly `bars` bars."""
    keep = 1.0 - 2.0 / (bars + 1)
    weights = keep ** np.arange(bars)[::-1]
    return rolling(lambda window: (window * weights).sum(axis=-1) / weights.sum(), bars, x)


def exponential_mean(x: Values, bars: int, alpha: float) -> Values:
    """Mean with weights (1 - alpha) ** age of the bars that weigh over 1e-4 (at most 5000, at
    least `bars`), or of those since a NaN; NaN while there are fewer than `bars` of them.
    """
    span = bars
    if alpha < 1:
        span = max(bars, min(math.ceil(math.log(1e-4) / math.log1p(-alpha)), 5000))
    unbroken = np.isfinite(x)
    total, weights, count = np.zeros(x.shape), np.zeros(x.shape), np.zeros(x.shape)
    for age in range(min(span, len(x))):
        unbroken[:age] = False
        earlier = x[: len(x) - age]
        unbroken[age:] &= np.isfinite(earlier)
        weight = (1.0 - alpha) ** age
        total[age:] += np.where(unbroken[age:], weight * (earlier - x[age:]), 0.0)
        weights += weight * unbroken
        count += unbroken
    return np.where(count >= bars, x + total / weights, np.nan)


def ema(x: Values, bars: int) -> Values:
    """Exponential mean, a = 2 / (bars + 1), of all bars that weigh over 1e-4 (4.6 * bars); after a
    NaN, of those since, from `bars` on.
    """
    return exponential_mean(x, bars, 2.0 / (bars + 1))


def rma(x: Values, bars: int) -> Values:
    """Wilder's mean: as ema with a = 1 / bars (9.2 * bars)."""
    return exponential_mean(x, bars, 1.0 / bars)


def sma_cn(x: Values, bars: int, weight: float) -> Values:
    """As ema with a = weight / bars (at most 1); SMA(x, n, m) of Chinese terminals."""
    return exponential_mean(x, bars, weight / bars)


def second_moments(x: Values, y: Values, bars: int) -> tuple[Values, ...]:
    """(xx, yy, xy, x is constant, y is constant, newest x and y less their means) of windows."""
    dx, x_mean = centred(x)
    dy, y_mean = centred(y)
    xx, yy, xy = ((a * b).sum(axis=-1) for a, b in ((dx, dx), (dy, dy), (dx, dy)))
    x_flat = xx <= bars * np.square(NOISE * x_mean)
    y_flat = yy <= bars * np.square(NOISE * y_mean)
    bound = np.sqrt(xx) * np.sqrt(yy)
    xy = np.clip(np.where(np.abs(xy) <= 1e-14 * bound, 0.0, xy), -bound, bound)
    return xx, yy, xy, x_flat, y_flat, dx[..., -1], dy[..., -1]


def ts_cov(x: Values, y: Values, bars: int) -> Values:
    """Covariance, divisor bars - 1."""
    return finite(rolling(lambda a, b: second_moments(a, b, bars)[2] / (bars - 1), bars, x, y))


def ts_corr(x: Values, y: Values, bars: int) -> Values:
    """Pearson correlation; NaN if either is constant."""

    def pearson(a: Values, b: Values) -> Values:
        xx, yy, xy, x_flat, y_flat, _, _ = second_moments(a, b, bars)
        return np.where(x_flat | y_flat, np.nan, xy / (np.sqrt(xx) * np.sqrt(yy)))

    return rolling(pearson, bars, x, y)


def ts_beta(y: Values, x: Values, bars: int) -> Values:
    """Slope of y regressed on x; NaN if x is constant."""

    def slope(a: Values, b: Values) -> Values:
        _, xx, xy, _, x_flat, _, _ = second_moments(a, b, bars)
        return np.where(x_flat, np.nan, xy / xx)

    return finite(rolling(slope, bars, y, x))


def ts_regress_resid(y: Values, x: Values, bars: int) -> Values:
    """Y minus its regression on x over the window, at this bar; NaN if x is constant."""

    def residual(a: Values, b: Values) -> Values:
        _, xx, xy, _, x_flat, da, db = second_moments(a, b, bars)
        return np.where(x_flat, np.nan, da - xy / xx * db)

    return finite(rolling(residual, bars, y, x))


def ts_autocorr(x: Values, bars: int, lag: int) -> Values:
    """Correlation of x with itself `lag` bars earlier."""
    return ts_corr(x, delay(x, lag), bars)


def ts_rank_corr(x: Values, y: Values, bars: int, x_tie: float, y_tie: float) -> Values:
    """x_tie, y_tie: values that agree to this fraction share a rank. Takes bars squared steps."""

    def doubled_ranks(window: Values, tie: float) -> Values:
        total = np.ones(window.shape)
        for t in range(bars):
            other = window[..., t : t + 1]
            ties = np.abs(window - other) <= tie * np.maximum(np.abs(window), np.abs(other))
            total += np.where(ties, 1.0, np.where(window > other, 2.0, 0.0))
        return total - (bars + 1)

    def spearman(a: Values, b: Values) -> Values:
        dx, dy = doubled_ranks(a, x_tie), doubled_ranks(b, y_tie)
        xx, yy, xy = ((p * q).sum(axis=-1) for p, q in ((dx, dx), (dy, dy), (dx, dy)))
        return np.where((xx > 0) & (yy > 0), xy / np.sqrt(xx) / np.sqrt(yy), np.nan)

    return rolling(spearman, bars, x, y)


def trend(window: Values, bars: int) -> tuple[Values, Values]:
    """(slope a bar, the line's value at the window's middle less its first value)."""
    offset = window - window[..., :1]
    distance = np.arange(bars) - 0.5 * (bars - 1)
    slope = (offset * distance).sum(axis=-1) * (12.0 / (bars * (bars * bars - 1.0)))
    return slope, offset.mean(axis=-1)


def ts_slope(x: Values, bars: int) -> Values:
    """Slope of x regressed on time, a bar."""
    return rolling(lambda window: trend(window, bars)[0], bars, x)


def ts_rsquare(x: Values, bars: int) -> Values:
    """R squared of x regressed on time; NaN on a flat window."""
    fit = np.square(ts_slope(x, bars)) * (bars * (bars + 1.0) / 12.0)
    variance = ts_var(x, bars)
    return np.where(
        variance <= np.square(NOISE * x), np.nan, np.minimum(np.divide(fit, variance), 1.0)
    )


def ts_resid(x: Values, bars: int) -> Values:
    """X minus its linear trend, at this bar."""

    def residual(window: Values) -> Values:
        slope, middle = trend(window, bars)
        return window[..., -1] - window[..., 0] - (middle + slope * (0.5 * (bars - 1)))

    return rolling(residual, bars, x)


def line_at(x: Values, bars: int, ahead: float) -> Values:
    """The linear trend's value so many bars after the window's middle."""

    def value(window: Values) -> Values:
        slope, middle = trend(window, bars)
        return window[..., 0] + (middle + slope * ahead)

    return rolling(value, bars, x)


def ts_linreg(x: Values, bars: int) -> Values:
    """The linear trend's value at this bar."""
    return line_at(x, bars, 0.5 * (bars - 1))


def ts_forecast(x: Values, bars: int) -> Values:
    """The linear trend of these bars, drawn on to the next bar."""
    return line_at(x, bars, 0.5 * (bars + 1))


# The symbols of one bar, NaN ones left out.


def centred_across(x: Values) -> tuple[Values, Values, Values]:
    """(x less the mean of the symbols, that mean, how many are known), the last two as columns."""
    known = np.isfinite(x)
    count = known.sum(axis=1, keepdims=True)
    anchor = np.take_along_axis(x, known.argmax(axis=1)[:, None], axis=1)
    offset = x - anchor
    shift = np.where(known, offset, 0.0).sum(axis=1, keepdims=True) / count
    return offset - shift, anchor + shift, count


def moments_across(x: Values) -> tuple[Values, Values, Values, Values, Values]:
    """(count, whether they vary, centred sums of squares, cubes, fourth powers) as columns."""
    d, mean, count = centred_across(x)
    m2, m3, m4 = (np.nansum(d**power, axis=1, keepdims=True) for power in (2, 3, 4))
    return count, m2 > count * np.square(NOISE * mean), m2, m3, m4


def on_known(x: Values, column: Values) -> Values:
    """A value a bar, given to every symbol that has one itself."""
    return np.where(np.isnan(x), np.nan, column)


def doubled_rank(x: Values, tie: float) -> Values:
    """Twice the average rank among the symbols, from 1; tie: the fraction to which values tie."""
    band = tie * np.abs(x)
    twice = np.ones(x.shape)
    for k in range(x.shape[1]):
        other = x[:, k : k + 1]
        twice += (other < x - band).astype(np.float64) + (other <= x + band)
    return twice


def rank(x: Values, tie: float) -> Values:
    """Rank among the symbols, ties averaged, in (0, 1]."""
    count = np.isfinite(x).sum(axis=1, keepdims=True)
    return on_known(x, doubled_rank(x, tie) * 0.5 / count)


def quantile(x: Values, buckets: int, tie: float) -> Values:
    """Bucket of the symbol's rank, 1 (lowest) to buckets; ties share one."""
    count = np.isfinite(x).sum(axis=1, keepdims=True)
    return on_known(x, np.ceil(doubled_rank(x, tie) * buckets / (2.0 * count)))


def zscore(x: Values) -> Values:
    """(x - mean) / std over the symbols."""
    count, varies, m2, _, _ = moments_across(x)
    d = centred_across(x)[0]
    return np.where((count > 1) & varies, d / np.sqrt(m2 / (count - 1)), np.nan)


def demean(x: Values) -> Values:
    """X minus the mean of the symbols."""
    return centred_across(x)[0]


def scale(x: Values, total: float) -> Values:
    """X scaled so that the absolute values add up to total."""
    size = np.nansum(np.abs(x), axis=1, keepdims=True)
    return x / np.where(size > 0, size, np.nan) * total


def ordered_across(x: Values, place: Values) -> Values:
    """The values at a place a bar (bars, 1) of the symbols in ascending order."""
    ordered = np.sort(x, axis=1)  # NaN last
    return np.take_along_axis(ordered, np.clip(place, 0, x.shape[1] - 1).astype(np.int64), axis=1)


def winsorize(x: Values, tail: float) -> Values:
    """X held within the tail and 1 - tail quantiles of the symbols."""
    count = np.isfinite(x).sum(axis=1, keepdims=True)
    position = tail * (count - 1)
    below = np.floor(position)
    above, part = np.minimum(below + 1, count - 1), position - below
    low = ordered_across(x, below) * (1.0 - part) + ordered_across(x, above) * part
    high = ordered_across(x, count - 1 - below) * (1.0 - part)
    high = high + ordered_across(x, count - 1 - above) * part
    return np.minimum(np.maximum(x, low), high)


def neutralize(x: Values, y: Values) -> Values:
    """X minus its regression on y over the symbols, with intercept; NaN below 3 symbols."""
    both = np.isfinite(x) & np.isfinite(y)
    dx, _, count = centred_across(np.where(both, x, np.nan))
    dy, y_mean, _ = centred_across(np.where(both, y, np.nan))
    yy = np.nansum(dy * dy, axis=1, keepdims=True)
    xy = np.nansum(dy * dx, axis=1, keepdims=True)
    slope = np.where(yy > count * np.square(NOISE * y_mean), xy / yy, 0.0)
    return np.where(count >= 3, dx - slope * dy, np.nan)


def cs_mean(x: Values) -> Values:
    """Mean of the symbols."""
    return on_known(x, centred_across(x)[1])


def cs_median(x: Values) -> Values:
    """Median of the symbols."""
    count = np.isfinite(x).sum(axis=1, keepdims=True)
    low, high = ordered_across(x, (count - 1) // 2), ordered_across(x, count // 2)
    return on_known(x, 0.5 * (low + high))


def cs_std(x: Values) -> Values:
    """Standard deviation over the symbols, divisor symbols - 1."""
    count, _, m2, _, _ = moments_across(x)
    return on_known(x, np.where(count > 1, np.sqrt(m2 / (count - 1)), np.nan))


def cs_skew(x: Values) -> Values:
    """Sample skewness over the symbols, unbiased as in pandas."""
    count, varies, m2, m3, _ = moments_across(x)
    return on_known(x, np.where((count >= 3) & varies, skewness(m2, m3, count * 1.0), np.nan))


def cs_kurt(x: Values) -> Values:
    """Sample excess kurtosis over the symbols, unbiased as in pandas."""
    count, varies, m2, _, m4 = moments_across(x)
    return on_known(x, np.where((count >= 4) & varies, kurtosis(m2, m4, count * 1.0), np.nan))


def cs_min(x: Values) -> Values:
    """Smallest of the symbols."""
    return on_known(x, np.where(np.isnan(x), np.inf, x).min(axis=1, keepdims=True))


def cs_max(x: Values) -> Values:
    """Largest of the symbols."""
    return on_known(x, np.where(np.isnan(x), -np.inf, x).max(axis=1, keepdims=True))


# The symbols of one group at one bar.


def within_groups(statistic: Callable[[Values], Values], x: Values, numbers: Values) -> Values:
    """The statistic of each group's columns; NaN for a symbol of no group."""
    out = np.full(x.shape, np.nan)
    for number in np.unique(numbers[numbers >= 0]):
        members = numbers == number
        out[:, members] = statistic(x[:, members])
    return out


def group_rank(x: Values, numbers: Values, tie: float) -> Values:
    """Rank within the symbol's group."""
    return within_groups(lambda part: rank(part, tie), x, numbers)


def group_zscore(x: Values, numbers: Values) -> Values:
    """Zscore within the symbol's group."""
    return within_groups(zscore, x, numbers)


def group_demean(x: Values, numbers: Values) -> Values:
    """X minus its group's mean."""
    return within_groups(demean, x, numbers)


def group_neutralize(x: Values, numbers: Values) -> Values:
    """The same as group_demean."""
    return within_groups(demean, x, numbers)
