"""From values to positions: weights decided at bar t from values known at bar t.

Every scheme returns float64 (bars, symbols). Long-short weights sum to 0 and their magnitudes to 1
at each bar; a bar with too few values, or one value for all, holds nothing.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from alphamill.evaluation.correlation import MIN_SYMBOLS
from alphamill.evaluation.quantiles import quantile_labels
from alphamill.evaluation.ranks import Ranked, demean_rows, divide, finite_or_nan
from alphamill.frames import FloatArray

Scheme = Literal["rank", "zscore", "quantile", "time_series"]

Z_LIMIT = 3.0
_Z_WARMUP_BARS = 30  # a spread from fewer bars is too rough to size a position by


def portfolio_weights(
    values: FloatArray, scheme: Scheme = "rank", quantiles: int = 5, ranked: Ranked | None = None
) -> FloatArray:
    """Target weights of one tranche.

    "rank": proportional to the centred rank. "zscore": to the z-score across symbols, limited to
    +-3. "quantile": equal weights, long the highest quantile and short the lowest. "time_series":
    each symbol by itself, see `time_series_position`; the only one that is not dollar-neutral.
    ranked: the values' ranks, if they are known.
    """
    values = finite_or_nan(values)
    if scheme == "time_series":
        return time_series_position(values)
    if scheme == "rank":
        exposure = (ranked or Ranked.of(values)).centred()
    elif scheme == "zscore":
        exposure = _limited_zscore(values)
    elif scheme == "quantile":
        exposure = _extremes(ranked or Ranked.of(values), quantiles)
    else:
        raise ValueError(f"scheme {scheme!r} is none of rank, zscore, quantile, time_series")
    exposure[np.isfinite(values).sum(axis=1) < MIN_SYMBOLS] = 0.0
    return _unit_gross(exposure)


def _limited_zscore(values: FloatArray) -> FloatArray:
    centred = demean_rows(values)
    counts = np.maximum(np.isfinite(values).sum(axis=1), 1)
    spread = np.sqrt((centred**2).sum(axis=1) / counts)[:, None]
    z = divide(centred, spread, spread > 0, otherwise=0.0)
    limited = np.clip(z, -Z_LIMIT, Z_LIMIT)
    return demean_rows(np.where(np.isfinite(values), limited, np.nan))


def _extremes(values: Ranked, quantiles: int) -> FloatArray:
    labels = quantile_labels(values, quantiles)
    high, low = labels == quantiles, labels == 1
    n_high, n_low = (side.sum(axis=1, keepdims=True) for side in (high, low))
    both = (n_high > 0) & (n_low > 0)
    return divide(high, n_high, both, otherwise=0.0) - divide(low, n_low, both, otherwise=0.0)


def _unit_gross(exposure: FloatArray) -> FloatArray:
    gross = np.abs(exposure).sum(axis=1, keepdims=True)
    return divide(exposure, gross, gross > 0, otherwise=0.0)


def time_series_position(values: FloatArray) -> FloatArray:
    """Each symbol's z-score against its own past, limited to +-3, as a share of that limit.

    The mean and spread at bar t are of the values up to t, so that no position knows the future;
    0 for the first 30 values and while nothing has varied. Positions lie in [-1, 1] divided by the
    number of symbols.
    """
    known = np.isfinite(values)
    first = np.take_along_axis(values, known.argmax(axis=0)[None, :], axis=0)
    # Sums of differences to the first value keep their digits when the level is far from 0.
    shifted = np.where(known, values - first, 0.0)
    counts = np.maximum(known.cumsum(axis=0), 1)
    mean = shifted.cumsum(axis=0) / counts
    variance = np.maximum((shifted**2).cumsum(axis=0) / counts - mean**2, 0.0)
    spread = np.sqrt(variance)
    usable = known & (counts >= _Z_WARMUP_BARS) & (spread > 1e-9 * np.abs(mean)) & (spread > 0)
    z = divide(shifted - mean, spread, usable, otherwise=0.0)
    position: FloatArray = np.clip(z, -Z_LIMIT, Z_LIMIT) / Z_LIMIT / max(values.shape[1], 1)
    return position


def turnover(weights: FloatArray) -> FloatArray:
    """One-way turnover of each bar, half of sum |w_t - w_t-1|: (bars,).

    1 = a book of gross exposure 1 is replaced. The first bar is bought from cash; NaN is 0.
    """
    book = np.nan_to_num(weights, nan=0.0)
    changes = np.diff(book, axis=0, prepend=np.zeros((1, book.shape[1])))
    result: FloatArray = 0.5 * np.abs(changes).sum(axis=1)
    return result
