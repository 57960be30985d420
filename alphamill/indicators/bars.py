"""One unbroken stretch of usable bars, and the intermediate series that indicators share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

import numpy as np

from alphamill.frames import FloatArray, Interval
from alphamill.indicators.rolling import change, delay, moving_extremes, moving_moments

T = TypeVar("T")
Series = tuple[FloatArray, ...]


class Bars:
    """Equally spaced bars without a hole; every array is float64 (bars,) and C-contiguous.

    Either a whole stretch, or a part of one which begins early enough for every window that ends
    in the rows asked for. What remembers more than a window is made by `over_history`.

    Prices are finite, positive and consistent (low <= open, close <= high). The other columns are
    usable only where an indicator's record names them as inputs.
    first_number: how many bars of this length lie between the epoch and the first one.
    buffers: by name, the memory that a whole stretch's columns are to end up in.
    """

    def __init__(
        self,
        columns: Mapping[str, FloatArray],
        interval: Interval | None,
        first_number: int,
        buffers: Mapping[str, FloatArray] | None = None,
    ) -> None:
        self._columns = columns
        self._memo: dict[str, Any] = {}
        self._buffers = buffers or {}
        self._stretch: Bars | None = None  # not itself: a cycle would keep the memory
        self._start = 0
        self.interval = interval
        self.first_number = first_number
        self.n_bars = len(columns["close"])

    def part(self, start: int, end: int) -> Bars:
        """Bars [start, end) of this stretch."""
        if (start, end) == (0, self.n_bars):
            return self
        columns = {field: values[start:end] for field, values in self._columns.items()}
        part = Bars(columns, self.interval, self.first_number + start)
        part._stretch, part._start = self, start
        return part

    def __getitem__(self, column: str) -> FloatArray:
        return self._columns[column]

    def __len__(self) -> int:
        return self.n_bars

    def memo(self, key: str, make: Callable[[], T]) -> T:
        """The value of `make()`, computed once."""
        if key not in self._memo:
            self._memo[key] = make()
        return cast("T", self._memo[key])

    def over_history(self, key: str, make: Callable[[Bars], Series]) -> Series:
        """What `make` gives for the whole stretch, cut to the rows of these bars; made once."""
        stretch = self._stretch
        if stretch is None:
            return self.memo(key, lambda: make(self))
        series = stretch.memo(key, lambda: make(stretch))
        return tuple(values[self._start : self._start + self.n_bars] for values in series)

    def buffer(self, name: str) -> FloatArray:
        """Where to write the column `name`, so that it need not be copied; values undefined."""
        buffer = self._buffers.get(name)
        return np.empty(self.n_bars) if buffer is None else buffer

    def bars_in(self, span_ms: int) -> int:
        """How many bars make up a span of time that the interval divides."""
        if self.interval is None:
            raise ValueError("the interval is not known")
        return span_ms // self.interval.ms

    @property
    def hlc(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """High, low and close, as TA-Lib takes them."""
        return self["high"], self["low"], self["close"]

    @property
    def returns(self) -> FloatArray:
        """One-bar returns, close over previous close minus 1; the first is NaN."""
        return self.memo("returns", lambda: change(self["close"], 1))

    @property
    def typical(self) -> FloatArray:
        """Mean of high, low and close."""
        return self.memo("typical", lambda: (self["high"] + self["low"] + self["close"]) / 3)

    @property
    def true_range(self) -> FloatArray:
        """Wilder's true range in price units; the first bar, without a previous close, is NaN."""
        return self.memo("true_range", self._true_range)

    def _true_range(self) -> FloatArray:
        high, low, close = self.hlc
        previous = delay(close, 1)
        result: FloatArray = np.maximum(high, previous) - np.minimum(low, previous)
        return result

    def span(self, length_bars: int) -> tuple[FloatArray, FloatArray]:
        """Highest high and lowest low of the last bars, this one included."""
        return self.memo(
            f"span {length_bars}", lambda: moving_extremes(self["high"], self["low"], length_bars)
        )

    def close_moments(self, length_bars: int) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation (ddof 0) of the last closes."""
        return self.memo(
            f"close {length_bars}", lambda: moving_moments(self["close"], length_bars, ddof=0)
        )
