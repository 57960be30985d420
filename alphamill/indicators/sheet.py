"""The memory that a result is written to, and how it becomes a frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from alphamill.frames import FloatArray, IntArray
from alphamill.indicators.rolling import loops

if TYPE_CHECKING:
    import pandas as pd

LONG_BARS = 65_536  # from here on each row is memory of its own


class Sheet:
    """One row an indicator.

    The rows of a short history lie in one array, of which a frame is made in no time. Those of a
    long one are apart: arrays of up to 32 MB are reused once freed, where a single large one is
    handed back, and each call would wait for the system to clear all of it.
    lows, highs: the rows' ranges.
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
        kernels = loops("bars")
        if self._matrix is not None:
            kernels.keep_rows_in_range(self._matrix, numbers, start, end, self._lows, self._highs)
            return
        for number in numbers.tolist():
            low, high = self._lows[number], self._highs[number]
            kernels.keep_in_range(self._rows[number][start:end], low, high)

    def frame(self, index: pd.Index[Any], columns: pd.Index[str]) -> pd.DataFrame:
        """The rows as columns, not copied."""
        import pandas as pd

        if self._matrix is not None:
            return pd.DataFrame(self._matrix.T, index=index, columns=columns, copy=False)
        frame = pd.DataFrame(dict(enumerate(self._rows)), index=index, copy=False)
        frame.columns = columns
        return frame
