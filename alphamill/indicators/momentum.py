"""Momentum: returns and oscillators of the price."""

from __future__ import annotations

import numpy as np

from alphamill.frames import FloatArray
from alphamill.indicators import kernels
from alphamill.indicators.bars import Bars, Series
from alphamill.indicators.registry import (
    DAY_MS,
    HOUR_MS,
    REST_BARS,
    Memory,
    Unit,
    indicator,
    ratio_of,
    wilder,
    window,
)
from alphamill.indicators.rolling import (
    change,
    channel_index,
    delay,
    moving_extremes,
    moving_mean,
    position,
)


@indicator("definition", Memory(first_bar=1), low=-1)
def returns(bars: Bars) -> FloatArray:
    """Close over the previous close, minus 1."""
    return bars.returns


@indicator("definition", span_ms=HOUR_MS, low=-1)
def returns_1h(bars: Bars) -> FloatArray:
    """Close over the close of an hour ago, minus 1."""
    return change(bars["close"], bars.bars_in(HOUR_MS))


@indicator("definition", span_ms=DAY_MS, low=-1)
def returns_1d(bars: Bars) -> FloatArray:
    """Close over the close of a day ago, minus 1."""
    return change(bars["close"], bars.bars_in(DAY_MS))


@indicator("as TA-Lib ROC", window(10, before=1), low=-100)
def roc_10(bars: Bars) -> FloatArray:
    """Change of the close over 10 bars, in percent."""
    return change(bars["close"], 10, 100.0)


@indicator("as TA-Lib MOM", window(10, before=1), unit=Unit.PRICE)
def mom_10(bars: Bars) -> FloatArray:
    """Change of the close over 10 bars, in the coin's price; roc_10 compares across coins."""
    close = bars["close"]
    return close - delay(close, 10)


_RSI_BARS = (6, 14)
_LEAST_SPAN = 1e-7  # of rsi_14 in points: below it rounding is more than 1e-6 of the position


def _rsi(bars: Bars, length_bars: int) -> FloatArray:
    return bars.over_history("rsis", _make_rsis)[_RSI_BARS.index(length_bars)]


def _make_rsis(bars: Bars) -> Series:
    rows = bars.buffer("rsi_6"), bars.buffer("rsi_14")
    kernels.recursive.two_rsis(bars["close"], *_RSI_BARS, REST_BARS, rows)
    return rows


@indicator("Wilder (1978); as TA-Lib RSI", ratio_of(wilder(6)), low=0, high=100)
def rsi_6(bars: Bars) -> FloatArray:
    """Relative strength index of 6 bars; 50 before the price moves, and after 512 bars of rest."""
    return _rsi(bars, 6)


@indicator("Wilder (1978); as TA-Lib RSI", ratio_of(wilder(14)), low=0, high=100)
def rsi_14(bars: Bars) -> FloatArray:
    """Relative strength index of 14 bars; 50 before the price moves, and after 512 bars of rest."""
    return _rsi(bars, 14)


@indicator(
    "Chande and Kroll (1994); as TA-Lib STOCHRSI", ratio_of(wilder(14, stages=2)), low=0, high=100
)
def stoch_rsi_14(bars: Bars) -> FloatArray:
    """The position of rsi_14 in its own span of 14 bars, 0 to 100; NaN if that did not move.

    It does not move while the price is at rest, nor by less than 1e-7 points.
    """
    strength, close = _rsi(bars, 14)[14:], bars["close"][14:]
    highest, lowest = moving_extremes(strength, strength, 14)
    dearest, cheapest = moving_extremes(close, close, 14)
    still = (highest - lowest < _LEAST_SPAN) | (dearest == cheapest)
    result = np.full(len(bars), np.nan)
    result[14:] = np.where(still, np.nan, position(strength, lowest, highest, 100.0))
    return result


def _slow_k(bars: Bars) -> FloatArray:
    return bars.memo("slow k", lambda: _make_slow_k(bars))


def _make_slow_k(bars: Bars) -> FloatArray:
    highest, lowest = bars.span(14)
    return moving_mean(position(bars["close"], lowest, highest, 100.0), 3)


@indicator("Lane; as TA-Lib STOCH(14, 3, 3)", window(14, before=2), low=0, high=100, smooth_bars=3)
def stoch_k_14(bars: Bars) -> FloatArray:
    """Close's position in the 14-bar span, mean of 3 bars; NaN if one of the spans is zero."""
    return _slow_k(bars)


@indicator(
    "Lane; as TA-Lib STOCH(14, 3, 3)",
    window(14, before=4),
    low=0,
    high=100,
    smooth_bars=3,
    signal_bars=3,
)
def stoch_d_14(bars: Bars) -> FloatArray:
    """3-bar mean of stoch_k_14."""
    return moving_mean(_slow_k(bars), 3)


@indicator("Williams (1973); as TA-Lib WILLR", window(14), low=-100, high=0)
def williams_r_14(bars: Bars) -> FloatArray:
    """-100 times the close's distance from the 14-bar high, over the span; NaN on a zero span."""
    highest, lowest = bars.span(14)
    return position(bars["close"], highest, lowest, -100.0)


@indicator("Lambert (1980); as TA-Lib CCI", window(20))
def cci_20(bars: Bars) -> FloatArray:
    """Typical price's distance from its mean, over 0.015 mean absolute deviations; NaN if flat."""
    return channel_index(bars.typical, 20)


@indicator(
    "Chande (1994); as TA-Lib CMO (Wilder-smoothed)", ratio_of(wilder(14)), low=-100, high=100
)
def cmo_14(bars: Bars) -> FloatArray:
    """Chande momentum: gains minus losses over their sum, in percent; 2 rsi_14 - 100."""
    return 2 * _rsi(bars, 14) - 100


@indicator(
    "as TA-Lib ULTOSC; Williams (1985)",
    Memory(first_bar=28),
    low=0,
    high=100,
    fast_bars=7,
    middle_bars=14,
    slow_bars=28,
)
def ultimate_osc(bars: Bars) -> FloatArray:
    """Buying pressure over true range, of 7, 14 and 28 bars weighted 4:2:1; NaN without range."""
    result = np.empty(len(bars))
    kernels.oscillators.ultimate(bars.hlc, 7, result)
    return result


@indicator("as TA-Lib BOP; Livshin (2001)", low=-1, high=1)
def bop(bars: Bars) -> FloatArray:
    """Balance of power: (close - open) / (high - low) of the bar; 0 if high = low."""
    result = np.empty(len(bars))
    kernels.bars.power_balance(bars["open"], bars.hlc, result)
    return result
