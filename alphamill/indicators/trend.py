"""Trend: averages, their distances from the price, and how directed the movement is."""

from __future__ import annotations

import math

import numpy as np

from alphamill.frames import FloatArray
from alphamill.indicators.bars import Bars, Series, talib
from alphamill.indicators.registry import (
    Unit,
    ema_settle_bars,
    indicator,
    wilder_settle_bars,
)
from alphamill.indicators.rolling import (
    delay,
    divide,
    loops,
    moving_extremes,
    moving_mean,
    moving_slope,
    moving_sum,
    weighted_mean,
)

_EMA_BARS = (12, 20, 26, 50)  # the ones in use, computed together at the cost of one


def _gap(bars: Bars, level: FloatArray) -> FloatArray:
    return divide(bars["close"], level, 1.0, -1.0)


def ema(bars: Bars, length_bars: int) -> FloatArray:
    """EMA of the close, alpha 2/(n+1), seeded by the mean of the first n: 12, 20, 26 or 50."""
    return bars.whole("emas", _make_emas)[_EMA_BARS.index(length_bars)]


def _make_emas(bars: Bars) -> Series:
    rows = np.empty((len(_EMA_BARS), len(bars)))
    loops("recursive").four_emas(bars["close"], *_EMA_BARS, rows)
    return tuple(rows)


def _ema_gap(bars: Bars, length_bars: int) -> FloatArray:
    return _gap(bars, ema(bars, length_bars))


@indicator("ma_5", source="definition", unit=Unit.PRICE, first_bar=4, low=0, length_bars=5)
def ma_5(bars: Bars) -> FloatArray:
    """Mean close of 5 bars."""
    return moving_mean(bars["close"], 5)


@indicator("ma_20", source="definition", unit=Unit.PRICE, first_bar=19, low=0, length_bars=20)
def ma_20(bars: Bars) -> FloatArray:
    """Mean close of 20 bars."""
    return bars.close_moments(20)[0]


@indicator("ma_gap_20", source="definition", first_bar=19, low=-1, high=19, length_bars=20)
def ma_gap_20(bars: Bars) -> FloatArray:
    """Close over its 20-bar mean, minus 1."""
    return _gap(bars, bars.close_moments(20)[0])


@indicator(
    "ema_gap_12", source="as TA-Lib EMA", first_bar=11, settle_bars=ema_settle_bars(12), low=-1,
    length_bars=12,
)  # fmt: skip
def ema_gap_12(bars: Bars) -> FloatArray:
    """Close over its 12-bar EMA, minus 1."""
    return _ema_gap(bars, 12)


@indicator(
    "ema_gap_26", source="as TA-Lib EMA", first_bar=25, settle_bars=ema_settle_bars(26), low=-1,
    length_bars=26,
)  # fmt: skip
def ema_gap_26(bars: Bars) -> FloatArray:
    """Close over its 26-bar EMA, minus 1."""
    return _ema_gap(bars, 26)


@indicator(
    "ema_gap_50", source="as TA-Lib EMA", first_bar=49, settle_bars=ema_settle_bars(50), low=-1,
    length_bars=50,
)  # fmt: skip
def ema_gap_50(bars: Bars) -> FloatArray:
    """Close over its 50-bar EMA, minus 1."""
    return _ema_gap(bars, 50)


def _macd(bars: Bars) -> Series:
    return bars.whole("macd", _make_macd)


def _make_macd(bars: Bars) -> Series:
    rows = bars.room("macd"), bars.room("macd_signal"), bars.room("macd_hist")
    loops("recursive").convergence(bars["close"], 12, 26, 9, *rows)
    return rows


_MACD_SETTLE_BARS = ema_settle_bars(26, stages=2)


@indicator(
    "macd", source="as TA-Lib MACD; Appel (1979)", unit=Unit.PRICE, first_bar=33,
    settle_bars=_MACD_SETTLE_BARS, fast_bars=12, slow_bars=26, signal_bars=9,
)  # fmt: skip
def macd(bars: Bars) -> FloatArray:
    """EMA 12 minus EMA 26 of the close."""
    return _macd(bars)[0]


