"""How sure one can be: Newey-West, Sharpe ratios that know their luck, false discoveries.

Sharpe ratios here are per observation, never annualised; kurtosis is raw (a normal has 3).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from alphamill.frames import FloatArray

_EULER_MASCHERONI = 0.5772156649015329
_NORMAL = NormalDist()


def normal_cdf(z: float) -> float:
    """Probability of less than z under a standard normal; NaN for NaN."""
    return 0.5 * math.erfc(-z / math.sqrt(2.0))


def default_lags(n_obs: int, horizon_bars: int = 1) -> int:
    """Newey and West's (1994) rule floor(4 (n/100)^(2/9)), and at least the labels' overlap h-1."""
    return max(math.floor(4.0 * math.pow(n_obs / 100, 2 / 9)), horizon_bars - 1)


def _dot(a: FloatArray, b: FloatArray) -> float:
    """Sum of products without BLAS, whose threads cost more than such a short sum."""
    return float(np.einsum("i,i", a, b))


def newey_west_t(x: ArrayLike, lags: int) -> float:
    """The mean of `x` over its error, from Bartlett-weighted autocovariances up to `lags`.

    NaN entries are dropped; no small-sample correction (statsmodels: HAC, use_correction=False).
    NaN below two observations or when nothing varies. Source: Newey and West (1987).
    """
    if lags < 0:
        raise ValueError(f"lags {lags} must not be negative")
    series = np.asarray(x, dtype=np.float64).ravel()
    series = series[~np.isnan(series)]
    n_obs = len(series)
    if n_obs < 2:
        return math.nan
    mean = float(series.mean())
    errors = series - mean
    variance = _dot(errors, errors) / n_obs
    if math.sqrt(variance) <= 1e-13 * float(np.abs(series).max()):
        return math.nan
    for lag in range(1, min(lags, n_obs - 1) + 1):
        weight = 1 - lag / (lags + 1)
        variance += 2 * weight * _dot(errors[lag:], errors[:-lag]) / n_obs
    return mean / math.sqrt(variance / n_obs) if variance > 0 else math.nan


def corrected_t(t: float, tests: int) -> float:
    """The t of a one-sided test that is one of `tests`: p / tests (Bonferroni); t itself for one.

    Raises ValueError below one test.
    """
    if tests < 1:
        raise ValueError(f"tests {tests} must be >= 1")
    return t if tests == 1 else t_of_one_sided_p(one_sided_p(t) / tests)


def t_of_one_sided_p(p: float) -> float:
    """The reverse of `one_sided_p`: infinite at 0 and 1."""
    if not 0 < p < 1:
        return math.inf if p <= 0 else -math.inf
    return -_NORMAL.inv_cdf(p)


def one_sided_p(t: float) -> float:
    """Probability of a t at least as large under a standard normal; NaN for NaN."""
    return normal_cdf(-t)


def two_sided_p(t: float) -> float:
    """Probability of a |t| at least as large under a standard normal; NaN for NaN."""
    return math.erfc(abs(t) / math.sqrt(2.0))


def _sharpe_variance_factor(sharpe: float, skew: float, kurtosis: float) -> float:
    """Variance of an estimated Sharpe ratio times (T - 1): 1 - g3 SR + (g4 - 1)/4 SR^2."""
    return 1 - skew * sharpe + (kurtosis - 1) / 4 * sharpe**2


def sharpe_z(sharpe: float, benchmark: float, n_obs: int, skew: float, kurtosis: float) -> float:
    """By how many of its standard errors `sharpe` exceeds `benchmark`.

    NaN below two observations or for moments that no distribution has.
    Source: Bailey and Lopez de Prado (2012).
    """
    factor = _sharpe_variance_factor(sharpe, skew, kurtosis)
    if n_obs < 2 or not factor > 0:
        return math.nan
    return (sharpe - benchmark) * math.sqrt((n_obs - 1) / factor)


def probabilistic_sharpe_ratio(
    sharpe: float, benchmark: float, n_obs: int, skew: float, kurtosis: float
) -> float:
    """Probability, 0 to 1, that the true Sharpe ratio exceeds `benchmark`; NaN as `sharpe_z`."""
    return normal_cdf(sharpe_z(sharpe, benchmark, n_obs, skew, kurtosis))


def expected_maximum_sharpe(trials_sharpe_variance: float, n_trials: float) -> float:
    """Sharpe ratio that the best of `n_trials` worthless trials is expected to show; 0 for one.

    n_trials may be an effective number. The extreme-value approximation is 2 % high at ten trials.
    """
    if n_trials < 1 or trials_sharpe_variance < 0:
        raise ValueError(
            f"n_trials {n_trials} must be >= 1, variance {trials_sharpe_variance} >= 0"
        )
    if n_trials == 1:
        return 0.0
    near = _NORMAL.inv_cdf(1 - 1 / n_trials)
    far = _NORMAL.inv_cdf(1 - 1 / (n_trials * math.e))
    multiple = (1 - _EULER_MASCHERONI) * near + _EULER_MASCHERONI * far
    return math.sqrt(trials_sharpe_variance) * max(multiple, 0.0)


def deflated_sharpe_ratio(
    sharpe: float,
    trials_sharpe_variance: float,
    n_trials: float,
    n_obs: int,
    skew: float,
    kurtosis: float,
) -> float:
    """Probability that `sharpe` beats what the best of all trials would show by luck.

    trials_sharpe_variance: variance of the per-observation Sharpe ratios of every trial, not only
    of the survivors. Source: Bailey and Lopez de Prado (2014).
    """
    hurdle = expected_maximum_sharpe(trials_sharpe_variance, n_trials)
    return probabilistic_sharpe_ratio(sharpe, hurdle, n_obs, skew, kurtosis)


def minimum_track_record_length(
    sharpe: float,
    benchmark: float,
    skew: float = 0.0,
    kurtosis: float = 3.0,
    confidence: float = 0.95,
) -> float:
    """Observations after which `sharpe` exceeds `benchmark` with `confidence`; inf if it does not.

    Source: Bailey and Lopez de Prado (2012).
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence {confidence} must lie between 0 and 1")
    if math.isnan(sharpe) or math.isnan(benchmark):
        return math.nan
    if sharpe <= benchmark:
        return math.inf
    z = _NORMAL.inv_cdf(confidence) / (sharpe - benchmark)
    return 1 + _sharpe_variance_factor(sharpe, skew, kurtosis) * z**2


