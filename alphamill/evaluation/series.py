"""A factor on one segment bar by bar: what the figures of its Score are the sums and means of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from alphamill.evaluation.portfolio import BookSeries
from alphamill.frames import FloatArray


@dataclass(frozen=True, slots=True)
class SegmentSeries:
    """In the direction that the factor is traded: what it sells is turned round.

    by_horizon: horizon in bars -> (bars,) RankIC of each scored bar, or the products of
    `time_series_products` below three symbols; NaN where a bar has none. It holds horizon_bars and
    those of Score.decay. quantile_returns: (bars, quantiles) mean return over the horizon, what is
    sold first and what is bought last; no columns without a cross-section.
    """

    direction: int
    horizon_bars: int
    by_horizon: Mapping[int, FloatArray]
    quantile_returns: FloatArray
    book: BookSeries

    @property
    def correlations(self) -> FloatArray:
        """At the horizon that the factor is judged at: (bars,)."""
        return self.by_horizon[self.horizon_bars]
