"""One unbroken stretch of usable bars, and the intermediate series that indicators share."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np

from alphamill.frames import FloatArray, Interval
from alphamill.indicators.rolling import change, delay, moving_extremes, moving_moments


@cache
def talib() -> Any:
    """TA-Lib's functions, loaded on first use: reading the registry must not need them.

    The compiled ones: those of `talib` itself look for pandas and polars series on every call.
    """
    return importlib.import_module("talib._ta_lib")


class Bars:
    """Equally spaced bars without a hole; every array is float64 (bars,) and C-contiguous.

    Prices are finite, positive and consistent (low <= open, close <= high). The other columns are
    usable only where an indicator's record names them as inputs.
    first_number: how many bars of this length lie between the epoch and the first one.
    """

    __slots__ = ("_columns", "_memo", "first_number", "interval", "n_bars")

    def __init__(
        self, columns: Mapping[str, FloatArray], interval: Interval | None, first_number: int
    ) -> None:
        self._columns = columns
        self._memo: dict[str, Any] = {}
        self.interval = interval
        self.first_number = first_number
        self.n_bars = len(columns["close"])

    def __getitem__(self, column: str) -> FloatArray:
        return self._columns[column]

    def __len__(self) -> int:
        return self.n_bars

    def memo(self, key: str, make: Callable[[], Any]) -> Any:
        """The value of `make()`, computed once per stretch."""
        if key not in self._memo:
            self._memo[key] = make()
        return self._memo[key]

    def forget(self) -> None:
        """Free what `memo` keeps."""
        self._memo.clear()

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
        return self.memo("returns", lambda: change(self["close"], 1))  # type: ignore[no-any-return]

    @property
    def typical(self) -> FloatArray:
        """Mean of high, low and close."""
        return self.memo("typical", lambda: (self["high"] + self["low"] + self["close"]) / 3)  # type: ignore[no-any-return]

    @property
    def true_range(self) -> FloatArray:
        """Wilder's true range in price units; the first bar, without a previous close, is NaN."""
        return self.memo("true_range", self._true_range)  # type: ignore[no-any-return]

    def _true_range(self) -> FloatArray:
        high, low, close = self.hlc
        previous = delay(close, 1)
        result: FloatArray = np.maximum(high, previous) - np.minimum(low, previous)
        return result

    def span(self, length_bars: int) -> tuple[FloatArray, FloatArray]:
        """Highest high and lowest low of the last bars, this one included."""
        return self.memo(  # type: ignore[no-any-return]
            f"span {length_bars}",
            lambda: moving_extremes(self["high"], self["low"], length_bars),
        )

    def close_moments(self, length_bars: int) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation (ddof 0) of the last closes."""
        return self.memo(  # type: ignore[no-any-return]
            f"close {length_bars}", lambda: moving_moments(self["close"], length_bars, ddof=0)
        )