def benjamini_hochberg(p_values: ArrayLike) -> FloatArray:
    """Adjusted p-values: rejecting those <= q keeps the false-discovery rate at q.

    A NaN is a trial that gave no p-value: it counts among the trials (as p = 1) and stays NaN.
    Raises ValueError for a p outside 0 to 1. Source: Benjamini and Hochberg (1995).
    """
    p = np.asarray(p_values, dtype=np.float64).ravel()
    known = np.isfinite(p)
    if np.any((p[known] < 0) | (p[known] > 1)) or np.any(np.isinf(p)):
        raise ValueError("p-values must lie between 0 and 1")
    counted = np.where(known, p, 1.0)
    order = np.argsort(counted, kind="stable")
    scaled = counted[order] * len(p) / np.arange(1, len(p) + 1)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    adjusted[~known] = np.nan
    return adjusted


def benjamini_hochberg_hurdles(p_values: ArrayLike, rate: float) -> FloatArray:
    """The largest p at which each trial would have been a discovery at `rate`, the others as found.

    rate times k / n, k the discoveries that there would be if its own p were 0: at least 1, which
    is Bonferroni. A trial is a discovery if, and only if, its p is at most its hurdle.
    NaN counts as p = 1. Raises ValueError as `benjamini_hochberg` does.
    """
    benjamini_hochberg(p_values)
    p = np.asarray(p_values, dtype=np.float64).ravel()
    p = np.where(np.isfinite(p), p, 1.0)
    order = np.argsort(p, kind="stable")
    n, ascending = len(p), p[order]
    places = np.arange(1, n + 1)
    allowed = rate * places / n
    # Its p at 0 moves those below it one place up, and leaves those above where they are.
    moved = np.concatenate([[0.0], ascending[:-1]]) <= allowed
    below = np.maximum.accumulate(np.where(moved, places, 0))
    found = int(np.max(places[ascending <= allowed], initial=0))
    hurdles = np.empty(n)
    hurdles[order] = rate * np.where(found > places, found, below) / n
    return hurdles


@dataclass(frozen=True, slots=True)
class Moments:
    """A return series in four numbers; raw kurtosis; NaN where the series says nothing."""

    n_obs: int
    sharpe: float  # mean / std (ddof 1), per observation
    std: float
    skew: float
    kurtosis: float


def moments(returns: FloatArray) -> Moments:
    """Of a series without NaN. A series that never varies has no Sharpe ratio."""
    n_obs = len(returns)
    if n_obs < 2:
        return Moments(n_obs, math.nan, math.nan, math.nan, math.nan)
    mean = float(returns.mean())
    errors = returns - mean
    squares = errors * errors
    variance = float(squares.mean())
    if math.sqrt(variance) <= 1e-13 * float(np.abs(returns).max()):
        return Moments(n_obs, math.nan, 0.0, math.nan, math.nan)
    std = math.sqrt(variance * n_obs / (n_obs - 1))
    skew = float((squares * errors).mean()) / variance**1.5
    kurtosis = float((squares * squares).mean()) / variance**2
    return Moments(n_obs, mean / std, std, skew, kurtosis)
