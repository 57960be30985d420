"""Formulas that can be planted in a synthetic market, in plain numpy.

Written apart from `alphamill.factors`, so that the engine is tested against something that does not
share its code. Each sees the bars up to now and nothing later.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from alphamill.frames import FloatArray

Past = Mapping[str, FloatArray]  # field -> (bars so far, symbols), the last row is now
Formula = Callable[[Past], FloatArray]


@dataclass(frozen=True, slots=True)
class PlantedFactor:
    """Coming returns lean towards the cross-sectional rank of `expression`.

    target_ic: the mean rank correlation a bar with the return from the next open over
    `horizon_bars` bars that the whole market is built to show.
    """

    expression: str
    target_ic: float
    horizon_bars: int = 4

    def __post_init__(self) -> None:
        if self.expression not in FORMULAS:
            raise ValueError(f"{self.expression!r} cannot be planted; {', '.join(FORMULAS)} can")
        if not -0.3 < self.target_ic < 0.3:
            raise ValueError("target_ic must lie between -0.3 and 0.3")
        if self.horizon_bars < 1:
            raise ValueError("horizon_bars must be at least 1")


def _reversal(past: Past) -> FloatArray:
    close = past["close"][-24:]
    deviation = close - close.sum(axis=0) / 24
    spread = np.sqrt((deviation * deviation).sum(axis=0) / 23)
    reversal: FloatArray = -deviation[-1] / np.maximum(spread, 1e-300)
    return reversal


def _taker_share(past: Past) -> FloatArray:
    share: FloatArray = (past["taker_buy_base"][-12:] / past["volume"][-12:]).sum(axis=0) / 12
    return share


def _volume_surge(past: Past) -> FloatArray:
    surge: FloatArray = 12 * past["volume"][-6:].sum(axis=0) / past["volume"][-72:].sum(axis=0)
    return surge


FORMULAS: Mapping[str, Formula] = {
    "-ts_zscore(close, 24)": _reversal,
    "ts_mean(taker_buy_base / volume, 12)": _taker_share,
    "ts_mean(volume, 6) / ts_mean(volume, 72)": _volume_surge,
}
WARMUP_BARS = 72  # the longest window above

DEFAULT_PLANTED = (
    PlantedFactor("-ts_zscore(close, 24)", 0.065),
    PlantedFactor("ts_mean(taker_buy_base / volume, 12)", 0.065),
)


def scores(values: FloatArray) -> FloatArray:
    """Ranks along the last axis, centred, unit variance; ties in column order."""
    n = values.shape[-1]
    ranks = np.argsort(np.argsort(values, kind="stable"), kind="stable")
    centred: FloatArray = (ranks - (n - 1) / 2) / np.sqrt(max(n * n - 1, 1) / 12)
    return centred
