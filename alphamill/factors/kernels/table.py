"""Which kernel computes which operator."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from alphamill.factors.kernels import (
    cross_section,
    extremes,
    moments,
    order,
    pairs,
    pointwise,
    sums,
)
from alphamill.factors.operators import OPERATORS
from alphamill.factors.record import exponential_span
from alphamill.frames import FloatArray, IntArray

Window = Callable[..., FloatArray]


def _run(kernel: Callable[..., None], *inputs: FloatArray) -> Window:
    """The kernel as a function of its literals, giving a new array."""

    def filled(*literals: float) -> FloatArray:
        out = np.empty_like(inputs[0])
        kernel(*inputs, *literals, out)
        return out

    return filled


def _one(kernel: Callable[..., None], *mode: float) -> Window:
    return lambda x, w, *more: _run(kernel, x)(w, *mode, *more)


def _on_grid(kernel: Callable[..., None], *mode: float) -> Window:
    return lambda x, w, first: _run(kernel, x)(w, *mode, first)


def _two(mode: int) -> Window:
    return lambda x, y, w, first: _run(pairs.window_pair, x, y)(w, mode, first)


def _delay(x: FloatArray, bars: int) -> FloatArray:
    out = np.empty_like(x)
    out[:bars] = np.nan
    out[bars:] = x[: max(0, len(x) - bars)]
    return out


def _log_return(x: FloatArray, bars: int) -> FloatArray:
    ratio = _run(pointwise.change, x)(bars, pointwise.RATIO)
    np.log(ratio, out=ratio)
    pointwise.drop_above(ratio, pointwise.LOG_BEYOND)
    return ratio


def _truth(cond: FloatArray) -> FloatArray:
    return np.where(np.isnan(cond), np.nan, (cond != 0).astype(np.float64))


def _sum_if(x: FloatArray, cond: FloatArray, w: int, first: int) -> FloatArray:
    kept = np.where(cond == 0, 0.0, x)
    kept[np.isnan(cond) | np.isnan(x)] = np.nan
    return _run(sums.window_sum, kept)(w, first)


def _range_position(x: FloatArray, w: int) -> FloatArray:
    low = _run(extremes.window_extreme, x)(w, -1.0)
    position = _run(extremes.window_extreme, x)(w, 1.0)
    pointwise.range_position(x, low, position)
    return position


def _rsquare(x: FloatArray, w: int, first: int) -> FloatArray:
    slope = _run(moments.window_trend, x)(w, moments.SLOPE, first)
    fit = _run(moments.window_second, x)(w, moments.VAR, first)
    moments.trend_fit(x, slope, w, fit)
    return fit


def _decay_exp(x: FloatArray, w: int, first: int) -> FloatArray:
    return _run(sums.exponential_decay, x)(w, 1.0 - 2.0 / (w + 1), first)


def _exponential(name: str) -> Window:
    weight_of = OPERATORS[name].alpha
    if weight_of is None:
        raise TypeError(f"{name} is no exponential mean")

    def filled(x: FloatArray, w: int, *more: float) -> FloatArray:
        *weight, first = more
        alpha = weight_of(w, *weight)
        return _run(sums.exponential_mean, x)(w, exponential_span(w, alpha), alpha, first)

    return filled


def _mad(x: FloatArray, w: int, first: int) -> FloatArray:
    return _run(order.window_mad, x, _run(sums.window_mean, x)(w, first))(w)


def _autocorr(x: FloatArray, w: int, lag: int, first: int) -> FloatArray:
    return _run(pairs.window_pair, x, _delay(x, lag))(w, pairs.CORR, first)


WINDOW: Mapping[str, Window] = {
    "delay": _delay,
    "delta": _one(pointwise.change, pointwise.DELTA),
    "pct_change": _one(pointwise.change, pointwise.RELATIVE),
    "log_return": _log_return,
    "ts_sum": _on_grid(sums.window_sum),
    "ts_mean": _on_grid(sums.window_mean),
    "ts_std": _on_grid(moments.window_second, moments.STD),
    "ts_std0": _on_grid(moments.window_second, moments.STD0),
    "ts_var": _on_grid(moments.window_second, moments.VAR),
    "ts_zscore": _on_grid(moments.window_second, moments.ZSCORE),
    "ts_skew": _on_grid(moments.window_shape, moments.SKEW),
    "ts_kurt": _on_grid(moments.window_shape, moments.KURT),
    "ts_slope": _on_grid(moments.window_trend, moments.SLOPE),
    "ts_rsquare": _rsquare,
    "ts_resid": _on_grid(moments.window_trend, moments.RESID),
    "ts_linreg": _on_grid(moments.window_trend, moments.LINE),
    "ts_forecast": _on_grid(moments.window_trend, moments.FORECAST),
    "ts_min": _one(extremes.window_extreme, -1.0),
    "ts_max": _one(extremes.window_extreme, 1.0),
    "ts_argmin": _one(extremes.window_extreme_age, -1.0),
    "ts_argmax": _one(extremes.window_extreme_age, 1.0),
    "ts_median": lambda x, w: _run(order.window_quantile, x)(w, 0.5),
    "ts_quantile": lambda x, w, q: _run(order.window_quantile, x)(w, q),
    "ts_rank": _one(order.window_rank),  # and how near values tie
    "ts_mad": _mad,
    "ts_medad": lambda x, w: _run(order.window_medad, x)(w),
    "ts_scale": _range_position,
    "ts_product": _on_grid(sums.window_product),
    "ts_count": lambda cond, w, first: _run(sums.window_sum, _truth(cond))(w, first),
    "ts_sum_if": _sum_if,
    "decay_linear": _on_grid(sums.linear_decay),
    "wma": _on_grid(sums.linear_decay),
    "decay_exp": _decay_exp,
    "ema": _exponential("ema"),
    "rma": _exponential("rma"),
    "sma_cn": _exponential("sma_cn"),
    "ts_corr": _two(pairs.CORR),
    "ts_cov": _two(pairs.COV),
    "ts_beta": _two(pairs.BETA),
    "ts_regress_resid": _two(pairs.RESID),
    "ts_rank_corr": lambda x, y, w, *ties: _run(order.window_rank_corr, x, y)(w, *ties),
    "ts_autocorr": _autocorr,
}
"""Operators over a window: full arrays, then literals -> a new array."""

RANKING = frozenset({"ts_rank", "ts_rank_corr"})
"""Those that are told, after the literals, how near the values of each array tie."""

FREE_OF_GRID = frozenset(
    [
        "delay",
        "delta",
        "pct_change",
        "log_return",
        "ts_min",
        "ts_max",
        "ts_argmin",
        "ts_argmax",
        "ts_median",
        "ts_quantile",
        "ts_rank",
        "ts_medad",
        "ts_scale",
        "ts_rank_corr",
    ]
)
"""Those whose arithmetic is the same on any grid; all others are told, last, the number of the bar
in row 0."""

_MODES = {
    "rank": cross_section.RANK,
    "zscore": cross_section.ZSCORE,
    "demean": cross_section.DEMEAN,
    "scale": cross_section.SCALE,
    "winsorize": cross_section.WINSORIZE,
    "quantile": cross_section.QUANTILE,
    "cs_mean": cross_section.MEAN,
    "cs_median": cross_section.MEDIAN,
    "cs_std": cross_section.STD,
    "cs_skew": cross_section.SKEW,
    "cs_kurt": cross_section.KURT,
    "cs_min": cross_section.MIN,
    "cs_max": cross_section.MAX,
    "group_rank": cross_section.RANK,
    "group_zscore": cross_section.ZSCORE,
    "group_demean": cross_section.DEMEAN,
    "group_neutralize": cross_section.DEMEAN,
}


def across(name: str, x: FloatArray, amount: float, groups: IntArray, tie: float) -> FloatArray:
    """An operator over the symbols of each bar. groups: 0, 1, ... a symbol, -1 for none.

    tie: values that agree to this fraction share a rank.
    """
    out = np.empty_like(x)
    n_groups = int(groups.max(initial=0)) + 1
    cross_section.across(x, groups, n_groups, _MODES[name], amount, tie, out)
    return out


def regress_out(x: FloatArray, y: FloatArray) -> FloatArray:
    """`neutralize`."""
    out = np.empty_like(x)
    cross_section.regress_out(x, y, out)
    return out
