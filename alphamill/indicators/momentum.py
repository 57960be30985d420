"""Momentum: returns and oscillators of the price."""

from __future__ import annotations

import numpy as np

from alphamill.frames import FloatArray
from alphamill.indicators.bars import Bars, Series
from alphamill.indicators.registry import DAY_MS, HOUR_MS, Unit, indicator, wilder_settle_bars
from alphamill.indicators.rolling import (
    change,
    channel_index,
    delay,
    loops,
    moving_extremes,
    moving_mean,
    place,
)


@indicator("returns", source="definition", first_bar=1, low=-1)
def returns(bars: Bars) -> FloatArray:
    """Close over the previous close, minus 1."""
    return bars.returns


@indicator("returns_1h", source="definition", span_ms=HOUR_MS, low=-1)
def returns_1h(bars: Bars) -> FloatArray:
    """Close over the close of an hour ago, minus 1."""
    return change(bars["close"], bars.bars_in(HOUR_MS))


@indicator("returns_1d", source="definition", span_ms=DAY_MS, low=-1)
def returns_1d(bars: Bars) -> FloatArray:
    """Close over the close of a day ago, minus 1."""
    return change(bars["close"], bars.bars_in(DAY_MS))


@indicator("roc_10", source="as TA-Lib ROC", first_bar=10, low=-100, length_bars=10)
def roc_10(bars: Bars) -> FloatArray:
    """Change of the close over 10 bars, in percent."""
    return change(bars["close"], 10, 100.0)


@indicator("mom_10", source="as TA-Lib MOM", unit=Unit.PRICE, first_bar=10, length_bars=10)
def mom_10(bars: Bars) -> FloatArray:
    """Change of the close over 10 bars, in the coin's price; roc_10 compares across coins."""
    close = bars["close"]
    return close - delay(close, 10)


_RSI_BARS = (6, 14)


def _rsi(bars: Bars, length_bars: int) -> FloatArray:
    return bars.whole("rsis", _make_rsis)[_RSI_BARS.index(length_bars)]


def _make_rsis(bars: Bars) -> Series:
    rows = bars.room("rsi_6"), bars.room("rsi_14")
    loops("recursive").two_rsis(bars["close"], *_RSI_BARS, *rows)
    return rows


@indicator(
    "rsi_6", source="Wilder (1978); as TA-Lib RSI", first_bar=6, low=0, high=100,
    settle_bars=wilder_settle_bars(6), length_bars=6,
)  # fmt: skip
def rsi_6(bars: Bars) -> FloatArray:
    """Relative strength index of 6 bars; 50 while the price has never moved."""
    return _rsi(bars, 6)


@indicator(
    "rsi_14", source="Wilder (1978); as TA-Lib RSI", first_bar=14, low=0, high=100,
    settle_bars=wilder_settle_bars(14), length_bars=14,
)  # fmt: skip
def rsi_14(bars: Bars) -> FloatArray:
    """Relative strength index of 14 bars; 50 while the price has never moved."""
    return _rsi(bars, 14)


@indicator(
    "stoch_rsi_14", source="Chande and Kroll (1994); as TA-Lib STOCHRSI", first_bar=27, low=0,
    high=100, settle_bars=wilder_settle_bars(14, stages=2), length_bars=14,
)  # fmt: skip
def stoch_rsi_14(bars: Bars) -> FloatArray:
    """The place of rsi_14 in its own span of 14 bars, 0 to 100; NaN if that did not move."""
    strength = _rsi(bars, 14)
    result = np.full(len(bars), np.nan)
    known = strength[14:]
    highest, lowest = moving_extremes(known, known, 14)
    result[14:] = place(known, lowest, highest, 100.0)
    return result


def _slow_k(bars: Bars) -> FloatArray:
    return bars.memo("slow k", lambda: _make_slow_k(bars))


def _make_slow_k(bars: Bars) -> FloatArray:
    highest, lowest = bars.span(14)
    return moving_mean(place(bars["close"], lowest, highest, 100.0), 3)


@indicator("stoch_k_14", source="Lane; as TA-Lib STOCH(14, 3, 3)", first_bar=15, low=0, high=100,
           length_bars=14, smooth_bars=3)  # fmt: skip
def stoch_k_14(bars: Bars) -> FloatArray:
    """Close's place in the 14-bar span, mean of 3 bars; NaN if one of the spans is zero."""
    return _slow_k(bars)


@indicator("stoch_d_14", source="Lane; as TA-Lib STOCH(14, 3, 3)", first_bar=17, low=0, high=100,
           length_bars=14, smooth_bars=3, signal_bars=3)  # fmt: skip
def stoch_d_14(bars: Bars) -> FloatArray:
    """3-bar mean of stoch_k_14."""
    return moving_mean(_slow_k(bars), 3)


@indicator("williams_r_14", source="Williams (1973); as TA-Lib WILLR", first_bar=13, low=-100,
           high=0, length_bars=14)  # fmt: skip
def williams_r_14(bars: Bars) -> FloatArray:
    """-100 times the close's distance from the 14-bar high, over the span; NaN on a zero span."""
    highest, lowest = bars.span(14)
    return place(bars["close"], highest, lowest, -100.0)


@indicator("cci_20", source="Lambert (1980); as TA-Lib CCI", first_bar=19, length_bars=20)
def cci_20(bars: Bars) -> FloatArray:
    """Typical price's distance from its mean, over 0.015 mean absolute deviations; NaN if flat."""
    return channel_index(bars.typical, 20)


@indicator(
    "cmo_14", source="Chande (1994); as TA-Lib CMO (Wilder-smoothed)", first_bar=14, low=-100,
    high=100, settle_bars=wilder_settle_bars(14), length_bars=14,
)  # fmt: skip
def cmo_14(bars: Bars) -> FloatArray:
    """Chande momentum: gains minus losses over their sum, in percent; 2 rsi_14 - 100."""
    return 2 * _rsi(bars, 14) - 100


@indicator("ultimate_osc", source="as TA-Lib ULTOSC; Williams (1985)", first_bar=28, low=0,
           high=100, fast_bars=7, middle_bars=14, slow_bars=28)  # fmt: skip
def ultimate_osc(bars: Bars) -> FloatArray:
    """Buying pressure over true range, of 7, 14 and 28 bars weighted 4:2:1; NaN without range."""
    result = np.empty(len(bars))
    loops("oscillators").ultimate(*bars.hlc, 7, result)
    return result


@indicator("bop", source="as TA-Lib BOP; Livshin (2001)", low=-1, high=1)
def bop(bars: Bars) -> FloatArray:
    """Balance of power: (close - open) / (high - low) of the bar; 0 if high = low."""
    result = np.empty(len(bars))
    loops("bars").power_balance(bars["open"], *bars.hlc, result)
    return result
