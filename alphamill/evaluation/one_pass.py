"""What is asked of a factor's cross-sections, all of it in one pass over its values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from alphamill.evaluation.ranks import rank_rows
from alphamill.frames import FloatArray

_WIDTH = 16  # a row of labels fills whole instructions
_NOTHING = np.empty((0, 0))


@dataclass(frozen=True, slots=True)
class RankedLabels:
    """Rows of several labels, ranked once to be compared with many factors.

    twice: (labels, bars, at least symbols) twice the average rank, 0 where there is none, so that
    all are small whole numbers whose sums are exact. counts, squares: (labels, bars), see
    `kernels.measure`.
    """

    twice: NDArray[Any]
    counts: NDArray[np.int64]
    squares: NDArray[np.int64]

    @classmethod
    def of(cls, labels: Sequence[FloatArray], shape: tuple[int, int]) -> Self:
        """labels: (bars, symbols) each, of that shape; NaN and infinities are missing."""
        n_bars, n_symbols = shape
        dtype = np.int16 if 2 * n_symbols < np.iinfo(np.int16).max else np.int32
        width = -(-max(n_symbols, 1) // _WIDTH) * _WIDTH
        twice = np.zeros((len(labels), n_bars, width), dtype=dtype)
        counts, squares = np.empty((2, len(labels), n_bars), dtype=np.int64)
        for number, label in enumerate(labels):
            ranks = rank_rows(label)
            twice[number, :, :n_symbols] = np.where(np.isfinite(ranks), 2 * ranks, 0)
            n = np.count_nonzero(twice[number], axis=1)
            counts[number] = n
            whole = twice[number].astype(np.int64)
            squares[number] = np.einsum("ij,ij->i", whole, whole) - n * (n + 1) ** 2
        return cls(twice, counts, squares)


@dataclass(frozen=True, slots=True)
class Measured:
    """A factor bar by bar; NaN where a bar has no such figure, and no rows of what was not asked.

    rank_ic: (labels, bars). pearson: (bars,). quantiles: (bars, quantiles) mean forward return.
    persistence: (bars - 1,) rank correlation with the bar before. weights: (bars, symbols) of unit
    gross, by centred rank.
    """

    rank_ic: FloatArray
    pearson: FloatArray
    quantiles: FloatArray
    persistence: FloatArray
    weights: FloatArray


def measured(
    values: FloatArray,
    labels: RankedLabels,
    forward: FloatArray | None = None,
    *,
    min_pairs: int,
    pearson: bool = False,
    quantiles: int = 0,
    persistence: bool = False,
    weights: FloatArray | None = None,
) -> Measured:
    """values, forward: float64 (bars, symbols), forward where pearson or quantiles are wanted.

    weights: where they are written to, if they are wanted.
    """
    from alphamill.evaluation import kernels  # loads the compiler

    n_bars = len(values)
    result = Measured(
        np.empty((len(labels.twice), n_bars)),
        np.empty(n_bars if pearson else 0),
        np.empty((n_bars, quantiles)),
        np.empty(max(n_bars - 1, 0) if persistence else 0),
        _NOTHING if weights is None else weights,
    )
    kernels.measure(
        np.ascontiguousarray(values, dtype=np.float64),
        labels.twice,
        labels.counts,
        labels.squares,
        _NOTHING if forward is None else np.ascontiguousarray(forward, dtype=np.float64),
        max(min_pairs, 2),
        result.rank_ic,
        result.pearson,
        result.quantiles,
        result.persistence,
        result.weights,
    )
    return result
