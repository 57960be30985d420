"""Whether a factor says what another one already says."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from alphamill.evaluation.correlation import (
    MIN_SYMBOLS,
    information_coefficient,
    mean_ic,
    time_series_products,
)
from alphamill.frames import FloatArray


@dataclass(frozen=True, slots=True)
class Nearest:
    """The library's factor that is most like the one asked about."""

    name: str
    correlation: float  # signed, -1 to 1


def signal_correlation(a: FloatArray, b: FloatArray, stride_bars: int = 1) -> float:
    """Mean cross-sectional Spearman correlation of two factors' values, every `stride_bars`-th bar.

    a, b: (bars, symbols). With fewer than three symbols: the rank correlation in time. NaN where
    the two never meet.
    """
    a, b = a[::stride_bars], b[::stride_bars]
    if a.shape[1] < MIN_SYMBOLS:
        return mean_ic(time_series_products(a, b))
    return mean_ic(information_coefficient(a, b))


def nearest_in_library(
    values: FloatArray, library: Mapping[str, FloatArray], stride_bars: int = 1
) -> Nearest | None:
    """Of name -> values, the one with the largest |correlation|; None if none is comparable.

    A factor and its negative count as the same, since a book may hold either side.
    """
    correlations = [
        Nearest(name, signal_correlation(values, other, stride_bars))
        for name, other in library.items()
    ]
    comparable = [entry for entry in correlations if not math.isnan(entry.correlation)]
    return max(comparable, key=lambda entry: abs(entry.correlation), default=None)
