"""Trend: averages, their distances from the price, and how directed the movement is."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from alphamill.frames import FloatArray
from alphamill.indicators import kernels
from alphamill.indicators.bars import Bars, Series
from alphamill.indicators.registry import (
    REST_BARS,
    Memory,
    Unit,
    ema,
    indicator,
    ratio_of,
    wilder,
    window,
)
from alphamill.indicators.rolling import (
    delay,
    divide,
    moving_extremes,
    moving_mean,
    moving_slope,
    moving_sum,
    weighted_mean,
)

_EMA_BARS = (12, 20, 26, 50)  # the ones in use, computed together at the cost of one


def _gap(bars: Bars, level: FloatArray) -> FloatArray:
    return divide(bars["close"], level, 1.0, -1.0)


def close_ema(bars: Bars, length_bars: int) -> FloatArray:
    """EMA of the close, alpha 2/(n+1), seeded by the mean of the first n: 12, 26 or 50."""
    return bars.over_history("emas", _make_emas)[_EMA_BARS.index(length_bars)]


def gap_over_ema_20(bars: Bars) -> FloatArray:
    """Close less its 20-bar EMA, in the coin's price."""
    return bars.over_history("emas", _make_emas)[_EMA_BARS.index(20)]


def _make_emas(bars: Bars) -> Series:
    rows = np.empty((len(_EMA_BARS), len(bars)))
    kernels.recursive.emas_and_gap(bars["close"], *_EMA_BARS, rows)
    return tuple(rows)


def _gap_over_history(bars: Bars, key: str, mean: Callable[[FloatArray], FloatArray]) -> FloatArray:
    return _gap(bars, bars.over_history(key, lambda whole: (mean(whole["close"]),))[0])


def _ema_gap(bars: Bars, length_bars: int) -> FloatArray:
    return _gap(bars, close_ema(bars, length_bars))


@indicator("definition", window(5), unit=Unit.PRICE, low=0)
def ma_5(bars: Bars) -> FloatArray:
    """Mean close of 5 bars."""
    return moving_mean(bars["close"], 5)


@indicator("definition", window(20), unit=Unit.PRICE, low=0)
def ma_20(bars: Bars) -> FloatArray:
    """Mean close of 20 bars."""
    return bars.close_moments(20)[0]


@indicator("definition", window(20), low=-1, high=19)
def ma_gap_20(bars: Bars) -> FloatArray:
    """Close over its 20-bar mean, minus 1."""
    return _gap(bars, bars.close_moments(20)[0])


@indicator("as TA-Lib EMA", ema(12), low=-1)
def ema_gap_12(bars: Bars) -> FloatArray:
    """Close over its 12-bar EMA, minus 1."""
    return _ema_gap(bars, 12)


@indicator("as TA-Lib EMA", ema(26), low=-1)
def ema_gap_26(bars: Bars) -> FloatArray:
    """Close over its 26-bar EMA, minus 1."""
    return _ema_gap(bars, 26)


@indicator("as TA-Lib EMA", ema(50), low=-1)
def ema_gap_50(bars: Bars) -> FloatArray:
    """Close over its 50-bar EMA, minus 1."""
    return _ema_gap(bars, 50)


def _macd(bars: Bars) -> Series:
    return bars.over_history("macd", _make_macd)


def _make_macd(bars: Bars) -> Series:
    rows = bars.buffer("macd"), bars.buffer("macd_signal"), bars.buffer("macd_hist")
    kernels.recursive.convergence(bars["close"], 12, 26, 9, rows)
    return rows


_macd_column = indicator(
    "as TA-Lib MACD; Appel (1979)",
    Memory(first_bar=33, settle_bars=ema(26, stages=2).settle_bars),
    unit=Unit.PRICE,
    fast_bars=12,
    slow_bars=26,
    signal_bars=9,
)


@_macd_column
def macd(bars: Bars) -> FloatArray:
    """EMA 12 minus EMA 26 of the close."""
    return _macd(bars)[0]


@_macd_column
def macd_signal(bars: Bars) -> FloatArray:
    """9-bar EMA of macd."""
    return _macd(bars)[1]


@_macd_column
def macd_hist(bars: Bars) -> FloatArray:
    """The macd minus its signal line."""
    return _macd(bars)[2]


@indicator(
    "Appel; as TA-Lib PPO on EMAs",
    Memory(first_bar=25, settle_bars=ema(26).settle_bars),
    fast_bars=12,
    slow_bars=26,
)
def ppo(bars: Bars) -> FloatArray:
    """EMA 12 over EMA 26 of the close, minus 1, in percent: macd without the price's scale."""
    return divide(close_ema(bars, 12), close_ema(bars, 26), 100.0, -100.0)


def _directional(bars: Bars) -> Series:
    return bars.over_history("directional", _make_directional)


def _make_directional(bars: Bars) -> Series:
    """+DI, -DI and ADX of 14 bars."""
    rows = bars.buffer("plus_di_14"), bars.buffer("minus_di_14"), bars.buffer("adx_14")
    kernels.recursive.directional(bars.hlc, 14, REST_BARS, rows)
    return rows


@indicator("Wilder (1978); as TA-Lib ADX", ratio_of(wilder(14, stages=2)), low=0, high=100)
def adx_14(bars: Bars) -> FloatArray:
    """Average directional index: strength of a trend, either way; 0 without movement."""
    return _directional(bars)[2]


