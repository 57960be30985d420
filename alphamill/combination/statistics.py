"""What weights are made of: each factor's RankIC, and how factors go together, refit by refit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike, NDArray

from alphamill.combination.factor_ranks import FactorRanks
from alphamill.combination.schedule import Schedule
from alphamill.evaluation.correlation import rank_ic
from alphamill.evaluation.ranks import rank_rows
from alphamill.frames import FloatArray

_VALUES_AT_ONCE = 6_000_000  # of a tile of factors x bars x symbols


@dataclass(frozen=True, slots=True)
class Associations:
    """Each factor's RankIC over the labels that a refit knew; all (refits, factors).

    labels: how many bars had a RankIC, an older one counting less if there is a half-life; NaN is
    0. mean, std: of them, std with divisor n - 1; 0 where there are too few.
    """

    labels: FloatArray
    mean: FloatArray
    std: FloatArray


@dataclass(frozen=True, slots=True)
class Products:
    """Sums over (bar, symbol) of the labels that a refit knew, an older bar counting less.

    x: a factor's value, 0 if missing. y: the forward return less its mean over the bar's symbols
    that have one. dx: x less its value a horizon before, which is what a book that holds one
    tranche a horizon trades.
    """

    normal: FloatArray  # (refits, factors, factors): sum of x x'
    target: FloatArray  # (refits, factors): sum of x y
    change: FloatArray  # (refits, factors, factors): sum of dx dx'
    changes: FloatArray  # (refits,): of how many (bar, symbol) pairs `change` is the sum


def factor_ic(ranks: FactorRanks, labels: FloatArray) -> FloatArray:
    """RankIC of each factor, in its direction, at each bar: (factors, bars); NaN without one.

    labels: forward returns, float64 (bars, symbols), NaN where there is none or for no member.
    """
    _require_fit(ranks, labels)
    label_ranks = rank_rows(labels)
    return np.stack([rank_ic(ranks.series(one), label_ranks) for one in range(ranks.shape[0])])


def associations(ic: FloatArray, schedule: Schedule, half_life_bars: float) -> Associations:
    """Of RankICs (factors, bars), over the bars whose labels had matured at each refit."""
    decay = _decay(half_life_bars)
    sums = np.zeros((3, len(ic)))
    found = np.empty((3, len(schedule), len(ic)))
    start = 0
    for number, end in enumerate(schedule.matured.tolist()):
        part = ic[:, start:end]
        weights = decay ** np.arange(end - start - 1, -1, -1.0)
        known = np.isfinite(part)
        filled = np.where(known, part, 0.0)
        sums *= decay ** (end - start)
        sums[0] += known @ weights
        sums[1] += filled @ weights
        sums[2] += (filled * filled) @ weights
        found[:, number] = sums
        start = end
    labels, total, squares = found
    mean = np.divide(total, labels, out=np.zeros_like(total), where=labels > 0)
    spread = np.maximum(squares - labels * mean**2, 0.0)
    std = np.divide(spread, labels - 1, out=np.zeros_like(spread), where=labels > 1)
    return Associations(labels, mean, np.sqrt(std))


def products(
    ranks: FactorRanks,
    labels: FloatArray,
    schedule: Schedule,
    horizon_bars: int,
    half_life_bars: float,
    dtype: DTypeLike = np.float64,
) -> Products:
    """Sums over tiles of bars, each bar read once; see `Products`.

    dtype: of the multiplication; sums are float64. float32 halves the time of hundreds of factors
    and keeps six digits.
    """
    _require_fit(ranks, labels)
    n_factors, _, n_symbols = ranks.shape
    decay = _decay(half_life_bars)
    tile = max(1, _VALUES_AT_ONCE // (n_factors * n_symbols))
    normal, change = np.zeros((2, n_factors, n_factors))
    target, changes = np.zeros(n_factors), 0.0
    found = Products(
        np.empty((len(schedule), n_factors, n_factors)),
        np.empty((len(schedule), n_factors)),
        np.empty((len(schedule), n_factors, n_factors)),
        np.empty(len(schedule)),
    )
    start = 0
    for number, matured in enumerate(schedule.matured.tolist()):
        while start < matured:
            end = min(start + tile, matured)
            fade = decay ** (end - start)
            root = np.sqrt(decay ** np.arange(end - start - 1, -1, -1.0))[:, None]
            label, known = demeaned(labels[start:end])
            read = ranks.read(slice(max(start - horizon_bars, 0), end), None, dtype)
            x = read[:, -(end - start) :]
            # Before the first horizon there is nothing that a change could be from.
            n_changed = read.shape[1] - horizon_bars
            if n_changed > 0:
                dx = (x[:, -n_changed:] - read[:, :n_changed]) * root[-n_changed:].astype(dtype)
                dx = dx.reshape(n_factors, -1)
                change = fade * change + dx @ dx.T
                changes = fade * changes + float((known * root**2)[-n_changed:].sum())
            weighted = (x * (known * root).astype(dtype)).reshape(n_factors, -1)
            normal = fade * normal + weighted @ weighted.T
            target = fade * target + weighted @ (label * root).astype(dtype).ravel()
            start = end
        found.normal[number], found.target[number] = normal, target
        found.change[number], found.changes[number] = change, changes
    return found


def demeaned(labels: FloatArray) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Labels less their mean over the bar's symbols, 0 where there is none; and where there is."""
    known = np.isfinite(labels)
    filled = np.where(known, labels, 0.0)
    mean = filled.sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    return np.where(known, filled - mean[:, None], 0.0), known


def _decay(half_life_bars: float) -> float:
    return float(2.0 ** (-1.0 / half_life_bars))


def _require_fit(ranks: FactorRanks, labels: FloatArray) -> None:
    if labels.shape != ranks.shape[1:]:
        raise ValueError(f"labels {labels.shape} do not fit ranks of {ranks.shape[1:]}")
