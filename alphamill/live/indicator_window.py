"""Indicators of a live's last bars, computed as bars come and kept until a bar changes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from alphamill.frames import FloatArray, IntArray
from alphamill.grid import index_at
from alphamill.indicators import IndicatorTail
from alphamill.live.window import Window

_NEVER = -1  # number of no bar
_AT_ONCE = 32  # symbols, whose bars stay in the cache


class IndicatorWindow:
    """Columns of indicators over the bars of a Window.

    A new bar costs its own row alone; a bar that came late costs its symbol's rows from there on.
    What `expect` is told of is computed some symbols at a time, while others are waited for.
    """

    def __init__(self, names: Sequence[str], window: Window) -> None:
        self.names = tuple(names)
        self._window = window
        self._tail = IndicatorTail(self.names, window.interval)
        self._fields = sorted({*self._tail.fields, "close"})
        self._column = {symbol: at for at, symbol in enumerate(window.symbols)}
        self._all = np.arange(len(window.symbols))
        self._expected: tuple[int, list[int]] = (_NEVER, [])  # a bar, and columns that have it
        self._make_room(0)

    def _make_room(self, bars: int) -> None:
        """For so many bars and as many before them: bar i in place i modulo their number."""
        n, places = len(self._window.symbols), 2 * bars
        self._values = np.full((len(self.names), places, n), np.nan)
        self._known = np.zeros((places, n), dtype=np.bool_)
        self._number = np.full(places, _NEVER, dtype=np.int64)  # of the bar in a place

    @property
    def lookback_bars(self) -> int:
        """Bars before a bar that settle its indicators."""
        return self._tail.lookback_bars

    def changed(self, symbol: str, bar_ms: int) -> None:
        """A bar of the window is another now: what was computed from it counts no more."""
        first = index_at(self._window.interval, bar_ms)
        self._known[self._number >= first, self._column[symbol]] = False

    def expect(self, symbol: str, bar_ms: int, bars: int) -> None:
        """The bar is here, and `columns` with these arguments is going to be asked for."""
        if self._expected[0] != bar_ms:
            self._expected = bar_ms, []
        here = self._expected[1]
        here.append(self._column[symbol])
        if len(here) >= _AT_ONCE:
            self._settle(bar_ms, bars, np.array(here))
            here.clear()

    def columns(self, bar_ms: int, bars: int) -> dict[str, FloatArray]:
        """By name float64 (bars, symbols), of the `bars` bars that end with that one."""
        places = self._settle(bar_ms, bars, self._all)
        return dict(zip(self.names, self._values[:, places], strict=True))

    def _settle(self, bar_ms: int, bars: int, columns: IntArray) -> IntArray:
        """Compute what these symbols lack of those bars; the places of the bars."""
        if 2 * bars > len(self._number):
            self._make_room(bars)
        last = index_at(self._window.interval, bar_ms)
        numbers = np.arange(last - bars + 1, last + 1)
        places: IntArray = numbers % len(self._number)
        self._known[places[self._number[places] != numbers]] = False
        self._number[places] = numbers
        theirs = np.ix_(places, columns)
        missing = np.logical_not(self._known[theirs])
        earlier = missing[:-1].any(axis=0)
        self._compute(columns[missing[-1] & ~earlier], bar_ms, places[-1:])
        self._compute(columns[earlier], bar_ms, places)
        self._known[theirs] = True
        return places

    def _compute(self, columns: IntArray, bar_ms: int, places: IntArray) -> None:
        """The last bars of these symbols, as many as places, from bars that settle the first."""
        if not len(columns):
            return
        bars = len(places) + self.lookback_bars
        times_ms = self._window.times_ms(bar_ms, bars)
        fields = self._window.fields(bar_ms, bars)
        for first in range(0, len(columns), _AT_ONCE):
            some = columns[first : first + _AT_ONCE]
            rows = {name: np.ascontiguousarray(fields[name][:, some].T) for name in self._fields}
            for at, column in enumerate(some):
                own = {name: row[at] for name, row in rows.items()}
                self._values[:, places, column] = self._of_symbol(times_ms, own, len(places))

    def _of_symbol(
        self, times_ms: IntArray, fields: dict[str, FloatArray], count: int
    ) -> FloatArray:
        """Its last `count` bars; a bar that is not there has no value and no place in a window."""
        known: NDArray[np.bool_] = np.isfinite(fields["close"])
        if known.all():
            return self._tail.rows(times_ms, fields, count)
        values = np.full((len(self.names), count), np.nan)
        newest: NDArray[np.bool_] = known[-count:]
        if newest.any():
            there = {name: field[known] for name, field in fields.items()}
            values[:, newest] = self._tail.rows(times_ms[known], there, int(newest.sum()))
        return values
