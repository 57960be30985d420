"""Ranks across symbols, row by row, over whole (bars, symbols) arrays at once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from alphamill.frames import FloatArray

_CONSTANT = 1e-12  # spread relative to size below which a row says the same of every symbol


@dataclass(frozen=True, slots=True)
class Ranked:
    """Rows ranked once, to be compared with many others; all (bars, symbols), NaN for no value."""

    values: FloatArray
    average: FloatArray  # 1..n, equal values sharing their average
    below: FloatArray  # how many values of the row are less

    @classmethod
    def of(cls, values: FloatArray) -> Self:
        """NaN and infinities are missing: they take no rank."""
        from alphamill.evaluation import kernels  # loads the compiler

        values = np.ascontiguousarray(values, dtype=np.float64)
        average, below = np.empty_like(values), np.empty_like(values)
        kernels.rank(values, average, below)
        return cls(values, average, below)

    def centred(self) -> FloatArray:
        """Average ranks less their mean; 0 for a missing value."""
        present = np.isfinite(self.average)
        middle = (present.sum(axis=1, keepdims=True) + 1) / 2
        return np.where(present, self.average - middle, 0.0)


def rank_rows(values: FloatArray, ties: Literal["average", "min"] = "average") -> FloatArray:
    """Ranks 1..n within each row, equal values sharing their average (or lowest) rank.

    values: float64 (bars, symbols); NaN and infinities take no rank and give NaN. Equal to
    scipy.stats.rankdata(axis=1, nan_policy="omit").
    """
    if ties == "min":
        return Ranked.of(values).below + 1.0
    from alphamill.evaluation import kernels

    values = np.ascontiguousarray(values, dtype=np.float64)
    average = np.empty_like(values)
    kernels.rank(values, average, np.empty((1, values.shape[1])))
    return average


def finite_or_nan(values: FloatArray) -> FloatArray:
    """A float64 copy in which infinities are NaN: no rank, no weight."""
    return np.where(np.isfinite(values), values, np.nan)


def divide(
    numerator: NDArray[Any],
    denominator: NDArray[Any],
    where: NDArray[np.bool_],
    otherwise: float = math.nan,
) -> FloatArray:
    """Numerator / denominator where asked, `otherwise` elsewhere, without a warning."""
    shape = np.broadcast_shapes(numerator.shape, denominator.shape, where.shape)
    result: FloatArray = np.full(shape, otherwise)
    np.divide(numerator, denominator, out=result, where=where)
    return result


def demean_rows(values: FloatArray) -> FloatArray:
    """Each row less its mean over finite entries; NaN becomes 0, a constant row exactly 0.

    Rows are divided by their largest magnitude, so that no finite input overflows; use it where
    a row's scale does not matter.
    """
    present = np.isfinite(values)
    filled = np.where(present, values, 0.0)
    size = np.abs(filled).max(axis=1, initial=0.0)
    filled /= np.where(size > 0, size, 1.0)[:, None]
    counts = present.sum(axis=1)
    centred: FloatArray = filled - (filled.sum(axis=1) / np.maximum(counts, 1))[:, None]
    centred[~present] = 0.0
    constant = np.abs(centred).max(axis=1, initial=0.0) <= _CONSTANT
    centred[constant] = 0.0
    return centred


def centred_ranks(values: FloatArray) -> FloatArray:
    """Average ranks less their mean; 0 for NaN, and all 0 in a constant row."""
    return Ranked.of(values).centred()
