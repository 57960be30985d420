"""What each slice of the ranking earned next: quantile returns, their spread and their order."""

from __future__ import annotations

import math

import numpy as np

from alphamill.evaluation.correlation import information_coefficient
from alphamill.evaluation.one_pass import RankedLabels, measured
from alphamill.evaluation.ranks import Ranked, divide
from alphamill.frames import FloatArray


def _require_quantiles(quantiles: int) -> None:
    if quantiles < 2:
        raise ValueError(f"quantiles {quantiles} must be at least 2")


def quantile_labels(values: FloatArray | Ranked, quantiles: int = 5) -> FloatArray:
    """Quantile of each symbol at each bar, 1 = lowest values, as float64 (bars, symbols).

    As pandas.qcut and so alphalens cut: edges by linear interpolation, intervals closed on the
    right, equal values together. NaN where the value is, and on bars with fewer values than
    quantiles.
    """
    _require_quantiles(quantiles)
    below = (values if isinstance(values, Ranked) else Ranked.of(values)).below
    counts = np.isfinite(below).sum(axis=1, keepdims=True)
    labels: FloatArray = np.maximum(np.ceil(below * quantiles / np.maximum(counts - 1, 1)), 1.0)
    labels[counts[:, 0] < quantiles] = np.nan
    return labels


def quantile_returns_by_bar(
    values: FloatArray, forward: FloatArray, quantiles: int = 5
) -> FloatArray:
    """Mean forward return of each quantile at each bar: (bars, quantiles), NaN for an empty one.

    Symbols without a forward return are left out before the cut, as alphalens does.
    """
    _require_quantiles(quantiles)
    none = RankedLabels.of((), values.shape)
    return measured(values, none, forward, min_pairs=2, quantiles=quantiles).quantiles


def quantile_turnover(
    values: FloatArray | Ranked, quantiles: int = 5, lag_bars: int = 1
) -> FloatArray:
    """Share of each quantile's symbols that were not in it `lag_bars` before: (bars, quantiles).

    As alphalens counts it. NaN for the first `lag_bars` bars and where a quantile is empty now or
    was then.
    """
    from alphamill.evaluation import kernels

    labels = quantile_labels(values, quantiles)
    result = np.empty((len(labels), quantiles))
    kernels.newcomers(labels, lag_bars, result)
    return result


def quantile_returns(values: FloatArray, forward: FloatArray, quantiles: int = 5) -> FloatArray:
    """Mean forward return of each quantile, lowest values first: (quantiles,).

    The mean over bars of the mean over symbols, so that a bar with many symbols weighs no more than
    another (alphalens pools observations; the two agree where every bar has the same symbols).
    A quantile that never held a symbol is NaN.
    """
    return mean_over_bars(quantile_returns_by_bar(values, forward, quantiles))


def mean_over_bars(by_bar: FloatArray) -> FloatArray:
    """Of `quantile_returns_by_bar`, over the bars that have it: (quantiles,)."""
    known = np.isfinite(by_bar)
    counts = known.sum(axis=0)
    total = np.where(known, by_bar, 0.0).sum(axis=0)
    return divide(total, counts, counts > 0)


def monotonicity(quantile_means: FloatArray) -> float:
    """Rank correlation of quantile number and mean return, -1 to 1.

    1 = each earns more than the one below. NaN with fewer than three known quantiles.
    """
    means = np.asarray(quantile_means, dtype=np.float64)[None, :]
    numbers = np.arange(means.size, dtype=np.float64)[None, :]
    return float(information_coefficient(numbers, means, min_symbols=3)[0])


def quantile_spread(quantile_means: FloatArray) -> float:
    """Mean return of the highest quantile less the lowest's; NaN if either is unknown."""
    return float(quantile_means[-1] - quantile_means[0]) if len(quantile_means) else math.nan
