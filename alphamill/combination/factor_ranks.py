"""Factors as ranks across symbols, kept as whole numbers: small, and nothing is rounded."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from alphamill.evaluation.ranks import Ranked
from alphamill.frames import FloatArray

BoolArray = NDArray[np.bool_]
_ONE_BYTE_SYMBOLS = 127  # codes run from 1 - n to n - 1, and the lowest stands for no value


class FactorRanks:
    """Centred ranks of factors, (factors, bars, symbols), in a byte or two each.

    A value is (r - (n + 1) / 2) / n times the factor's direction: r the average rank among the n
    symbols that have a value at that bar, so between -0.5 and 0.5; what `demean(rank(x))` of the
    factor language says. A symbol without a value is neutral: it counts as 0.

    file: an empty one to keep them in, open for writing, of factors x bars x symbols bytes, which
    are taken at once: raises OSError where the disk has no room. Default: memory.
    """

    def __init__(
        self, n_factors: int, n_bars: int, n_symbols: int, file: BinaryIO | None = None
    ) -> None:
        if min(n_factors, n_bars, n_symbols) < 1:
            raise ValueError(
                f"{n_factors} factors, {n_bars} bars, {n_symbols} symbols: give one or more of each"
            )
        dtype = np.int8 if n_symbols <= _ONE_BYTE_SYMBOLS else np.int16
        shape = (n_factors, n_bars, n_symbols)
        self._missing = np.iinfo(dtype).min
        if file is not None and hasattr(os, "posix_fallocate"):
            # Else a full disk shows at some later write, as a signal that ends the process.
            os.posix_fallocate(file.fileno(), 0, math.prod(shape) * np.dtype(dtype).itemsize)
        self._codes: NDArray[Any] = (
            np.empty(shape, dtype) if file is None else np.memmap(file, dtype, "w+", shape=shape)
        )
        self._counts = np.zeros((n_factors, n_bars), dtype=np.int16)
        self._filled = np.zeros(n_factors, dtype=np.bool_)

    @classmethod
    def of(cls, values: Sequence[FloatArray], directions: Sequence[int]) -> Self:
        """Of factors whose values are all at hand."""
        ranks = cls(len(values), *np.shape(values[0]))
        for index, (own, direction) in enumerate(zip(values, directions, strict=True)):
            ranks.put(index, own, direction)
        return ranks

    @property
    def shape(self) -> tuple[int, int, int]:
        """(factors, bars, symbols)."""
        n_factors, n_bars, n_symbols = self._codes.shape
        return n_factors, n_bars, n_symbols

    def put(self, index: int, values: FloatArray, direction: int = 1) -> None:
        """The factor's values, float64 (bars, symbols), NaN where it has none or for no member.

        direction: 1 or -1, as discovery had it. Raises ValueError for other shapes.
        """
        if values.shape != self._codes.shape[1:]:
            raise ValueError(f"values {values.shape} do not fit ranks of {self._codes.shape[1:]}")
        self.put_ranked(index, Ranked.of(values).average, direction)

    def put_ranked(self, index: int, average: FloatArray, direction: int = 1) -> None:
        """As `put`, of average ranks 1..n of each bar, NaN where missing."""
        if direction not in (-1, 1):
            raise ValueError(f"direction {direction} must be 1 or -1")
        present = np.isfinite(average)
        counts = present.sum(axis=1)
        codes = direction * (2 * average - (counts + 1)[:, None])
        self._codes[index] = np.where(present, codes, self._missing)
        self._counts[index] = counts
        self._filled[index] = True

    def reverse(self, index: int) -> None:
        """Turn the factor's direction round."""
        codes = self._codes[index]
        np.negative(codes, out=codes, where=codes != self._missing)

    def read(
        self,
        rows: slice,
        which: NDArray[np.int64] | Sequence[int] | None = None,
        dtype: DTypeLike = np.float64,
    ) -> NDArray[Any]:
        """Values of those bars, (factors, bars, symbols), 0 where missing; default: all factors.

        Raises ValueError if a factor was never put.
        """
        chosen = slice(None) if which is None else np.asarray(which)
        if not self._filled[chosen].all():
            raise ValueError("a factor has no ranks yet; put every factor before reading")
        codes = self._codes[chosen, rows]
        values = codes.astype(dtype)
        values[codes == self._missing] = 0
        values /= np.maximum(2 * self._counts[chosen, rows], 1)[:, :, None].astype(dtype)
        return values

    def present(
        self, rows: slice, which: NDArray[np.int64] | Sequence[int] | None = None
    ) -> BoolArray:
        """Where a factor has a value: bool (factors, bars, symbols)."""
        chosen = slice(None) if which is None else np.asarray(which)
        there: BoolArray = self._codes[chosen, rows] != self._missing
        return there

    def series(self, index: int) -> FloatArray:
        """One factor over all bars, (bars, symbols), NaN where missing."""
        rows = slice(None)
        values: FloatArray = self.read(rows, [index])[0]
        values[~self.present(rows, [index])[0]] = np.nan
        return values
