"""What each slice of the ranking earned next: quantile returns, their spread and their order."""

from __future__ import annotations

import math

import numpy as np

from alphamill.evaluation.correlation import information_coefficient
from alphamill.evaluation.ranks import divide, finite_or_nan, rank_rows
from alphamill.frames import FloatArray


def quantile_labels(values: FloatArray, quantiles: int = 5) -> FloatArray:
    """Quantile of each symbol at each bar, 1 = lowest values, as float64 (bars, symbols).

    As pandas.qcut and so alphalens cut: edges by linear interpolation, intervals closed on the
    right, equal values together. NaN where the value is, and on bars with fewer values than
    quantiles.
    """
    if quantiles < 2:
        raise ValueError(f"quantiles {quantiles} must be at least 2")
    below = rank_rows(finite_or_nan(values), ties="min") - 1.0
    counts = np.isfinite(below).sum(axis=1, keepdims=True)
    below[(counts < quantiles)[:, 0]] = np.nan
    labels: FloatArray = np.ceil(below * quantiles / np.maximum(counts - 1, 1))
    return np.maximum(labels, 1.0)


def quantile_returns_by_bar(
    values: FloatArray, forward: FloatArray, quantiles: int = 5
) -> FloatArray:
    """Mean forward return of each quantile at each bar: (bars, quantiles), NaN for an empty one.

    Symbols without a forward return are left out before the cut, as alphalens does.
    """
    labels = quantile_labels(np.where(np.isfinite(forward), values, np.nan), quantiles)
    result = np.empty((len(values), quantiles))
    for index in range(quantiles):
        members = labels == index + 1
        counts = members.sum(axis=1)
        total = np.where(members, forward, 0.0).sum(axis=1)
        result[:, index] = divide(total, counts, counts > 0)
    return result


def quantile_returns(values: FloatArray, forward: FloatArray, quantiles: int = 5) -> FloatArray:
    """Mean forward return of each quantile, lowest values first: (quantiles,).

    The mean over bars of the mean over symbols, so that a bar with many symbols weighs no more than
    another (alphalens pools observations; the two agree where every bar has the same symbols).
    A quantile that never held a symbol is NaN.
    """
    by_bar = quantile_returns_by_bar(values, forward, quantiles)
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
