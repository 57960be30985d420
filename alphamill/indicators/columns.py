"""From a frame of klines to the arrays that kernels are compiled for, and from results to a frame.

Each column that pandas hands out costs as much as an indicator of 1,000 bars: a small frame is
asked for all of its values at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from alphamill.frames import FloatArray, IntArray
from alphamill.indicators import kernels

if TYPE_CHECKING:
    import pandas as pd

Number = TypeVar("Number", np.int64, np.float64)

_AT_ONCE_VALUES = 65_536  # in a frame of more, copying what is not needed costs more than asking
LONG_BARS = 65_536  # from here on each column of a result is memory of its own


def read_times_ms(open_time: pd.Series[Any]) -> IntArray:
    """UTC epoch milliseconds, never written to, of integers that are such or of timestamps."""
    if open_time.dtype.kind == "i":
        return _as_compiled(open_time.to_numpy().astype(np.int64, copy=False))
    return _as_compiled(open_time.to_numpy(dtype="datetime64[ms]").view(np.int64))  # UTC


def read_columns(klines: pd.DataFrame, fields: Iterable[str]) -> dict[str, FloatArray]:
    """Contiguous float64, never written to; NaN for a field that the frame lacks."""
    names = klines.columns
    rows = _all_values(klines)
    columns = {}
    for field in fields:
        if field not in names:
            columns[field] = np.full(len(klines), np.nan)
        elif rows is None:
            columns[field] = _column(klines[field])
        else:
            columns[field] = rows[names.get_loc(field)]
    return columns


def _all_values(klines: pd.DataFrame) -> FloatArray | None:
    """One row a column; None for a large frame, and one with columns that are no numbers."""
    if klines.size > _AT_ONCE_VALUES or not klines.columns.is_unique:
        return None
    try:
        values = klines.to_numpy(np.float64).T
    except (TypeError, ValueError, OverflowError):
        return None
    return values if values.flags.carray else np.array(values, order="C")


def _column(column: pd.Series[Any]) -> FloatArray:
    if column.dtype != np.float64:
        return np.array(column.to_numpy(dtype=np.float64, na_value=np.nan))
    return _as_compiled(column.to_numpy())


def _as_compiled(values: NDArray[Number]) -> NDArray[Number]:
    """Contiguous and flagged as writable, the one kind of array that kernels are compiled for.

    The flag alone changes: nothing writes to it. A copy where the memory itself is read-only.
    """
    values = np.ascontiguousarray(values)
    flags = values.flags
    if not flags.writeable:
        try:
            flags.writeable = True
        except ValueError:
            return values.copy()
    return values


class OutputColumns:
    """The columns of a result, each one row of `n_bars` values to write to.

    The rows of a short history lie in one array, of which a frame is made in no time. Those of a
    long one are apart: arrays of up to 32 MB are reused once freed, where a single large one is
    handed back, and each call would wait for the system to clear all of it.
    lows, highs: the columns' ranges.
    """

    def __init__(self, n_bars: int, lows: FloatArray, highs: FloatArray) -> None:
        self._lows = lows
        self._highs = highs
        self._matrix = np.empty((len(lows), n_bars)) if n_bars < LONG_BARS else None
        self._n_bars = n_bars
        self._rows = [np.empty(n_bars) for _ in lows] if self._matrix is None else [*self._matrix]

    def rows(self, numbers: IntArray, start: int, end: int) -> list[FloatArray]:
        """Bars [start, end) of these rows, to be written to."""
        rows = [self._rows[number] for number in numbers.tolist()]
        whole = end - start == self._n_bars
        return rows if whole else [row[start:end] for row in rows]

    def blank(self, numbers: IntArray, start: int, end: int) -> None:
        """Bars [start, end) of these rows are NaN."""
        if start < end:
            for row in self.rows(numbers, start, end):
                row[...] = np.nan

    def keep_in_range(self, numbers: IntArray, start: int, end: int) -> None:
        """Rounding past an end of the range is undone there, and inf becomes NaN."""
        if self._matrix is not None:
            kernels.bars.keep_rows_in_range(
                self._matrix, numbers, start, end, self._lows, self._highs
            )
            return
        for number in numbers.tolist():
            low, high = self._lows[number], self._highs[number]
            kernels.bars.keep_in_range(self._rows[number][start:end], low, high)

    @property
    def matrix(self) -> FloatArray:
        """The rows of a short history, not copied."""
        if self._matrix is None:
            raise ValueError(f"the history is as long as {LONG_BARS} bars")
        return self._matrix

    def frame(self, index: pd.Index[Any], names: tuple[str, ...]) -> pd.DataFrame:
        """The rows as columns, not copied."""
        import pandas as pd

        if self._matrix is not None:
            return pd.DataFrame(self._matrix.T, index=index, columns=_index_of(names), copy=False)
        frame = pd.DataFrame(dict(enumerate(self._rows)), index=index, copy=False)
        frame.columns = _index_of(names)
        return frame


@lru_cache(maxsize=64)
def _index_of(names: tuple[str, ...]) -> pd.Index[str]:
    """Making one costs as much as an indicator."""
    import pandas as pd

    return pd.Index(names)