@indicator(
    "macd_signal", source="as TA-Lib MACD; Appel (1979)", unit=Unit.PRICE, first_bar=33,
    settle_bars=_MACD_SETTLE_BARS, fast_bars=12, slow_bars=26, signal_bars=9,
)  # fmt: skip
def macd_signal(bars: Bars) -> FloatArray:
    """9-bar EMA of macd."""
    return _macd(bars)[1]


@indicator(
    "macd_hist", source="as TA-Lib MACD; Appel (1979)", unit=Unit.PRICE, first_bar=33,
    settle_bars=_MACD_SETTLE_BARS, fast_bars=12, slow_bars=26, signal_bars=9,
)  # fmt: skip
def macd_hist(bars: Bars) -> FloatArray:
    """The macd minus its signal line."""
    return _macd(bars)[2]


@indicator(
    "ppo", source="Appel; as TA-Lib PPO on EMAs", first_bar=25, settle_bars=ema_settle_bars(26),
    fast_bars=12, slow_bars=26,
)  # fmt: skip
def ppo(bars: Bars) -> FloatArray:
    """EMA 12 over EMA 26 of the close, minus 1, in percent: macd without the price's scale."""
    return divide(ema(bars, 12), ema(bars, 26), 100.0, -100.0)


def _directional(bars: Bars) -> Series:
    return bars.whole("directional", _make_directional)


def _make_directional(bars: Bars) -> Series:
    """+DI, -DI and ADX of 14 bars."""
    rows = bars.room("plus_di_14"), bars.room("minus_di_14"), bars.room("adx_14")
    loops("directional").directional(*bars.hlc, 14, *rows)
    return rows


@indicator(
    "adx_14", source="Wilder (1978); as TA-Lib ADX", first_bar=27, low=0, high=100,
    settle_bars=wilder_settle_bars(14, stages=2), length_bars=14,
)  # fmt: skip
def adx_14(bars: Bars) -> FloatArray:
    """Average directional index: strength of a trend, either way; 0 without movement."""
    return _directional(bars)[2]


@indicator(
    "plus_di_14", source="Wilder (1978); as TA-Lib PLUS_DI", first_bar=14, low=0, high=100,
    settle_bars=wilder_settle_bars(14), length_bars=14,
)  # fmt: skip
def plus_di_14(bars: Bars) -> FloatArray:
    """Upward directional movement in percent of the true range."""
    return _directional(bars)[0]


@indicator(
    "minus_di_14", source="Wilder (1978); as TA-Lib MINUS_DI", first_bar=14, low=0, high=100,
    settle_bars=wilder_settle_bars(14), length_bars=14,
)  # fmt: skip
def minus_di_14(bars: Bars) -> FloatArray:
    """Downward directional movement in percent of the true range."""
    return _directional(bars)[1]


@indicator(
    "aroon_osc_14", source="as TA-Lib AROONOSC; Chande (1995)", first_bar=14, low=-100, high=100,
    length_bars=14,
)  # fmt: skip
def aroon_osc_14(bars: Bars) -> FloatArray:
    """Aroon up minus Aroon down: how much newer the high of 15 bars is than the low."""
    result = np.empty(len(bars))
    loops("oscillators").aroon(bars["high"], bars["low"], 14, result)
    return result


@indicator("vortex_14", source="Botes and Siepman (2010)", first_bar=14, length_bars=14)
def vortex_14(bars: Bars) -> FloatArray:
    """VI+ minus VI-: sum |H - previous L| less sum |L - previous H|, over the true ranges' sum."""
    high, low, _ = bars.hlc
    up, down = np.abs(high - delay(low, 1)), np.abs(low - delay(high, 1))
    return divide(moving_sum(up - down, 14), moving_sum(bars.true_range, 14))


