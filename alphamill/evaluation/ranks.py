"""Ranks across symbols and correlations row by row, over whole (bars, symbols) arrays at once."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from alphamill.frames import FloatArray

_CONSTANT = 1e-12  # spread relative to size below which a row says the same of every symbol


def rank_rows(values: FloatArray, ties: Literal["average", "min"] = "average") -> FloatArray:
    """Ranks 1..n within each row, equal values sharing their average (or lowest) rank.

    values: float64 (bars, symbols); NaN stays NaN and takes no rank. Equal to
    scipy.stats.rankdata(axis=1, nan_policy="omit").
    """
    n_rows, n_columns = values.shape
    order = np.argsort(values, axis=1)  # NaN sorts last
    order += np.arange(n_rows, dtype=order.dtype)[:, None] * n_columns
    ordered = values.ravel()[order]
    ranks = np.empty(n_rows * n_columns)
    ranks[order] = np.arange(1.0, n_columns + 1.0)
    equal = ordered[:, 1:] == ordered[:, :-1]
    tied = np.flatnonzero(equal.any(axis=1))
    if tied.size:
        ranks[order[tied]] = _tied_ranks(equal[tied], lowest=ties == "min")
    ranks = ranks.reshape(n_rows, n_columns)
    ranks[np.isnan(values)] = np.nan
    return ranks


def _tied_ranks(equal: NDArray[np.bool_], *, lowest: bool) -> FloatArray:
    """Rank at each sorted place; equal[i, j] says that places j and j+1 hold the same value."""
    n_rows, n_columns = equal.shape[0], equal.shape[1] + 1
    begins = np.ones((n_rows, n_columns), dtype=bool)
    begins[:, 1:] = ~equal
    starts = np.flatnonzero(begins)
    lengths = np.append(starts[1:], begins.size) - starts
    shared = starts % n_columns + (1.0 if lowest else (lengths + 1) / 2)
    return np.repeat(shared, lengths).reshape(n_rows, n_columns)


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
    ranks = rank_rows(values)
    present = np.isfinite(ranks)
    ranks -= (present.sum(axis=1, keepdims=True) + 1) / 2
    ranks[~present] = 0.0
    return ranks


def correlate_centred(a: FloatArray, b: FloatArray, defined: NDArray[np.bool_]) -> FloatArray:
    """Correlation in [-1, 1] of rows of mean 0; NaN where not `defined` or where one is all 0."""
    scale = np.sqrt(np.einsum("ij,ij->i", a, a) * np.einsum("ij,ij->i", b, b))
    correlation = divide(np.einsum("ij,ij->i", a, b), scale, defined & (scale > 0))
    clipped: FloatArray = np.clip(correlation, -1.0, 1.0)
    return clipped