@indicator("Wilder (1978); as TA-Lib PLUS_DI", ratio_of(wilder(14)), low=0, high=100)
def plus_di_14(bars: Bars) -> FloatArray:
    """Upward directional movement in percent of the true range."""
    return _directional(bars)[0]


@indicator("Wilder (1978); as TA-Lib MINUS_DI", ratio_of(wilder(14)), low=0, high=100)
def minus_di_14(bars: Bars) -> FloatArray:
    """Downward directional movement in percent of the true range."""
    return _directional(bars)[1]


@indicator("as TA-Lib AROONOSC; Chande (1995)", window(14, before=1), low=-100, high=100)
def aroon_osc_14(bars: Bars) -> FloatArray:
    """Aroon up minus Aroon down: how much newer the high of 15 bars is than the low."""
    result = np.empty(len(bars))
    kernels.oscillators.aroon(bars["high"], bars["low"], 14, result)
    return result


@indicator("Botes and Siepman (2010)", window(14, before=1))
def vortex_14(bars: Bars) -> FloatArray:
    """VI+ minus VI-: sum |H - previous L| less sum |L - previous H|, over the true ranges' sum."""
    high, low, _ = bars.hlc
    up, down = np.abs(high - delay(low, 1)), np.abs(low - delay(high, 1))
    return divide(moving_sum(up - down, 14), moving_sum(bars.true_range, 14))


@indicator("as TA-Lib TRIX; Hutson (1983)", replace(ema(15, stages=3), first_bar=43))
def trix_15(bars: Bars) -> FloatArray:
    """One-bar change, in percent, of a triple EMA of the close."""
    return bars.over_history("trix", _make_trix)[0]


def _make_trix(bars: Bars) -> Series:
    row = bars.buffer("trix_15")
    kernels.recursive.triple_change(bars["close"], 15, row)
    return (row,)


def _slope_14(bars: Bars) -> FloatArray:
    return bars.memo("slope 14", lambda: moving_slope(bars["close"], 14))


@indicator("as TA-Lib LINEARREG_SLOPE", window(14))
def slope_14(bars: Bars) -> FloatArray:
    """Least-squares slope of the close a bar, over the close; exactly 0 on a flat window."""
    return divide(_slope_14(bars), bars["close"])


@indicator("Kaufman (1995)", window(10, before=1), low=0, high=1)
def efficiency_ratio_10(bars: Bars) -> FloatArray:
    """Net change of the close over the path it walked; NaN if it did not move."""
    close = bars["close"]
    path = moving_sum(np.abs(close - delay(close, 1)), 10)
    return divide(np.abs(close - delay(close, 10)), path)


@indicator("Dreiss", window(14, before=1), low=0, high=100)
def choppiness_14(bars: Bars) -> FloatArray:
    """100 log(sum of true ranges / span of the bars) / log(14): high sideways, low in a trend.

    The span uses true highs and lows (the previous close included), which keeps it in 0 to 100.
    NaN on a flat window.
    """
    high, low, close = bars.hlc
    previous = delay(close, 1)
    top, bottom = moving_extremes(np.fmax(high, previous), np.fmin(low, previous), 14)
    ratio = divide(moving_sum(bars.true_range, 14), top - bottom)
    return 100 / math.log(14) * np.log(ratio)


def _wma_20(bars: Bars) -> FloatArray:
    return bars.memo("wma 20", lambda: weighted_mean(bars["close"], 20))


@indicator("as TA-Lib WMA", window(20), low=-1)
def wma_gap_20(bars: Bars) -> FloatArray:
    """Close over its 20-bar mean with weights 1 (oldest) to 20 (newest), minus 1."""
    return _gap(bars, _wma_20(bars))


@indicator("Hull (2005); as TA-Lib HMA", window(20, before=3))
def hma_gap_20(bars: Bars) -> FloatArray:
    """Close over its 20-bar Hull average, minus 1."""
    quick = 2 * weighted_mean(bars["close"], 10) - _wma_20(bars)
    level = np.full(len(bars), np.nan)
    level[19:] = weighted_mean(quick[19:], 4)  # 4: the root of 20, rounded down
    return _gap(bars, level)


@indicator("TA-Lib RMA; Wilder (1978)", replace(wilder(14), first_bar=13), low=-1)
def rma_gap_14(bars: Bars) -> FloatArray:
    """Close over Wilder's 14-bar mean of it, minus 1."""
    import talib

    return _gap_over_history(bars, "rma", lambda close: talib.RMA(close, 14))


@indicator("TA-Lib DEMA; Mulloy (1994)", ema(20, stages=2))
def dema_gap_20(bars: Bars) -> FloatArray:
    """Close over its 20-bar double EMA, minus 1."""
    import talib

    return _gap_over_history(bars, "dema", lambda close: talib.DEMA(close, 20))


@indicator("TA-Lib TEMA; Mulloy (1994)", ema(20, stages=3))
def tema_gap_20(bars: Bars) -> FloatArray:
    """Close over its 20-bar triple EMA, minus 1."""
    import talib

    return _gap_over_history(bars, "tema", lambda close: talib.TEMA(close, 20))


@indicator("as TA-Lib TSF", window(14))
def forecast_gap_14(bars: Bars) -> FloatArray:
    """Close over the 14-bar linear trend drawn on to the next bar, minus 1."""
    return _gap(bars, moving_mean(bars["close"], 14) + 7.5 * _slope_14(bars))
