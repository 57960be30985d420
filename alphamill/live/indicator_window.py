"""Indicators of a live's last bars, computed when asked for and kept until a bar changes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from alphamill.frames import KLINE_FIELDS, FloatArray
from alphamill.grid import index_at
from alphamill.indicators import IndicatorTail, compute_indicators
from alphamill.live.window import Window


class IndicatorWindow:
    """Columns of indicators over the bars of a Window.

    A new bar costs its own row alone; a bar that came late costs its symbol's rows from there on.
    """

    def __init__(self, names: Sequence[str], window: Window) -> None:
        self.names = tuple(names)
        self._window = window
        self._tail = IndicatorTail(self.names, window.interval)
        self._known: dict[str, dict[int, FloatArray]] = {symbol: {} for symbol in window.symbols}

    @property
    def lookback_bars(self) -> int:
        """Bars before a bar that settle its indicators."""
        return self._tail.lookback_bars

    def changed(self, symbol: str, bar_ms: int) -> None:
        """A bar of the window is another now: what was computed from it counts no more."""
        first = index_at(self._window.interval, bar_ms)
        rows = self._known[symbol]
        for number in [one for one in rows if one >= first]:
            del rows[number]

    def columns(self, bar_ms: int, bars: int) -> dict[str, FloatArray]:
        """By name float64 (bars, symbols), of the `bars` bars that end with that one."""
        last = index_at(self._window.interval, bar_ms)
        out = np.full((len(self.names), bars, len(self._window.symbols)), np.nan)
        for column, symbol in enumerate(self._window.symbols):
            rows = self._known[symbol]
            missing = [number for number in range(last - bars + 1, last + 1) if number not in rows]
            if missing == [last]:
                frame = self._klines(symbol, bar_ms, 1 + self.lookback_bars)
                rows[last] = self._tail.newest(frame, bar_ms)
            elif missing:
                self._compute(symbol, bar_ms, missing, bars)
            for at in range(bars):
                out[:, at, column] = rows[last - bars + 1 + at]
            for number in [one for one in rows if one < last - 2 * bars]:
                del rows[number]
        return dict(zip(self.names, out, strict=True))

    def _compute(self, symbol: str, bar_ms: int, missing: Sequence[int], bars: int) -> None:
        """Many rows at once, from bars that settle the first of them."""
        interval = self._window.interval
        frame = self._klines(symbol, bar_ms, bars + self.lookback_bars)
        rows = self._known[symbol]
        rows.update({number: np.full(len(self.names), np.nan) for number in missing})
        if frame.empty:
            return
        values = compute_indicators(frame, self.names, interval).to_numpy()
        wanted = set(missing)
        for open_ms, row in zip(frame["open_time"].tolist(), values, strict=True):
            if (number := index_at(interval, open_ms)) in wanted:
                rows[number] = row.copy()

    def _klines(self, symbol: str, bar_ms: int, bars: int) -> pd.DataFrame:
        """The symbol's bars of the window that there are, as of `compute_indicators`."""
        panel = self._window.panel(bar_ms, bars)
        column = panel.symbols.index(symbol)
        there = ~np.isnan(panel["close"][:, column])
        fields = {name: panel[name][there, column] for name in KLINE_FIELDS}
        return pd.DataFrame({"open_time": panel.times_ms[there], **fields})