@indicator(
    "trix_15", source="as TA-Lib TRIX; Hutson (1983)", first_bar=43,
    settle_bars=ema_settle_bars(15, stages=3), length_bars=15,
)  # fmt: skip
def trix_15(bars: Bars) -> FloatArray:
    """One-bar change, in percent, of a triple EMA of the close."""
    return bars.whole("trix", _make_trix)[0]


def _make_trix(bars: Bars) -> Series:
    row = bars.room("trix_15")
    loops("recursive").triple_change(bars["close"], 15, row)
    return (row,)


def _slope_14(bars: Bars) -> FloatArray:
    return bars.memo("slope 14", lambda: moving_slope(bars["close"], 14))


@indicator("slope_14", source="as TA-Lib LINEARREG_SLOPE", first_bar=13, length_bars=14)
def slope_14(bars: Bars) -> FloatArray:
    """Least-squares slope of the close a bar, over the close; exactly 0 on a flat window."""
    return divide(_slope_14(bars), bars["close"])


@indicator("efficiency_ratio_10", source="Kaufman (1995)", first_bar=10, low=0, high=1,
           length_bars=10)  # fmt: skip
def efficiency_ratio_10(bars: Bars) -> FloatArray:
    """Net change of the close over the path it walked; NaN if it did not move."""
    close = bars["close"]
    path = moving_sum(np.abs(close - delay(close, 1)), 10)
    return divide(np.abs(close - delay(close, 10)), path)


@indicator("choppiness_14", source="Dreiss", first_bar=14, low=0, high=100, length_bars=14)
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


@indicator("wma_gap_20", source="as TA-Lib WMA", first_bar=19, low=-1, length_bars=20)
def wma_gap_20(bars: Bars) -> FloatArray:
    """Close over its 20-bar mean with weights 1 (oldest) to 20 (newest), minus 1."""
    return _gap(bars, _wma_20(bars))


@indicator("hma_gap_20", source="Hull (2005); as TA-Lib HMA", first_bar=22, length_bars=20)
def hma_gap_20(bars: Bars) -> FloatArray:
    """Close over its 20-bar Hull average, minus 1."""
    quick = 2 * weighted_mean(bars["close"], 10) - _wma_20(bars)
    level = np.full(len(bars), np.nan)
    level[19:] = weighted_mean(quick[19:], 4)  # 4: the root of 20, rounded down
    return _gap(bars, level)


@indicator(
    "rma_gap_14", source="TA-Lib RMA; Wilder (1978)", first_bar=13, low=-1,
    settle_bars=wilder_settle_bars(14), length_bars=14,
)  # fmt: skip
def rma_gap_14(bars: Bars) -> FloatArray:
    """Close over Wilder's 14-bar mean of it, minus 1."""
    return _gap(bars, bars.whole("rma", lambda whole: (talib().RMA(whole["close"], 14),))[0])


@indicator(
    "dema_gap_20", source="TA-Lib DEMA; Mulloy (1994)", first_bar=38,
    settle_bars=ema_settle_bars(20, stages=2), length_bars=20,
)  # fmt: skip
def dema_gap_20(bars: Bars) -> FloatArray:
    """Close over its 20-bar double EMA, minus 1."""
    return _gap(bars, bars.whole("dema", lambda whole: (talib().DEMA(whole["close"], 20),))[0])


@indicator(
    "tema_gap_20", source="TA-Lib TEMA; Mulloy (1994)", first_bar=57,
    settle_bars=ema_settle_bars(20, stages=3), length_bars=20,
)  # fmt: skip
def tema_gap_20(bars: Bars) -> FloatArray:
    """Close over its 20-bar triple EMA, minus 1."""
    return _gap(bars, bars.whole("tema", lambda whole: (talib().TEMA(whole["close"], 20),))[0])


@indicator("forecast_gap_14", source="as TA-Lib TSF", first_bar=13, length_bars=14)
def forecast_gap_14(bars: Bars) -> FloatArray:
    """Close over the 14-bar linear trend drawn on to the next bar, minus 1."""
    return _gap(bars, moving_mean(bars["close"], 14) + 7.5 * _slope_14(bars))
