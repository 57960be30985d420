"""How well values order what follows: information coefficients, their decay, their persistence."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from alphamill.evaluation.one_pass import RankedLabels, measured
from alphamill.evaluation.ranks import divide, finite_or_nan, rank_rows
from alphamill.evaluation.returns import forward_returns
from alphamill.frames import FloatArray

MIN_SYMBOLS = 3  # below this a cross-section says next to nothing: two symbols only give -1 or 1

DECAY_HORIZONS_BARS = (1, 2, 4, 8, 16, 32)


def information_coefficient(
    values: FloatArray,
    forward: FloatArray,
    method: Literal["spearman", "pearson"] = "spearman",
    *,
    min_symbols: int = MIN_SYMBOLS,
) -> FloatArray:
    """Correlation across symbols of values with forward returns: one value a bar, in [-1, 1].

    values, forward: float64 (bars, symbols); a pair counts where both are finite. "spearman"
    (RankIC) correlates average ranks, "pearson" (IC) the numbers themselves.
    NaN below `min_symbols` pairs and where either side is constant.
    """
    if values.shape != forward.shape:
        raise ValueError(f"values {values.shape} and forward {forward.shape} differ in shape")
    if method not in ("spearman", "pearson"):
        raise ValueError(f'method {method!r} is neither "spearman" nor "pearson"')
    if method == "spearman":
        return rank_ic(values, forward, min_symbols)
    none = RankedLabels.of((), values.shape)
    return measured(values, none, forward, min_pairs=min_symbols, pearson=True).pearson


def rank_ic(
    ranks: FloatArray, forward_ranks: FloatArray, min_symbols: int = MIN_SYMBOLS
) -> FloatArray:
    """RankIC of each bar, as `information_coefficient`; of both sides ranks do as well."""
    labels = RankedLabels.of([forward_ranks], ranks.shape)
    (series,) = measured(ranks, labels, min_pairs=min_symbols).rank_ic
    return np.asarray(series)


def mean_ic(ic: FloatArray) -> float:
    """Mean over the bars that have a value; NaN if none has."""
    known = ic[np.isfinite(ic)]
    return float(known.mean()) if known.size else math.nan


def ic_decay(
    values: FloatArray,
    panel: Mapping[str, FloatArray],
    horizons_bars: Sequence[int] = DECAY_HORIZONS_BARS,
    entry_lag_bars: int = 1,
) -> dict[int, float]:
    """Mean RankIC at each horizon; NaN where the panel is too short for it."""
    forward = [forward_returns(panel, horizon, entry_lag_bars) for horizon in horizons_bars]
    labels = RankedLabels.of(forward, values.shape)
    found = measured(values, labels, min_pairs=MIN_SYMBOLS).rank_ic
    return {horizon: mean_ic(series) for horizon, series in zip(horizons_bars, found, strict=True)}


def decay_half_life_bars(decay: Mapping[int, float]) -> float:
    """Horizon after the peak at which the RankIC has fallen to half of it.

    The peak is the largest |RankIC|; in between, RankIC is taken as linear in log2(horizon).
    NaN if it never falls so far within the horizons, or nothing is known.
    """
    known = [(horizon, ic) for horizon, ic in sorted(decay.items()) if math.isfinite(ic)]
    if not known:
        return math.nan
    peak_at, (_, peak) = max(enumerate(known), key=lambda item: abs(item[1][1]))
    if peak == 0:
        return math.nan
    before_horizon, before = known[peak_at][0], 1.0
    for horizon, ic in known[peak_at + 1 :]:
        share = ic / peak
        if share <= 0.5:
            part = (before - 0.5) / (before - share)
            return float(before_horizon * (horizon / before_horizon) ** part)
        before_horizon, before = horizon, share
    return math.nan


def rank_autocorrelation(values: FloatArray, lag_bars: int = 1) -> FloatArray:
    """RankIC of a bar's values with those `lag_bars` before: (bars - lag,); 1 = never re-ranks."""
    return rank_ic(values[lag_bars:], values[: max(len(values) - lag_bars, 0)])


def at_once(present: NDArray[np.bool_]) -> int:
    """How many of the columns (bars, symbols) are there together, at most."""
    return int(np.count_nonzero(present, axis=1).max(initial=0)) if present.size else 0


def coverage(values: FloatArray, present: np.ndarray) -> float:
    """Share of existing (bar, symbol) pairs with a finite value, 0 to 1; NaN if none exists."""
    n_present = int(np.count_nonzero(present))
    return (
        float(np.count_nonzero(np.isfinite(values) & present) / n_present)
        if n_present
        else math.nan
    )


def time_series_products(values: FloatArray, forward: FloatArray, min_bars: int = 3) -> FloatArray:
    """Per bar, the product of the standardised ranks that a symbol's two series have in time.

    (bars,); its mean is the time-series Spearman correlation (averaged over symbols if there are
    two). This is what can be said without a cross-section; it is not an IC: a drift of the market
    alone can produce it. NaN where nothing is paired or a symbol is constant.
    """
    together = np.isfinite(values) & np.isfinite(forward)
    a = rank_rows(np.where(together, finite_or_nan(values), np.nan).T)
    b = rank_rows(np.where(together, forward, np.nan).T)
    products = _standardised(a, min_bars) * _standardised(b, min_bars)
    counts = np.isfinite(products).sum(axis=0)
    total = np.where(np.isfinite(products), products, 0.0).sum(axis=0)
    return divide(total, counts, counts > 0)


def _standardised(ranks: FloatArray, min_bars: int) -> FloatArray:
    known = np.isfinite(ranks)
    counts = np.maximum(known.sum(axis=1, keepdims=True), 1)
    filled = np.where(known, ranks, 0.0)
    centred = np.where(known, filled - filled.sum(axis=1, keepdims=True) / counts, 0.0)
    spread = np.sqrt((centred**2).sum(axis=1, keepdims=True) / counts)
    usable = known & (spread > 0) & (counts >= min_bars)
    return divide(centred, spread, usable)
