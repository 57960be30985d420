"""Whether a factor says what another one already says."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from alphamill.evaluation.correlation import (
    MIN_SYMBOLS,
    at_once,
    information_coefficient,
    mean_ic,
    time_series_products,
)
from alphamill.evaluation.ranks import centred_ranks, finite_or_nan
from alphamill.frames import FloatArray


@dataclass(frozen=True, slots=True)
class Nearest:
    """The library's factor that is most like the one asked about."""

    name: str
    correlation: float  # signed, -1 to 1


def signal_correlation(a: FloatArray, b: FloatArray, stride_bars: int = 1) -> float:
    """Mean cross-sectional Spearman correlation of two factors' values, every `stride_bars`-th bar.

    a, b: (bars, symbols). With fewer than three symbols at once: the rank correlation in time. NaN
    where the two never meet.
    """
    a, b = a[::stride_bars], b[::stride_bars]
    if at_once(np.isfinite(a)) < MIN_SYMBOLS:
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


def residual_signal(values: FloatArray, library: Sequence[FloatArray]) -> FloatArray:
    """What a factor says beyond others: its ranks less what theirs explain, (bars, symbols).

    One least-squares fit of centred cross-sectional ranks, pooled over all bars: a fit a bar would
    use up a dozen symbols with a dozen factors. NaN where the factor has no value; a library factor
    without a value there explains nothing. Without a library: the centred ranks themselves.
    """
    present = np.isfinite(values)
    own = centred_ranks(finite_or_nan(values))
    if library:
        others = np.stack(
            [
                np.where(present, centred_ranks(finite_or_nan(other)), 0.0).ravel()
                for other in library
            ],
            axis=1,
        )
        weights = np.linalg.lstsq(others.T @ others, others.T @ own.ravel(), rcond=1e-10)[0]
        own = own - (others @ weights).reshape(own.shape)
    residual: FloatArray = np.where(present, own, np.nan)
    return residual
