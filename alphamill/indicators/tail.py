"""The newest bar's indicators, from the bars that settle them and no others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from alphamill import grid
from alphamill.frames import FloatArray, IntArray, Interval
from alphamill.indicators.columns import read_times_ms
from alphamill.indicators.compute import compute_arrays, compute_indicators, fields_of, history_bars

if TYPE_CHECKING:
    import pandas as pd


class IndicatorTail:
    """Indicators that are computed at every bar's close.

    lookback_bars: bars before the newest that settle any indicator at the interval, with which the
        features of a month begin too. fields: kline columns that they are computed from.
    """

    def __init__(self, names: Sequence[str], interval: Interval) -> None:
        self.names = tuple(names)
        self.interval = interval
        self.lookback_bars = history_bars(interval)
        self.fields = tuple(sorted(fields_of(self.names, interval)))

    def newest(self, klines: pd.DataFrame, open_ms: int) -> FloatArray:
        """Values of the bar that opens at `open_ms`, float64 (names,); NaN where there is no value.

        klines: of one symbol, as of `compute_indicators`; what lies outside of the look-back is not
            looked at. Without a row for the bar, which may not have come or never been, all is NaN.
        Values are those of the whole history: windows by construction, averages that never quite
        forget as soon as they have run into each other, which is well within the look-back.
        """
        times_ms = read_times_ms(klines["open_time"])
        number = grid.index_at(self.interval, open_ms)
        first_ms = grid.open_ms(self.interval, number - self.lookback_bars)
        first, end = np.searchsorted(times_ms, [first_ms, open_ms + 1])
        if first == end or times_ms[end - 1] != open_ms:
            return np.full(len(self.names), np.nan)
        frame = compute_indicators(klines.iloc[first:end], self.names, self.interval)
        values: FloatArray = frame.to_numpy()[-1].copy()
        return values

    def rows(
        self, times_ms: IntArray, columns: dict[str, FloatArray], count: int = 1
    ) -> FloatArray:
        """Values of the last `count` of the bars given, float64 (names, count), of arrays.

        columns: the `fields`, float64 (bars,), C-contiguous, of bars that there are; times_ms:
            their open times. The first of the `count` is to have the look-back before it.
        """
        return compute_arrays(times_ms, columns, self.names, self.interval)[:, -count:]
